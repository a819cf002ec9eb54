//! The contract of [`Store`], run against every implementation.

mod copy;
mod history;
mod postgres;

use std::{path::PathBuf, sync::Arc};

use achromat_core::{
    catalog::{Change, Collection, Copy},
    durable::Appended,
    ids::{CollectionId, DatabaseId, EntryId, InstanceId, InstanceIx, Key, LaneId, Position},
    key::{Fingerprint, KeyOutcome, KeyState, Keyed, Settled},
    log::{Entry, RecordAct, Verb, Verdict},
    policy::{
        Decider, Digest, KeptSwap, KeptVersion, NewSwap, NewVersion, Origin, Shelf, ShelfWrite,
        Slot, SwapSeq, VersionId,
    },
    reply::Reply,
    time::WallTime,
};
use achromat_tests::{pooler::Pooler, postgres::Postgres};
use bytes::Bytes;
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

use super::{
    HistoryStore, InstanceNames, MemoryStore, PostgresStore, SqliteStore, Store, StoreError,
    Stored, VersionStore, Write,
};

/// A place where stores can be opened again and again.
enum Place {
    Memory(Arc<super::memory::Shared>),
    File(tempfile::TempDir),
    Database(Database),
}

/// A PostgreSQL server, perhaps behind a pooler.
struct Database {
    pooler: Option<Pooler>,
    server: Postgres,
}

impl Database {
    /// The machine's version, for one test.
    async fn plain() -> Self {
        // Its programs may have to be installed first.
        let started = tokio::task::spawn_blocking(|| Self {
            pooler: None,
            server: Postgres::start().unwrap(),
        });
        started.await.unwrap()
    }

    /// The newest version, behind a pooler in transaction mode.
    async fn pooled() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let server = Postgres::start_newest().unwrap();
            let pooler = Some(Pooler::start(&server));
            Self { pooler, server }
        });
        started.await.unwrap()
    }

    async fn both() -> [Self; 2] {
        [Self::plain().await, Self::pooled().await]
    }

    fn url(&self) -> String {
        match &self.pooler {
            Some(pooler) => pooler.url(),
            None => self.server.url(),
        }
    }
}

impl Place {
    async fn all() -> [Self; 4] {
        let [plain, pooled] = Database::both().await;
        [
            Self::Memory(Arc::default()),
            Self::File(tempfile::tempdir().unwrap()),
            Self::Database(plain),
            Self::Database(pooled),
        ]
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("deep/log.sqlite")
    }

    async fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(shared) => Box::new(MemoryStore::open(Arc::clone(shared), 2)),
            Self::File(folder) => Box::new(Self::open_file(folder).await),
            Self::Database(server) => Box::new(Self::open_database(server).await),
        }
    }

    async fn open_versions(&self) -> Box<dyn VersionStore> {
        match self {
            Self::Memory(shared) => Box::new(MemoryStore::open(Arc::clone(shared), 2)),
            Self::File(folder) => Box::new(Self::open_file(folder).await),
            Self::Database(server) => Box::new(Self::open_database(server).await),
        }
    }

    async fn open_history(&self) -> Box<dyn HistoryStore> {
        match self {
            Self::Memory(shared) => Box::new(MemoryStore::open(Arc::clone(shared), 2)),
            Self::File(folder) => Box::new(Self::open_file(folder).await),
            Self::Database(server) => Box::new(Self::open_database(server).await),
        }
    }

    async fn open_file(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&Self::path(folder), names())
            .await
            .unwrap()
    }

    async fn open_database(server: &Database) -> PostgresStore {
        PostgresStore::open(&server.url(), names()).await.unwrap()
    }
}

fn names() -> InstanceNames {
    ["a".into(), "b".into()].into()
}

const A: InstanceIx = InstanceIx(0);
const B: InstanceIx = InstanceIx(1);

fn collection_id(number: u128) -> CollectionId {
    CollectionId(Uuid::from_u128(number))
}

fn lane(number: u128) -> LaneId {
    LaneId::Collection(collection_id(number))
}

fn entry(number: u128, collection: u128) -> Entry {
    Entry {
        id: EntryId(Uuid::from_u128(number)),
        logged_at: WallTime(1_700_000_000_000),
        verb: Verb::Record {
            collection: collection_id(collection),
            act: RecordAct::Upsert,
        },
        content_type: Some("application/json".into()),
        body: Bytes::from(format!("body {number}")),
        key: None,
        retries: None,
    }
}

fn at(position: u64) -> Appended {
    Appended::At(Position(position))
}

fn key(name: &str) -> Key {
    Key::stored(name).unwrap()
}

