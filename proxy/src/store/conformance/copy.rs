//! A store that is copied is the same store: every table, every kind of value, there and back. What can't be
//! copied is refused and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use achromat_core::{
    catalog::{InstanceRecord, Marker},
    history::{AuditKind, AuditRecord, Retention, WriteRecord},
    ids::Token,
};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::{sleep, timeout};

use super::{
    super::{
        ComparedTable, CopyError, StorePlace,
        copy::tables::{Kind, LEFT_OUT, TABLES},
        copy_store,
        postgres::{Database as OpenDatabase, Holder},
    },
    *,
};

/// Characters that one of the engines, or a literal of its language, does not take as they are.
const STRANGE: &str = "it's \0 \\ \u{f8ff}0 \u{1f600} ß \"$1\"; DROP TABLE meta --\n";

async fn copied(from: StorePlace<'_>, to: StorePlace<'_>) -> Result<Vec<ComparedTable>, CopyError> {
    copy_store(from, to, &mut |progress| {
        assert!(progress.rows <= progress.of, "{progress:?}");
    })
    .await
}

/// Copies a store that can be copied.
#[track_caller]
fn assert_equal(copied: Result<Vec<ComparedTable>, CopyError>) {
    let tables = copied.unwrap();
    assert_eq!(tables.len(), TABLES.len() + 1);
    for table in tables {
        assert!(table.is_equal, "{table:?}");
        assert_eq!(table.rows, table.copied_rows);
        assert!(table.rows > 0, "{} was never filled", table.name);
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", path.display()))
        .await
        .unwrap()
}

async fn texts(connection: &mut SqliteConnection, sql: String) -> Vec<String> {
    let texts = sqlx::query_scalar(AssertSqlSafe(sql));
    texts.fetch_all(connection).await.unwrap()
}

/// Every value of a file with its type, but for what is of the file alone.
async fn dump(path: &Path) -> BTreeMap<String, Vec<String>> {
    let mut file = connect(path).await;
    let mut dump = BTreeMap::new();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'
                  AND name NOT IN ('meta', '_sqlx_migrations')";
    for table in texts(&mut file, tables.to_owned()).await {
        let columns = format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name");
        let columns = texts(&mut file, columns).await.into_iter();
        let values: Vec<_> = columns
            .map(|name| format!("typeof(\"{name}\") || ' ' || hex(\"{name}\")"))
            .collect();
        let sql = format!(
            "SELECT {} FROM {table} ORDER BY 1",
            values.join(" || ',' || ")
        );
        dump.insert(table, texts(&mut file, sql).await);
    }
    dump
}

/// Writes of every kind; bodies of every size, of entries, of letters, and of letters whose entry is there.
async fn fill(store: &SqliteStore) {
    let sizes = [0, 1, 16 * 1024, 16 * 1024 + 1, 1024 * 1024, 3_500_000];
    for (number, size) in (1..).zip(sizes) {
        let mut large = entry(number, 1);
        large.body = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        store.commit(&[Write::Append(large)]).await.unwrap();
    }
    let mut odd = entry(20, 1);
    odd.content_type = None;
    odd.verb = Verb::CreateDatabase {
        tenant: STRANGE.into(),
        name: Some(STRANGE.into()),
        id: DatabaseId(Uuid::from_u128(5)),
    };
    let empty = KeyOutcome::new(
        KeyState::Completed,
        Reply {
            content_type: None,
            ..Reply::json(201, String::new())
        },
    );
    let writes = [
        Write::Append(odd),
        record(1, A, 1, vec![made(1), made(2), made(3)]),
        record(1, B, 2, vec![]),
        // The letters of entries 1 and 4 lose their entries; the third shares its body with its entry.
        given_up(1, 1),
        given_up(1, 4),
        given_up(1, 6),
        keyed(30, 2, "open", 1),
        keyed(31, 2, "done", 2),
        keyed(32, 2, "empty", 3),
        close(2, 2, "done", outcome(KeyState::Completed, 200, STRANGE)),
        close(2, 3, "empty", empty),
        Write::Change(changes()),
        trim(4),
    ];
    store.commit(&writes).await.unwrap();
    let shelf = [
        version(1, Slot::Routing, "one"),
        version(2, Slot::CleanupGuard, STRANGE),
        swap(1, Slot::Routing, Decider::Version(VersionId(1)), None),
        swap(2, Slot::Routing, Decider::Nobody, Some(1)),
        said(STRANGE),
    ];
    store.write_shelf(&shelf).await.unwrap();
    let (writes, events) = records();
    store.note(&writes, &events, &KEEP).await.unwrap();
}

fn changes() -> Vec<Change> {
    let reason: Arc<str> = STRANGE.into();
    vec![
        Change::TenantMade {
            tenant: STRANGE.into(),
        },
        Change::DatabaseMade {
            namespace: (STRANGE.into(), "".into()),
            id: DatabaseId(Uuid::from_u128(7)),
        },
        Change::Renamed {
            collection: collection_id(1),
            name: STRANGE.into(),
        },
        Change::Homed {
            collection: collection_id(1),
            home: Some(B),
        },
        Change::Quarantined {
            collection: collection_id(2),
            instance: A,
            reason: Arc::clone(&reason),
        },
        Change::Unsure {
            collection: collection_id(2),
            instance: B,
            name: "".into(),
        },
        Change::Gone {
            collection: collection_id(3),
            at: Position(9),
        },
        Change::Instance {
            instance: A,
            record: InstanceRecord {
                marker: Some(Marker {
                    id: InstanceId(Uuid::from_u128(77)),
                    token: Token(12),
                }),
                quarantine: Some(reason),
            },
        },
        Change::Instance {
            instance: B,
            record: InstanceRecord::default(),
        },
    ]
}

const KEEP: Retention = Retention {
    writes_since: WallTime(0),
    writes_max: 10_000,
    audit_since: WallTime(0),
    denials_max: 10_000,
};

/// More rows than are written at once.
fn records() -> (Vec<WriteRecord>, Vec<AuditRecord>) {
    let write = |at| WriteRecord {
        begun_at: WallTime(at),
        took_ms: 7,
        who: String::new(),
        client: "::1".to_owned(),
        action: "upsert".to_owned(),
        tenant: "default_tenant".to_owned(),
        database: STRANGE.to_owned(),
        collection: format!("collection {at}"),
        status: 200,
        key: String::new(),
    };
    let event = AuditRecord {
        at: WallTime(1),
        kind: AuditKind::Change,
        who: "operator".to_owned(),
        client: "::1".to_owned(),
        what: "POST /admin/cleanup".to_owned(),
        status: 200,
        detail: STRANGE.to_owned(),
    };
    ((0..1300).map(write).collect(), vec![event])
}

/// A filled file, which nobody has open.
async fn filled(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("from.sqlite");
    let store = SqliteStore::open(&path, names()).await.unwrap();
    fill(&store).await;
    path
}

/// Both lists name every table and every column that the databases have: a migration that adds one is not forgotten.
#[tokio::test]
async fn no_table_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    drop(SqliteStore::open(&path, names()).await.unwrap());
    let server = Database::plain().await;
    Place::open_database(&server).await;
    let in_file = "SELECT tables.name || '|' || columns.name
                   FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
                   WHERE tables.type = 'table'";
    let in_file = texts(&mut connect(&path).await, in_file.to_owned()).await;
    let in_database = "SELECT table_name, column_name FROM information_schema.columns
                       WHERE table_schema = 'public'";
    let in_database = server.server.run(in_database).unwrap();
    let in_database = in_database.lines().map(str::to_owned).collect();
    for (is_file, found) in [(true, in_file), (false, in_database)] {
        let is_left_out = |column: &&String| {
            let (table, _) = column.split_once('|').unwrap();
            LEFT_OUT.iter().any(|(name, _)| *name == table)
        };
        let (out, found): (BTreeSet<_>, BTreeSet<_>) = found.iter().partition(is_left_out);
        assert!(!out.is_empty());
        let columns = TABLES.iter().flat_map(|table| {
            let has_body = |(_, kind): &(&str, Kind)| matches!(kind, Kind::Body(_));
            // SQLite counts the parts of a body.
            let parts = (is_file && table.columns.iter().any(has_body)).then_some("parts");
            let names = table.columns.iter().map(|(name, _)| *name).chain(parts);
            names.map(|name| format!("{}|{name}", table.name))
        });
        let listed: BTreeSet<_> = columns.collect();
        assert_eq!(found, listed.iter().collect::<BTreeSet<_>>());
    }
    for (table, reason) in LEFT_OUT {
        assert!(!reason.is_empty(), "{table} is left out for no reason");
    }
}

