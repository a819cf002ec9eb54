//! A store in memory, for trying things out: it forgets everything at the end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use achromat_core::{
    catalog::{Catalog, Change},
    engine::{RestoredLane, Snapshot},
    ids::{EntryId, Epoch, InstanceIx, LaneId, Position},
    log::{Entry, Logged, Verdict},
};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Store, StoreError, Write};

#[derive(Clone, Default)]
struct LaneData {
    head: Position,
    trimmed: Position,
    entries: BTreeMap<Position, (Entry, Verdict)>,
    cursors: BTreeMap<InstanceIx, Position>,
}

#[derive(Clone, Default)]
struct State {
    epoch: Epoch,
    catalog: Catalog,
    lanes: BTreeMap<LaneId, LaneData>,
}

/// What several handles share.
#[derive(Default)]
pub struct Shared(Mutex<State>);

/// A store in memory.
pub struct MemoryStore {
    epoch: Epoch,
    instances: usize,
    shared: std::sync::Arc<Shared>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(instances: usize) -> Self {
        Self::open(std::sync::Arc::default(), instances)
    }

    /// A new owner of a store: its epoch is higher than any before.
    pub fn open(shared: std::sync::Arc<Shared>, instances: usize) -> Self {
        let epoch = {
            let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.epoch.0 += 1;
            state.epoch
        };
        Self {
            epoch,
            instances,
            shared,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere can't have left it half done.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        let state = self.state();
        let lanes = state.lanes.iter().map(|(id, lane)| RestoredLane {
            id: *id,
            head: lane.head,
            trimmed: lane.trimmed,
            cursors: InstanceIx::all(self.instances)
                .map(|instance| lane.cursors.get(&instance).copied())
                .collect(),
        });
        let entries = state.lanes.iter().flat_map(|(id, lane)| {
            lane.entries
                .iter()
                .map(|(position, (entry, verdict))| Logged {
                    lane: *id,
                    position: *position,
                    id: entry.id,
                    logged_at: entry.logged_at,
                    verb: entry.verb.clone(),
                    content_type: entry.content_type.clone(),
                    verdict: *verdict,
                })
        });
        Ok(Snapshot {
            catalog: state.catalog.clone(),
            lanes: lanes.collect(),
            entries: entries.collect(),
        })
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Position>, StoreError> {
        let mut state = self.state();
        if state.epoch != self.epoch {
            return Err(StoreError::Deposed {
                ours: self.epoch,
                theirs: state.epoch,
            });
        }
        Ok(writes
            .iter()
            .filter_map(|write| state.write(write))
            .collect())
    }

    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        let state = self.state();
        let mut all = state.lanes.values().flat_map(|lane| &lane.entries);
        let found = all.find(|(_, (stored, _))| stored.id == entry);
        Ok(found.map(|(position, _)| *position))
    }

    async fn body(&self, lane: LaneId, position: Position) -> Result<Option<Bytes>, StoreError> {
        let state = self.state();
        let entry = state
            .lanes
            .get(&lane)
            .and_then(|lane| lane.entries.get(&position));
        Ok(entry.map(|(entry, _)| entry.body.clone()))
    }
}

impl State {
    /// Returns the position of an append.
    fn write(&mut self, write: &Write) -> Option<Position> {
        match write {
            Write::Append(entry) => {
                let lane = self.lanes.entry(entry.verb.lane()).or_default();
                lane.head = lane.head.next();
                lane.entries
                    .insert(lane.head, (entry.clone(), Verdict::Open));
                return Some(lane.head);
            }
            Write::Record {
                lane,
                instance,
                position,
                verdict,
                changes,
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, *verdict);
                lane.advance(*instance, *position);
                self.change(changes);
            }
            Write::Close {
                lane,
                position,
                verdict,
                ..
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, Some(*verdict));
            }
            Write::Change(changes) => self.change(changes),
            Write::Trim {
                lane,
                through,
                instances,
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                for instance in instances {
                    lane.advance(*instance, *through);
                }
                lane.trimmed = lane.trimmed.max(*through);
                lane.entries = lane.entries.split_off(&through.next());
            }
        }
        None
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.catalog.apply(change);
            if let Change::Gone { collection, .. } = change
                && let Some(lane) = self.lanes.get_mut(&LaneId::Collection(*collection))
            {
                lane.entries.clear();
                lane.trimmed = lane.head;
            }
        }
    }
}

impl LaneData {
    fn judge(&mut self, position: Position, verdict: Option<Verdict>) {
        if let (Some(entry), Some(verdict)) = (self.entries.get_mut(&position), verdict) {
            entry.1 = verdict;
        }
    }

    fn advance(&mut self, instance: InstanceIx, position: Position) {
        let cursor = self.cursors.entry(instance).or_default();
        *cursor = (*cursor).max(position);
    }
}