/// An append under a key, by a request that is known by a number.
fn keyed(number: u128, collection: u128, name: &str, request: u8) -> Write {
    Write::Append(Entry {
        key: Some(Keyed {
            key: key(name),
            fingerprint: Fingerprint([request; 32]),
        }),
        ..entry(number, collection)
    })
}

fn outcome(state: KeyState, status: u16, body: &str) -> KeyOutcome {
    KeyOutcome::new(state, Reply::json(status, body.to_owned()))
}

/// A verdict that no instance stands for, with what is remembered under the entry's key.
fn close(number: u128, position: u64, name: &str, outcome: KeyOutcome) -> Write {
    Write::Close {
        lane: lane(number),
        position: Position(position),
        verdict: Verdict::Abandoned,
        reason: "because".into(),
        settled: Some(Box::new(Settled {
            key: key(name),
            outcome,
        })),
        is_letter: false,
    }
}

fn record(number: u128, instance: InstanceIx, position: u64, changes: Vec<Change>) -> Write {
    Write::Record {
        lane: lane(number),
        instance,
        position: Position(position),
        verdict: Some(Verdict::Accepted),
        settled: None,
        changes,
        letter: None,
    }
}

/// Given up, so late that it is a letter.
fn given_up(number: u128, position: u64) -> Write {
    Write::Close {
        lane: lane(number),
        position: Position(position),
        verdict: Verdict::Abandoned,
        reason: "given up".into(),
        settled: None,
        is_letter: true,
    }
}

/// Everything up to this position of the first lane is done.
fn trim(through: u64) -> Write {
    Write::Trim {
        lane: lane(1),
        through: Position(through),
        instances: Vec::new(),
    }
}

fn made(number: u128) -> Change {
    Change::Made(Arc::new(Collection {
        id: collection_id(number),
        tenant: "tenant".into(),
        database: "data base".into(),
        name: format!("name{number}").into(),
        made_at: Position(3),
        gone_at: None,
        home: None,
        copies: [
            Copy {
                id: Some(InstanceId(Uuid::from_u128(number + 0xa0))),
                ..Copy::default()
            },
            Copy::default(),
        ]
        .into(),
    }))
}

/// Each append gets the next position of its lane, also after the store was opened again.
#[tokio::test]
async fn positions_are_given_in_order() {
    for place in Place::all().await {
        let store = place.open().await;
        let writes = [1, 2, 1].map(|lane| Write::Append(entry(rand::random(), lane)));
        let appended = store.commit(&writes).await.unwrap();
        assert_eq!(appended, [1, 1, 2].map(at));
        drop(store);
        let store = place.open().await;
        let appended = store.commit(&[Write::Append(entry(9, 1))]).await.unwrap();
        assert_eq!(appended, [at(3)]);
        assert_eq!(
            store.find(EntryId(Uuid::from_u128(9))).await.unwrap(),
            Some(Position(3))
        );
        assert_eq!(store.find(EntryId(Uuid::from_u128(8))).await.unwrap(), None);
        for (bytes_max, expected) in [
            (usize::MAX, Stored::Body(Bytes::from_static(b"body 9"))),
            (6, Stored::Body(Bytes::from_static(b"body 9"))),
            (5, Stored::Larger(6)),
        ] {
            let body = store.body(lane(1), Position(3), bytes_max).await.unwrap();
            assert_eq!(body, Some(expected), "up to {bytes_max} bytes");
        }
    }
}

/// A load returns what was committed: entries with all their fields, verdicts and cursors.
#[tokio::test]
async fn what_was_committed_is_loaded() {
    for place in Place::all().await {
        let store = place.open().await;
        let mut plain = entry(2, 1);
        plain.content_type = None;
        plain.verb = Verb::CreateDatabase {
            tenant: "t".into(),
            name: None,
            id: DatabaseId(Uuid::from_u128(5)),
        };
        store
            .commit(&[
                Write::Append(entry(1, 1)),
                Write::Append(entry(3, 1)),
                Write::Append(plain.clone()),
                record(1, A, 1, vec![]),
                Write::Close {
                    lane: lane(1),
                    position: Position(2),
                    verdict: Verdict::Refused { trace: true },
                    reason: "because".into(),
                    settled: None,
                    is_letter: false,
                },
            ])
            .await
            .unwrap();
        drop(store);
        let snapshot = place.open().await.load().await.unwrap();
        let verdicts: Vec<_> = snapshot
            .entries
            .iter()
            .map(|e| (e.lane, e.verdict))
            .collect();
        let expected = [
            (LaneId::Schema, Verdict::Open),
            (lane(1), Verdict::Accepted),
            (lane(1), Verdict::Refused { trace: true }),
        ];
        assert_eq!(verdicts, expected);
        let schema = &snapshot.entries[0];
        assert_eq!((&schema.verb, &schema.content_type), (&plain.verb, &None));
        let first = &snapshot.entries[1];
        assert_eq!(first.content_type.as_deref(), Some("application/json"));
        assert_eq!(
            (first.id, first.logged_at),
            (entry(1, 1).id, entry(1, 1).logged_at)
        );
        let restored = snapshot.lanes.iter().find(|l| l.id == lane(1)).unwrap();
        assert_eq!(restored.head, Position(2));
        assert_eq!(restored.cursors, [Some(Position(1)), None]);
    }
}