/// From a file to a database and back, every value of every table is the same, and the store goes on there.
#[tokio::test]
async fn a_store_is_copied_and_back() {
    for server in Database::both().await {
        let folder = tempfile::tempdir().unwrap();
        let from = filled(&folder).await;
        let back = folder.path().join("deep/back.sqlite");
        let url = server.url();
        let database = StorePlace::Database(&url);
        let before = dump(&from).await;
        assert!(before["parts"].len() >= 6 && before["entries"].len() >= 5);
        assert_equal(copied(StorePlace::File(&from), database).await);
        assert_equal(copied(database, StorePlace::File(&back)).await);
        assert_eq!(dump(&from).await, before, "the source does not change");
        assert_eq!(dump(&back).await, before);
        let epoch = "SELECT CAST(value AS TEXT) FROM meta WHERE key = 'epoch'".to_owned();
        let epoch = async |path| {
            let texts = texts(&mut connect(path).await, epoch.clone()).await;
            texts[0].parse::<u64>().unwrap()
        };
        assert!(epoch(&back).await > epoch(&from).await);
        goes_on(&Place::open_database(&server).await).await;
        goes_on(&SqliteStore::open(&back, names()).await.unwrap()).await;
    }
}

/// A copy is served like its source, and new rows get numbers of their own.
async fn goes_on<S: Store + VersionStore + HistoryStore>(store: &S) {
    let snapshot = store.load().await.unwrap();
    let collection = snapshot.catalog.get(collection_id(1)).unwrap();
    assert_eq!((&*collection.name, collection.home), (STRANGE, Some(B)));
    let outcome = store.key(&key("done")).await.unwrap().unwrap().outcome;
    assert_eq!(outcome.unwrap().body, STRANGE);
    let outcome = store.key(&key("empty")).await.unwrap().unwrap().outcome;
    assert_eq!(outcome.unwrap().content_type, None);
    let (letters, count) = store.letters(10).await.unwrap();
    assert_eq!(count, 3);
    let (_, body) = store.letter(letters[2].id).await.unwrap().unwrap();
    assert_eq!(body.len(), 3_500_000);
    let body = store.body(lane(1), Position(6), usize::MAX).await.unwrap();
    let whole = |body: &Stored| matches!(body, Stored::Body(body) if body.len() == 3_500_000);
    assert!(body.as_ref().is_some_and(whole));
    let digest = Digest::of(b"one");
    assert!(store.component(digest).await.unwrap().is_some());
    let appended = store.commit(&[Write::Append(entry(90, 1))]).await.unwrap();
    assert_eq!(appended, [at(7)]);
    store.commit(&[given_up(1, 7)]).await.unwrap();
    assert_eq!(store.letters(10).await.unwrap().1, 4);
    let (writes, events) = records();
    store.note(&writes[..1], &events, &KEEP).await.unwrap();
    store
        .write_shelf(&[ShelfWrite::Forget(VersionId(1))])
        .await
        .unwrap();
}

