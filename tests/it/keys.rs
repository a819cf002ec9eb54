//! T1, T3: one key is one entry is one effect (I15). What happened is read from each instance by
//! its own UUID, and how often from the positions that `/transactions` tells.

use std::{collections::BTreeSet, thread, time::Duration};

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    cluster::Cluster,
    records::records,
    wait::eventually,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn add(ids: &[&str]) -> Value {
    let embeddings: Vec<_> = ids.iter().map(|_| [1, 2]).collect();
    let metadatas: Vec<_> = ids.iter().map(|_| json!({ "kind": "x" })).collect();
    json!({ "ids": ids, "embeddings": embeddings, "metadatas": metadatas })
}

/// Deletes some records, and would delete others if it were done twice.
fn delete_some(count: usize) -> Value {
    json!({ "where": { "kind": "x" }, "limit": count })
}

/// What became of the write under a key.
#[track_caller]
fn transaction(api: &Api, key: &str) -> Value {
    api.get(&format!("/transactions/{key}")).ok()
}

fn wait_transaction(api: &Api, key: &str, states: &[&str]) -> Value {
    let what = format!("{key} is {states:?}");
    eventually(&what, PATIENCE, || {
        let answer = api.get(&format!("/transactions/{key}"));
        let state = answer.body["state"].as_str().unwrap_or_default();
        if states.contains(&state) {
            Ok(answer.body.clone())
        } else {
            Err(format!("{answer:?}"))
        }
    })
}

fn said(answer: &Answer) -> (u16, &Value) {
    (answer.status, &answer.body)
}

/// The ids of the records that an instance holds in a collection, by its own UUID of it.
fn held(api: &Api, name: &str) -> BTreeSet<String> {
    let about = api.get(&format!("$D/collections/{name}")).ok();
    let uuid = about["id"].as_str().expect("an id");
    let records = records(api, DATABASE, uuid).expect("its records");
    records.into_keys().collect()
}

/// The same, of all instances, which must agree once nothing is owed.
#[track_caller]
fn held_by_all(cluster: &Cluster, name: &str) -> BTreeSet<String> {
    cluster.settle();
    let all: Vec<_> = cluster
        .instances
        .iter()
        .map(|instance| held(&instance.api(), name))
        .collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    all[0].clone()
}

/// Each kind of write, asked twice under one key, is done once and answered twice in the same
/// words; asked otherwise under that key it is a 422 that changes nothing.
#[test]
fn a_repeat_gets_the_first_answer() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let create = json!({ "name": "notes" });
    let made = api.under("create").post("$D/collections", &create);
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let again = api.under("create").post("$D/collections", &create);
    assert_eq!(said(&made), said(&again), "it would be 409 if it were done");

    let calls = [
        ("add", "add", add(&["r1", "r2", "r3", "r4", "r5"])),
        (
            "refused",
            "add",
            json!({ "ids": ["a"], "embeddings": "none" }),
        ),
        ("delete", "delete", delete_some(2)),
    ];
    for (key, act, body) in calls {
        let first = api.under(key).records(&id, act, &body);
        let older = api.clone().with_header("transaction-id", key);
        for api in [api.under(key), older] {
            let again = api.records(&id, act, &body);
            assert_eq!(said(&first), said(&again), "{key}");
        }
        let mut other = body.clone();
        other["other"] = json!(true);
        for refused in [
            api.under(key).records(&id, act, &other),
            api.under(key).records("notes", act, &body),
            api.under(key).delete("$D/collections/notes"),
        ] {
            assert!(refused.refused(422).contains(key));
        }
    }
    assert_eq!(held_by_all(&cluster, "notes").len(), 3);
    let add = transaction(&api, "add");
    assert_eq!(
        (&add["state"], &add["status"]),
        (&json!("completed"), &json!(201))
    );
    assert_eq!(
        (&add["lane"], &add["collection_name"]),
        (&json!(id), &json!("notes"))
    );
    assert_eq!(add["position"], 1);
    assert!(add["logged_at_ms"].as_u64() > Some(1_700_000_000_000));
    assert_eq!(transaction(&api, "refused")["state"], "failed");
    assert_eq!(transaction(&api, "create")["lane"], "schema");

    let first = api.under("drop").delete("$D/collections/notes");
    assert_eq!(first.status, 200, "{first:?}");
    api.create("notes");
    let again = api.under("drop").delete("$D/collections/notes");
    assert_eq!(said(&first), said(&again));
    assert_eq!(
        api.names(),
        ["notes"],
        "the new one is not what was deleted"
    );
    cluster.settle();
}

