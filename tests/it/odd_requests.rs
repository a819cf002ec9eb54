//! Legal but unusual requests, and collections that somebody deletes directly on the servers: they
//! cost their own client an answer, and nobody else anything (rules 12 to 15 and 18 of the design).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    ends::Raised,
    records::records,
    wait::eventually,
};
use serde_json::{Value, json};

fn add(id: &str) -> Value {
    json!({ "ids": [id], "embeddings": [[1, 2]] })
}

/// Whatever a client asks that has nothing to do with the collection in trouble: all that
/// `HttpClient()` asks at its start, lists, another collection's records, another create.
fn innocent_requests(api: &Api, number: u32) -> Vec<(&'static str, Answer)> {
    let made = format!("bystander-{number}");
    vec![
        ("identity", api.get("/api/v2/auth/identity")),
        ("tenant", api.get("/api/v2/tenants/default_tenant")),
        ("database", api.get(DATABASE)),
        ("list", api.get("$D/collections")),
        ("count", api.get("$D/collections_count")),
        ("write", api.records("innocent", "upsert", &add("x"))),
        ("read", api.records("innocent", "get", &json!({}))),
        (
            "create",
            api.post("$D/collections", &json!({ "name": made })),
        ),
        ("delete", api.delete(&format!("$D/collections/{made}"))),
    ]
}

/// Has a client ask for other things all the while, each of which must succeed; says how long the
/// slowest answer took.
fn beside_innocents(api: &Api, act: impl FnOnce()) -> Duration {
    api.create("innocent");
    api.records("innocent", "upsert", &add("x")).ok();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut worst, mut number) = (Duration::ZERO, 0);
            while !is_over.load(Ordering::Relaxed) || number < 3 {
                number += 1;
                let before = Instant::now();
                let asked = innocent_requests(api, number);
                worst = worst.max(before.elapsed() / 9);
                for (what, answer) in asked {
                    assert!((200..300).contains(&answer.status), "{what}: {answer:?}");
                }
            }
            worst
        });
        let over = Raised(&is_over);
        act();
        drop(over);
        let worst = asking.join().expect("innocent requests succeed");
        println!("innocent requests took {worst:?} each at worst");
        assert!(worst < Duration::from_secs(2), "{worst:?}");
        worst
    })
}

/// Two writers and a reader of a collection for as long as `act` takes; each must succeed.
fn beside_users(api: &Api, collection: &str, act: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let use_it = |writer: usize| {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) || number < 10 {
                    number += 1;
                    let id = format!("w{writer}-{number}");
                    api.records(collection, "upsert", &add(&id)).ok();
                    let got = api.records(collection, "get", &json!({ "ids": [id] })).ok();
                    assert_eq!(got["ids"], json!([id]));
                }
            })
        };
        let users = [use_it(1), use_it(2)];
        let over = Raised(&is_over);
        act();
        drop(over);
        for user in users {
            user.join().expect("users of the collection succeed");
        }
    });
}

fn quarantined(cluster: &Cluster) -> u64 {
    let status = cluster.api().get("/status").ok();
    let instances = status["instances"].as_array().expect("instances").iter();
    let counts = instances.map(|i| i["quarantined_collections"].as_u64().expect("a count"));
    counts.sum()
}

#[track_caller]
fn assert_healthy(cluster: &Cluster) {
    let health = cluster.api().get("/health").ok();
    assert_eq!(health["status"], "healthy", "{health}");
    assert_eq!(health["reasons"], json!([]));
}

/// Waits until the service calls itself healthy.
fn wait_healthy(api: &Api) {
    eventually("all is well", Duration::from_secs(30), || {
        let health = api.get("/health").ok();
        if health["status"] == "healthy" {
            Ok(())
        } else {
            Err(health)
        }
    });
}

/// Deletes a collection on each server directly, past Achromat.
fn delete_everywhere(cluster: &Cluster, name: &str) {
    for instance in &cluster.instances {
        instance
            .api()
            .delete(&format!("$D/collections/{name}"))
            .ok();
    }
}

