//! A store in memory, for trying things out: it forgets everything at the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use achromat_core::{
    durable::{Appended, Ledger, Write},
    engine::Snapshot,
    ids::{EntryId, Epoch, Key, LaneId, Position},
    key::KeyRecord,
    log::Letter,
    policy::{Digest, Shelf, ShelfWrite},
};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Store, StoreError, Stored, VersionStore};

#[derive(Default)]
struct State {
    epoch: Epoch,
    ledger: Ledger,
    shelf: Shelf,
    components: BTreeMap<Digest, Bytes>,
}

/// What several handles share.
#[derive(Default)]
pub struct Shared(Mutex<State>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each write is taken in whole, so a panic elsewhere can't have left one half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store in memory.
pub struct MemoryStore {
    epoch: Epoch,
    instances: usize,
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(instances: usize) -> Self {
        Self::open(Arc::default(), instances)
    }

    /// A new owner of a store: its epoch is higher than any before.
    pub fn open(shared: Arc<Shared>, instances: usize) -> Self {
        let epoch = {
            let mut state = shared.state();
            state.epoch.0 += 1;
            state.epoch
        };
        Self {
            epoch,
            instances,
            shared,
        }
    }

    /// What may be changed, as long as nobody else owns it.
    fn writable(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.shared.state();
        if state.epoch != self.epoch {
            return Err(StoreError::Deposed {
                ours: self.epoch,
                theirs: state.epoch,
            });
        }
        Ok(state)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.shared.state().ledger.snapshot(self.instances))
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Appended>, StoreError> {
        let mut state = self.writable()?;
        Ok(writes
            .iter()
            .filter_map(|write| state.ledger.write(write))
            .collect())
    }

    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        Ok(self.shared.state().ledger.find(entry))
    }

    async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.shared.state().ledger.key(key))
    }

    async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
        let state = self.shared.state();
        let mut letters: Vec<_> = state.ledger.letters().cloned().collect();
        letters.sort_by_key(|letter| letter.logged_at);
        let count = u64::try_from(letters.len()).unwrap_or(u64::MAX);
        letters.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        Ok((letters, count))
    }

    async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError> {
        Ok(self.shared.state().ledger.letter(id))
    }

    async fn body(
        &self,
        lane: LaneId,
        position: Position,
        bytes_max: usize,
    ) -> Result<Option<Stored>, StoreError> {
        let body = self.shared.state().ledger.body(lane, position);
        Ok(body.map(|body| Stored::of(body, bytes_max)))
    }

    async fn bodies(
        &self,
        lane: LaneId,
        first: Position,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let state = self.shared.state();
        let mut room = bytes_max;
        let bodies = (first.0..).take(count).map_while(|position| {
            let body = state.ledger.body(lane, Position(position))?;
            room = room.checked_sub(body.len())?;
            Some(body)
        });
        Ok(bodies.collect())
    }
}

#[async_trait]
impl VersionStore for MemoryStore {
    async fn shelf(&self) -> Result<Shelf, StoreError> {
        Ok(self.shared.state().shelf.clone())
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.shared.state().components.get(&digest).cloned())
    }

    async fn write_shelf(&self, writes: &[ShelfWrite]) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        let State {
            shelf, components, ..
        } = &mut *state;
        for write in writes {
            shelf.write(write);
            if let ShelfWrite::Keep(kept, bytes) = write {
                components.insert(kept.version.digest, bytes.clone());
            }
        }
        components.retain(|digest, _| shelf.has(*digest));
        Ok(())
    }
}
