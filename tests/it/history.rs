//! Recent writes and the audit: what clients wrote and what operators changed, as the operator asks for it.

use std::time::Duration;

use achromat_tests::{api::DATABASE, cluster::Cluster, wait::eventually};
use serde_json::{Value, json};

/// Deadline for records to be stored: they wait for a second.
const SOON: Duration = Duration::from_secs(20);

fn fields<'a>(records: &'a Value, name: &str) -> Vec<&'a Value> {
    let records = records.as_array().expect("records");
    records.iter().map(|record| &record[name]).collect()
}

/// Each write is there with who sent it, where to, and how it was answered, but for its contents; it is there
/// after a restart too, is counted for the last hours, and is listed by collection, outcome and page.
#[test]
fn recent_writes_are_kept() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let secret = json!({ "ids": ["r"], "embeddings": [[1, 2]], "documents": ["a secret text"] });
    api.under("order-7").records(&id, "upsert", &secret).ok();
    let wrong = json!({ "ids": ["r"], "embeddings": [[1, 2, 3]] });
    let refused = api.records(&id, "upsert", &wrong);
    api.delete(&format!("{DATABASE}/collections/notes")).ok();
    let writes = eventually("four writes are kept", SOON, || {
        let page = api.get("/admin/writes").ok();
        let count = page["writes"].as_array().map_or(0, Vec::len);
        if count == 4 {
            Ok(page["writes"].clone())
        } else {
            Err(page.to_string())
        }
    });
    let actions = ["delete_collection", "upsert", "upsert", "create_collection"];
    assert_eq!(fields(&writes, "action"), actions);
    assert_eq!(fields(&writes, "collection"), ["notes"; 4]);
    assert_eq!(fields(&writes, "client"), ["127.0.0.1"; 4]);
    let statuses: Vec<_> = fields(&writes, "status")
        .iter()
        .map(|s| s.as_u64())
        .collect();
    assert_eq!(
        statuses,
        [Some(200), Some(refused.status.into()), Some(200), Some(200)]
    );
    let outcomes = ["completed", "refused", "completed", "completed"];
    assert_eq!(fields(&writes, "outcome"), outcomes);
    assert_eq!(fields(&writes, "key"), ["", "", "order-7", ""]);
    assert!(!writes.to_string().contains("secret"), "{writes}");

    cluster.proxy.kill();
    cluster.proxy.up();
    let page = api
        .get("/admin/writes?limit=1&collection=notes&outcome=completed")
        .ok();
    assert_eq!(fields(&page["writes"], "action"), ["delete_collection"]);
    let next = page["next_before"].as_u64().expect("there are more");
    let page = api
        .get(&format!("/admin/writes?before={next}&outcome=completed"))
        .ok();
    assert_eq!(
        fields(&page["writes"], "action"),
        ["upsert", "create_collection"]
    );
    let wrong = api.get("/admin/writes?outcome=lost").refused(400);
    assert!(
        wrong.contains("outcome is completed, refused or failed"),
        "{wrong}"
    );

    let (code, told) = cluster.command(&["wal", "--outcome", "refused"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("upsert") && told.contains("notes"), "{told}");
    let (_, told) = cluster.command(&["wal", "--json", "--limit", "2"]);
    let lines: Vec<Value> = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(lines.len(), 2, "{told}");
}

/// What an operator changes is in the audit as soon as it is answered, with where it came from and what it
/// said; so is a collection's deletion by a client, and a call that was denied.
#[test]
fn changes_are_audited() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("test_one");
    let stranger = cluster.api().as_anybody();
    stranger.post("/admin/cleanup", &json!({})).refused(401);
    api.post("/admin/cleanup", &json!({ "dry_run": true })).ok();
    let events = api.get("/admin/audit?kind=change").ok()["events"].clone();
    assert_eq!(fields(&events, "what"), ["POST /admin/cleanup"]);
    assert_eq!(fields(&events, "who"), ["operator"]);
    assert_eq!(fields(&events, "client"), ["127.0.0.1"]);
    assert_eq!(fields(&events, "detail"), [r#"{"dry_run":true}"#]);

    api.records(&id, "delete", &json!({ "ids": ["none"] }));
    api.delete(&format!("{DATABASE}/collections/test_one")).ok();
    let events = eventually("three events", SOON, || {
        let events = api.get("/admin/audit").ok()["events"].clone();
        if events.as_array().map_or(0, Vec::len) == 3 {
            Ok(events)
        } else {
            Err(events.to_string())
        }
    });
    assert_eq!(fields(&events, "kind"), ["destruction", "change", "denial"]);
    let what = events[0]["what"].as_str().expect("a text");
    assert!(
        what.starts_with("DELETE ") && what.ends_with("/collections/test_one"),
        "{what}"
    );
    assert_eq!(events[2]["status"], 401);
    let (code, told) = cluster.command(&["audit", "--kind", "denial"]);
    assert_eq!((code, told.lines().count()), (Some(0), 1), "{told}");
    // Who may not change anything is told nothing of others either.
    stranger.get("/admin/audit").refused(401);
    stranger.get("/admin/writes").refused(401);
}

/// With `history.writes_max = 0` no write is kept.
#[test]
fn writes_need_not_be_kept() {
    let cluster = Cluster::with(2, &["--history-writes-max=0"]);
    let api = cluster.api();
    api.create("notes");
    api.post("/admin/cleanup", &json!({ "dry_run": true })).ok();
    assert_eq!(api.get("/admin/writes").ok()["writes"], json!([]));
}