/// A target that holds anything is refused, and stays as it is; so is a store that is the source itself.
#[tokio::test]
async fn a_target_must_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let from = filled(&folder).await;
    let (server, to) = (Database::plain().await, folder.path().join("to.sqlite"));
    let url = server.url();
    let database = StorePlace::Database(&url);
    let source = StorePlace::File(&from);
    for place in [StorePlace::File(&to), database] {
        assert_equal(copied(source, place).await);
    }
    let everything = "SELECT query_to_xml('SELECT * FROM ' || table_name, true, true, '')
                      FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";
    let rows = server.server.run(everything).unwrap();
    let (other, there) = (folder.path().join("other.sqlite"), dump(&to).await);
    let store = SqliteStore::open(&other, names()).await.unwrap();
    store.commit(&[Write::Append(entry(1, 1))]).await.unwrap();
    drop(store);
    for place in [StorePlace::File(&to), database] {
        let refused = copied(StorePlace::File(&other), place).await.unwrap_err();
        assert!(matches!(refused, CopyError::NotEmpty { .. }), "{refused}");
        assert!(refused.to_string().contains("\"lanes\""), "{refused}");
        let refused = copied(place, place).await.unwrap_err();
        assert!(matches!(refused, CopyError::Same(_)), "{refused}");
    }
    let by_another_name = format!("{url}&application_name=other");
    let refused = copied(database, StorePlace::Database(&by_another_name)).await;
    assert!(matches!(refused, Err(CopyError::Same(_))), "{refused:?}");
    assert_eq!(dump(&to).await, there);
    assert_eq!(server.server.run(everything).unwrap(), rows);
}