/// Waits until every instance has the same copy of a collection; returns its record ids.
fn ids_everywhere(cluster: &Cluster, name: &str) -> Vec<String> {
    let held = |place: usize| {
        let api = cluster.instances[place].api();
        let id = api.get(&format!("$D/collections/{name}"));
        let id = id.body["id"].as_str().ok_or("it is not there")?.to_owned();
        let held = records(&api, DATABASE, &id).map_err(|_| "it can't be read")?;
        Ok::<_, &str>(held.into_keys().collect::<Vec<_>>())
    };
    eventually("both copies are equal", Duration::from_secs(60), || {
        let [ours, theirs] = [held(0)?, held(1)?];
        if ours == theirs {
            Ok(ours)
        } else {
            Err("they differ")
        }
    })
}

/// Case 1 of rule 12: a 404 that is not about the collection is an answer, and no evidence.
#[test]
fn a_404_about_something_else_takes_no_collection_out() {
    let cluster = Cluster::start();
    let place = folder();
    let direct = Chroma::start(&place.path().join("d"));
    let api = cluster.api();
    for api in [&api, &direct.api()] {
        api.create("notes");
        let id = api.get("$D/collections/notes").ok()["id"].clone();
        api.records(id.as_str().expect("an id"), "add", &add("x"))
            .ok();
    }
    let id = api.get("$D/collections/notes").ok()["id"].clone();
    let id = id.as_str().expect("an id");
    beside_innocents(&api, || {
        beside_users(&api, id, || {
            for route in ["functions/nope", "fork_count", "indexing_status"] {
                let asked = |api: &Api| {
                    let id = api.get("$D/collections/notes").ok()["id"].clone();
                    let id = id.as_str().expect("an id").to_owned();
                    api.get(&format!("$D/collections/{id}/{route}"))
                };
                let expected = asked(&direct.api());
                for _ in 0..10 {
                    let answer = asked(&api);
                    assert_eq!(answer.status, expected.status, "{route}");
                    assert_eq!(answer.body["error"], expected.body["error"], "{route}");
                }
            }
            assert_eq!(quarantined(&cluster), 0);
        });
    });
    assert_healthy(&cluster);
    cluster.settle();
}

/// Case 2 of rule 14: a collection that was deleted directly on every server is gone, and can be made
/// again; nobody else notices.
#[test]
fn a_collection_deleted_on_every_server_can_be_made_again() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &add("old")).ok();
    cluster.settle();
    beside_innocents(&api, || {
        delete_everywhere(&cluster, "notes");
        let made = json!({ "name": "notes", "get_or_create": true });
        let made = api.post("$D/collections", &made).ok();
        let made = made["id"].as_str().expect("an id").to_owned();
        api.records(&made, "add", &add("new")).ok();
        let got = api.records(&made, "get", &json!({})).ok();
        assert_eq!(got["ids"], json!(["new"]));
        assert_eq!(ids_everywhere(&cluster, "notes"), ["new"]);
    });
    wait_healthy(&api);
    cluster.settle();
}

/// The same when nobody makes it again: clients that ask for it are told that it does not exist, as
/// Chroma itself tells them, and it leaves the lists.
#[test]
fn a_collection_deleted_on_every_server_is_gone() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &add("old")).ok();
    cluster.settle();
    beside_innocents(&api, || {
        delete_everywhere(&cluster, "notes");
        let answer = api.records(&id, "get", &json!({}));
        assert_eq!(answer.status, 404, "{answer:?}");
        let write = api.records(&id, "add", &add("more"));
        assert_eq!(write.status, 404, "{write:?}");
        eventually("it is gone", Duration::from_secs(10), || {
            let names = api.names();
            let about = api.get("$D/collections/notes").status;
            if about == 404 && !names.contains(&"notes".to_owned()) {
                Ok(())
            } else {
                Err(format!("{about} {names:?}"))
            }
        });
    });
    assert_healthy(&cluster);
    cluster.settle();
}

