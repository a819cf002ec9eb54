//! Troubles with entries and collections: the latest ones for the operator, those that stand told
//! apart from those that are settled.

use std::collections::{BTreeMap, VecDeque};

use super::{Engine, TroubleReport};
use crate::{
    ids::{CollectionId, InstanceIx, LaneId},
    lane::Lane,
    limits::TROUBLES_KEPT_MAX,
};

/// The latest troubles.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    latest: VecDeque<TroubleReport>,
    /// Number of troubles since the start.
    count: u64,
}

/// A trouble, and whether it still stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTrouble {
    /// The trouble itself.
    pub trouble: TroubleReport,
    /// True when the instance still has to do the entry, or when the copy is still not used.
    pub is_standing: bool,
}

/// Collections that have fewer sound copies than they should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Collections that no instance can serve.
    pub without_copy: usize,
    /// Collections with one sound copy, where there should be more.
    pub with_one_copy: usize,
}

impl Troubles {
    pub(super) fn note(&mut self, trouble: TroubleReport) {
        self.count += 1;
        if self.latest.len() >= TROUBLES_KEPT_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(trouble);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl Engine {
    /// The latest troubles, the oldest first.
    pub(super) fn known_troubles(&self) -> Vec<KnownTrouble> {
        let known = self.troubles.latest.iter().map(|trouble| KnownTrouble {
            trouble: trouble.clone(),
            is_standing: self.is_standing(trouble),
        });
        known.collect()
    }

    /// Forgets the troubles that are settled.
    pub(super) fn clear_troubles(&mut self) {
        let mut latest = std::mem::take(&mut self.troubles.latest);
        latest.retain(|trouble| self.is_standing(trouble));
        self.troubles.latest = latest;
    }

    /// Entries that an instance fails now, each instance counted for itself.
    pub(super) fn failing_entries(&self) -> usize {
        let lanes = self.active.iter().filter_map(|id| self.lane(*id));
        lanes.map(Lane::failing).sum()
    }

    fn is_standing(&self, trouble: &TroubleReport) -> bool {
        let Some(instance) = trouble.instance else {
            // The entry was given up: nothing is left to be done.
            return false;
        };
        let lane = self.lane(trouble.lane);
        let is_failing = lane.is_some_and(|lane| {
            lane.is_failing_on(instance) && !lane.has_applied(instance, trouble.position)
        });
        is_failing || self.is_copy_out(trouble.lane, instance)
    }

    fn is_copy_out(&self, lane: LaneId, instance: InstanceIx) -> bool {
        let LaneId::Collection(id) = lane else {
            return false;
        };
        let copy = self
            .catalog
            .get(id)
            .and_then(|c| c.copies.get(instance.at()));
        copy.is_some_and(|copy| copy.quarantine.is_some())
    }

    /// Collections without enough sound copies. A collection that policy keeps on one instance is
    /// complete with that one.
    pub(super) fn shortage(&self) -> Shortage {
        let instances = self.instances.len();
        let mut unserved: BTreeMap<CollectionId, usize> = BTreeMap::new();
        for instance in InstanceIx::all(instances) {
            for id in self.catalog.unserved(instance) {
                *unserved.entry(id).or_default() += 1;
            }
        }
        let mut shortage = Shortage::default();
        for (id, lacking) in unserved {
            let home = self.catalog.get(id).and_then(|c| Some((c, c.home?)));
            match instances.saturating_sub(lacking) {
                _ if home.is_some_and(|(c, home)| c.is_sound_on(home)) => {}
                0 => shortage.without_copy += 1,
                1 => shortage.with_one_copy += 1,
                _ => {}
            }
        }
        shortage
    }
}