/// No store is made where there is none: no file, no lock, no table.
#[tokio::test]
async fn a_source_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to/log.sqlite");
    let (missing, other) = (folder.path().join("missing"), folder.path().join("other"));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other);
    let mut file = SqliteConnection::connect_with(&options.create_if_missing(true))
        .await
        .unwrap();
    let foreign = "CREATE TABLE theirs (number INTEGER)";
    sqlx::query(foreign).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
    let before = std::fs::read(&other).unwrap();
    let server = Database::plain().await;
    let url = server.url();
    for from in [
        StorePlace::File(&missing),
        StorePlace::File(&other),
        StorePlace::Database(&url),
    ] {
        let refused = copied(from, StorePlace::File(&to)).await;
        assert!(
            matches!(refused, Err(CopyError::Source(StoreError::Absent { .. }))),
            "{refused:?}"
        );
    }
    assert_eq!(std::fs::read(&other).unwrap(), before);
    let files = std::fs::read_dir(folder.path()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["other"]);
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(server.server.run(tables).unwrap(), "0\n");
}

/// A store that somebody uses is neither read nor written; one whose owner died is.
#[tokio::test]
async fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = filled(&folder).await;
    let server = Database::plain().await;
    let url = server.url();
    let (file, database) = (StorePlace::File(&from), StorePlace::Database(&url));
    let open = SqliteStore::open(&from, names()).await.unwrap();
    let refused = copied(file, database).await;
    assert!(
        matches!(refused, Err(CopyError::Source(StoreError::Held { .. }))),
        "{refused:?}"
    );
    drop(open);
    let there = OpenDatabase::open(&url).await.unwrap();
    let proxy = Holder {
        id: Uuid::from_u128(1),
        name: "one".to_owned(),
        address: "nowhere".to_owned(),
    };
    let refusal = async || {
        let refused = copied(file, database).await.unwrap_err();
        let told = refused.to_string();
        let is_in_use = matches!(refused, CopyError::Target(StoreError::InUse { .. }));
        assert!(is_in_use && told.contains("\"one\""), "{told}");
    };
    // One that follows.
    there.announce(&proxy, "1", "a,b").await.unwrap();
    refusal().await;
    there.withdraw(&proxy).await.unwrap();
    // One that leads, and has just been started.
    let lease = there.look().await.unwrap();
    let epoch = there.take(&proxy, lease.state).await.unwrap().unwrap();
    let renewing = async {
        loop {
            there.renew(&proxy, epoch).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = renewing => {}
        () = refusal() => {}
    }
    // It is killed.
    assert_equal(copied(file, database).await);
    let lease = there.look().await.unwrap();
    assert!(!lease.state.is_held, "it is given back: {lease:?}");
}

