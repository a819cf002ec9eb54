//! From what the store holds back to the state in which the proxy stopped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use imbl::OrdMap;

use super::{Engine, Instance, Settings};
use crate::{
    catalog::Catalog,
    ids::{InstanceIx, LaneId, Position},
    lane::Lane,
    log::Logged,
    time::Instant,
};

/// A lane as the store holds it.
#[derive(Clone, Debug)]
pub struct RestoredLane {
    /// Which.
    pub id: LaneId,
    /// Its last entry, be it trimmed.
    pub head: Position,
    /// How far each instance is; none for one that the store has never seen.
    pub cursors: Vec<Option<Position>>,
}

/// What the store holds.
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
            if let Some(lane) = engine.lane_mut(id)
                && entry.position > lane.head()
            {
                lane.restored(entry, now);
                engine.active.insert(id);
            }
        }
        for RestoredLane { id, head, .. } in snapshot.lanes {
            if let Some(lane) = engine.lane_mut(id) {
                lane.restore_head(head, now);
                engine.active.insert(id);
            }
        }
        for id in engine.active.clone() {
            engine.advance(id);
        }
        engine.drain();
        engine
    }

    fn empty(settings: Settings, catalog: Catalog, now: Instant) -> Self {
        Self {
            now,
            instances: (0..settings.instances)
                .map(|_| Instance::new(now))
                .collect(),
            catalog,
            schema: Lane::new(LaneId::Schema, settings.instances, Position(0)),
            lanes: BTreeMap::new(),
            gates: BTreeMap::new(),
            appending: BTreeMap::new(),
            resolving: BTreeMap::new(),
            store_is_up: true,
            progress: OrdMap::new(),
            active: BTreeSet::new(),
            trimmable: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            unsent: VecDeque::new(),
            silences: VecDeque::new(),
            trim_at: now,
            troubles: VecDeque::new(),
            trouble_count: 0,
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
        if id == LaneId::Schema {
            self.exclude_newcomers(restored);
        }
        let peers = self.peers(id);
        let cursors = || InstanceIx::all(count).zip(&restored.cursors);
        let base = cursors()
            .filter(|(i, _)| peers.get(i.at()).is_some_and(|peer| !peer.is_quarantined))
            .map(|(_, cursor)| cursor.unwrap_or_default())
            .min()
            .unwrap_or(restored.head)
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

    /// An instance that the store has never seen starts at the beginning of the log, if the log
    /// still reaches back there.
    fn exclude_newcomers(&mut self, schema: &RestoredLane) {
        let known = schema.cursors.iter().flatten().min().copied();
        if known.unwrap_or_default() == Position(0) {
            return;
        }
        for (instance, cursor) in InstanceIx::all(self.instances.len()).zip(&schema.cursors) {
            if cursor.is_none() {
                self.exclude(instance);
            }
        }
    }

    fn exclude(&mut self, instance: InstanceIx) {
        if let Some(state) = self.instances.get_mut(instance.at()) {
            let reason = "it is new, and the log does not reach back to the beginning";
            state.quarantine = Some(reason.into());
        }
    }
}
