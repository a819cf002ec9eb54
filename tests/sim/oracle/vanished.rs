//! Collections that somebody has deleted on every instance, behind the proxy's back: what they had is
//! lost, and that is no fault. Such a collection is gone for clients, or is there again, empty, when one
//! of them has made it anew.

use std::collections::BTreeMap;

use achromat_core::{
    catalog::Change,
    ids::{CollectionId, InstanceId, InstanceIx, LaneId, Position},
    log::Verdict,
};

use super::Oracle;

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// When they were deleted.
    at: BTreeMap<CollectionId, u64>,
    /// Those that were found to be gone: after which entry of the schema lane, and when that was durable.
    pub(super) buried: BTreeMap<CollectionId, (Position, u64)>,
    /// Those that are there again, empty: after which entry of their lane, and when that was durable.
    pub(super) emptied: BTreeMap<CollectionId, (Position, u64)>,
}

impl Oracle {
    /// The copies that an instance has of collections that are there.
    pub fn copies_of(&self, instance: InstanceIx) -> BTreeMap<CollectionId, InstanceId> {
        let theirs = self.copies.iter().filter(|((id, on), _)| {
            *on == instance && !self.gone.contains(id) && self.made.contains(id)
        });
        theirs.map(|((id, _), copy)| (*id, *copy)).collect()
    }

    /// A collection is deleted on every instance.
    pub fn vanished(&mut self, collection: CollectionId, now: u64) {
        self.vanished.at.insert(collection, now);
    }

    /// Whether there is such a collection.
    pub(super) fn has_vanished(&self) -> bool {
        !self.vanished.at.is_empty()
    }

    /// Whether there is one of which the proxy does not know yet.
    pub(super) fn is_vanishing(&self) -> bool {
        let is_open =
            |id: &CollectionId| !self.gone.contains(id) && !self.vanished.emptied.contains_key(id);
        self.vanished.at.keys().any(is_open)
    }

    /// Whether a collection was deleted on every instance by a moment.
    pub(super) fn is_vanished(&self, collection: CollectionId, by: u64) -> bool {
        let at = self.vanished.at.get(&collection);
        at.is_some_and(|at| *at <= by)
    }

    /// A job has settled something. Only a collection that was deleted directly is gone without an entry.
    pub(super) fn note_settled(&mut self, changes: &[Change], now: u64) {
        for change in changes {
            if let Change::Healed {
                collection,
                instance,
            } = change
            {
                self.healing.remove(&(*collection, *instance));
                self.shared(*collection, *instance);
            }
            match change {
                Change::Gone { collection, at } => {
                    if !self.is_vanished(*collection, now) && self.tampered.is_empty() {
                        self.violate(format!("{collection} is gone, and nobody has deleted it"));
                    }
                    self.vanished.buried.insert(*collection, (*at, now));
                }
                Change::Healed { collection, .. } if self.is_vanished(*collection, now) => {
                    let decided = self.decided(LaneId::Collection(*collection));
                    self.vanished
                        .emptied
                        .entry(*collection)
                        .or_insert((decided, now));
                }
                _ => {}
            }
        }
    }

    /// The last entry of a lane of which it is known what becomes of it, with all before it.
    pub(super) fn decided(&self, lane: LaneId) -> Position {
        let entries = self.log.get(&lane).into_iter().flatten();
        let count = entries
            .take_while(|noted| noted.verdict != Verdict::Open)
            .count();
        Position(u64::try_from(count).expect("a count"))
    }

    /// Whether a job may make an instance stand at a position of a lane that is not its last: nothing
    /// behind it was decided, and nothing before it is there any more.
    pub(super) fn may_be_placed_before_head(&self, lane: LaneId, position: Position) -> bool {
        let LaneId::Collection(collection) = lane else {
            return false;
        };
        self.may_have_lost(collection) && position == self.decided(lane)
    }

    /// Returns true when the copy that had most of a collection may have been lost by no fault of the proxy.
    pub(super) fn may_have_lost(&self, collection: CollectionId) -> bool {
        self.vanished.at.contains_key(&collection)
            || !self.tampered.is_empty()
            || self.has_lost_home(collection)
    }
}