/// The catalog that is loaded is the fold of the changes that were committed.
#[tokio::test]
async fn the_catalog_is_the_fold_of_its_changes() {
    for place in Place::all().await {
        let store = place.open().await;
        let namespace = ("tenant".into(), "data base".into());
        let changes = vec![
            made(1),
            made(2),
            made(3),
            Change::Copied {
                collection: collection_id(1),
                instance: B,
                id: InstanceId(Uuid::from_u128(0xb1)),
            },
            Change::Renamed {
                collection: collection_id(1),
                name: "renamed".into(),
            },
            Change::Quarantined {
                collection: collection_id(2),
                instance: B,
                reason: "broken".into(),
            },
            Change::Unsure {
                collection: collection_id(2),
                instance: B,
                name: "broken".into(),
            },
            Change::Unsure {
                collection: collection_id(1),
                instance: A,
                name: "renamed".into(),
            },
            Change::Copied {
                collection: collection_id(1),
                instance: A,
                id: InstanceId(Uuid::from_u128(0xa7)),
            },
            Change::Homed {
                collection: collection_id(1),
                home: Some(B),
            },
            Change::Homed {
                collection: collection_id(2),
                home: Some(A),
            },
            Change::Quarantined {
                collection: collection_id(2),
                instance: A,
                reason: "lost".into(),
            },
            Change::Gone {
                collection: collection_id(3),
                at: Position(9),
            },
            Change::DatabaseMade {
                namespace,
                id: DatabaseId(Uuid::from_u128(7)),
            },
        ];
        let mut expected = achromat_core::catalog::Catalog::default();
        changes.iter().for_each(|change| expected.apply(change));
        for _ in 0..2 {
            store
                .commit(&[Write::Change(changes.clone())])
                .await
                .unwrap();
        }
        drop(store);
        let catalog = place.open().await.load().await.unwrap().catalog;
        for number in 1..=3 {
            let id = collection_id(number);
            assert_eq!(
                catalog.get_even_gone(id),
                expected.get_even_gone(id),
                "{number}"
            );
            assert_eq!(catalog.get(id).is_some(), number != 3);
        }
        let id = catalog.database("tenant", "data base").unwrap();
        assert_eq!(id.0, Uuid::from_u128(7));
    }
}

/// Bodies of every size are the same when they are read, in the log and in a letter.
#[tokio::test]
async fn bodies_of_every_size_come_back() {
    let sizes = [0, 16 * 1024, 16 * 1024 + 1, 1024 * 1024, 2_500_000];
    for place in Place::all().await {
        let store = place.open().await;
        let byte = |at: usize| at.to_le_bytes()[at % 3];
        let bodies = sizes.map(|size| (0..size).map(byte).collect::<Bytes>());
        for (number, body) in (1..).zip(&bodies) {
            let entry = Entry {
                body: body.clone(),
                ..entry(number, 1)
            };
            let (id, position) = (entry.id, Position(u64::try_from(number).unwrap()));
            store.commit(&[Write::Append(entry)]).await.unwrap();
            let read = async |bytes_max| store.body(lane(1), position, bytes_max).await.unwrap();
            assert_eq!(read(body.len()).await, Some(Stored::Body(body.clone())));
            if let Some(less) = body.len().checked_sub(1) {
                assert_eq!(read(less).await, Some(Stored::Larger(body.len())));
            }
            let writes = [given_up(1, position.0), trim(position.0)];
            store.commit(&writes).await.unwrap();
            assert_eq!(read(usize::MAX).await, None);
            let (letter, kept) = store.letter(id).await.unwrap().unwrap();
            assert_eq!(usize::try_from(letter.body_bytes).unwrap(), body.len());
            assert_eq!(&kept, body);
            let (listed, _) = store.letters(9).await.unwrap();
            assert_eq!(listed, [letter]);
            store.commit(&[Write::Dismiss(id)]).await.unwrap();
        }
    }
}

