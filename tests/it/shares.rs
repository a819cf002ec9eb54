//! Shares of each client: turns in the queue, collections, and records.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use achromat_tests::{api::Api, cluster::Cluster, ends::Raised, wait::eventually};
use serde_json::{Value, json};

/// A tenant floods the one place that there is and the queue for it. Another tenant's requests are all answered,
/// each after few of the flood's, and none is refused.
#[test]
fn a_flood_of_one_tenant_holds_up_no_other() {
    let flags = ["--limits-requests-max=1", "--limits-queue-max=20"];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let [flooding, quiet] = ["flooding", "quiet"].map(|tenant| {
        api.post("/api/v2/tenants", &json!({"name": tenant})).ok();
        let databases = format!("/api/v2/tenants/{tenant}/databases");
        api.post(&databases, &json!({"name": "main"})).ok();
        format!("{databases}/main/collections")
    });
    let (stop, flooded, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let between = thread::scope(|scope| {
        let _raised = Raised(&stop);
        for _ in 0..30 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    match api.get(&flooding).status {
                        200 => flooded.fetch_add(1, Relaxed),
                        503 => refused.fetch_add(1, Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
        eventually(
            "the queue is full",
            Duration::from_secs(20),
            || match refused.load(Relaxed) {
                0 => Err(flooded.load(Relaxed)),
                _ => Ok(()),
            },
        );
        let mut between: Vec<u64> = (0..50)
            .map(|_| {
                let before = flooded.load(Relaxed);
                api.get(&quiet).ok();
                flooded.load(Relaxed) - before
            })
            .collect();
        between.sort_unstable();
        between
    });
    // First come, first served would make it 20, the length of the queue.
    let median = between[between.len() / 2];
    assert!(
        median <= 6,
        "answers of the flood while one was waited for: {between:?}"
    );
}

fn records_of(cluster: &Cluster, name: &str) -> Vec<u64> {
    let count = |place: usize| {
        let (api, id) = (cluster.instances[place].api(), cluster.own_id(place, name));
        let count = api.get(&format!("$D/collections/{id}/count")).ok();
        count.as_u64().expect("a count")
    };
    (0..cluster.instances.len()).map(count).collect()
}

fn upsert(api: &Api, collection: &str, ids: &[&str]) -> (u16, Value) {
    let embeddings: Vec<_> = ids.iter().map(|_| [1, 2]).collect();
    let answer = api.records(
        collection,
        "upsert",
        &json!({"ids": ids, "embeddings": embeddings}),
    );
    (answer.status, answer.body)
}

/// A database has no more collections, and a collection no more records, than their quotas allow: one by one, in
/// one request, and by many at once. What is there may be written on, and what is deleted makes room.
#[test]
fn databases_and_collections_have_an_end() {
    let flags = [
        "--quotas-collections-per-database-max=3",
        "--quotas-records-per-collection-max=10",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let first = api.create("first");
    let create = |name: &str| {
        let answer = api.post(
            "$D/collections",
            &json!({"name": name, "get_or_create": true}),
        );
        (answer.status, answer.body)
    };
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..12 {
            let (create, made) = (&create, &made);
            scope.spawn(move || match create(&format!("many-{number}")) {
                (200, _) => made.fetch_add(1, Relaxed),
                (429, body) => {
                    let message = body["message"].as_str().expect("a message");
                    assert!(
                        message.contains("quotas.collections_per_database_max"),
                        "{message}"
                    );
                    0
                }
                other => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(made.load(Relaxed), 2, "and the first is the third");
    for instance in &cluster.instances {
        assert_eq!(instance.api().names().len(), 3);
    }
    assert_eq!(create("first").0, 200, "it is there");
    let name = api.names().into_iter().find(|name| name != "first");
    api.delete(&format!("$D/collections/{}", name.expect("one")))
        .ok();
    assert_eq!(create("another").0, 200, "there is room again");
    assert_eq!(create("one more").0, 429);

    thread::scope(|scope| {
        for number in 0..20 {
            let (api, first) = (&api, &first);
            scope.spawn(move || {
                let (status, body) = upsert(api, first, &[&format!("r{number}")]);
                assert!(matches!(status, 200 | 429), "{status} {body}");
            });
        }
    });
    let counts = records_of(&cluster, "first");
    assert!(counts.iter().all(|count| *count <= 10), "{counts:?}");
    for number in 0..20 {
        upsert(&api, &first, &[&format!("r{number}")]);
    }
    cluster.settle();
    assert_eq!(records_of(&cluster, "first"), [10, 10]);
    let there = api.records(&first, "get", &json!({"include": []})).ok();
    let there: Vec<&str> = there["ids"]
        .as_array()
        .expect("ids")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(upsert(&api, &first, &there).0, 200, "they are there");
    let (status, body) = upsert(&api, &first, &[there[0], "new"]);
    assert_eq!((status, &body["error"]), (429, &json!("QuotaExceeded")));
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("10 records, with 1 new"), "{message}");
    let add = json!({"ids": ["new"], "embeddings": [[1, 2]]});
    api.records(&first, "add", &add).refused(429);
    api.records(&first, "delete", &json!({"ids": [there[0]]}))
        .ok();
    api.records(&first, "add", &add).ok();
    cluster.settle();
    assert_eq!(records_of(&cluster, "first"), [10, 10]);
    cluster.proxy.assert_calm();
}
