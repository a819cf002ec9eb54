//! Writes of records that queue up behind one another become one request to an instance. What
//! happened is read from each instance; how many requests it took is what Achromat counts.

use std::{collections::BTreeSet, thread, time::Duration};

use achromat_tests::cluster::Cluster;
use serde_json::{Value, json};

/// Clients at once.
const CLIENTS: usize = 16;

/// Writes of each.
const WRITES: usize = 12;

fn upsert(id: &str, value: usize, document: &Value) -> Value {
    json!({
        "ids": [id],
        "embeddings": [[value, 1]],
        "metadatas": [{ "n": value }],
        "documents": [document],
    })
}

/// Of the clients every eighth makes one write that Chroma refuses.
fn is_bad(client: usize, write: usize) -> bool {
    client.is_multiple_of(8) && write == WRITES / 2
}

/// What many clients write at once is all there, on each instance, after fewer requests than there were
/// writes. Of those that were sent together with one that Chroma refuses, only that one is refused.
#[test]
fn what_queues_up_goes_together() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("merged");
    let first = json!("the first");
    api.records(&id, "upsert", &upsert("first", 0, &first)).ok();
    let before = api.request_counts()[1];
    let client = |client: usize| {
        let (api, id) = (&api, &id);
        move || {
            for write in 0..WRITES {
                let record = format!("{client}-{write}");
                let is_bad = is_bad(client, write);
                let document = if is_bad { json!(7) } else { json!(record) };
                let answer = api.records(id, "upsert", &upsert(&record, write, &document));
                if is_bad {
                    answer.refused(422);
                } else {
                    assert_eq!(answer.ok(), json!({}));
                }
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(client(number));
        }
    });
    let contents = cluster.settle();
    let (_, (_, records)) = contents.first_key_value().expect("a collection");
    let held: BTreeSet<String> = records.keys().cloned().collect();
    let all = (0..CLIENTS).flat_map(|client| (0..WRITES).map(move |write| (client, write)));
    let good = all.filter(|(client, write)| !is_bad(*client, *write));
    let mut expected: BTreeSet<String> = good.map(|(c, w)| format!("{c}-{w}")).collect();
    expected.insert("first".to_owned());
    assert_eq!(held, expected);
    let sent = api.request_counts()[1] - before;
    let most = u64::try_from(expected.len() * 2 / 3).expect("a count");
    assert!(
        sent < most,
        "{} writes took {sent} requests",
        expected.len()
    );
}

/// An instance that was away is sent what it missed in few requests.
#[test]
fn what_was_missed_comes_together() {
    const MISSED: usize = 300;
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("missed");
    let first = json!("the first");
    api.records(&id, "upsert", &upsert("first", 0, &first)).ok();
    cluster.settle();
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    for number in 0..MISSED {
        let record = format!("record-{number}");
        let document = json!(record);
        let answer = api.records(&id, "upsert", &upsert(&record, number, &document));
        assert_eq!(answer.ok(), json!({}));
    }
    let before = api.request_counts()[1];
    cluster.instances[1].up();
    cluster.wait_nothing_owed(Duration::from_secs(60));
    let sent = api.request_counts()[1] - before;
    let contents = cluster.settle();
    let (_, (_, records)) = contents.first_key_value().expect("a collection");
    assert_eq!(records.len(), MISSED + 1);
    assert!(sent < 100, "{MISSED} writes took {sent} requests");
}