/// Bodies are read in a row up to a gap, or as far as there is room for them.
#[tokio::test]
async fn bodies_are_read_in_a_row() {
    for place in Place::all().await {
        let store = place.open().await;
        let sizes = [10, 20_000, 30, 40];
        let appends = (1..).zip(sizes).map(|(number, size)| {
            Write::Append(Entry {
                body: vec![b'x'; size].into(),
                ..entry(number, 1)
            })
        });
        let appends: Vec<_> = appends.collect();
        store.commit(&appends).await.unwrap();
        let read = async |first, count, bytes_max| {
            let bodies = store.bodies(lane(1), Position(first), count, bytes_max);
            let bodies = bodies.await.unwrap();
            bodies.iter().map(Bytes::len).collect::<Vec<_>>()
        };
        assert_eq!(read(1, 4, usize::MAX).await, sizes);
        assert_eq!(read(2, 2, usize::MAX).await, [20_000, 30]);
        assert_eq!(read(1, 4, 20_039).await, [10, 20_000]);
        assert_eq!(read(1, 4, 20_040).await, [10, 20_000, 30]);
        assert_eq!(read(1, 4, 9).await, [0; 0]);
        assert_eq!(read(5, 4, usize::MAX).await, [0; 0]);
        store.commit(&[trim(2)]).await.unwrap();
        assert_eq!(read(2, 3, usize::MAX).await, [0; 0], "the first is gone");
        assert_eq!(read(3, 2, usize::MAX).await, [30, 40]);
    }
}

/// A deleted collection's entries go with it, and a forgotten one leaves nothing.
#[tokio::test]
async fn a_deleted_collection_takes_its_lane_with_it() {
    for place in Place::all().await {
        let store = place.open().await;
        let gone = Change::Gone {
            collection: collection_id(1),
            at: Position(2),
        };
        store
            .commit(&[
                Write::Append(entry(1, 1)),
                Write::Append(entry(2, 2)),
                Write::Change(vec![made(1), made(2)]),
                Write::Change(vec![gone]),
            ])
            .await
            .unwrap();
        let snapshot = store.load().await.unwrap();
        let lanes: Vec<_> = snapshot.entries.iter().map(|entry| entry.lane).collect();
        assert_eq!(lanes, [lane(2)]);
        assert_eq!(store.body(lane(1), Position(1), 9).await.unwrap(), None);
        let appended = store.commit(&[Write::Append(entry(3, 1))]).await.unwrap();
        assert_eq!(appended, [at(2)], "a position is never given again");
    }
}

/// Trimming deletes what is done, moves the cursors that are said to be there, and is remembered.
#[tokio::test]
async fn trimming_is_remembered() {
    for place in Place::all().await {
        let store = place.open().await;
        let appends = [1, 2, 3].map(|number| Write::Append(entry(number, 1)));
        store.commit(&appends).await.unwrap();
        let trim = Write::Trim {
            lane: lane(1),
            through: Position(2),
            instances: vec![A, B],
        };
        store
            .commit(&[record(1, A, 3, vec![]), trim])
            .await
            .unwrap();
        drop(store);
        let snapshot = place.open().await.load().await.unwrap();
        let positions: Vec<_> = snapshot
            .entries
            .iter()
            .map(|entry| entry.position)
            .collect();
        assert_eq!(positions, [Position(3)]);
        let lane = &snapshot.lanes[0];
        assert_eq!((lane.head, lane.trimmed), (Position(3), Position(2)));
        assert_eq!(lane.cursors, [Some(Position(3)), Some(Position(2))]);
    }
}

/// A cursor never goes back, whatever is committed again.
#[tokio::test]
async fn cursors_never_go_back() {
    for place in Place::all().await {
        let store = place.open().await;
        for position in [1, 3, 2] {
            store
                .commit(&[record(1, A, position, vec![])])
                .await
                .unwrap();
            store
                .commit(&[Write::Append(entry(position.into(), 1))])
                .await
                .unwrap();
        }
        let snapshot = store.load().await.unwrap();
        assert_eq!(snapshot.lanes[0].cursors[0], Some(Position(3)));
    }
}

