//! Calls of the old load balancer's operators on the main address, and the fields that their scripts read.

use std::time::Duration;

use achromat_tests::{
    api::{Api, DATABASE},
    cluster::Cluster,
    wait::eventually,
};
use serde_json::{Value, json};

/// Deadline for something to be seen by itself.
const SOON: Duration = Duration::from_secs(20);

/// An instance's health, as it is told.
fn is_healthy(api: &Api, place: usize) -> bool {
    api.get("/admin/instances").ok()["instances"][place]["healthy"] == true
}

/// Without a duration an instance is held for unhealthy until it is called healthy, which `{}` does.
#[test]
fn an_override_without_duration_holds() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let path = "/admin/instances/b/health";
    let told = api.post(path, &json!({ "healthy": false })).ok();
    let expected = [
        ("success", json!(true)),
        ("health_set_to", json!(false)),
        ("original_health", json!(true)),
        ("permanent", json!(true)),
    ];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{told}");
    }
    cluster.wait_state("b", &["down"]);
    // Several probes come and go meanwhile.
    let told = api
        .post(path, &json!({ "healthy": false, "duration_seconds": 600 }))
        .ok();
    assert_eq!(told["will_restore_in_seconds"], 600);
    assert_eq!(told["original_health"], false);
    assert!(!is_healthy(&api, 1));
    let told = api.post(path, &json!({})).ok();
    assert_eq!(
        (&told["health_set_to"], &told["permanent"]),
        (&json!(true), &json!(true))
    );
    cluster.wait_state("b", &["up"]);
    assert!(is_healthy(&api, 1));
}

/// Calls that mean nothing any more are answered 410 with what to use instead, whatever the method.
#[test]
fn calls_that_are_gone_say_what_to_use() {
    let cluster = Cluster::start();
    let api = cluster.api();
    for (path, instead) in [
        ("/admin/sync_collections", "/admin/verify"),
        ("/admin/complete_mappings", "/admin/jobs"),
        ("/admin/force_delete_sync", "/admin/verify"),
        ("/admin/reset_stuck_transactions", "/admin/letters"),
        ("/admin/test_wal", "/transactions/KEY"),
        (
            "/admin/optimize_connection_pool",
            "limits.instance_reads_max",
        ),
        ("/wal/cleanup", "trimmed"),
        ("/transaction/safety/transactions", "/admin/writes"),
        ("/transaction/safety/anything", "/admin/writes"),
    ] {
        let told = api.post(path, &json!({})).refused(410);
        assert!(told.contains(instead), "{told}");
    }
    api.get("/admin/wal_debug").refused(410);
    api.get("/admin/anything_else").refused(404);
}

/// Paths without tenant and database mean the default ones, for every call below them.
#[test]
fn short_paths_mean_the_default_database() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let made = api
        .post("/api/v2/collections", &json!({ "name": "notes" }))
        .ok();
    let id = made["id"].as_str().expect("an id");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
    api.post(&format!("/api/v2/collections/{id}/add"), &body)
        .ok();
    assert_eq!(
        api.get("/api/v2/collections?limit=5").ok()[0]["name"],
        "notes"
    );
    assert_eq!(api.get("/api/v2/collections/notes").ok()["id"], id);
    let counted = api.get(&format!("{DATABASE}/collections/{id}/count")).ok();
    assert_eq!(counted, 1);
    // The guard stands before this way in as well.
    api.post("/api/v2/collections", &json!({ "name": "global" }))
        .ok();
    api.delete("/api/v2/collections/global").refused(403);
    api.get("/api/v2/collectionsx").refused(404);
}

/// A mapping that is forgotten and given back is told with success, a message and the ids.
#[test]
fn mappings_are_forgotten_and_given_back() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.create("notes");
    let ids = [0, 1].map(|place| cluster.own_id(place, "notes"));
    let told = api.delete("/collection/mappings/notes").ok();
    let check = |told: &Value| {
        assert_eq!(told["success"], true, "{told}");
        assert!(told["message"].is_string(), "{told}");
        assert_eq!(told["primary_id"], json!(ids[0]), "{told}");
        assert_eq!(told["replica_id"], json!(ids[1]), "{told}");
    };
    check(&told);
    let body = json!({ "collection_name": "notes", "primary_id": ids[0], "replica_id": ids[1] });
    check(&api.post("/admin/create_mapping", &body).ok());
}

/// `/metrics` is JSON for who asks for JSON, and the text of `OpenMetrics` for everybody else.
#[test]
fn metrics_are_json_for_who_asks() {
    let cluster = Cluster::start();
    let api = cluster.api().with_header("accept", "application/json");
    let told = api.get("/metrics").ok();
    for field in [
        "memory_usage_mb",
        "memory_percent",
        "cpu_percent",
        "peak_memory_usage",
    ] {
        assert!(
            told[field].as_f64().is_some_and(|figure| figure > 0.0),
            "{told}"
        );
    }
    let text = cluster.api().get("/metrics").ok();
    let text = text.as_str().expect("text");
    assert!(text.contains("achromat_resident_memory_bytes"), "{text}");
}

/// Recent transactions are counted by what became of them.
#[test]
fn recent_transactions_are_counted() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &json!({ "ids": ["r"], "embeddings": [[1, 2]] }))
        .ok();
    api.records(
        &id,
        "add",
        &json!({ "ids": ["r"], "embeddings": [[1, 2, 3]] }),
    );
    let recent = eventually("three writes are counted", SOON, || {
        let status = api.get("/admin/transaction_safety_status").ok();
        let recent = status["recent_transactions"].clone();
        if recent["total_last_2_hours"] == 3 {
            Ok(recent)
        } else {
            Err(status.to_string())
        }
    });
    assert_eq!(recent["by_status"], json!({ "completed": 2, "refused": 1 }));
}

/// `achromat health` exits 0, 1 or 2, and says why.
#[test]
fn the_health_command_tells_by_its_exit_code() {
    let mut cluster = Cluster::start();
    cluster.settle();
    let (code, told) = cluster.command(&["health"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("healthy, 2 of 2 instances"), "{told}");
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let (code, told) = cluster.command(&["health"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("instance b is down"), "{told}");
    cluster.instances[0].kill();
    cluster.wait_state("a", &["down"]);
    let (code, told) = cluster.command(&["health"]);
    assert_eq!(code, Some(2), "{told}");
    cluster.proxy.kill();
    let (code, told) = cluster.command(&["health"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("does not answer"), "{told}");
}
