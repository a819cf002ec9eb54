//! P1: what is protected can't be destroyed through Achromat, by whatever name and in whatever way.

use achromat_tests::{api::DATABASE, cluster::Cluster};
use serde_json::{Value, json};

/// `global` is protected out of the box: not deleted by name, id or an instance's id, nor emptied,
/// renamed, reset, or deleted with its database. The refusal names the rule.
#[test]
fn the_protected_collection_can_not_be_destroyed() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("global");
    let body = json!({ "ids": ["one", "two"], "embeddings": [[1, 2], [2, 3]], "metadatas": [{ "k": 1 }, { "k": 1 }] });
    api.records(&id, "add", &body).ok();
    let before = cluster.settle();
    let mut names = vec![
        "global".to_owned(),
        id.clone(),
        id.to_uppercase(),
        id.replace('-', ""),
    ];
    for instance in &cluster.instances {
        let about = instance.api().get("$D/collections/global").ok();
        names.push(about["id"].as_str().expect("an id").to_owned());
    }
    let denied = |method: &str, path: &str, body: &Value| {
        let message = api.call(method, path, body).refused(403);
        assert!(
            message.contains("[global]") && message.contains("rule `global`"),
            "{message}"
        );
    };
    for name in &names {
        let path = format!("$D/collections/{name}");
        denied("DELETE", &path, &Value::Null);
        denied("PUT", &path, &json!({ "new_name": "mortal" }));
        let delete = format!("{path}/delete");
        for everything in [
            json!({ "ids": ["one", "two"] }),
            json!({ "ids": ["two", "one", "none"] }),
            json!({ "where": { "k": 1 } }),
            json!({ "where": { "k": { "$in": [1, 2] } }, "limit": 9 }),
            json!({ "where": { "$and": [] } }),
        ] {
            denied("POST", &delete, &everything);
        }
    }
    denied("DELETE", DATABASE, &Value::Null);
    denied("POST", "/api/v2/reset", &json!({}));
    assert_eq!(cluster.settle(), before);
    api.put(
        &format!("$D/collections/{id}"),
        &json!({ "new_metadata": { "v": 1 } }),
    )
    .ok();
    let deleted = api.records(&id, "delete", &json!({ "ids": ["one"] })).ok();
    assert_eq!(deleted, json!({ "deleted": 1 }));
    denied(
        "POST",
        &format!("$D/collections/{id}/delete"),
        &json!({ "ids": ["two"] }),
    );
    let after = cluster.settle();
    assert!(after[&format!("{DATABASE} global")].1.keys().eq(["two"]));
}

/// Two deletes at once, each of which leaves something over, do not empty the collection together.
#[test]
fn deletes_at_once_do_not_empty_it_together() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("global");
    let ids: Vec<_> = (0..8).map(|number| format!("r{number}")).collect();
    let embeddings: Vec<_> = (0..8).map(|number| json!([1, number])).collect();
    api.records(&id, "add", &json!({ "ids": ids, "embeddings": embeddings }))
        .ok();
    let denied = std::thread::scope(|scope| {
        let delete = |record: &String| {
            let (api, path) = (api.clone(), format!("$D/collections/{id}/delete"));
            let body = json!({ "ids": [record] });
            scope.spawn(move || api.post(&path, &body).status)
        };
        let under_way: Vec<_> = ids.iter().map(delete).collect();
        under_way
            .into_iter()
            .map(|d| d.join().expect("a client"))
            .filter(|s| *s == 403)
            .count()
    });
    assert_eq!(denied, 1);
    let contents = cluster.settle();
    assert_eq!(contents[&format!("{DATABASE} global")].1.len(), 1);
}

/// Patterns of the configuration protect like names; what they do not match is free.
#[test]
fn patterns_protect_what_they_match() {
    let cluster = Cluster::with(2, &["--guard-protected=prod_*,keep?"]);
    let api = cluster.api();
    for name in ["prod_1", "keep1", "global", "keep", "my_prod_1"] {
        api.create(name);
        let status = api.delete(&format!("$D/collections/{name}")).status;
        let is_protected = ["prod_1", "keep1"].contains(&name);
        assert_eq!(status, if is_protected { 403 } else { 200 }, "{name}");
    }
    assert_eq!(cluster.settle().len(), 2);
}

/// The contents of what is named in `guard.keep_records` and `guard.freeze_records` stay; by default only
/// the last records do.
#[test]
fn records_are_kept_where_that_is_configured() {
    let flags = [
        "--guard-keep-records=kept_*",
        "--guard-freeze-records=frozen",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let records = json!({ "ids": ["a", "b", "c"], "embeddings": [[1, 2], [2, 3], [3, 4]],
        "metadatas": [{ "k": 1 }, { "k": 1 }, { "k": 2 }] });
    let junk = json!({ "ids": ["junk"], "embeddings": [[9, 9]] });
    for name in ["global", "kept_1", "frozen"] {
        api.create(name);
        api.records(name, "add", &records).ok();
        api.records(name, "add", &junk).ok();
    }
    for (name, rule) in [("kept_1", "kept_*"), ("frozen", "frozen")] {
        let denied = |method: &str, path: &str, body: &Value| {
            let path = format!("$D/collections/{name}{path}");
            let message = api.call(method, &path, body).refused(403);
            assert!(message.contains(&format!("rule `{rule}`")), "{message}");
        };
        for delete in [
            json!({ "ids": ["a"] }),
            json!({ "ids": ["none"] }),
            json!({ "where": { "k": 1 } }),
            json!({ "where": { "k": 1 }, "limit": 1 }),
            json!({ "where_document": { "$not_contains": "x" } }),
        ] {
            denied("POST", "/delete", &delete);
        }
        denied("DELETE", "", &Value::Null);
        denied("PUT", "", &json!({ "new_name": "mortal" }));
    }
    let frozen = "$D/collections/frozen";
    let change = json!({ "ids": ["a"], "metadatas": [{ "k": null }] });
    api.post(&format!("{frozen}/update"), &change).refused(403);
    api.post(&format!("{frozen}/upsert"), &records).refused(403);
    api.put(frozen, &json!({ "new_metadata": { "v": 1 } }))
        .refused(403);
    let ef_search = json!({ "new_configuration": { "hnsw": { "ef_search": 7 } } });
    api.put(frozen, &ef_search).refused(403);
    let kept = "$D/collections/kept_1";
    api.post(&format!("{kept}/update"), &change).ok();
    api.put(kept, &json!({ "new_metadata": { "v": 1 } })).ok();
    // By default a protected collection keeps its last records only.
    api.records("global", "delete", &json!({ "ids": ["a", "b", "c"] }))
        .ok();
    api.records("global", "delete", &json!({ "ids": ["junk"] }))
        .refused(403);
    api.post("/api/v2/reset", &json!({})).refused(403);
    let contents = cluster.settle();
    let count = |name: &str| contents[&format!("{DATABASE} {name}")].1.len();
    assert_eq!(
        (count("kept_1"), count("frozen"), count("global")),
        (4, 4, 1)
    );
}
