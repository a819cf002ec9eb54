//! The use cases of the system that Achromat replaces, each criterion with its figure. What its tests believed
//! by status codes is read back here from each server, by its own UUID.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Api, DATABASE},
    cluster::{Cluster, NAMES},
    records::{Records, records},
    wait::eventually,
};
use serde_json::{Value, json};

/// The lag that the old system allowed a replica.
const OLD_LAG: Duration = Duration::from_secs(60);

/// The longest that one operation may take while a server dies; the old system took up to 4 s to notice.
const OPERATION_MAX: Duration = Duration::from_secs(4);

/// Records that a server holds of a collection, under its own UUID for it; none when it has no such name.
fn held(cluster: &Cluster, place: usize, name: &str) -> Option<Records> {
    let api = cluster.instances[place].api();
    let about = api.get(&format!("$D/collections/{name}"));
    if about.status == 404 {
        return None;
    }
    let id = about.ok()["id"].as_str().expect("an id").to_owned();
    Some(records(&api, DATABASE, &id).expect("its records"))
}

/// A record of a document's chunk.
fn chunk(document: &str, number: u32) -> Value {
    json!({
        "ids": [format!("{document}-{number}")],
        "embeddings": [[number, 1]],
        "documents": [format!("chunk {number} of {document}")],
        "metadatas": [{ "document_id": document, "number": number }],
    })
}

fn delete_where(api: &Api, id: &str, filter: &Value) {
    api.records(id, "delete", filter).ok();
}

fn ids(records: &Records) -> Vec<&str> {
    records.keys().map(String::as_str).collect()
}

/// Use case 1, all servers up: a collection is on both before its maker is answered, with each one's own UUID
/// and a complete mapping; records reach both within the lag; reads are spread by the ratio; deletes by ids,
/// metadata and text delete the same on both and nothing else; a deleted collection leaves nothing behind.
#[test]
fn use_case_1_all_servers_up() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let begun = Instant::now();
    let id = api.create("cms");
    let made = begun.elapsed();
    let own = [0, 1].map(|place| cluster.own_id(place, "cms"));
    assert!(own[0] != own[1] && held(&cluster, 1, "cms").is_some());
    let mappings = api.get("/collection/mappings").ok();
    assert_eq!(mappings["mappings"][0]["status"], "complete");

    let mut worst_lag = Duration::ZERO;
    for number in 0..20 {
        for document in ["a", "b", "c"] {
            let record = chunk(document, number);
            api.records(&id, "add", &record).ok();
            let begun = Instant::now();
            let name = record["ids"][0].as_str().expect("an id").to_owned();
            for place in [0, 1] {
                eventually("the record is there", OLD_LAG, || {
                    let body = json!({ "ids": [name], "include": [] });
                    let found = cluster.instances[place].api();
                    let found = found.records(&own[place], "get", &body).ok();
                    if found["ids"] == json!([name]) {
                        Ok(())
                    } else {
                        Err(found.to_string())
                    }
                });
            }
            worst_lag = worst_lag.max(begun.elapsed());
        }
    }

    let before = api.request_counts();
    for number in 0..400 {
        let body = json!({ "query_embeddings": [[number, 2]], "n_results": 1 });
        api.records(&id, "query", &body).ok();
    }
    let after = api.request_counts();
    let reads: Vec<u64> = after
        .iter()
        .zip(&before)
        .map(|(now, then)| now - then)
        .collect();
    let share = reads[1] * 100 / (reads[0] + reads[1]);
    assert!((70..90).contains(&share), "{reads:?}");

    delete_where(&api, &id, &json!({ "ids": ["a-0", "b-0"] }));
    delete_where(&api, &id, &json!({ "where": { "document_id": "a" } }));
    delete_where(
        &api,
        &id,
        &json!({ "where": { "number": { "$in": [1, 2] } } }),
    );
    let both = json!({ "where": { "$and": [{ "document_id": "b" }, { "number": 3 }] } });
    delete_where(&api, &id, &both);
    delete_where(
        &api,
        &id,
        &json!({ "where_document": { "$contains": "chunk 4 of c" } }),
    );
    cluster.settle();
    let expected: Vec<String> = (0..20)
        .flat_map(|number| ["b", "c"].map(|document| (document, number)))
        .filter(|(_, number)| ![1, 2].contains(number))
        .filter(|one| ![("b", 0), ("b", 3), ("c", 4)].contains(one))
        .map(|(document, number)| format!("{document}-{number}"))
        .collect();
    for place in [0, 1] {
        let held = held(&cluster, place, "cms").expect("the collection");
        let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(ids(&held), expected, "server {place}");
    }

    api.delete("$D/collections/cms").ok();
    cluster.settle();
    assert_eq!(api.names(), Vec::<String>::new());
    assert_eq!(api.get("/collection/mappings").ok()["count"], 0);
    assert!((0..2).all(|place| held(&cluster, place, "cms").is_none()));
    println!(
        "use case 1: a collection on both after {made:?}; worst lag {worst_lag:?}; replica's share of reads {share} %"
    );
}

