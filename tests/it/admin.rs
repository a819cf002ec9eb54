//! O1, O2: the calls that existing scripts make on the main address, with each field that they
//! read, and with true values.

use std::time::Duration;

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use serde_json::{Value, json};

/// Every reading call, with the fields that scripts read from it.
#[allow(clippy::too_many_lines, reason = "one row for each call")]
fn fields(api: &Api) -> Vec<(&'static str, Value)> {
    let calls = [
        (
            "/health",
            vec!["/status", "/architecture", "/pending_writes"],
        ),
        (
            "/status",
            vec![
                "/service",
                "/healthy_instances",
                "/total_instances",
                "/summary/healthy_instances",
                "/load_balancer/strategy",
                "/instances/0/name",
                "/instances/0/healthy",
                "/instances/0/request_count",
                "/instances/0/success_rate",
                "/instances/0/consecutive_failures",
                "/wal/pending_writes",
                "/wal/oldest_pending",
                "/wal/is_replaying",
                "/wal/failed_replays",
                "/wal/total_replayed",
                "/write_ahead_log/pending_writes",
                "/write_ahead_log/oldest_pending",
                "/write_ahead_log/is_replaying",
                "/write_ahead_log/failed_replays",
                "/write_ahead_log/total_replayed",
                "/unified_wal/pending_writes",
                "/unified_wal/is_syncing",
                "/performance_stats/memory_usage_mb",
                "/performance_stats/cpu_percent",
                "/high_volume_config/max_memory_mb",
                "/concurrency_details/requests_in_flight",
                "/stats/total_requests",
                "/stats/successful_requests",
                "/stats/failed_requests",
                "/architecture",
                "/timestamp",
                "/instances/1/total_requests",
                "/instances/1/successful_requests",
                "/instances/1/last_health_check",
                "/instances/1/priority",
            ],
        ),
        (
            "/wal/status",
            vec![
                "/wal_system/pending_writes",
                "/wal_system/is_syncing",
                "/wal_system/approach",
                "/wal_system/database",
                "/wal_system/sync_interval_seconds",
                "/performance_stats/memory_usage_mb",
                "/high_volume_config/max_memory_mb",
            ],
        ),
        (
            "/collection/mappings",
            vec![
                "/collection_mappings",
                "/total_mappings",
                "/mappings/0/created_at",
                "/mappings/0/updated_at",
            ],
        ),
        (
            "/admin/instances",
            vec![
                "/instances/1/name",
                "/instances/1/healthy",
                "/instances/1/last_health_check",
                "/healthy_count",
                "/total_count",
                "/total_requests",
                "/successful_requests",
            ],
        ),
        (
            "/admin/collection_mappings",
            vec![
                "/collection_mappings/0/collection_name",
                "/collection_mappings/0/primary_collection_id",
                "/collection_mappings/0/replica_collection_id",
                "/collection_mappings/0/primary_uuid",
                "/collection_mappings/0/replica_uuid",
                "/collection_mappings/0/status",
                "/collection_mappings/0/created_at",
                "/collection_mappings/0/updated_at",
                "/total_mappings",
            ],
        ),
        ("/admin/wal_errors", vec!["/recent_errors", "/error_count"]),
        (
            "/admin/wal_count",
            vec!["/pending_writes", "/wal_system_ready"],
        ),
        (
            "/admin/transaction_safety_status",
            vec![
                "/pending_recovery_operations",
                "/transaction_safety_service/available",
                "/transaction_safety_service/running",
                "/recent_transactions/total_last_2_hours",
                "/recent_transactions/by_status",
                "/pending_recovery",
                "/timing_gap_failures_24h",
            ],
        ),
        (
            "/admin/scalability_status",
            vec![
                "/requests_max",
                "/scalability_features",
                "/performance_stats/memory_usage_mb",
                "/current_load/requests_in_flight",
                "/timestamp",
            ],
        ),
        ("/livez", vec!["/status"]),
        ("/readyz", vec!["/status"]),
    ];
    let mut found = Vec::new();
    for (path, fields) in calls {
        let answer = api.get(path);
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path}"
        );
        let body = answer.ok();
        for field in fields {
            assert!(
                body.pointer(field).is_some(),
                "{path} lacks {field}: {body}"
            );
        }
        found.push((path, body));
    }
    found
}