/// A key is given to one append; another under it appends nothing and takes no position, in the
/// same commit, in a later one and after the store was opened again.
#[tokio::test]
async fn a_key_is_one_entry() {
    for place in Place::all().await {
        let store = place.open().await;
        let group = [
            keyed(1, 1, "k", 1),
            keyed(2, 1, "k", 1),
            Write::Append(entry(3, 1)),
        ];
        let appended = store.commit(&group).await.unwrap();
        assert_eq!(appended, [at(1), Appended::Known, at(2)]);
        let group = [keyed(4, 2, "k", 2), keyed(5, 1, "K", 2)];
        let appended = store.commit(&group).await.unwrap();
        assert_eq!(appended, [Appended::Known, at(3)]);
        drop(store);
        let store = place.open().await;
        let appended = store.commit(&[keyed(6, 1, "k", 1)]).await.unwrap();
        assert_eq!(appended, [Appended::Known]);
        let record = store.key(&key("k")).await.unwrap().unwrap();
        assert_eq!((record.lane, record.position), (lane(1), Position(1)));
        assert_eq!(record.fingerprint, Fingerprint([1; 32]));
        assert_eq!(
            (record.logged_at, record.outcome),
            (entry(1, 1).logged_at, None)
        );
        assert_eq!(store.key(&key("other")).await.unwrap(), None);
        for (number, position) in [(1, Some(Position(1))), (2, None), (4, None), (6, None)] {
            let found = store.find(EntryId(Uuid::from_u128(number))).await.unwrap();
            assert_eq!(found, position, "{number}");
        }
        let snapshot = store.load().await.unwrap();
        let keys: Vec<_> = snapshot.entries.iter().map(|e| e.key.clone()).collect();
        assert_eq!(keys, [Some(key("k")), None, Some(key("K"))]);
        assert_eq!(snapshot.lanes.len(), 1, "no lane was made for nothing");
    }
}

/// The first outcome stands with the verdict, is kept when the entry is trimmed, and a write that
/// is made again changes nothing.
#[tokio::test]
async fn the_first_outcome_stays() {
    for place in Place::all().await {
        let store = place.open().await;
        let done = outcome(KeyState::Completed, 201, "done");
        let mut recorded = record(1, A, 1, vec![]);
        if let Write::Record { settled, .. } = &mut recorded {
            *settled = Some(Box::new(Settled {
                key: key("k"),
                outcome: done.clone(),
            }));
        }
        store.commit(&[keyed(1, 1, "k", 1)]).await.unwrap();
        store.commit(std::slice::from_ref(&recorded)).await.unwrap();
        let later = close(1, 1, "k", outcome(KeyState::Abandoned, 500, "later"));
        let elsewhere = close(2, 1, "k", outcome(KeyState::Failed, 400, "elsewhere"));
        let trim = Write::Trim {
            lane: lane(1),
            through: Position(1),
            instances: vec![A, B],
        };
        store
            .commit(&[recorded, elsewhere, later, trim])
            .await
            .unwrap();
        drop(store);
        let store = place.open().await;
        assert!(store.load().await.unwrap().entries.is_empty());
        let record = store.key(&key("k")).await.unwrap().unwrap();
        assert_eq!(record.outcome, Some(done));
        assert_eq!(record.state(), "completed");
        let appended = store.commit(&[keyed(2, 1, "k", 1)]).await.unwrap();
        assert_eq!(appended, [Appended::Known]);
    }
}

/// Deleting a collection settles its open keys as refused. Settled keys, and those of other lanes,
/// stay as they are.
#[tokio::test]
async fn a_deleted_collection_settles_its_keys() {
    for place in Place::all().await {
        let store = place.open().await;
        let settled = outcome(KeyState::Completed, 201, "done");
        let gone = Change::Gone {
            collection: collection_id(1),
            at: Position(2),
        };
        store
            .commit(&[
                Write::Change(vec![made(1), made(2)]),
                keyed(1, 1, "open", 1),
                keyed(2, 1, "settled", 2),
                keyed(3, 2, "other", 3),
                close(1, 2, "settled", settled.clone()),
                Write::Change(vec![gone]),
            ])
            .await
            .unwrap();
        let found = async |name| store.key(&key(name)).await.unwrap().unwrap().outcome;
        let void = KeyOutcome::void(collection_id(1));
        assert_eq!((void.state, void.status), (KeyState::Failed, 404));
        assert_eq!(found("open").await, Some(void));
        assert_eq!(found("settled").await, Some(settled));
        assert_eq!(found("other").await, None);
    }
}

/// A key whose entry was withdrawn, and so did nothing, is given to the same request again, and to
/// no other.
#[tokio::test]
async fn a_withdrawn_key_is_given_again() {
    for place in Place::all().await {
        let store = place.open().await;
        let withdrawn = outcome(KeyState::Withdrawn, 503, "nothing was done");
        let old = close(1, 1, "k", withdrawn);
        store
            .commit(&[keyed(1, 1, "k", 1), old.clone()])
            .await
            .unwrap();
        let record = store.key(&key("k")).await.unwrap().unwrap();
        assert_eq!(record.state(), "abandoned");
        let appended = store
            .commit(&[
                keyed(2, 1, "k", 2),
                keyed(3, 1, "k", 1),
                keyed(4, 1, "k", 1),
                old,
            ])
            .await
            .unwrap();
        assert_eq!(appended, [Appended::Known, at(2), Appended::Known]);
        let record = store.key(&key("k")).await.unwrap().unwrap();
        assert_eq!((record.position, record.outcome), (Position(2), None));
    }
}