/// A delete that hits nothing is an entry too: a repeat of it hits nothing that came later.
#[test]
fn a_delete_that_hit_nothing_hits_nothing_later() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let first = api.under("k").records(&id, "delete", &delete_some(5));
    assert_eq!(said(&first), (200, &json!({ "deleted": 0 })));
    api.records(&id, "add", &add(&["a", "b"])).ok();
    let again = api.under("k").records(&id, "delete", &delete_some(5));
    assert_eq!(said(&first), said(&again));
    assert_eq!(held_by_all(&cluster, "notes").len(), 2);
}

/// Many at once under one key are one entry, and all are answered the same.
#[test]
fn many_at_once_are_one() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let ids: Vec<_> = (0..60).map(|number| format!("r{number:02}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    api.under("before").records(&id, "add", &add(&ids)).ok();
    for (key, act, body) in [
        ("add", "add", add(&["more"])),
        ("delete", "delete", delete_some(3)),
    ] {
        let answers: Vec<Answer> = thread::scope(|scope| {
            let ask = || {
                let api = Api::at(cluster.proxy.port).under(key);
                api.records(&id, act, &body)
            };
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            asking
                .into_iter()
                .map(|a| a.join().expect("an answer"))
                .collect()
        });
        assert!((200..300).contains(&answers[0].status), "{:?}", answers[0]);
        for answer in &answers {
            assert_eq!(said(answer), said(&answers[0]), "{key}");
        }
    }
    api.under("after").records(&id, "add", &add(&["last"])).ok();
    let positions = ["before", "add", "delete", "after"].map(|key| {
        transaction(&api, key)["position"]
            .as_u64()
            .expect("a position")
    });
    assert_eq!(positions, [1, 2, 3, 4]);
    assert_eq!(held_by_all(&cluster, "notes").len(), 60 + 1 - 3 + 1);
}

/// What is no key is refused before anything is done, and the header is named.
#[test]
fn bad_keys_are_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let body = json!({ "name": "notes" });
    let long = "k".repeat(256);
    for header in ["Idempotency-Key", "Transaction-ID"] {
        for bad in ["two words", &long] {
            let api = api.clone().with_header(header, bad);
            let refused = api.post("$D/collections", &body).refused(400);
            assert!(refused.contains(header), "{refused}");
        }
    }
    let two = api.under("a").with_header("transaction-id", "b");
    let refused = two.post("$D/collections", &body).refused(400);
    assert!(refused.contains("more than one key"), "{refused}");
    assert!(api.names().is_empty());
    let odd = "a/b:\"c\"=*~";
    api.under(odd).post("$D/collections", &body).ok();
    assert_eq!(transaction(&api, "a/b:%22c%22=*~")["key"], odd);
    for unknown in [
        "/transactions/unknown",
        "/transactions/",
        "/transactions/a%20b",
    ] {
        let answer = api.get(unknown);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        answer.refused(404);
    }
    assert_eq!(api.post("/transactions/k", &json!({})).status, 405);
}

/// What is refused before it is logged leaves its key free.
#[test]
fn a_refusal_before_the_log_uses_no_key() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("global");
    let keyed = api.under("k");
    keyed.delete("$D/collections/global").refused(403);
    keyed.delete("$D/collections/missing").refused(404);
    api.get("/transactions/k").refused(404);
    keyed.records(&id, "add", &add(&["a"])).ok();
    assert_eq!(held_by_all(&cluster, "global").len(), 1);
}

/// While no instance answers, the outcome is unknown and said to be; then it is carried out once,
/// and whoever repeats the request is told how it ended.
#[test]
fn an_unknown_outcome_becomes_known() {
    let cluster = Cluster::with(2, &["--writes-deadline-ms=1500"]);
    let api = cluster.api();
    let id = api.create("notes");
    cluster.settle();
    for instance in &cluster.instances {
        instance.freeze();
    }
    let body = add(&["a"]);
    api.under("k").records(&id, "add", &body).refused(504);
    assert_eq!(transaction(&api, "k")["state"], "attempting");
    api.under("k").records(&id, "upsert", &body).refused(422);
    api.under("k").records(&id, "add", &body).refused(504);
    for instance in &cluster.instances {
        instance.thaw();
    }
    let known = wait_transaction(&api, "k", &["recovered"]);
    assert_eq!(
        (&known["status"], &known["position"]),
        (&json!(201), &json!(1))
    );
    assert_eq!(api.under("k").records(&id, "add", &body).status, 201);
    assert_eq!(held_by_all(&cluster, "notes").len(), 1);
}

