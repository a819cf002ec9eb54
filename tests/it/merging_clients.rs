//! What clients of all kinds and ages write at once to one collection, beside one Chroma that is sent the
//! same one by one.

use std::thread;

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    records::records,
};
use serde_json::{Value, json};

/// Bodies as clients sent them to a real server, and what it answered.
const SENT: &str = include_str!("../../proxy/core/src/merge/clients.jsonl");

/// How often each of them is sent, for other records.
const TIMES: usize = 8;

struct Sent {
    verb: String,
    status: u16,
    body: Value,
}

fn writes() -> Vec<Sent> {
    let read = |line| {
        let sent: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| sent[name].as_str().expect("text");
        Sent {
            verb: text("verb").to_owned(),
            status: serde_json::from_value(sent["status"].clone()).expect("a status"),
            body: serde_json::from_str(text("body")).expect("JSON"),
        }
    };
    let all = SENT.lines().map(read);
    all.filter(|sent| sent.verb != "delete").collect()
}

/// The same for other records.
fn for_others(body: &Value, suffix: &str) -> Value {
    let mut body = body.clone();
    for id in body["ids"].as_array_mut().expect("ids") {
        *id = json!(format!("{}{suffix}", id.as_str().expect("an id")));
    }
    body
}

/// Sends each write, and sees that it is answered as it was when it was recorded.
fn send(api: &Api, id: &str, sent: &Sent, suffix: &str) {
    let body = for_others(&sent.body, suffix);
    let answer = api.records(id, &sent.verb, &body);
    let verb = &sent.verb;
    assert_eq!(answer.status, sent.status, "{verb} {body} {}", answer.body);
}

/// Base64, arrays, lists of nulls, left out fields and sparse vectors in one lane: all instances end up with
/// what one Chroma has that was sent the same one after the other, after fewer requests than there were
/// writes; what Chroma refuses is refused, and nothing else.
#[test]
fn all_forms_of_clients_are_merged() {
    let beside = folder();
    let direct = Chroma::start(&beside.path().join("d"));
    let cluster = Cluster::start();
    let (api, alone) = (cluster.api(), direct.api());
    let (id, alone_id) = (api.create("forms"), alone.create("forms"));
    let first = json!({ "ids": ["first"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &first).ok();
    alone.records(&alone_id, "add", &first).ok();
    let writes = writes();
    // Updates of records that there are, as well as of some that there are not.
    for (number, sent) in writes.iter().enumerate() {
        if sent.verb == "update" && number % 2 == 0 {
            let ids = for_others(&sent.body, &format!("-{number}-0"))["ids"].clone();
            let embeddings = vec![json!([7, 8]); ids.as_array().expect("ids").len()];
            let body = json!({ "ids": ids, "embeddings": embeddings });
            api.records(&id, "add", &body).ok();
            alone.records(&alone_id, "add", &body).ok();
        }
    }
    cluster.settle();
    let before = api.request_counts()[1];
    for verb in ["add", "upsert", "update"] {
        thread::scope(|scope| {
            for (number, sent) in writes.iter().enumerate().filter(|(_, s)| s.verb == verb) {
                let (api, id) = (&api, &id);
                scope.spawn(move || {
                    for time in 0..TIMES {
                        send(api, id, sent, &format!("-{number}-{time}"));
                    }
                });
            }
        });
    }
    cluster.settle();
    let requests = api.request_counts()[1] - before;
    let all = u64::try_from(writes.len() * TIMES).expect("a count");
    println!("{all} writes took {requests} requests");
    assert!(
        requests * 3 < all * 2,
        "{all} writes took {requests} requests"
    );
    for (number, sent) in writes.iter().enumerate() {
        for time in 0..TIMES {
            send(&alone, &alone_id, sent, &format!("-{number}-{time}"));
        }
    }
    let expected = records(&alone, DATABASE, &alone_id).expect("it can be read");
    for place in [0, 1] {
        let own = cluster.own_id(place, "forms");
        let held = records(&cluster.instances[place].api(), DATABASE, &own);
        assert_eq!(held.expect("it can be read"), expected);
    }
}