/// Keys are forgotten by their age, once they are settled; then they can be given again.
#[tokio::test]
async fn old_keys_are_forgotten() {
    for place in Place::all().await {
        let store = place.open().await;
        let done = || outcome(KeyState::Completed, 201, "");
        let logged_before = |ms| Write::ForgetKeys {
            logged_before: WallTime(entry(1, 1).logged_at.0 + ms),
            kept_max: u64::MAX,
        };
        store
            .commit(&[
                keyed(1, 1, "settled", 1),
                keyed(2, 1, "open", 2),
                close(1, 1, "settled", done()),
                logged_before(0),
            ])
            .await
            .unwrap();
        assert!(store.key(&key("settled")).await.unwrap().is_some());
        store.commit(&[logged_before(1)]).await.unwrap();
        assert_eq!(store.key(&key("settled")).await.unwrap(), None);
        assert!(store.key(&key("open")).await.unwrap().is_some());
        let appended = store.commit(&[keyed(3, 1, "settled", 9)]).await.unwrap();
        assert_eq!(appended, [at(3)]);
    }
}

/// Beyond their number the oldest keys are forgotten, once they are settled.
#[tokio::test]
async fn superfluous_keys_are_forgotten() {
    for place in Place::all().await {
        let store = place.open().await;
        let at = |later: u64, name: &str| match keyed(u128::from(later), 1, name, 1) {
            Write::Append(mut entry) => {
                entry.logged_at.0 += later;
                Write::Append(entry)
            }
            other => other,
        };
        let names = ["open", "b", "c", "d"];
        let appends: Vec<_> = (1..).zip(names).map(|(n, name)| at(n, name)).collect();
        store.commit(&appends).await.unwrap();
        let done = || outcome(KeyState::Completed, 201, "");
        let closed: Vec<_> = (2..)
            .zip(["b", "c", "d"])
            .map(|(position, name)| close(1, position, name, done()))
            .collect();
        store.commit(&closed).await.unwrap();
        let forget = |kept_max| Write::ForgetKeys {
            logged_before: WallTime(0),
            kept_max,
        };
        let there = async || {
            let mut there = Vec::new();
            for name in names {
                if store.key(&key(name)).await.unwrap().is_some() {
                    there.push(name);
                }
            }
            there
        };
        store.commit(&[forget(4)]).await.unwrap();
        assert_eq!(there().await, names);
        store.commit(&[forget(2)]).await.unwrap();
        assert_eq!(there().await, ["open", "c", "d"]);
        store.commit(&[forget(0)]).await.unwrap();
        assert_eq!(there().await, ["open"]);
    }
}

/// A write that came to nothing too late stays as a letter, whatever becomes of its entry. It goes
/// when it is taken up again, which can be done once, or when it is dismissed.
#[tokio::test]
async fn a_letter_waits_for_an_operator() {
    for place in Place::all().await {
        let store = place.open().await;
        let refused = Write::Record {
            lane: lane(1),
            instance: InstanceIx(0),
            position: Position(1),
            verdict: Some(Verdict::Refused { trace: false }),
            settled: None,
            changes: Vec::new(),
            letter: Some("answered 400".into()),
        };
        let appends = [1, 2, 3].map(|number| Write::Append(entry(number, 1)));
        store.commit(&appends).await.unwrap();
        store
            .commit(&[refused, given_up(1, 2), trim(3)])
            .await
            .unwrap();
        drop(store);
        let reopened = place.open().await;
        let (letters, count) = reopened.letters(9).await.unwrap();
        let told: Vec<_> = letters.iter().map(|l| (l.id, l.reason.as_str())).collect();
        let [first, second] = [1, 2].map(|number| entry(number, 1).id);
        assert_eq!(told, [(first, "answered 400"), (second, "given up")]);
        assert_eq!((count, reopened.letters(1).await.unwrap().0.len()), (2, 1));
        let (letter, body) = reopened.letter(first).await.unwrap().unwrap();
        assert_eq!((letter.verb, body), (entry(1, 1).verb, entry(1, 1).body));
        let again = |number| {
            Write::Append(Entry {
                retries: Some(first),
                ..entry(number, 1)
            })
        };
        let appended = reopened.commit(&[again(4), again(5)]).await.unwrap();
        assert_eq!(appended, [at(4), Appended::Known]);
        reopened.commit(&[Write::Dismiss(second)]).await.unwrap();
        assert_eq!(reopened.letters(9).await.unwrap(), (Vec::new(), 0));
    }
}