/// Rule 12: a collection that was deleted directly on one server is made anew there, and is served by
/// the other one meanwhile.
#[test]
fn a_collection_deleted_on_one_server_is_made_anew_there() {
    for place in [0, 1] {
        let cluster = Cluster::start();
        let api = cluster.api();
        let id = api.create("notes");
        api.records(&id, "add", &add("old")).ok();
        cluster.settle();
        beside_innocents(&api, || {
            cluster.instances[place]
                .api()
                .delete("$D/collections/notes")
                .ok();
            beside_users(&api, &id, || {
                let held = ids_everywhere(&cluster, "notes");
                assert!(held.contains(&"old".to_owned()));
            });
        });
        let contents = cluster.settle();
        assert!(contents[&format!("{DATABASE} notes")].1.contains_key("old"));
    }
}

/// Case 3 of rule 15: a request that makes Chroma close the connection is answered 502 once two
/// servers have shown it, and nothing waits for it.
#[test]
fn a_request_that_breaks_its_handler_stops_nobody() {
    let mut cluster = Cluster::start();
    let place = folder();
    let direct = Chroma::start(&place.path().join("d"));
    let api = cluster.api();
    let id = api.create("notes");
    let poisonous = json!({ "name": "abc", "metadata": { "tags": ["a", "b"] } });
    let modify = json!({ "new_metadata": { "tags": ["a", "b"] } });
    let broken = direct.api().try_call("POST", "$D/collections", &poisonous);
    assert!(
        broken.is_err(),
        "Chroma answers {broken:?}: the case is no case any more"
    );
    beside_innocents(&api, || {
        for _ in 0..5 {
            let before = Instant::now();
            assert_eq!(api.post("$D/collections", &poisonous).status, 502);
            assert_eq!(
                api.put(&format!("$D/collections/{id}"), &modify).status,
                502
            );
            println!("both were answered after {:?}", before.elapsed());
            api.put(
                &format!("$D/collections/{id}"),
                &json!({ "new_metadata": { "a": 1 } }),
            )
            .ok();
        }
    });
    assert_healthy(&cluster);
    assert_eq!(api.get("/admin/letters").ok()["letters"], json!([]));
    // One server alone shows it as well, by living on each time.
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    assert_eq!(api.post("$D/collections", &poisonous).status, 502);
    let before = Instant::now();
    api.create("after");
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
    cluster.instances[1].up();
    cluster.wait_state("b", &["up"]);
    cluster.settle();
    assert!(!api.names().contains(&"abc".to_owned()));
}

/// Case 5: deleting records and then at once their collection is no trouble.
#[test]
fn records_deleted_with_their_collection_are_no_trouble() {
    let cluster = Cluster::start();
    let api = cluster.api();
    for number in 0..60 {
        let name = format!("col-{number}");
        let id = api.create(&name);
        api.records(&id, "add", &add("x")).ok();
        api.records(&id, "delete", &json!({ "ids": ["x"] })).ok();
        api.delete(&format!("$D/collections/{name}")).ok();
    }
    assert!(cluster.settle().is_empty());
    let status = api.get("/status").ok();
    assert_eq!(status["wal"]["failed_replays"], 0);
    let errors = api.get("/admin/wal_errors").ok();
    assert_eq!(errors["error_count"], 0, "{errors}");
    assert_eq!(errors["recent_errors"], json!([]), "{errors}");
    assert_healthy(&cluster);
}

/// Rule 18: the service says that it is degraded, and why, as long as a collection has one sound copy.
#[test]
fn a_collection_with_one_sound_copy_is_told() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &add("x")).ok();
    cluster.settle();
    let own = cluster.own_id(1, "notes");
    let direct = cluster.instances[1].api();
    direct.records(&own, "add", &add("only here")).ok();
    let (code, told) = cluster.command(&["verify", "--collection", "notes"]);
    assert_ne!(code, Some(0), "{told}");
    let health = api.get("/health").ok();
    assert_eq!(health["status"], "degraded");
    assert_eq!(
        health["reasons"],
        json!(["1 collection(s) with one sound copy only"])
    );
    assert_eq!(api.get("/readyz").status, 200);
    let (code, told) = cluster.command(&["repair", "--collection", "notes", "--source", "a"]);
    assert_eq!(code, Some(0), "{told}");
    wait_healthy(&api);
    assert!(
        cluster.settle()[&format!("{DATABASE} notes")]
            .1
            .keys()
            .eq(["x"])
    );
}
