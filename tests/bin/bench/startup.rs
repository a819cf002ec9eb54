//! `bench start`: the time from the start of the process until it is ready, with many collections and a long log, in
//! SQLite and in PostgreSQL. The store is filled directly; one of the two servers is away and owed every entry, so
//! that all of them are taken in again.

use std::{path::Path, sync::Arc, time::Instant};

use achromat::store::{Database, Holder, InstanceNames, SqliteStore, Store};
use achromat_core::{
    catalog::{Change, Collection, Copy, InstanceRecord, Marker},
    durable::Write,
    ids::{
        CollectionId, DEFAULT_TENANT, EntryId, InstanceId, InstanceIx, JobId, LaneId, Position,
        Token,
    },
    log::{Entry, RecordAct, Verb},
    time::WallTime,
};
use achromat_tests::{
    chroma::{Chroma, free_port},
    cluster::{NAMES, folder},
    postgres::Postgres,
    proxy::Proxy,
};
use clap::{ArgMatches, Command};
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::figures::{number_flag, quantile, sorted, value};

/// Writes of one commit while the store is filled.
const GROUP: usize = 2000;

/// Bytes of the body of an entry.
const BODY_BYTES: usize = 500;

pub(super) fn command() -> Command {
    Command::new("start")
        .about("How long a start takes with many collections and a long log")
        .arg(number_flag("collections", "10000", "How many collections"))
        .arg(number_flag(
            "entries",
            "100000",
            "How many entries, spread over them",
        ))
        .arg(number_flag("rounds", "3", "Starts of each kind"))
}

fn collection_id(number: u32) -> CollectionId {
    CollectionId(Uuid::from_u128(0x1000_0000 + u128::from(number)))
}

fn collection(number: u32) -> Change {
    let copy = |place: u128| Copy {
        id: Some(InstanceId(Uuid::from_u128(
            (place + 2) * 0x1000_0000 + u128::from(number),
        ))),
        ..Copy::default()
    };
    Change::Made(Arc::new(Collection {
        id: collection_id(number),
        tenant: DEFAULT_TENANT.into(),
        database: "default_database".into(),
        name: format!("collection-{number}").into(),
        made_at: Position(0),
        gone_at: None,
        home: None,
        copies: [copy(0), copy(1)].into_iter().collect(),
    }))
}

/// An instance that was taken in before.
fn known(instance: InstanceIx, marker: Uuid) -> Change {
    let marker = Marker {
        id: InstanceId(marker),
        token: Token(0),
    };
    let record = InstanceRecord {
        marker: Some(marker),
        quarantine: None,
    };
    Change::Instance { instance, record }
}

/// Marks a server as the proxy would have done; returns the UUID of its marker.
fn mark(chroma: &Chroma) -> anyhow::Result<Uuid> {
    const OWN: &str = "achromat-own";
    let api = chroma.api();
    let named = json!({ "name": OWN });
    api.post("/api/v2/tenants", &named).ok();
    api.post(&format!("/api/v2/tenants/{OWN}/databases"), &named)
        .ok();
    let path = format!("/api/v2/tenants/{OWN}/databases/{OWN}/collections");
    let made = api.post(&path, &json!({ "name": "marker" })).ok();
    Ok(made["id"].as_str().unwrap_or_default().parse()?)
}

fn append(number: u32, collections: u32) -> Write {
    let body = format!(
        r#"{{"ids":["r{number}"],"embeddings":[[1,2]],"documents":["{}"]}}"#,
        "x".repeat(BODY_BYTES)
    );
    Write::Append(Entry {
        id: EntryId(Uuid::from_u128(0x9000_0000 + u128::from(number))),
        logged_at: WallTime(1_700_000_000_000),
        verb: Verb::Record {
            collection: collection_id(number % collections),
            act: RecordAct::Upsert,
        },
        content_type: Some("application/json".into()),
        body: body.into(),
        key: None,
        retries: None,
    })
}