fn version(id: u64, slot: Slot, component: &'static str) -> ShelfWrite {
    let kept = KeptVersion {
        id: VersionId(id),
        bytes: u64::try_from(component.len()).unwrap(),
        version: NewVersion {
            slot,
            name: "plugin.wasm".into(),
            digest: Digest::of(component.as_bytes()),
            config: "{\"ä\": 1}".into(),
            origin: Origin::Operator,
            at: WallTime(1_700_000_000_000 + id),
            who: "me".into(),
            signature: id
                .is_multiple_of(2)
                .then(|| "untrusted comment: one".into()),
        },
    };
    ShelfWrite::Keep(kept, component.into())
}

fn swap(seq: u64, slot: Slot, to: Decider, before: Option<u64>) -> ShelfWrite {
    ShelfWrite::Swap(KeptSwap {
        seq: SwapSeq(seq),
        swap: NewSwap {
            slot,
            to,
            before: before.map(SwapSeq),
            at: WallTime(1_700_000_000_000 + seq),
            who: "me".into(),
            why: "to see".into(),
            taken_out: seq.is_multiple_of(2).then_some(VersionId(seq)),
        },
    })
}

fn said(words: &str) -> ShelfWrite {
    ShelfWrite::Said {
        slot: Slot::CleanupGuard,
        origin: Origin::Configuration,
        words: words.to_owned(),
    }
}

/// Versions, swaps and what was said are there when the store is opened again, as they were written.
#[tokio::test]
async fn what_was_shelved_is_there_again() {
    for place in Place::all().await {
        let writes = [
            version(1, Slot::Routing, "one"),
            version(2, Slot::WalEligibility, "two"),
            version(3, Slot::CleanupGuard, "two"),
            swap(1, Slot::Routing, Decider::Version(VersionId(1)), None),
            swap(2, Slot::Routing, Decider::Native, Some(1)),
            swap(3, Slot::CleanupGuard, Decider::Nobody, None),
            said("first"),
            said("second"),
        ];
        let store = place.open_versions().await;
        assert_eq!(store.shelf().await.unwrap(), Shelf::default());
        store.write_shelf(&writes).await.unwrap();
        store.write_shelf(&writes).await.unwrap();
        drop(store);
        let reopened = place.open_versions().await;
        let mut expected = Shelf::default();
        writes.iter().for_each(|write| expected.write(write));
        assert_eq!(reopened.shelf().await.unwrap(), expected);
        assert_eq!(expected.next_version(), VersionId(4));
        assert_eq!(expected.next_swap(), SwapSeq(4));
        let component = reopened.component(Digest::of(b"two")).await.unwrap();
        assert_eq!(component.as_deref(), Some(b"two".as_slice()));
        let unknown = reopened.component(Digest::of(b"three")).await.unwrap();
        assert_eq!(unknown, None);
    }
}

/// The bytes of a component go with the last version that has them.
#[tokio::test]
async fn a_component_goes_with_its_last_version() {
    for place in Place::all().await {
        let store = place.open_versions().await;
        let kept = [
            version(1, Slot::Routing, "one"),
            version(2, Slot::Routing, "one"),
            swap(1, Slot::Routing, Decider::Version(VersionId(1)), None),
        ];
        store.write_shelf(&kept).await.unwrap();
        let has_one = async || {
            let component = store.component(Digest::of(b"one")).await.unwrap();
            component.is_some()
        };
        let forget = |id| [ShelfWrite::Forget(VersionId(id))];
        store.write_shelf(&forget(1)).await.unwrap();
        assert!(has_one().await);
        store.write_shelf(&forget(2)).await.unwrap();
        assert!(!has_one().await);
        let forget = [ShelfWrite::ForgetSwap(SwapSeq(1))];
        store.write_shelf(&forget).await.unwrap();
        assert_eq!(store.shelf().await.unwrap(), Shelf::default());
    }
}

