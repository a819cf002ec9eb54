//! A store in memory, for trying things out: it forgets everything at the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use achromat_core::{
    durable::{Appended, Ledger, Write},
    engine::Snapshot,
    history::{
        AuditAsked, AuditKind, AuditRecord, Retention, WriteOutcome, WriteRecord, WritesAsked,
    },
    ids::{CollectionId, EntryId, Epoch, Key, LaneId, Position},
    key::KeyRecord,
    log::Letter,
    policy::{Digest, Shelf, ShelfWrite},
    time::WallTime,
};
use async_trait::async_trait;
use bytes::Bytes;

use super::{HISTORY_PRUNED_MAX, HistoryStore, Store, StoreError, Stored, VersionStore};

#[derive(Default)]
struct State {
    epoch: Epoch,
    ledger: Ledger,
    shelf: Shelf,
    components: BTreeMap<Digest, Bytes>,
    writes: BTreeMap<u64, WriteRecord>,
    audit: BTreeMap<u64, AuditRecord>,
}

/// State that several handles share.
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

    /// The state, for a change; an error when another owner has taken over.
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

impl State {
    /// Deletes what the retention leaves out: the oldest, as many as one step may.
    fn prune(&mut self, retention: &Retention) {
        let step = usize::try_from(HISTORY_PRUNED_MAX).unwrap_or(usize::MAX);
        let last = last(&self.writes);
        let old = |(number, write): &(&u64, &WriteRecord)| {
            write.begun_at < retention.writes_since
                || number.saturating_add(retention.writes_max) <= last
        };
        let oldest = self.writes.iter().take(step).filter(old);
        let gone: Vec<u64> = oldest.map(|(number, _)| *number).collect();
        gone.iter()
            .for_each(|number| drop(self.writes.remove(number)));
        let old = |(_, event): &(&u64, &AuditRecord)| event.at < retention.audit_since;
        let oldest = self.audit.iter().take(step).filter(old);
        let gone: Vec<u64> = oldest.map(|(number, _)| *number).collect();
        gone.iter()
            .for_each(|number| drop(self.audit.remove(number)));
        let denials = self
            .audit
            .iter()
            .rev()
            .filter(|(_, event)| event.kind == AuditKind::Denial);
        let kept = usize::try_from(retention.denials_max).unwrap_or(usize::MAX);
        let gone: Vec<u64> = denials.skip(kept).map(|(number, _)| *number).collect();
        gone.iter()
            .for_each(|number| drop(self.audit.remove(number)));
    }
}

/// The number of the newest record.
fn last<T>(records: &BTreeMap<u64, T>) -> u64 {
    records.last_key_value().map_or(0, |(number, _)| *number)
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn note(
        &self,
        writes: &[WriteRecord],
        audit: &[AuditRecord],
        retention: &Retention,
    ) -> Result<(), StoreError> {
        let mut state = self.shared.state();
        for write in writes {
            let number = last(&state.writes) + 1;
            state.writes.insert(number, write.clone());
        }
        for event in audit {
            let number = last(&state.audit) + 1;
            state.audit.insert(number, event.clone());
        }
        state.prune(retention);
        Ok(())
    }

    async fn writes(&self, asked: &WritesAsked) -> Result<Vec<(u64, WriteRecord)>, StoreError> {
        let state = self.shared.state();
        let fits = |write: &WriteRecord| {
            let outcome = WriteOutcome::of(write.status);
            let (collection, who) = (asked.collection.as_ref(), asked.who.as_ref());
            asked.outcome.is_none_or(|asked| asked == outcome)
                && collection.is_none_or(|collection| *collection == write.collection)
                && who.is_none_or(|who| *who == write.who)
        };
        let newest = state.writes.range(..asked.before).rev();
        let found = newest.filter(|(_, write)| fits(write));
        let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        Ok(found
            .take(limit)
            .map(|(n, write)| (*n, write.clone()))
            .collect())
    }

    async fn write_counts(&self, since: WallTime) -> Result<BTreeMap<u16, u64>, StoreError> {
        let state = self.shared.state();
        let mut counts = BTreeMap::new();
        for write in state
            .writes
            .values()
            .filter(|write| write.begun_at >= since)
        {
            *counts.entry(write.status).or_default() += 1;
        }
        Ok(counts)
    }

    async fn collection_times(
        &self,
    ) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError> {
        Ok(BTreeMap::new())
    }

    async fn audit(&self, asked: &AuditAsked) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        let state = self.shared.state();
        let newest = state.audit.range(..asked.before).rev();
        let found = newest.filter(|(_, event)| asked.kind.is_none_or(|kind| kind == event.kind));
        let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        Ok(found
            .take(limit)
            .map(|(n, event)| (*n, event.clone()))
            .collect())
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