/// Times an operation, which must not fail nor take long.
fn timed(figures: &mut BTreeMap<&'static str, Duration>, what: &'static str, act: impl FnOnce()) {
    let begun = Instant::now();
    act();
    let took = begun.elapsed();
    assert!(took < OPERATION_MAX, "{what} took {took:?}");
    figures.insert(what, took);
}

/// Everything that a CMS does, right after a server has died; returns how long each took.
fn work(api: &Api, kept: &str) -> BTreeMap<&'static str, Duration> {
    let mut figures = BTreeMap::new();
    timed(&mut figures, "add", || {
        api.records(kept, "add", &chunk("new", 1)).ok();
    });
    timed(&mut figures, "query", || {
        let body = json!({ "query_embeddings": [[1, 1]], "n_results": 1 });
        let found = api.records(kept, "query", &body).ok();
        assert_eq!(found["ids"][0].as_array().map(Vec::len), Some(1));
    });
    timed(&mut figures, "update", || {
        let body = json!({ "ids": ["new-1"], "documents": ["changed"] });
        api.records(kept, "update", &body).ok();
    });
    timed(&mut figures, "create a collection", || {
        api.create("made");
    });
    timed(&mut figures, "delete records", || {
        delete_where(api, kept, &json!({ "where": { "document_id": "old" } }));
    });
    timed(&mut figures, "delete a collection", || {
        api.delete("$D/collections/dropped").ok();
    });
    let found = api
        .records(kept, "get", &json!({ "include": ["documents"] }))
        .ok();
    assert_eq!(found["documents"], json!(["changed"]));
    figures
}

/// A server dies (killed, then frozen), everything goes on without an error, and when it is back it has
/// everything that it missed, in order: what was made and changed, and nothing that was deleted.
fn without(place: usize) {
    for is_frozen in [false, true] {
        let mut cluster = Cluster::start();
        let api = cluster.api();
        let kept = api.create("kept");
        api.records(&kept, "add", &chunk("old", 1)).ok();
        api.create("dropped");
        cluster.settle();
        if is_frozen {
            cluster.instances[place].freeze();
        } else {
            cluster.instances[place].kill();
        }
        let figures = work(&api, &kept);
        cluster.wait_state(NAMES[place], &["down", "suspect"]);
        let begun = Instant::now();
        if is_frozen {
            cluster.instances[place].thaw();
        } else {
            cluster.instances[place].up();
        }
        cluster.settle();
        let back = begun.elapsed();
        for place in [0, 1] {
            let records = held(&cluster, place, "kept").expect("the collection");
            assert_eq!(ids(&records), ["new-1"], "server {place}");
            assert!(held(&cluster, place, "made").is_some());
            assert!(held(&cluster, place, "dropped").is_none());
        }
        cluster.proxy.assert_calm();
        let how = if is_frozen { "frozen" } else { "killed" };
        println!(
            "{} {how}: {figures:?}; equal {back:?} after it is back",
            NAMES[place]
        );
    }
}

/// Use case 2, the primary dies.
#[test]
fn use_case_2_the_primary_dies() {
    without(0);
}

