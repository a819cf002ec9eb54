//! What happens while an instance is away, and when it comes back.

use achromat_tests::{
    api::DATABASE,
    chroma::Chroma,
    cluster::{Cluster, folder},
};
use serde_json::json;

fn add(id: &str) -> serde_json::Value {
    json!({ "ids": [id], "embeddings": [[1, 2]], "metadatas": [{ "document_id": id }] })
}

/// F1, F2, F3, F5: with either instance away everything goes on, and when it is back it has what
/// was made and lacks what was deleted, in that order.
#[test]
fn everything_goes_on_without_either_instance() {
    for away in [0, 1] {
        let mut cluster = Cluster::start();
        let api = cluster.api();
        let kept = api.create("kept");
        for id in ["x", "y", "z"] {
            api.records(&kept, "add", &add(id)).ok();
        }
        api.create("dropped");
        cluster.settle();
        cluster.instances[away].kill();
        let made = api.create("made");
        api.records(&made, "add", &add("new")).ok();
        api.create("fleeting");
        api.records("fleeting", "add", &add("gone")).ok();
        api.delete("$D/collections/fleeting").ok();
        api.delete("$D/collections/dropped").ok();
        api.records(&kept, "delete", &json!({ "where": { "document_id": "x" } }))
            .ok();
        api.records(
            &kept,
            "update",
            &json!({ "ids": ["y"], "documents": ["changed"] }),
        )
        .ok();
        api.put(
            &format!("$D/collections/{kept}"),
            &json!({ "new_name": "renamed" }),
        )
        .ok();
        let found = api
            .records(&kept, "query", &json!({ "query_embeddings": [[1, 2]] }))
            .ok();
        assert_eq!(found["ids"][0].as_array().expect("ids").len(), 2);
        assert_eq!(api.names(), ["renamed", "made"]);
        cluster.wait_state(["a", "b"][away], &["down"]);
        cluster.instances[away].up();
        let contents = cluster.settle();
        let names: Vec<_> = contents.keys().cloned().collect();
        assert_eq!(
            names,
            [format!("{DATABASE} made"), format!("{DATABASE} renamed")]
        );
        let held = &contents[&format!("{DATABASE} renamed")].1;
        assert!(held.keys().eq(["y", "z"]));
        assert_eq!(held["y"][1], "changed");
    }
}

/// F4: one thing is done while the one is away, the opposite while the other is away.
#[test]
fn outages_of_both_in_turn_end_equal() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    for record in ["x", "y"] {
        api.records(&id, "add", &add(record)).ok();
    }
    cluster.instances[0].kill();
    api.create("while-a-was-away");
    api.records(&id, "add", &add("z")).ok();
    api.records(&id, "delete", &json!({ "where": { "document_id": "x" } }))
        .ok();
    cluster.instances[0].up();
    cluster.settle();
    cluster.instances[1].kill();
    api.delete("$D/collections/while-a-was-away").ok();
    api.records(&id, "delete", &json!({ "where": { "document_id": "z" } }))
        .ok();
    api.records(&id, "add", &add("x")).ok();
    cluster.instances[1].up();
    let contents = cluster.settle();
    assert_eq!(contents.len(), 1);
    assert!(
        contents[&format!("{DATABASE} notes")]
            .1
            .keys()
            .eq(["x", "y"])
    );
}

/// F6: with all instances down there is a clear 503 that says when to come again, and nothing of
/// what was refused is there later.
#[test]
fn without_instances_there_is_a_clear_503() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    cluster.settle();
    for instance in &mut cluster.instances {
        instance.kill();
    }
    for name in ["a", "b"] {
        cluster.wait_state(name, &["down"]);
    }
    let refused = [
        api.records(&id, "add", &add("x")),
        api.records(&id, "get", &json!({})),
        api.post("$D/collections", &json!({ "name": "more" })),
        api.get("/api/v2/heartbeat"),
    ];
    for answer in refused {
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
        assert!(answer.refused(503).contains("nstance"));
    }
    assert_eq!(api.get("/readyz").status, 503);
    assert_eq!(api.get("/livez").status, 200);
    for instance in &mut cluster.instances {
        instance.up();
    }
    for name in ["a", "b"] {
        cluster.wait_state(name, &["up"]);
    }
    let contents = cluster.settle();
    assert_eq!(contents.len(), 1);
    assert!(contents[&format!("{DATABASE} notes")].1.is_empty());
    api.records(&id, "add", &add("x")).ok();
}

/// An instance that can't be reached at the start is served without, said so, and taken in when it
/// comes.
#[test]
fn an_instance_that_is_absent_at_the_start_is_taken_in_later() {
    let folder = folder();
    let instances = vec![
        Chroma::start(&folder.path().join("a")),
        Chroma::absent(&folder.path().join("b")),
    ];
    let mut cluster = Cluster::over(folder, instances, &[]);
    assert_eq!(cluster.state("b"), "down");
    assert!(cluster.proxy.told().contains("instance can't be reached"));
    let api = cluster.api();
    assert_eq!(api.get("/health").ok()["status"], "degraded");
    let id = api.create("notes");
    api.records(&id, "add", &add("x")).ok();
    cluster.instances[1].up();
    cluster.wait_state("b", &["up"]);
    assert_eq!(cluster.settle().len(), 1);
    assert_eq!(api.get("/health").ok()["status"], "healthy");
}

/// A stopped proxy goes on where it stopped, and stops in good order: requests that have begun
/// end, and the exit code says so.
#[test]
fn a_stop_is_orderly_and_loses_nothing() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    cluster.instances[1].kill();
    for number in 0..20 {
        api.records(&id, "add", &add(&format!("r{number}"))).ok();
    }
    assert!(cluster.proxy.stop().success());
    cluster.instances[1].up();
    cluster.proxy.up();
    let contents = cluster.settle();
    assert_eq!(contents[&format!("{DATABASE} notes")].1.len(), 20);
    cluster.proxy.assert_calm();
}