fn field<'a>(found: &'a [(&str, Value)], path: &str, field: &str) -> &'a Value {
    let (_, body) = found.iter().find(|(p, _)| *p == path).expect("a call");
    body.pointer(field).expect("a field")
}

/// Each call has its fields with true values: with all up, with an instance away, and with it back.
#[test]
#[allow(clippy::too_many_lines, reason = "one row for each case")]
fn every_call_tells_the_truth() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let add = |number: u32| {
        let body = json!({ "ids": [format!("r{number}")], "embeddings": [[1, number]] });
        api.records(&id, "add", &body).ok();
    };
    add(0);
    cluster.settle();
    let up = fields(&api);
    assert_eq!(field(&up, "/health", "/status"), "healthy");
    let service = field(&up, "/status", "/service").as_str();
    assert!(service.is_some_and(|name| name.contains("Write-Ahead Log")));
    assert_eq!(field(&up, "/health", "/pending_writes"), 0);
    assert_eq!(field(&up, "/wal/status", "/wal_system/database"), "sqlite");
    assert_eq!(field(&up, "/admin/instances", "/healthy_count"), 2);
    assert_eq!(field(&up, "/status", "/instances/0/priority"), 2);
    assert_eq!(
        field(&up, "/status", "/high_volume_config/max_memory_mb"),
        400
    );
    let memory = field(&up, "/status", "/performance_stats/memory_usage_mb").as_f64();
    let resident = u32::try_from(cluster.proxy.resident_kb()).expect("a number");
    let resident = f64::from(resident) / 1024.0;
    assert!(
        memory.is_some_and(|told| (told - resident).abs() < 20.0),
        "{memory:?}, and it is {resident}"
    );
    assert_eq!(field(&up, "/status", "/summary/healthy_instances"), 2);
    assert_eq!(
        field(&up, "/status", "/load_balancer/strategy"),
        "read_replica"
    );
    assert_eq!(field(&up, "/status", "/wal/pending_writes"), 0);
    assert_eq!(field(&up, "/status", "/wal/oldest_pending"), &Value::Null);
    assert_eq!(
        field(&up, "/status", "/instances/1/consecutive_failures"),
        0
    );
    let mapping = "/collection_mappings/0";
    for (place, column) in [(0, "primary_uuid"), (1, "replica_uuid")] {
        let own = cluster.instances[place]
            .api()
            .get("$D/collections/notes")
            .ok();
        let told = field(
            &up,
            "/admin/collection_mappings",
            &format!("{mapping}/{column}"),
        );
        assert_eq!(*told, own["id"]);
    }
    assert_eq!(
        field(
            &up,
            "/admin/collection_mappings",
            &format!("{mapping}/status")
        ),
        "complete"
    );

    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    for number in 1..=3 {
        add(number);
    }
    api.create("partial");
    let away = fields(&api);
    assert_eq!(field(&away, "/health", "/status"), "degraded");
    assert_eq!(field(&away, "/status", "/healthy_instances"), 1);
    assert_eq!(field(&away, "/status", "/total_instances"), 2);
    assert_eq!(field(&away, "/status", "/instances/1/healthy"), false);
    assert_eq!(field(&away, "/status", "/instances/1/pending_writes"), 4);
    assert!(field(&away, "/status", "/instances/1/consecutive_failures").as_u64() > Some(0));
    assert_eq!(
        field(&away, "/status", "/write_ahead_log/pending_writes"),
        4
    );
    assert!(field(&away, "/status", "/wal/oldest_pending").is_u64());
    assert_eq!(field(&away, "/admin/wal_count", "/pending_writes"), 4);
    assert_eq!(field(&away, "/health", "/pending_writes"), 4);
    assert_eq!(field(&away, "/status", "/unified_wal/pending_writes"), 4);
    assert_eq!(field(&away, "/admin/instances", "/healthy_count"), 1);
    assert_eq!(field(&away, "/wal/status", "/wal_system/pending_writes"), 4);
    assert_eq!(
        field(
            &away,
            "/admin/collection_mappings",
            "/collection_mappings/1/status"
        ),
        "partial"
    );
    assert_eq!(
        field(
            &away,
            "/admin/transaction_safety_status",
            "/pending_recovery_operations"
        ),
        4
    );

    let replayed = field(&away, "/status", "/wal/total_replayed")
        .as_u64()
        .expect("a count");
    cluster.instances[1].up();
    cluster.settle();
    eventually("b is up", Duration::from_secs(20), || {
        let health = api.get("/health").ok();
        if health["status"] == "healthy" {
            Ok(())
        } else {
            Err(health.to_string())
        }
    });
    let back = fields(&api);
    assert_eq!(field(&back, "/status", "/healthy_instances"), 2);
    assert_eq!(field(&back, "/status", "/wal/total_replayed"), replayed + 4);
    assert_eq!(
        field(&back, "/status", "/instances/1/consecutive_failures"),
        0
    );
    assert_eq!(
        field(
            &back,
            "/admin/collection_mappings",
            "/collection_mappings/1/status"
        ),
        "complete"
    );
}

