//! Collections that one instance alone has, and how they come back into replication: read from each
//! instance by its own id.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use achromat::policy::default_component;
use achromat_core::policy::Slot;
use achromat_tests::{
    api::{Answer, Api, DATABASE},
    cluster::Cluster,
    records::{Records, records},
    tools,
    wait::eventually,
};
use serde_json::{Value, json};

/// For copies to be made again.
const SOON: Duration = Duration::from_secs(90);

const LOCAL: &str = r#"{"rules": [{"collection": "scratch_*", "local_only": true}]}"#;

fn add(api: &Api, collection: &str, id: &str) -> Answer {
    let body = json!({ "ids": [id], "embeddings": [[1, 2]], "documents": [id] });
    api.records(collection, "add", &body)
}

/// What each instance has of a collection.
fn held(cluster: &Cluster, name: &str) -> Vec<Records> {
    let read = |place: usize| {
        let api = cluster.instances[place].api();
        records(&api, DATABASE, &cluster.own_id(place, name)).expect("it can be read")
    };
    (0..cluster.instances.len()).map(read).collect()
}

fn counts(cluster: &Cluster, name: &str) -> Vec<usize> {
    held(cluster, name).iter().map(Records::len).collect()
}

fn home(api: &Api, name: &str) -> Value {
    let all = api.get("/collection/mappings").ok();
    let list = all["collection_mappings"].as_array().expect("a list");
    let found = list.iter().find(|m| m["collection_name"] == name);
    found.expect("the collection")["home"].clone()
}

/// Waits until both instances hold these records, and nothing else.
fn wait_on_both(cluster: &Cluster, name: &str, ids: &[String]) {
    let mut ids = ids.to_vec();
    ids.sort();
    eventually("both have all of it", SOON, || {
        let held = held(cluster, name);
        let is_whole = |records: &Records| records.keys().eq(&ids);
        let whole = held[0] == held[1] && held.iter().all(is_whole);
        whole.then_some(()).ok_or_else(|| {
            let counts: Vec<_> = held.iter().map(Records::len).collect();
            format!("{counts:?} of {}", ids.len())
        })
    });
}

/// Keeps a version of the WAL slot under a name.
fn keep(api: &Api, name: &str, config: &str, component: &[u8]) {
    let label = json!({ "name": name, "config": config }).to_string();
    let body = [label.as_bytes(), b"\n", component].concat();
    api.post_bytes("/admin/plugins/wal/versions", &body).ok();
}

fn keep_local(api: &Api) {
    keep(api, "local", LOCAL, default_component(Slot::WalEligibility));
}

fn swap(api: &Api, to: &str) {
    api.post("/admin/plugins/wal/swap", &json!({ "to": to }))
        .ok();
}

/// A write lock on a proxy's log, held by another process: the store takes no writes meanwhile.
struct Locked(Child);