/// A copy that fails, or differs, or is cut off, leaves nothing behind, and can be made again.
#[tokio::test]
async fn half_a_copy_is_none() {
    for server in Database::both().await {
        let folder = tempfile::tempdir().unwrap();
        let from = filled(&folder).await;
        let url = server.url();
        drop(OpenDatabase::open(&url).await.unwrap());
        let run = |sql: &str| server.server.run(sql).unwrap();
        let copy = async || copied(StorePlace::File(&from), StorePlace::Database(&url)).await;
        let assert_empty = || assert_eq!(run("SELECT count(*) FROM entries"), "0\n");
        let trigger = |body: &str| {
            run(&format!(
                "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
                 CREATE OR REPLACE TRIGGER meddles BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION meddle();"
            ));
        };
        trigger("RAISE EXCEPTION 'no space';");
        let failed = copy().await.unwrap_err();
        assert!(failed.to_string().contains("no space"), "{failed}");
        assert_empty();
        trigger("NEW.detail := 'other'; RETURN NEW;");
        let differ = copy().await.unwrap();
        let unequal = differ.iter().filter(|table| !table.is_equal);
        let unequal: Vec<_> = unequal.map(|table| table.name).collect();
        assert_eq!(unequal, ["audit"]);
        assert_empty();
        run("DROP TRIGGER meddles ON audit");
        // It waits for the last table when it is cut off.
        let mut other = PgConnection::connect(&server.server.url()).await.unwrap();
        let lock = "BEGIN; LOCK TABLE audit IN SHARE MODE";
        sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
        assert!(timeout(Duration::from_secs(5), copy()).await.is_err());
        other.close().await.unwrap();
        assert_empty();
        assert_equal(copy().await);
    }
}

/// A database that is copied belongs to the copy; when it is taken from it all the same, nothing is copied.
#[tokio::test]
async fn a_source_that_is_lost_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let from = filled(&folder).await;
    let (one, two) = (Database::plain().await, Database::plain().await);
    let (source, target) = (one.url(), two.url());
    assert_equal(copied(StorePlace::File(&from), StorePlace::Database(&source)).await);
    let (one, there) = (
        OpenDatabase::open(&source).await.unwrap(),
        OpenDatabase::open(&target).await.unwrap(),
    );
    let mut other = PgConnection::connect(&target).await.unwrap();
    let lock = "BEGIN; LOCK TABLE audit IN SHARE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let robber = Holder {
        id: Uuid::from_u128(1),
        name: "robber".to_owned(),
        address: "nowhere".to_owned(),
    };
    let rob = async {
        // Both are the copy's once it has begun.
        while !there.look().await.unwrap().state.is_held {
            sleep(Duration::from_millis(20)).await;
        }
        loop {
            let lease = one.look().await.unwrap();
            assert_eq!(lease.holder.unwrap().name, "achromat store copy");
            if one.take(&robber, lease.state).await.unwrap().is_some() {
                break;
            }
        }
        other.close().await.unwrap();
    };
    let copy = copied(StorePlace::Database(&source), StorePlace::Database(&target));
    let (copied, ()) = tokio::join!(copy, rob);
    assert!(
        matches!(copied, Err(CopyError::Source(StoreError::Deposed { .. }))),
        "{copied:?}"
    );
    assert_eq!(
        two.server.run("SELECT count(*) FROM entries").unwrap(),
        "0\n"
    );
}
