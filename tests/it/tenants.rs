//! Servers that hold data of tenants that nobody has told Achromat of: it is found when a client asks for
//! it, and nothing of it is hidden, changed or lost.

use std::time::{Duration, Instant};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    records::{Records, contents, records},
    wait::eventually,
};
use serde_json::json;

const DBX: &str = "/api/v2/tenants/tenB/databases/dbx";

/// Makes a database of a tenant on one server; the tenant as well, when `with_tenant`.
fn make_database(api: &Api, path: &str, with_tenant: bool) {
    let mut parts = path.split('/').skip(4).step_by(2);
    let (tenant, database) = (
        parts.next().expect("a tenant"),
        parts.next().expect("a database"),
    );
    if with_tenant {
        api.post("/api/v2/tenants", &json!({ "name": tenant })).ok();
    }
    let databases = format!("/api/v2/tenants/{tenant}/databases");
    api.post(&databases, &json!({ "name": database })).ok();
}

/// Makes a collection with these records on one server; returns its UUID there.
fn make(api: &Api, database: &str, name: &str, ids: &[&str]) -> String {
    let made = api.post(&format!("{database}/collections"), &json!({ "name": name }));
    let id = made.ok()["id"].as_str().expect("an id").to_owned();
    let body = json!({
        "ids": ids,
        "embeddings": vec![[1, 2]; ids.len()],
        "documents": ids.iter().map(|id| format!("text {id}")).collect::<Vec<_>>(),
    });
    api.post(&format!("{database}/collections/{id}/add"), &body)
        .ok();
    id
}

fn servers() -> (tempfile::TempDir, Vec<Chroma>) {
    let folder = folder();
    let start = |name| Chroma::start(&folder.path().join(name));
    let servers = vec![start("a"), start("b")];
    (folder, servers)
}

/// The records of a collection as one server holds them.
fn held(server: &Chroma, database: &str, name: &str) -> Option<Records> {
    let api = server.api();
    let about = api.get(&format!("{database}/collections/{name}"));
    let id = about.body["id"].as_str()?.to_owned();
    records(&api, database, &id).ok()
}

fn ids(records: &Records) -> Vec<&str> {
    records.keys().map(String::as_str).collect()
}

/// A new store before two servers that hold collections of several tenants: each is there when it is
/// first asked for, by whatever request, and is replicated from then on.
#[test]
fn collections_of_other_tenants_are_found_when_they_are_asked_for() {
    let (folder, servers) = servers();
    let (orphan, only_b) = (
        "/api/v2/tenants/orphan/databases/dby",
        "/api/v2/tenants/tenC/databases/dbz",
    );
    for server in &servers {
        let api = server.api();
        make_database(&api, DBX, true);
        make(&api, DBX, "notes", &["1", "2", "3"]);
        // Chroma makes databases of tenants that are not there.
        make_database(&api, orphan, false);
        make(&api, orphan, "lost", &["1"]);
    }
    let b = servers[1].api();
    make_database(&b, only_b, true);
    make(&b, only_b, "single", &["7", "8"]);
    let direct = servers[0].api();
    let cluster = Cluster::over(folder, servers, &[]);
    let api = cluster.api();
    cluster.wait_state("b", &["up"]);
    let about = api.get(&format!("{DBX}/collections/notes")).ok();
    let id = about["id"].as_str().expect("an id");
    let path = format!("{DBX}/collections/{id}");
    assert_eq!(api.get(&format!("{path}/count")).ok(), json!(3));
    let more = json!({ "ids": ["4"], "embeddings": [[3, 4]] });
    assert_eq!(api.post(&format!("{path}/add"), &more).status, 201);
    let listed = api.get(&format!("{orphan}/collections")).ok();
    assert_eq!(listed[0]["name"], "lost");
    let count = api.get(&format!("{only_b}/collections_count")).ok();
    assert_eq!(count, json!(1));
    for existing in ["tenB", "tenC"] {
        let again = api.post("/api/v2/tenants", &json!({ "name": existing }));
        assert_eq!(again.status, 409, "{existing}: {again:?}");
    }
    cluster.settle_in(&[DATABASE, DBX, orphan, only_b]);
    for server in &cluster.instances {
        let notes = held(server, DBX, "notes").expect("notes");
        assert_eq!(ids(&notes), ["1", "2", "3", "4"]);
        let single = held(server, only_b, "single").expect("single");
        assert_eq!(ids(&single), ["7", "8"]);
    }
    for nothing in [
        "/api/v2/tenants/nobody",
        "/api/v2/tenants/nobody/databases/none",
    ] {
        let (ours, theirs) = (api.get(nothing), direct.get(nothing));
        assert_eq!((ours.status, ours.body), (404, theirs.body));
    }
    cluster.proxy.assert_calm();
}

/// A tenant that no server has can be made at once, and asking for such tenants costs others nothing.
#[test]
fn tenants_that_no_server_has_are_told_so_at_once() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let begun = Instant::now();
    for number in 0..100 {
        let path = format!("/api/v2/tenants/none-{number}");
        assert_eq!(api.get(&path).status, 404, "{path}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    api.post("/api/v2/tenants", &json!({ "name": "none-7" }))
        .ok();
    assert_eq!(api.get("/api/v2/tenants/none-7").status, 200);
    make_database(&api, "/api/v2/tenants/none-7/databases/fresh", false);
    make(
        &api,
        "/api/v2/tenants/none-7/databases/fresh",
        "notes",
        &["1"],
    );
    cluster.settle_in(&[DATABASE, "/api/v2/tenants/none-7/databases/fresh"]);
}

/// A server that is away when its tenant is first asked for keeps what it has: when it is back, its copy
/// is compared, and one that differs is neither read nor overwritten.
#[test]
fn a_server_that_was_away_keeps_what_it_holds_of_a_tenant() {
    let (folder, servers) = servers();
    for (server, last) in servers.iter().zip(["3", "9"]) {
        let api = server.api();
        make_database(&api, DBX, true);
        make(&api, DBX, "same", &["1", "2"]);
        make(&api, DBX, "other", &["1", "2", last]);
    }
    let mut cluster = Cluster::over(folder, servers, &[]);
    let api = cluster.api();
    cluster.wait_state("b", &["up"]);
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let list = api.get(&format!("{DBX}/collections")).ok();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    cluster.instances[1].up();
    eventually("b's copies are compared", Duration::from_secs(60), || {
        let found = api.get("/admin/jobs").ok();
        let findings = found["findings"].as_array().cloned().unwrap_or_default();
        let compared = |name: &str, equal: bool| {
            findings
                .iter()
                .any(|found| found["collection"] == name && found["comparison"]["equal"] == equal)
        };
        if compared("same", true) && compared("other", false) {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    });
    for (server, last) in cluster.instances.iter().zip(["3", "9"]) {
        let other = held(server, DBX, "other").expect("other");
        assert_eq!(ids(&other), ["1", "2", last]);
    }
    for _ in 0..10 {
        let id = api.get(&format!("{DBX}/collections/other")).ok()["id"].clone();
        let path = format!("{DBX}/collections/{}/get", id.as_str().expect("an id"));
        assert_eq!(
            api.post(&path, &json!({})).ok()["ids"],
            json!(["1", "2", "3"])
        );
    }
    let all = contents(&cluster.instances[1].api(), &[DBX]).expect("b's contents");
    assert_eq!(all.len(), 2);
}