/// Use case 3, the replica dies.
#[test]
fn use_case_3_the_replica_dies() {
    without(1);
}

/// Use case 4, no transaction is lost: clients write with keys while Achromat is killed and started again;
/// each repeats what it got no answer to. Every write has one effect, on both servers, and an outcome.
#[test]
fn use_case_4_no_transaction_is_lost() {
    const CLIENTS: u32 = 8;
    const WRITES: u32 = 40;
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("orders");
    let repeats = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (api, id) = (cluster.api(), &id);
                scope.spawn(move || {
                    let mut repeats = 0;
                    for number in 0..WRITES {
                        let key = format!("client-{client}-{number}");
                        let record = chunk(&format!("client{client}"), number);
                        let path = format!("$D/collections/{id}/add");
                        eventually(&key, Duration::from_secs(60), || {
                            let answer = api.under(&key).try_call("POST", &path, &record);
                            match answer {
                                Ok(answer) if answer.status < 300 => Ok(()),
                                Ok(answer) if answer.status == 503 => {
                                    repeats += 1;
                                    Err(answer.body.to_string())
                                }
                                Ok(answer) => panic!("{answer:?}"),
                                Err(error) => {
                                    repeats += 1;
                                    Err(error.to_string())
                                }
                            }
                        });
                    }
                    repeats
                })
            })
            .collect();
        for _ in 0..2 {
            let before = api.get("/metrics").status;
            assert_eq!(before, 200);
            cluster.proxy.kill();
            cluster.proxy.up();
        }
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .sum::<u32>()
    });
    cluster.settle();
    for place in [0, 1] {
        let held = held(&cluster, place, "orders").expect("the collection");
        assert_eq!(
            held.len(),
            usize::try_from(CLIENTS * WRITES).expect("a count")
        );
    }
    let mut states = BTreeMap::new();
    for client in 0..CLIENTS {
        for number in 0..WRITES {
            let told = api
                .get(&format!("/transactions/client-{client}-{number}"))
                .ok();
            let state = told["state"].as_str().expect("a state").to_owned();
            *states.entry(state).or_insert(0) += 1;
        }
    }
    assert!(
        states
            .keys()
            .all(|state| state == "completed" || state == "recovered"),
        "{states:?}"
    );
    println!(
        "use case 4: {} writes, {repeats} repeats, {states:?}",
        CLIENTS * WRITES
    );
}

/// Use case 5, load: 200 clients at once write and read. Each is answered with success or a clear 503, memory
/// stays within its limit, and everything that was acknowledged is on both servers.
#[test]
fn use_case_5_two_hundred_clients() {
    const CLIENTS: u32 = 200;
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("load");
    let begun = Instant::now();
    let statuses: Vec<(String, u16)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (api, id) = (cluster.api(), &id);
                scope.spawn(move || {
                    let mut statuses = Vec::new();
                    for number in 0..3 {
                        let record = chunk(&format!("client{client}"), number);
                        let answer = api.records(id, "upsert", &record);
                        assert!(answer.status != 503 || answer.header("retry-after").is_some());
                        statuses.push((format!("client{client}-{number}"), answer.status));
                        let body = json!({ "ids": [format!("client{client}-0")] });
                        statuses.push((String::new(), api.records(id, "get", &body).status));
                    }
                    statuses
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let took = begun.elapsed();
    let mut counts = BTreeMap::new();
    for (_, status) in &statuses {
        *counts.entry(*status).or_insert(0) += 1;
    }
    assert!(
        counts.keys().all(|status| [200, 503].contains(status)),
        "{counts:?}"
    );
    let memory = cluster.proxy.resident_kb_max() / 1024;
    assert!(memory < 400, "{memory} MiB");
    cluster.settle();
    for place in [0, 1] {
        let held = held(&cluster, place, "load").expect("the collection");
        for (name, status) in &statuses {
            assert!(
                name.is_empty() || *status != 200 || held.contains_key(name),
                "{name}"
            );
        }
    }
    println!("use case 5: {CLIENTS} clients, {counts:?} in {took:?}, {memory} MiB");
}