/// kill -9 with a write under way: after the restart it is carried out, a repeat joins it, and the
/// outcome is told from then on, also when the log has long been trimmed.
#[test]
fn a_killed_proxy_remembers_its_keys() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let done = api
        .under("done")
        .records(&id, "add", &add(&["a", "b", "c", "d"]));
    let delete = delete_some(1);
    let deleted = api.under("deleted").records(&id, "delete", &delete);
    cluster.settle();
    for instance in &cluster.instances {
        instance.freeze();
    }
    let body = add(&["e"]);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let path = format!("$D/collections/{id}/add");
            api.under("open").try_call("POST", &path, &body)
        });
        wait_transaction(&api, "open", &["attempting"]);
        cluster.proxy.kill();
        assert!(asking.join().expect("an end").is_err(), "nobody was told");
    });
    for instance in &cluster.instances {
        instance.thaw();
    }
    cluster.proxy.up();
    let open = api.under("open").records(&id, "add", &body);
    assert_eq!(open.status, 201, "{open:?}");
    assert_eq!(transaction(&api, "open")["state"], "recovered");
    let check = |api: &Api| {
        let add = add(&["a", "b", "c", "d"]);
        assert_eq!(
            said(&api.under("done").records(&id, "add", &add)),
            said(&done)
        );
        let again = api.under("deleted").records(&id, "delete", &delete);
        assert_eq!(said(&again), said(&deleted));
        let again = api.under("open").records(&id, "add", &body);
        assert_eq!(said(&again), said(&open));
        for (key, state) in [
            ("done", "completed"),
            ("deleted", "completed"),
            ("open", "recovered"),
        ] {
            assert_eq!(transaction(api, key)["state"], state);
        }
    };
    check(&api);
    assert_eq!(held_by_all(&cluster, "notes").len(), 4);
    cluster.proxy.kill();
    cluster.proxy.up();
    check(&api);
    assert_eq!(held_by_all(&cluster, "notes").len(), 4);
}

/// kill -9 at any moment of a stream of deletes, each of which would hit another record if it were
/// done twice: who repeats each until it is answered has each done once.
#[test]
fn repeating_until_answered_has_one_effect() {
    const DELETES: usize = 120;
    const KILLS: usize = 4;
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let ids: Vec<_> = (0..400).map(|number| format!("r{number:03}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    api.records(&id, "add", &add(&ids)).ok();
    let port = cluster.proxy.port;
    let (progress, seen) = std::sync::mpsc::channel();
    let repeats = thread::scope(|scope| {
        let deleting = scope.spawn(|| {
            let progress = progress;
            let path = format!("$D/collections/{id}/delete");
            let mut repeats = 0;
            for number in 0..DELETES {
                let api = Api::at(port).under(&format!("delete-{number}"));
                eventually("it is answered", PATIENCE, || {
                    match api.try_call("POST", &path, &delete_some(1)) {
                        Ok(answer) if answer.status == 200 => {
                            assert_eq!(answer.body["deleted"], 1, "{number}");
                            Ok(())
                        }
                        other => {
                            repeats += 1;
                            Err(format!("{other:?}"))
                        }
                    }
                });
                // Nobody listens any more when the kills are over.
                let _over = progress.send(());
            }
            repeats
        });
        for _ in 0..KILLS {
            for _ in 0..DELETES / (KILLS + 2) {
                seen.recv().expect("progress");
            }
            cluster.proxy.kill();
            cluster.proxy.up();
        }
        deleting.join().expect("all are answered")
    });
    println!("{repeats} repeats");
    assert_eq!(held_by_all(&cluster, "notes").len(), 400 - DELETES);
    cluster.proxy.assert_calm();
}

/// Keys that are old enough are forgotten by themselves: once a minute, and at the start.
#[test]
fn old_keys_are_forgotten_by_themselves() {
    let mut cluster = Cluster::with(2, &["--writes-keys-kept-ms=1"]);
    let api = cluster.api();
    let id = api.create("notes");
    let body = add(&["a"]);
    api.under("k").records(&id, "add", &body).ok();
    assert_eq!(transaction(&api, "k")["state"], "completed");
    cluster.proxy.stop();
    cluster.proxy.up();
    eventually("it is forgotten", PATIENCE, || {
        match api.get("/transactions/k").status {
            404 => Ok(()),
            other => Err(other),
        }
    });
    api.under("k").records(&id, "upsert", &body).ok();
}
