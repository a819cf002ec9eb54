//! The writer's way with a store whose commits end without an answer (I12).

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use achromat_core::{
    durable::{Appended, Write},
    engine::Snapshot,
    ids::{CollectionId, Epoch, InstanceIx, Key, LaneId, Ticket},
    key::{Fingerprint, KeyRecord, Keyed},
    log::{Entry, Letter, RecordAct, Verb},
    time::WallTime,
};
use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::store::{MemoryStore, Stored};

/// A store whose next commit ends without an answer, and is done or not.
struct Unsure {
    store: MemoryStore,
    fails_next: AtomicBool,
    is_done: bool,
    /// True when it passes to another owner meanwhile.
    is_taken: bool,
}

#[async_trait]
impl Store for Unsure {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Appended>, StoreError> {
        if !self.fails_next.swap(false, Ordering::Relaxed) {
            return self.store.commit(writes).await;
        }
        if self.is_done {
            self.store.commit(writes).await?;
        }
        Err(StoreError::Unknown(sqlx::Error::WorkerCrashed))
    }

    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        if self.is_taken {
            return Err(StoreError::Deposed {
                ours: Epoch(1),
                theirs: Epoch(2),
            });
        }
        self.store.find(entry).await
    }

    async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key(key).await
    }

    async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
        self.store.letters(max).await
    }

    async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError> {
        self.store.letter(id).await
    }

    async fn body(
        &self,
        lane: LaneId,
        position: Position,
        bytes_max: usize,
    ) -> Result<Option<Stored>, StoreError> {
        self.store.body(lane, position, bytes_max).await
    }

    async fn bodies(
        &self,
        lane: LaneId,
        first: Position,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.store.bodies(lane, first, count, bytes_max).await
    }
}

fn append(number: u64, key: Option<&str>) -> Order {
    let entry = Entry {
        id: EntryId(Uuid::from_u128(number.into())),
        logged_at: WallTime(0),
        verb: Verb::Record {
            collection: CollectionId(Uuid::from_u128(1)),
            act: RecordAct::Add,
        },
        content_type: None,
        body: Bytes::new(),
        key: key.map(|key| Keyed {
            key: Key::parse(key.as_bytes()).unwrap(),
            fingerprint: Fingerprint([0; 32]),
        }),
        retries: None,
    };
    Order::append(Ticket(number), entry)
}

/// The events of three appends in one group, of which the second has the key of the first.
async fn said(is_done: bool) -> Vec<String> {
    let store = Arc::new(Unsure {
        store: MemoryStore::new(1),
        fails_next: AtomicBool::new(true),
        is_done,
        is_taken: false,
    });
    let said = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let said = Arc::clone(&said);
        Box::new(move |event| {
            let line = match event {
                Event::Appended { ticket, position } => format!("{} at {position}", ticket.0),
                Event::AppendKnown { ticket } => format!("{} known", ticket.0),
                Event::AppendFailed { ticket, reply } => format!("{} {}", ticket.0, reply.status),
                _ => return,
            };
            said.lock().unwrap().push(line);
        })
    };
    let (writer, handle) = Writer::new(store, listener, Arc::default());
    for order in [append(1, Some("k")), append(2, Some("k")), append(3, None)] {
        handle.order(order);
    }
    drop(handle);
    writer.run().await.unwrap();
    let said = said.lock().unwrap();
    said.clone()
}

/// A group of which an append is found was done: each client is told what the store did for it.
#[tokio::test]
async fn what_was_done_is_found() {
    assert_eq!(said(true).await, ["1 at 1", "2 known", "3 at 2"]);
}

/// A group of which nothing is found was not done, and never will be.
#[tokio::test]
async fn what_was_not_done_is_refused() {
    assert_eq!(said(false).await, ["1 503", "2 503", "3 503"]);
}

/// A writer whose store passes to another owner while it looks for its writes ends.
#[tokio::test]
async fn a_writer_ends_when_it_looks_in_anothers_store() {
    let store = Arc::new(Unsure {
        store: MemoryStore::new(1),
        fails_next: AtomicBool::new(true),
        is_done: true,
        is_taken: true,
    });
    let (writer, handle) = Writer::new(store, Box::new(|_| {}), Arc::default());
    handle.order(append(1, None));
    let deadline = Instant::now() + Duration::from_secs(10);
    let ended = timeout_at(deadline, writer.run()).await.unwrap();
    assert!(matches!(ended, Err(StoreError::Deposed { .. })));
}

fn cursor() -> Order {
    Order::lingering(Write::Record {
        lane: LaneId::Schema,
        instance: InstanceIx(0),
        position: Position(0),
        verdict: None,
        settled: None,
        changes: Vec::new(),
        letter: None,
    })
}

/// A cursor that nobody waits for costs no flush of its own when something else is written soon.
#[tokio::test]
async fn a_cursor_goes_with_the_next_entry() {
    let flushes = Arc::<Flushes>::default();
    let store = Arc::new(MemoryStore::new(1));
    let (writer, handle) = Writer::new(store, Box::new(|_| {}), Arc::clone(&flushes));
    let mut run = Box::pin(writer.run());
    handle.order(cursor());
    let lingers = timeout_at(Instant::now() + LINGER_MAX / 5, &mut run).await;
    assert!(lingers.is_err(), "it waits");
    assert_eq!(flushes.figures().flushes, 0);
    handle.order(append(1, None));
    drop(handle);
    run.await.unwrap();
    let figures = flushes.figures();
    assert_eq!(
        (figures.flushes, figures.entries, figures.others),
        (1, 1, 1)
    );
}

/// A cursor becomes durable even when nothing else is written.
#[tokio::test]
async fn a_cursor_does_not_wait_for_ever() {
    let (said, mut heard) = mpsc::unbounded_channel();
    let listener = Box::new(move |event| said.send(event).unwrap());
    let store = Arc::new(MemoryStore::new(1));
    let (writer, handle) = Writer::new(store, listener, Arc::default());
    let run = tokio::spawn(writer.run());
    handle.order(cursor());
    let deadline = Instant::now() + Duration::from_secs(10);
    let event = timeout_at(deadline, heard.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Recorded { .. })));
    drop(handle);
    run.await.unwrap().unwrap();
}
