//! What is Achromat's own does not exist for clients; what Chroma lets them reach, they reach here.

use achromat_tests::{
    api::{Answer, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
};
use serde_json::{Value, json};

const OWN: &str = "/api/v2/tenants/achromat-own";
const MARKER: &str = "/api/v2/tenants/achromat-own/databases/achromat-own/collections/marker";

fn said(answer: Answer) -> (u16, Value) {
    (answer.status, answer.body)
}

fn markers(cluster: &Cluster) -> Vec<Value> {
    let instances = cluster.instances.iter();
    let marker = instances.map(|instance| instance.api().get(MARKER).ok()["id"].clone());
    marker.collect()
}

/// Each route that leads into the tenant by which instances are marked answers as a Chroma that has no
/// such tenant; what would be made there is refused; and the markers stay.
#[test]
#[allow(clippy::too_many_lines, reason = "one row for each route")]
fn achromats_own_tenant_does_not_exist_for_clients() {
    let folder = folder();
    let single = Chroma::start(&folder.path().join("single"));
    let cluster = Cluster::start();
    let (api, chroma) = (cluster.api(), single.api());
    let id = api.create("notes");
    let before = markers(&cluster);
    let own_id = before[0].as_str().expect("an id");
    let unknown = "00000000-0000-4000-8000-000000000000";
    let within = format!("{OWN}/databases/achromat-own");
    let metadata = json!({ "new_metadata": { "token": 99 } });
    let cases = [
        ("GET", OWN.to_owned(), Value::Null),
        ("GET", format!("{OWN}/databases"), Value::Null),
        ("GET", within.clone(), Value::Null),
        ("DELETE", within.clone(), Value::Null),
        ("GET", format!("{within}/collections"), Value::Null),
        ("GET", format!("{within}/collections_count"), Value::Null),
        ("GET", format!("{within}/collections/marker"), Value::Null),
        (
            "DELETE",
            format!("{within}/collections/marker"),
            Value::Null,
        ),
        (
            "GET",
            format!("{within}/collections/by-id/$ID"),
            Value::Null,
        ),
        ("PUT", format!("{within}/collections/$ID"), metadata.clone()),
        ("POST", format!("{within}/collections/$ID/get"), json!({})),
        (
            "POST",
            format!("{within}/collections/$ID/delete"),
            json!({ "ids": ["a"] }),
        ),
        (
            "POST",
            format!("{within}/collections/$ID/add"),
            json!({ "ids": ["a"], "embeddings": [[1]] }),
        ),
        (
            "GET",
            format!("{within}/collections/$ID/count"),
            Value::Null,
        ),
        (
            "POST",
            format!("{within}/collections"),
            json!({ "name": "mine" }),
        ),
    ];
    for (method, path, body) in &cases {
        let there = chroma.call(method, &path.replace("$ID", unknown), body);
        let expected = there.body.to_string().replace(unknown, own_id);
        let path = path.replace("$ID", own_id);
        let encoded = path.replace("achromat-own", "%61chromat%2Down");
        for spelled in [&path, &encoded] {
            let here = api.call(method, spelled, body);
            let told = (here.status, here.body.to_string());
            assert_eq!(told, (there.status, expected.clone()), "{method} {spelled}");
        }
    }
    // Chroma ignores the tenant of paths by UUID.
    let elsewhere = format!("$D/collections/{own_id}");
    api.put(&elsewhere, &metadata).refused(404);
    api.delete(&elsewhere).refused(404);
    api.get(&elsewhere).refused(404);
    api.get(&format!("$D/collections/by-id/{own_id}"))
        .refused(404);
    api.post(
        &format!("{elsewhere}/delete"),
        &json!({ "where": { "$and": [] } }),
    )
    .refused(404);
    for resource in [
        "achromat-own:achromat-own:marker",
        "achromat%2Down%3Aachromat-own:marker",
    ] {
        api.get(&format!("/api/v2/collections/{resource}"))
            .refused(404);
    }
    // What would be made there is refused.
    let name = json!({ "name": "achromat-own" });
    for refused in [
        api.post("/api/v2/tenants", &name),
        api.post(
            "/api/v2/tenants",
            &json!("{\"n\\u0061me\":\"achromat-ow\\u006e\"}"),
        ),
        api.post(&format!("{OWN}/databases"), &json!({ "name": "mine" })),
    ] {
        assert!(refused.refused(400).contains("Achromat's own"));
    }
    api.call("PATCH", OWN, &json!({ "resource_name": "mine" }))
        .refused(404);
    let mapping = json!({ "collection_name": "marker", "tenant": "achromat-own", "database": "achromat-own",
        "primary_id": before[0], "replica_id": before[1] });
    assert!(api.post("/admin/create_mapping", &mapping).status >= 400);
    // Another spelling is another tenant, for Chroma as well.
    let other = json!({ "name": "Achromat-Own" });
    assert_eq!(
        said(api.post("/api/v2/tenants", &other)),
        said(chroma.post("/api/v2/tenants", &other))
    );
    assert_eq!(markers(&cluster), before);
    api.records(&id, "add", &json!({ "ids": ["a"], "embeddings": [[1]] }))
        .ok();
    assert_eq!(api.get("/health").ok()["status"], "healthy");
    cluster.settle();
}

/// A tenant whose name has slashes, backslashes or percent signs is made, used and found through its
/// percent-encoding, as at Chroma; and an encoded slash leads to no other place.
#[test]
fn names_with_slashes_are_reached_and_mislead_nobody() {
    let folder = folder();
    let single = Chroma::start(&folder.path().join("single"));
    let cluster = Cluster::start();
    let (api, chroma) = (cluster.api(), single.api());
    api.create("global");
    let mut databases = vec![DATABASE.to_owned()];
    for (name, encoded) in [
        ("org/repo", "org%2Frepo"),
        ("CORP\\alice", "CORP%5Calice"),
        ("a/../b", "a%2f..%2fb"),
        ("ten%2Fx", "ten%252Fx"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("tänant", "t%C3%A4nant"),
    ] {
        let tenant = format!("/api/v2/tenants/{encoded}");
        let database = format!("{tenant}/databases/dbx");
        for api in [&api, &chroma] {
            api.post("/api/v2/tenants", &json!({ "name": name })).ok();
            api.post(&format!("{tenant}/databases"), &json!({ "name": "dbx" }))
                .ok();
            let made = api
                .post(
                    &format!("{database}/collections"),
                    &json!({ "name": "notes" }),
                )
                .ok();
            let path = format!(
                "{database}/collections/{}",
                made["id"].as_str().expect("an id")
            );
            api.post(
                &format!("{path}/add"),
                &json!({ "ids": ["a"], "embeddings": [[1]] }),
            )
            .ok();
            assert_eq!(api.get(&format!("{path}/count")).ok(), json!(1));
            assert_eq!(api.get(&database).ok()["tenant"], json!(name));
            assert_eq!(api.get(&tenant).ok()["name"], json!(name));
        }
        databases.push(database);
    }
    let all: Vec<&str> = databases.iter().map(String::as_str).collect();
    assert_eq!(cluster.settle_in(&all).len(), 7);
    for database in &all[1..] {
        api.delete(database).ok();
        for instance in &cluster.instances {
            instance.api().get(database).refused(404);
        }
    }
    let tenants = "/api/v2/tenants";
    for path in [
        format!("{DATABASE}%2Fcollections%2Fglobal"),
        format!("{DATABASE}/collections/x%2F..%2Fglobal"),
        format!("{DATABASE}/collections%2Fglobal"),
        format!("{tenants}/default_tenant%2Fdatabases%2Fdefault_database/databases/x"),
    ] {
        assert_eq!(
            api.delete(&path).status,
            chroma.delete(&path).status,
            "{path}"
        );
    }
    assert_eq!(cluster.settle().len(), 1);
}

/// What no path could hold is not made.
#[test]
fn what_could_never_be_reached_is_not_made() {
    let cluster = Cluster::start();
    let api = cluster.api();
    for name in [
        "new\nline",
        "nul\0nul",
        "del\u{7f}",
        "next\u{85}line",
        &"ä".repeat(700),
    ] {
        let message = api
            .post("/api/v2/tenants", &json!({ "name": name }))
            .refused(400);
        assert!(message.contains("could not be reached"), "{message}");
    }
    for path in ["new%0Aline", "nul%00nul", "del%7F", "next%C2%85line"] {
        api.get(&format!("/api/v2/tenants/{path}")).refused(400);
    }
    let longest = "x".repeat(4096);
    api.post("/api/v2/tenants", &json!({ "name": longest }))
        .ok();
    api.get(&format!("/api/v2/tenants/{longest}")).ok();
}
