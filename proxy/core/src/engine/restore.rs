//! From what the store holds back to the state in which the proxy stopped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use imbl::OrdMap;

use super::{Engine, Instance, Kept, Settings, Troubles};
use crate::{
    abilities::AllAbilities,
    catalog::{Catalog, Change},
    ids::{InstanceIx, LaneId, Position},
    lane::Lane,
    log::Logged,
    time::Instant,
};

/// A lane as the store holds it.
#[derive(Clone, Debug)]
pub struct RestoredLane {
    /// Id of the lane.
    pub id: LaneId,
    /// Its last entry, even if that is trimmed.
    pub head: Position,
    /// The last entry that was deleted from the log.
    pub trimmed: Position,
    /// Cursor of each instance; none for one that the store has never seen.
    pub cursors: Vec<Option<Position>>,
}

/// Contents of the store.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The catalog.
    pub catalog: Catalog,
    /// Every lane that ever had an entry.
    pub lanes: Vec<RestoredLane>,
    /// The entries that are not trimmed, in order of their lanes and positions.
    pub entries: Vec<Logged>,
}

impl Engine {
    /// An engine in the state that the store holds.
    pub fn restore(settings: Settings, snapshot: Snapshot, now: Instant) -> Self {
        let mut engine = Self::empty(settings, snapshot.catalog, now);
        for collection in engine.catalog.collections() {
            let lane = Lane::new(
                LaneId::Collection(collection.id),
                settings.instances,
                Position(0),
            );
            engine.lanes.insert(collection.id, lane);
        }
        for restored in &snapshot.lanes {
            engine.restore_lane(restored);
        }
        for entry in snapshot.entries {
            let id = entry.lane;
            match engine.lane_mut(id) {
                Some(lane) if entry.position > lane.head() => {
                    lane.restored(entry, now);
                    engine.active.insert(id);
                }
                Some(_) => {}
                None => engine.void_restored(entry),
            }
        }
        for RestoredLane { id, head, .. } in snapshot.lanes {
            if let Some(lane) = engine.lane_mut(id) {
                lane.restore_head(head, now);
                lane.settle_orphans(now);
                engine.active.insert(id);
            }
        }
        for id in engine.active.clone() {
            engine.advance(id);
        }
        engine.jobs.begin(now, &settings);
        engine.doubt_homes();
        engine.drain();
        engine
    }

    fn empty(settings: Settings, catalog: Catalog, now: Instant) -> Self {
        Self {
            now,
            instances: InstanceIx::all(settings.instances)
                .map(|instance| {
                    let is_known = catalog.instance(instance).marker.is_some();
                    Instance::new(now, is_known, settings.replication_max)
                })
                .collect(),
            abilities: AllAbilities::default(),
            absent: OrdMap::new(),
            has_news: false,
            catalog,
            schema: Lane::new(LaneId::Schema, settings.instances, Position(0)),
            lanes: BTreeMap::new(),
            gates: BTreeMap::new(),
            appending: BTreeMap::new(),
            appending_heavy_bytes: 0,
            resolving: BTreeMap::new(),
            store_is_up: true,
            progress: OrdMap::new(),
            active: BTreeSet::new(),
            trimmable: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            unsent: VecDeque::new(),
            silences: VecDeque::new(),
            unblocked: VecDeque::new(),
            jobs: super::jobs::Jobs::default(),
            homes: super::Homes::default(),
            trim_at: now,
            forget_keys_at: now,
            troubles: Troubles::default(),
            kept: Kept::new(settings.kept_bytes_max),
            replayed: 0,
            effects: Vec::new(),
            settings,
        }
    }

    /// Sets up an empty lane where the store says: behind what every instance has done for which
    /// the log is kept.
    fn restore_lane(&mut self, restored: &RestoredLane) {
        let (count, id) = (self.instances.len(), restored.id);
        if self.lane(id).is_none() {
            return;
        }
        self.exclude_those_too_far_behind(restored);
        let peers = self.peers(id);
        let cursors = || InstanceIx::all(count).zip(&restored.cursors);
        let base = cursors()
            .filter(|(i, _)| peers.get(i.at()).is_some_and(|peer| !peer.is_quarantined))
            .map(|(_, cursor)| cursor.unwrap_or_default())
            .min()
            // Where no instance has the collection its open entries wait for one that has.
            .unwrap_or(restored.trimmed)
            .min(restored.head);
        let mut lane = Lane::new(id, count, base);
        for (instance, cursor) in cursors() {
            lane.restore_cursor(instance, cursor.unwrap_or_default());
        }
        match id {
            LaneId::Schema => self.schema = lane,
            LaneId::Collection(collection) => {
                self.lanes.insert(collection, lane);
            }
        }
    }

    fn is_quarantined(&self, lane: LaneId, instance: InstanceIx) -> bool {
        let LaneId::Collection(id) = lane else {
            return false;
        };
        let collection = self.catalog.get(id);
        let copy = collection.and_then(|collection| collection.copies.get(instance.at()));
        copy.is_some_and(|copy| copy.quarantine.is_some())
    }

    /// I11: an instance whose next entry is not in the log any more is never sent a later one. It
    /// was added or taken away while the log went on, and must be rebuilt. A copy that is in quarantine
    /// already is sent nothing, and the reason of that says what becomes of it.
    fn exclude_those_too_far_behind(&mut self, restored: &RestoredLane) {
        for (instance, cursor) in InstanceIx::all(self.instances.len()).zip(&restored.cursors) {
            let is_there = cursor.unwrap_or_default() >= restored.trimmed;
            let is_out = self.catalog.is_out(instance);
            if is_there || is_out || self.is_quarantined(restored.id, instance) {
                continue;
            }
            let reason = "the log does not reach back to where it stopped";
            match restored.id {
                LaneId::Schema => self.exclude(instance, reason),
                LaneId::Collection(collection) => {
                    let change = Change::Quarantined {
                        collection,
                        instance,
                        reason: reason.into(),
                    };
                    self.change(vec![change]);
                }
            }
        }
    }
}
