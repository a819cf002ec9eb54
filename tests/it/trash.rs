//! The trash: a deleted collection that a policy keeps for a while, out of every client's reach, and
//! on every instance.

use std::time::Duration;

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    cluster::Cluster,
    wait::eventually,
};
use serde_json::{Value, json};

fn with_trash(seconds: u32) -> Cluster {
    let config = json!({ "trash": [{ "collection": "prod_*", "seconds": seconds }] });
    let config = format!("--policy-guard-config={config}");
    Cluster::with(2, &["--policy-guard-plugin=default", &config])
}

fn filled(api: &Api, name: &str) -> String {
    let id = api.create(name);
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{ "k": 7 }] });
    api.records(&id, "add", &body).ok();
    id
}

fn by_name(api: &Api, name: &str) -> Answer {
    api.get(&format!("$D/collections/{name}"))
}

fn delete(api: &Api, name: &str) -> Answer {
    api.delete(&format!("$D/collections/{name}"))
}

fn in_trash(api: &Api) -> Vec<Value> {
    let list = api.get("/admin/trash").ok();
    list["collections"].as_array().expect("a list").clone()
}

/// The ids of a collection's records on each instance, by the UUID that it had there before.
fn on_instances(cluster: &Cluster, own: &[String]) -> Vec<Answer> {
    let ask = |(chroma, id): (&achromat_tests::chroma::Chroma, &String)| {
        let body = json!({ "include": ["metadatas"] });
        chroma.api().records(id, "get", &body)
    };
    cluster.instances.iter().zip(own).map(ask).collect()
}