impl Locked {
    fn hold(cluster: &Cluster) -> Self {
        const SCRIPT: &str = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
            db.execute('BEGIN IMMEDIATE')\n\
            print('held', flush=True)\n\
            sys.stdin.read()\n";
        let files = std::fs::read_dir(cluster.folder()).expect("a folder");
        let mut files = files.map(|file| file.expect("a file").path());
        let log = files.find(|path| path.extension().is_some_and(|ending| ending == "sqlite"));
        let mut child = Command::new(tools::python().join("bin/python"))
            .args(["-c", SCRIPT])
            .arg(log.expect("the log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "held");
        Self(child)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _gone = self.0.stdin.take().map(|mut input| input.flush());
        let _ended = self.0.wait();
    }
}

/// While the store is down a collection gets no home, and a write that policy keeps out of the log is
/// refused: it would be forgotten with the proxy which instance has it.
#[test]
fn a_home_that_is_not_durable_takes_no_write() {
    let config = format!("--policy-wal-config={LOCAL}");
    let mut cluster = Cluster::with(2, &["--policy-wal-plugin=default", &config]);
    let api = cluster.api();
    let (old, new) = (api.create("scratch_old"), api.create("scratch_new"));
    add(&api, &old, "first").ok();
    cluster.wait_nothing_owed(SOON);
    let locked = Locked::hold(&cluster);
    for number in 0..3 {
        let answer = add(&api, &new, &format!("r{number}"));
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
        assert!(answer.refused(503).contains("nothing was done"));
    }
    assert_eq!(counts(&cluster, "scratch_new"), [0, 0]);
    // One whose home is durable needs no store.
    add(&api, &old, "second").ok();
    cluster.proxy.kill();
    drop(locked);
    cluster.proxy.up();
    eventually("it is written again", SOON, || {
        match add(&api, &new, "later").status {
            201 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    assert_eq!(counts(&cluster, "scratch_new").iter().sum::<usize>(), 1);
    assert_eq!(counts(&cluster, "scratch_old").iter().sum::<usize>(), 2);
}

/// A rollback of the policy brings every collection back without any write: what one instance alone had
/// the others get, and from then on all is replicated.
#[test]
fn a_rollback_brings_local_collections_back() {
    let cluster = Cluster::start();
    let api = cluster.api();
    keep_local(&api);
    let names = ["scratch_1", "scratch_2"];
    let ids = names.map(|name| api.create(name));
    for id in &ids {
        add(&api, id, "before").ok();
    }
    cluster.settle();
    swap(&api, "local");
    for id in &ids {
        for number in 0..5 {
            add(&api, id, &format!("local-{number}")).ok();
        }
        api.records(id, "delete", &json!({ "ids": ["local-0"] }))
            .ok();
    }
    for name in names {
        let mut counts = counts(&cluster, name);
        counts.sort_unstable();
        assert_eq!(counts, [1, 5]);
        assert!(home(&api, name).is_string());
    }
    let (code, told) = cluster.command(&["plugin", "rollback", "--slot", "wal"]);
    assert_eq!(code, Some(0), "{told}");
    let mut expected: Vec<String> = (1..5).map(|number| format!("local-{number}")).collect();
    expected.push("before".to_owned());
    for name in names {
        wait_on_both(&cluster, name, &expected);
        assert_eq!(home(&api, name), Value::Null);
    }
    expected.push("after".to_owned());
    for (id, name) in ids.iter().zip(names) {
        add(&api, id, "after").ok();
        wait_on_both(&cluster, name, &expected);
    }
    cluster.settle();
}

/// Swaps to and fro under load: each write is done or refused with a 503 that says when to come again,
/// and in the end both instances have exactly what was acknowledged.
#[test]
fn swaps_under_load_lose_nothing() {
    let cluster = Cluster::start();
    let api = cluster.api();
    keep_local(&api);
    let id = api.create("scratch_1");
    let stop = AtomicBool::new(false);
    let write = |client: usize| {
        let mut done = Vec::new();
        for number in 0.. {
            if stop.load(SeqCst) {
                break;
            }
            let record = format!("{client}-{number}");
            let answer = add(&api, &id, &record);
            match answer.status {
                201 => done.push(record),
                503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                _ => panic!("{answer:?}"),
            }
        }
        done
    };
    let done = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|client| scope.spawn(move || write(client)))
            .collect();
        for _ in 0..3 {
            swap(&api, "local");
            eventually("it goes local", SOON, || {
                let home = home(&api, "scratch_1");
                home.is_string().then_some(()).ok_or(home)
            });
            swap(&api, "native");
            eventually("it comes back", SOON, || {
                let home = home(&api, "scratch_1");
                home.is_null().then_some(()).ok_or(home)
            });
        }
        stop.store(true, SeqCst);
        let writers = writers.into_iter();
        let done = writers.flat_map(|writer| writer.join().expect("a writer"));
        done.collect::<Vec<_>>()
    });
    assert!(done.len() > 20, "{}", done.len());
    wait_on_both(&cluster, "scratch_1", &done);
}

/// A plugin that traps at every other write: what it has no answer for is replicated, as the contract
/// says, and nothing is refused.
#[test]
fn a_trap_replicates() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let hostile = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-wal.wasm"));
    keep(&api, "flaky", "flaky", hostile);
    let id = api.create("notes");
    cluster.settle();
    swap(&api, "flaky");
    let ids: Vec<String> = (0..20).map(|number| format!("r{number}")).collect();
    for record in &ids {
        add(&api, &id, record).ok();
    }
    let wal = &api.get("/status").ok()["policy"]["wal"];
    assert_eq!(wal["decides"], "none", "it is taken out of service: {wal}");
    wait_on_both(&cluster, "notes", &ids);
}

/// A canary moves no collection: where it would keep a write out of the log, or log one that is kept out
/// of it, the active version's answer holds.
#[test]
fn a_canary_moves_no_collection() {
    let config = r#"--policy-wal-config={"rules": [{"collection": "kept_*", "local_only": true}]}"#;
    let cluster = Cluster::with(2, &["--policy-wal-plugin=default", config]);
    let api = cluster.api();
    keep_local(&api);
    let (scratch, kept) = (api.create("scratch_1"), api.create("kept_1"));
    cluster.settle();
    for kind in ["canary", "shadow"] {
        let body = json!({ "version": "local", "share": 1.0, "decisions_min": 100_000 });
        api.post(&format!("/admin/plugins/wal/{kind}"), &body).ok();
        for number in 0..5 {
            add(&api, &scratch, &format!("{kind}-{number}")).ok();
            add(&api, &kept, &format!("{kind}-{number}")).ok();
        }
        assert_eq!(home(&api, "scratch_1"), Value::Null);
        assert!(home(&api, "kept_1").is_string());
        let trial = &api.get("/status").ok()["policy"]["wal"]["trial"];
        assert_eq!(trial["decisions"], 10, "{trial}");
        api.delete("/admin/plugins/wal/trial").ok();
    }
    let both = ["canary", "shadow"];
    let all = both
        .iter()
        .flat_map(|kind| (0..5).map(move |number| format!("{kind}-{number}")));
    wait_on_both(&cluster, "scratch_1", &all.collect::<Vec<_>>());
    let mut counts = counts(&cluster, "kept_1");
    counts.sort_unstable();
    assert_eq!(counts, [0, 10]);
}