/// Collections on two instances, and entries that the first has done.
async fn fill(
    store: &dyn Store,
    marker: Uuid,
    [collections, entries]: [u32; 2],
) -> anyhow::Result<()> {
    let known = InstanceIx::all(2).map(|instance| known(instance, marker));
    let made: Vec<Change> = known.chain((0..collections).map(collection)).collect();
    for group in made.chunks(GROUP) {
        store.commit(&[Write::Change(group.to_vec())]).await?;
    }
    let appended: Vec<Write> = (0..entries)
        .map(|number| append(number, collections))
        .collect();
    for group in appended.chunks(GROUP) {
        store.commit(group).await?;
    }
    let done = |number: u32| {
        let each = entries / collections + u32::from(number < entries % collections);
        let lane = LaneId::Collection(collection_id(number));
        (lane, InstanceIx(0), Position(u64::from(each)))
    };
    let cursors: Vec<_> = (0..collections).map(done).collect();
    for group in cursors.chunks(GROUP) {
        let settle = Write::Settle {
            job: JobId(1),
            cursors: group.to_vec(),
            changes: Vec::new(),
        };
        store.commit(&[settle]).await?;
    }
    Ok(())
}

fn names() -> InstanceNames {
    NAMES.into_iter().take(2).map(Arc::from).collect()
}

async fn fill_file(path: &Path, (marker, sizes): (Uuid, [u32; 2])) -> anyhow::Result<()> {
    let store = SqliteStore::open(path, names()).await?;
    fill(&store, marker, sizes).await
}

async fn fill_database(url: &str, (marker, sizes): (Uuid, [u32; 2])) -> anyhow::Result<()> {
    let database = Database::open(url).await?;
    let me = Holder {
        id: Uuid::from_u128(1),
        name: "bench".to_owned(),
        address: "nowhere".to_owned(),
    };
    let seen = database.look().await?.state;
    let epoch = database.take(&me, seen).await?;
    let epoch = epoch.ok_or_else(|| anyhow::anyhow!("somebody else has taken the database"))?;
    let store = database.store(names(), epoch).await?;
    fill(&store, marker, sizes).await?;
    Ok(database.give_back(&me, None).await?)
}

/// Starts a proxy on a store and kills it when it is ready; returns the milliseconds, and what it has of memory in
/// MiB.
fn start(
    (folder, store): (&Path, &str),
    chroma: &Chroma,
    [collections, entries]: [u32; 2],
) -> (f64, u64) {
    let away = format!("http://127.0.0.1:{}", free_port());
    let named = [(NAMES[0], chroma.url()), (NAMES[1], away)];
    let begun = Instant::now();
    let proxy = Proxy::before(folder, &named, &[store]);
    proxy.wait_ready();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let loaded = format!("collections={collections} entries={entries}");
    assert!(proxy.told().contains(&loaded), "all of it is loaded");
    (took, proxy.resident_kb() / 1024)
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let number = |name| value::<u32>(matches, name);
    let sizes = [number("collections")?, number("entries")?];
    anyhow::ensure!(sizes[0] > 0, "at least one collection");
    let rounds = number("rounds")?;
    let (folder, runtime) = (folder(), Runtime::new()?);
    let chroma = Chroma::start(&folder.path().join(NAMES[0]));
    let marker = mark(&chroma)?;
    println!("collections  entries  store       median ms  worst ms  MiB");
    for sizes in [[1, 0], sizes] {
        let folder = tempfile::tempdir_in(folder.path())?;
        let postgres = Postgres::start().map_err(anyhow::Error::msg)?;
        let file = folder.path().join("log.sqlite");
        runtime.block_on(fill_file(&file, (marker, sizes)))?;
        runtime.block_on(fill_database(&postgres.url(), (marker, sizes)))?;
        for (name, store) in [
            ("SQLite", format!("--store=sqlite:{}", file.display())),
            ("PostgreSQL", format!("--store={}", postgres.url())),
        ] {
            let (mut times, mut memory) = (Vec::new(), 0);
            for _ in 0..rounds {
                let (took, resident) = start((folder.path(), &store), &chroma, sizes);
                times.push(took);
                memory = memory.max(resident);
                free_lease(&postgres);
            }
            let times = sorted(times);
            println!(
                "{:>11}  {:>7}  {name:<10}  {:>9.0}  {:>8.0}  {memory:>3}",
                sizes[0],
                sizes[1],
                quantile(&times, 0.5),
                quantile(&times, 1.0)
            );
        }
    }
    Ok(())
}

/// Takes the lease of a killed proxy away, for which the next one would wait.
fn free_lease(postgres: &Postgres) {
    let free = "UPDATE lease SET holder = NULL, renewals = renewals + 1";
    postgres.run(free).expect("the lease can be freed");
}
