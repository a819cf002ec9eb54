//! The contract of [`Store`], run against every implementation.

use std::{path::PathBuf, sync::Arc};

use achromat_core::{
    catalog::{Change, Collection, Copy},
    ids::{CollectionId, DatabaseId, EntryId, InstanceId, InstanceIx, LaneId, Position},
    log::{Entry, RecordAct, Verb, Verdict},
    time::WallTime,
};
use bytes::Bytes;
use uuid::Uuid;

use super::{MemoryStore, SqliteStore, Store, StoreError, Write};

/// A place where stores can be opened again and again.
enum Place {
    Memory(Arc<super::memory::Shared>),
    File(tempfile::TempDir),
}

impl Place {
    fn all() -> [Self; 2] {
        [
            Self::Memory(Arc::default()),
            Self::File(tempfile::tempdir().unwrap()),
        ]
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("deep/log.sqlite")
    }

    async fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(shared) => Box::new(MemoryStore::open(Arc::clone(shared), 2)),
            Self::File(folder) => {
                let names = ["a".into(), "b".into()].into();
                Box::new(SqliteStore::open(&Self::path(folder), names).await.unwrap())
            }
        }
    }
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
    }
}

fn record(number: u128, instance: InstanceIx, position: u64, changes: Vec<Change>) -> Write {
    Write::Record {
        lane: lane(number),
        instance,
        position: Position(position),
        verdict: Some(Verdict::Accepted),
        changes,
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
    for place in Place::all() {
        let store = place.open().await;
        let writes = [1, 2, 1].map(|lane| Write::Append(entry(rand::random(), lane)));
        let positions = store.commit(&writes).await.unwrap();
        assert_eq!(positions, [1, 1, 2].map(Position));
        drop(store);
        let store = place.open().await;
        let positions = store.commit(&[Write::Append(entry(9, 1))]).await.unwrap();
        assert_eq!(positions, [Position(3)]);
        assert_eq!(
            store.find(EntryId(Uuid::from_u128(9))).await.unwrap(),
            Some(Position(3))
        );
        assert_eq!(store.find(EntryId(Uuid::from_u128(8))).await.unwrap(), None);
        let body = store.body(lane(1), Position(3)).await.unwrap();
        assert_eq!(body.as_deref(), Some(b"body 9".as_slice()));
    }
}

/// What was committed is what is loaded: entries with all they say, verdicts and cursors.
#[tokio::test]
async fn what_was_committed_is_loaded() {
    for place in Place::all() {
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
    for place in Place::all() {
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

/// A deleted collection's entries go with it, and a forgotten one leaves nothing.
#[tokio::test]
async fn a_deleted_collection_takes_its_lane_with_it() {
    for place in Place::all() {
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
        assert_eq!(store.body(lane(1), Position(1)).await.unwrap(), None);
        let position = store.commit(&[Write::Append(entry(3, 1))]).await.unwrap();
        assert_eq!(position, [Position(2)], "a position is never given again");
    }
}

/// Trimming deletes what is done, moves the cursors that are said to be there, and is remembered.
#[tokio::test]
async fn trimming_is_remembered() {
    for place in Place::all() {
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
    for place in Place::all() {
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
    let names: super::InstanceNames = ["a".into(), "b".into()].into();
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
        [Position(1)]
    );
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