/// An operator can hold an instance for unhealthy for a while; then what is observed counts again.
#[test]
fn health_can_be_overridden_for_a_while() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let path = "/admin/instances/a/health";
    api.post(path, &json!({ "healthy": false, "duration_seconds": 3 }))
        .ok();
    cluster.wait_state("a", &["down"]);
    let counts = || api.get("/status").ok()["instances"][0]["request_count"].clone();
    let before = counts();
    for number in 0..5 {
        let body = json!({ "ids": [format!("r{number}")], "embeddings": [[1, number]] });
        api.records(&id, "add", &body).ok();
        api.records(&id, "get", &json!({})).ok();
    }
    assert_eq!(counts(), before, "nothing is sent to it");
    cluster.wait_state("a", &["up"]);
    cluster.settle();
    api.post(
        "/admin/instances/nobody/health",
        &json!({ "healthy": true }),
    )
    .refused(404);
    api.post(path, &json!({ "healthy": "perhaps" }))
        .refused(400);
    api.post(
        path,
        &json!({ "healthy": true, "duration_seconds": 99_999_999 }),
    )
    .refused(400);
    api.get(path).refused(405);
    let problem = api.get("/nothing");
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    problem.refused(404);
}

/// O3: with a token configured, all calls but a load balancer's must show it.
#[test]
fn changing_calls_need_the_token() {
    let token = "a-token-of-some-length";
    let cluster = Cluster::with(2, &[&format!("--admin-token={token}")]);
    let api = cluster.api();
    let body = json!({ "healthy": true, "duration_seconds": 1 });
    let path = "/admin/instances/a/health";
    api.post(path, &body).refused(401);
    for public in ["/livez", "/readyz", "/health"] {
        api.get(public).ok();
    }
    for path in [
        "/status",
        "/metrics",
        "/admin/instances",
        "/collection/mappings",
        "/admin/letters",
        "/admin/trash",
        "/admin/jobs",
        "/admin/fleet",
        "/admin/plugins",
        "/transactions/x",
    ] {
        api.get(path).refused(401);
    }
    let with_token = api.clone().with_token(token);
    with_token.post(path, &body).ok();
    with_token.get("/status").ok();
    api.with_token("another-token-altogether")
        .post(path, &body)
        .refused(401);
    assert!(!cluster.proxy.told().contains(token), "no secret is told");
}

/// The list of mappings comes in pages, of one tenant when it is asked for; what is wrong is named.
#[test]
fn mappings_come_in_pages() {
    let cluster = Cluster::start();
    let api = cluster.api();
    for name in ["one", "two", "three"] {
        api.create(name);
    }
    let page = |query: &str| {
        let page = api.get(&format!("/admin/collection_mappings?{query}")).ok();
        let mappings = page["collection_mappings"].as_array().expect("a list");
        let names: Vec<_> = mappings
            .iter()
            .map(|m| m["collection_name"].clone())
            .collect();
        (
            names,
            page["total_mappings"].clone(),
            page["next_offset"].clone(),
        )
    };
    let named = |names: &[&str]| names.iter().map(|n| json!(n)).collect::<Vec<_>>();
    assert_eq!(
        page("limit=2"),
        (named(&["one", "two"]), json!(3), json!(2))
    );
    assert_eq!(
        page("limit=2&offset=2"),
        (named(&["three"]), json!(3), Value::Null)
    );
    assert_eq!(page("limit=0"), (vec![], json!(3), Value::Null));
    assert_eq!(page("tenant=other"), (vec![], json!(0), Value::Null));
    assert_eq!(page("tenant=default_tenant").0.len(), 3);
    let wrong = api.get("/collection/mappings?limit=many").refused(400);
    assert!(wrong.contains("limit is a whole number"), "{wrong}");
}
