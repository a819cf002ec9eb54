//! Lives of two servers of given versions behind one Achromat: alone, mixed, and upgraded while clients
//! go on. Each is a test for some versions, and `achromat-tests matrix` lives them all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, NAMES, folder},
    load::Load,
    records::{Contents, contents, difference},
    wait::eventually,
};

/// Longest time that an answer about something else may take while one instance is asked for what it
/// lacks.
const ELSEWHERE_MAX: Duration = Duration::from_secs(2);

/// What some versions lack, as reads: method, path below a collection, body.
fn odd_reads() -> [(&'static str, &'static str, Value); 3] {
    [
        ("GET", "/indexing_status", Value::Null),
        ("GET", "/fork_count", Value::Null),
        ("POST", "/search", json!({ "searches": [{}] })),
    ]
}

/// What some versions lack, as writes.
fn odd_writes() -> [(&'static str, &'static str, Value); 3] {
    let attached =
        json!({ "name": "f", "function_id": "x", "output_collection": "o", "params": null });
    [
        ("POST", "/fork", json!({ "new_name": "forked" })),
        ("POST", "/functions/attach", attached),
        (
            "POST",
            "/attached_functions/f/detach",
            json!({ "delete_output": false }),
        ),
    ]
}

/// A proxy in front of two new servers of these versions.
pub fn cluster(versions: [&'static str; 2]) -> Cluster {
    let folder = folder();
    let starting = NAMES.into_iter().zip(versions);
    let instances = starting
        .map(|(name, version)| Chroma::start_version(&folder.path().join(name), version))
        .collect();
    Cluster::over(folder, instances, &[])
}

/// What an instance holds, without what versions describe differently.
fn held(chroma: &Chroma) -> Contents {
    let all = contents(&chroma.api(), &[DATABASE]).expect("an instance can be read");
    let plain = |(about, records): (Value, _)| (json!([about[0], about[1]]), records);
    all.into_iter()
        .map(|(name, held)| (name, plain(held)))
        .collect()
}

/// Waits until every instance is in service and holds the same; returns that.
#[track_caller]
pub fn settle(cluster: &Cluster) -> Contents {
    for name in NAMES.into_iter().take(cluster.instances.len()) {
        cluster.wait_state(name, &["up"]);
    }
    cluster.wait_nothing_owed(Duration::from_secs(60));
    eventually("all hold the same", Duration::from_secs(30), || {
        let mut all = cluster.instances.iter().map(held);
        let first = all.next().unwrap_or_default();
        match all.find_map(|other| difference(&first, &other)) {
            None => Ok(first),
            Some(difference) => Err(difference),
        }
    })
}

fn fill(api: &Api, id: &str, count: usize) {
    fill_with(api, id, count, |n| json!([n, 0.1]));
}

/// For collections that compare directions: Chroma keeps their embeddings at length 1, and rounds those
/// again that a copy is made of.
fn fill_units(api: &Api, id: &str, count: usize) {
    fill_with(api, id, count, |n| json!([n % 2, 1 - n % 2]));
}

fn fill_with(api: &Api, id: &str, count: usize, embedding: impl Fn(usize) -> Value) {
    let all = |make: &dyn Fn(usize) -> Value| (0..count).map(make).collect::<Vec<_>>();
    let body = json!({
        "ids": all(&|n| json!(format!("r{n}"))),
        "embeddings": all(&embedding),
        "documents": all(&|n| if n % 3 == 0 { Value::Null } else { json!(format!("text {n}")) }),
        "metadatas": all(&|n| if n % 5 == 0 { Value::Null } else { json!({ "n": n, "half": 0.5, "yes": true }) }),
    });
    api.records(id, "add", &body).ok();
}

/// Asserts that a collection and what does not belong to it are answered at once.
#[track_caller]
fn answers(api: &Api, id: &str, what: &str) {
    let begun = Instant::now();
    for path in [
        format!("$D/collections/{id}/count").as_str(),
        "/api/v2/tenants/default_tenant",
        "$D/collections",
    ] {
        let answer = api.get(path);
        assert_eq!(answer.status, 200, "{path} after {what}: {answer:?}");
    }
    let took = begun.elapsed();
    assert!(
        took < ELSEWHERE_MAX,
        "{what}: the next answers took {took:?}"
    );
}

/// A collection, by each of the ways in which clients ask for it.
#[track_caller]
fn is_described(api: &Api, id: &str, name: &str) {
    for path in [
        format!("$D/collections/by-id/{id}"),
        format!("$D/collections/{name}"),
    ] {
        let about = api.get(&path).ok();
        assert_eq!((&about["id"], &about["name"]), (&json!(id), &json!(name)));
    }
    let none = "00000000-0000-4000-8000-000000000000";
    assert_eq!(api.get(&format!("$D/collections/by-id/{none}")).status, 404);
}

/// Two numbers as the Python client sends them: 0.1 and 0.2.
const BASE64: &str = "zczMPc3MTD4=";

/// The session that every pair of servers must stand: collections and records of all kinds, what only
/// some versions know, each server killed, each server's disk wiped; in the end both hold the same, and
/// nothing has failed.
pub fn live(versions: [&'static str; 2]) {
    let mut cluster = cluster(versions);
    let api = cluster.api();
    for name in ["a", "b"] {
        cluster.wait_state(name, &["up"]);
    }
    let takes_base64 = !versions.contains(&"1.0.0");
    let told = api.get("/api/v2/pre-flight-checks").ok();
    assert_eq!(
        told["supports_base64_encoding"].as_bool().unwrap_or(false),
        takes_base64,
        "{told}"
    );
    assert_eq!(told["max_batch_size"], 5461);
    let notes = api.create("notes");
    fill(&api, &notes, 300);
    let legacy = json!({ "name": "legacy", "metadata": { "hnsw:space": "cosine", "hnsw:M": 24 } });
    let legacy = api.post("$D/collections", &legacy).ok();
    fill_units(&api, legacy["id"].as_str().expect("an id"), 20);
    let emptied = api.create("emptied");
    fill(&api, &emptied, 1);
    api.records(&emptied, "delete", &json!({ "ids": ["r0"] }))
        .ok();
    api.create("empty");
    let limited = json!({ "where": { "yes": true }, "limit": 7 });
    api.records(&notes, "delete", &limited).ok();
    for act in ["add", "upsert", "update"] {
        let body = json!({ "ids": ["coded"], "embeddings": [BASE64], "documents": ["two"] });
        api.records(&notes, act, &body).ok();
    }
    let renamed = api.create("before");
    fill(&api, &renamed, 5);
    let renaming = json!({ "new_name": "after", "new_metadata": { "k": 2 } });
    api.call("PUT", &format!("$D/collections/{renamed}"), &renaming)
        .ok();
    is_described(&api, &renamed, "after");
    is_described(&api, &notes, "notes");
    let before = settle(&cluster);
    assert_eq!(before.len(), 5);
    let coded = &before[&format!("{DATABASE} notes")].1["coded"];
    assert_eq!(coded[0], json!([0.1, 0.2]), "as each server shows them");
    lacks(&cluster, &api, &notes);
    assert_eq!(settle(&cluster), before, "odd requests change nothing");
    let load_id = api.create("load");
    let load = Load::start(&api, &load_id, 7);
    load.wait_writes(20);
    for place in [1, 0] {
        cluster.instances[place].kill();
        load.wait_writes(20);
        cluster.instances[place].up();
        cluster.wait_state(NAMES[place], &["up"]);
    }
    for place in [1, 0] {
        cluster.instances[place].kill();
        cluster.instances[place].wipe();
        load.wait_writes(10);
        cluster.instances[place].up();
        load.wait_writes(10);
        cluster.wait_state(NAMES[place], &["up"]);
    }
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    let mut after = settle(&cluster);
    let (_, records) = after.remove(&format!("{DATABASE} load")).expect("it");
    assert_eq!(expected.check(&records), Ok(()));
    assert_eq!(after, before);
    is_verified(&cluster);
}

/// What only some versions know is asked for, and nothing else is touched by that.
fn lacks(cluster: &Cluster, api: &Api, id: &str) {
    let odd = odd_reads().into_iter().chain(odd_writes());
    for (method, path, body) in odd {
        let answer = api.call(method, &format!("$D/collections/{id}{path}"), &body);
        assert!(
            [404, 405, 500, 501].contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        answers(api, id, path);
    }
    let patch = json!({ "resource_name": "x" });
    let tenant = api.call("PATCH", "/api/v2/tenants/default_tenant", &patch);
    assert!([200, 405].contains(&tenant.status), "{tenant:?}");
    answers(api, id, "PATCH of a tenant");
    let health = cluster.api().get("/health");
    assert_eq!(health.status, 200, "{health:?}");
}

/// Asserts that `achromat verify` finds every collection equal.
fn is_verified(cluster: &Cluster) {
    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("DIFFERENT"), "{told}");
    cluster.proxy.assert_calm();
}

/// Two servers of one version become another, one after the other, each on its own disk, the primary
/// being away for so long, while clients write and read. No read and no write fails.
pub fn upgrade(from: &'static str, to: &'static str, away: Duration) {
    let mut cluster = cluster([from, from]);
    let api = cluster.api();
    let notes = api.create("notes");
    fill(&api, &notes, 300);
    let made = json!({ "name": "made", "metadata": { "hnsw:space": "cosine" } });
    fill(
        &api,
        api.post("$D/collections", &made).ok()["id"]
            .as_str()
            .expect("an id"),
        20,
    );
    let before = settle(&cluster);
    let load_id = api.create("load");
    let load = Load::start(&api, &load_id, 11);
    load.wait_writes(30);
    for place in [1, 0] {
        cluster.instances[place].kill();
        cluster.instances[place].become_version(to);
        let until = Instant::now() + away;
        while Instant::now() < until {
            load.wait_writes(5);
            is_described(&api, &notes, "notes");
            assert_eq!(
                api.get(&format!("$D/collections/{notes}/count")).ok(),
                json!(300)
            );
        }
        cluster.instances[place].up();
        cluster.wait_state(NAMES[place], &["up"]);
        load.wait_writes(30);
        is_described(&api, &notes, "notes");
        api.create(&format!("made-while-{place}"));
    }
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    let mut after = settle(&cluster);
    let (_, records) = after.remove(&format!("{DATABASE} load")).expect("it");
    assert_eq!(expected.check(&records), Ok(()));
    after.retain(|name, _| !name.contains("made-while"));
    assert_eq!(after, before);
    is_verified(&cluster);
}