/// A handle that is not the newest puts nothing on the shelf.
#[tokio::test]
async fn an_old_owner_shelves_nothing() {
    let shared = Arc::default();
    let old = MemoryStore::open(Arc::clone(&shared), 2);
    let _new = MemoryStore::open(shared, 2);
    let refused = old.write_shelf(&[said("late")]).await;
    assert!(matches!(refused, Err(StoreError::Deposed { .. })));
    let folder = tempfile::tempdir().unwrap();
    let old = Place::open_file(&folder).await;
    std::fs::remove_file(folder.path().join("deep/log.sqlite.lock")).unwrap();
    let new = Place::open_file(&folder).await;
    let refused = old.write_shelf(&[said("late")]).await;
    assert!(matches!(refused, Err(StoreError::Deposed { .. })));
    assert!(new.shelf().await.unwrap().said.is_empty());
}

/// A handle that is not the newest changes nothing.
#[tokio::test]
async fn an_old_owner_is_refused() {
    let shared = Arc::default();
    let old = MemoryStore::open(Arc::clone(&shared), 2);
    let new = MemoryStore::open(shared, 2);
    let refused = old.commit(&[Write::Append(entry(1, 1))]).await;
    assert!(matches!(refused, Err(StoreError::Deposed { .. })));
    assert!(new.load().await.unwrap().entries.is_empty());
    new.commit(&[Write::Append(entry(1, 1))]).await.unwrap();
}

/// A file that is open is not opened a second time, and the message says what to do.
#[tokio::test]
async fn a_file_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder);
    let held = place.open().await;
    let Place::File(folder) = &place else {
        unreachable!();
    };
    let names = ["a".into(), "b".into()].into();
    let Err(refused) = SqliteStore::open(&Place::path(folder), names).await else {
        panic!("opened twice");
    };
    assert!(
        refused.to_string().contains("another process holds"),
        "{refused}"
    );
    drop(held);
    place.open().await;
}

/// An owner whose file was taken over behind its lock (say, on a network file system that has
/// none) is refused by its epoch.
#[tokio::test]
async fn a_file_refuses_an_old_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let names: InstanceNames = ["a".into(), "b".into()].into();
    let old = SqliteStore::open(&path, Arc::clone(&names)).await.unwrap();
    std::fs::remove_file(folder.path().join("log.sqlite.lock")).unwrap();
    let new = SqliteStore::open(&path, names).await.unwrap();
    let refused = old.commit(&[Write::Append(entry(1, 1))]).await;
    assert!(
        matches!(refused, Err(StoreError::Deposed { .. })),
        "{refused:?}"
    );
    assert_eq!(
        new.commit(&[Write::Append(entry(1, 1))]).await.unwrap(),
        [at(1)]
    );
}

/// The parts of a large body are deleted with the last that has it, its entry or its letter; a large
/// body that an older version has written whole is read like any other.
#[tokio::test]
async fn parts_go_with_the_last_that_has_them() {
    let place = Place::File(tempfile::tempdir().unwrap());
    let store = place.open().await;
    let Place::File(folder) = &place else {
        unreachable!();
    };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(Place::path(folder));
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    let append = |number, collection| {
        Write::Append(Entry {
            body: vec![7; 3_000_000].into(),
            ..entry(number, collection)
        })
    };
    let dismiss = |number| Write::Dismiss(entry(number, 1).id);
    let gone = Change::Gone {
        collection: collection_id(2),
        at: Position(2),
    };
    let steps = [
        (
            vec![append(1, 1), append(2, 1), append(3, 1), append(4, 2)],
            12,
        ),
        (vec![trim(1)], 9),
        (vec![given_up(1, 2), trim(2)], 9),
        (vec![dismiss(2)], 6),
        (vec![given_up(1, 3), dismiss(3)], 6),
        (vec![trim(3)], 3),
        (vec![Write::Change(vec![made(2), gone])], 0),
    ];
    for (writes, left) in steps {
        store.commit(&writes).await.unwrap();
        let parts: i64 = sqlx::query_scalar("SELECT count(*) FROM parts")
            .fetch_one(&mut file)
            .await
            .unwrap();
        assert_eq!(parts, left, "{writes:?}");
    }
    store.commit(&[append(5, 3)]).await.unwrap();
    sqlx::query("UPDATE entries SET body = zeroblob(3000000), parts = 0")
        .execute(&mut file)
        .await
        .unwrap();
    let body = store.body(lane(3), Position(1), usize::MAX).await.unwrap();
    assert_eq!(body, Some(Stored::Body(vec![0; 3_000_000].into())));
}

/// A file that is no database refuses to open, and says which.
#[tokio::test]
async fn garbage_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    std::fs::write(
        &path,
        "this is not a database, and long enough to be seen as none".repeat(40),
    )
    .unwrap();
    let Err(refused) = SqliteStore::open(&path, ["a".into()].into()).await else {
        panic!("opened garbage");
    };
    assert!(refused.to_string().contains("log.sqlite"), "{refused}");
}