/// What is in the trash is found by no client, and is on every instance as it was; its name is free
/// at once; it is got back with its id and its records, under its own name or another one.
#[test]
fn what_is_in_the_trash_can_be_got_back() {
    let mut cluster = with_trash(3600);
    let api = cluster.api();
    let id = filled(&api, "prod_1");
    filled(&api, "notes");
    cluster.settle();
    let own = [0, 1].map(|place| cluster.own_id(place, "prod_1"));
    delete(&api, "prod_1").ok();
    by_name(&api, "prod_1").refused(404);
    assert_eq!(api.names(), ["notes"]);
    assert_eq!(api.get("$D/collections_count").ok(), 1);
    for reference in [&id, &own[0], &own[1]] {
        let told = api.records(reference, "get", &json!({}));
        told.refused(404);
        let told = api.records(reference, "delete", &json!({ "ids": ["r"] }));
        told.refused(404);
        delete(&api, reference).refused(404);
    }
    let listed = in_trash(&api);
    assert_eq!(listed[0]["collection_name"], "prod_1", "{listed:?}");
    assert_eq!(listed[0]["collection_id"], id);
    let left = listed[0]["seconds_left"].as_u64().expect("a number");
    assert!((3500..=3600).contains(&left), "{left}");
    let own_name = format!(
        "achromat-trash.{}.{}.prod_1",
        listed[0]["until_ms"],
        id.replace('-', "")
    );
    by_name(&api, &own_name).refused(404);
    cluster.settle();
    for answer in on_instances(&cluster, &own) {
        assert_eq!(answer.ok()["metadatas"], json!([{ "k": 7 }]));
    }

    // Nothing that nobody has named takes it along, and nobody can put anything there.
    let told = api.delete(DATABASE).refused(403);
    assert!(told.contains("what is in the trash stays"), "{told}");
    let body = json!({ "name": "achromat-trash.1.2.x" });
    let told = api.post("$D/collections", &body).refused(400);
    assert!(told.contains("belong to the trash"), "{told}");

    // Its name is free, and it is got back under another one, over a restart.
    let other = filled(&api, "prod_1");
    assert_ne!(other, id);
    cluster.proxy.kill();
    cluster.proxy.up();
    let (code, told) = cluster.command(&["trash"]);
    assert!(code == Some(0) && told.contains("prod_1"), "{told}");
    let (code, told) = cluster.command(&["trash", "restore", &id]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("say another name"), "{told}");
    let (code, told) = cluster.command(&["trash", "restore", &id, "--name", "prod_old"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(by_name(&api, "prod_old").ok()["id"], id);
    assert_eq!(api.names(), ["prod_old", "notes", "prod_1"]);
    let found = api.records(&id, "get", &json!({})).ok();
    assert_eq!(found["ids"], json!(["r"]));
    cluster.settle();

    // And under its own.
    delete(&api, "notes").ok();
    delete(&api, "prod_old").ok();
    delete(&api, "prod_1").ok();
    assert_eq!((api.names().len(), in_trash(&api).len()), (0, 2));
    let path = format!("/admin/trash/{other}/restore");
    api.post(&path, &json!({})).ok();
    assert_eq!(by_name(&api, "prod_1").ok()["id"], other);
    let (code, told) = cluster.command(&["trash", "delete", &id]);
    assert_eq!(code, Some(0), "{told}");
    cluster.settle();
    for answer in on_instances(&cluster, &own) {
        answer.refused(404);
    }
    assert!(in_trash(&api).is_empty());
    cluster.proxy.assert_calm();
}

/// When its time is over it is gone from every instance; a clean-up goes the same way.
#[test]
fn the_trash_is_emptied_in_time() {
    let config = json!({ "trash": [{ "collection": "test_*", "seconds": 2 }] });
    let config = format!("--policy-guard-config={config}");
    let cluster = Cluster::with(2, &["--policy-guard-plugin=default", &config]);
    let api = cluster.api();
    filled(&api, "test_1");
    cluster.settle();
    let own = [0, 1].map(|place| cluster.own_id(place, "test_1"));
    let told = api.post("/admin/cleanup", &json!({})).ok();
    assert_eq!(told["deleted"][0]["collection_name"], "test_1", "{told}");
    by_name(&api, "test_1").refused(404);
    cluster.settle();
    for answer in on_instances(&cluster, &own) {
        answer.ok();
    }
    eventually("the trash is empty", Duration::from_secs(30), || {
        let left = in_trash(&api);
        if left.is_empty() {
            Ok(())
        } else {
            Err(json!(left))
        }
    });
    cluster.settle();
    for answer in on_instances(&cluster, &own) {
        answer.refused(404);
    }
    cluster.proxy.assert_calm();
}

/// Wrong wishes are refused, and change nothing.
#[test]
fn wrong_wishes_change_nothing() {
    let cluster = with_trash(3600);
    let api = cluster.api();
    let id = filled(&api, "prod_1");
    let notes = filled(&api, "notes");
    delete(&api, "prod_1").ok();
    let detail = |answer: Answer, status| {
        assert_eq!(answer.status, status, "{:?}", answer.body);
        answer.body["detail"].as_str().expect("why").to_owned()
    };
    let restore = |id: &str, body| api.post(&format!("/admin/trash/{id}/restore"), &body);
    assert!(detail(restore("x", json!({})), 400).contains("not the id"));
    assert!(detail(restore(&notes, json!({})), 404).contains("not in the trash"));
    assert!(detail(restore(&id, json!({ "as": "x" })), 400).contains("unknown field"));
    let taken = restore(&id, json!({ "name": "notes" }));
    assert!(detail(taken, 409).contains("say another name"));
    let hidden = restore(&id, json!({ "name": "achromat-trash.1.2.x" }));
    assert!(detail(hidden, 400).contains("belong to the trash"));
    let gone = api.delete(&format!("/admin/trash/{notes}"));
    assert!(detail(gone, 404).contains("not in the trash"));
    // What can't be undone is denied, where a guard wants it undone.
    let long = format!("prod_{}", "x".repeat(500));
    filled(&api, &long);
    assert!(delete(&api, &long).refused(403).contains("too long"));
    assert_eq!(in_trash(&api).len(), 1);
    assert_eq!(api.names().len(), 2);
    cluster.settle();
}
