//! Chroma's interface through Achromat: what one writes through the one address is on every
//! instance, under each one's own UUID; what Chroma refuses is refused in its words.

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    records::records,
};
use serde_json::{Value, json};

/// The collection's UUID on an instance.
fn uuid(api: &Api, name: &str) -> String {
    let about = api.get(&format!("$D/collections/{name}")).ok();
    about["id"].as_str().expect("an id").to_owned()
}

fn ids(api: &Api, collection: &str) -> Vec<String> {
    let found = api.records(collection, "get", &json!({})).ok();
    let ids = found["ids"].as_array().expect("ids").iter();
    let mut ids: Vec<_> = ids
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// N1: a collection that is made once is on every instance, under each one's own UUID, and mapped,
/// before the client is answered.
#[test]
fn a_collection_is_everywhere_before_the_answer() {
    let cluster = Cluster::with(3, &[]);
    let api = cluster.api();
    for number in 0..5 {
        let name = format!("made{number}");
        let id = api.create(&name);
        let mappings = api.get("/admin/collection_mappings").ok();
        let mappings = mappings["collection_mappings"]
            .as_array()
            .expect("mappings");
        let mapping = mappings
            .iter()
            .find(|m| m["collection_name"] == name.as_str());
        let mapping = mapping.expect("it is mapped");
        assert_eq!(mapping["status"], "complete");
        let mut uuids = vec![id];
        for (instance, place) in cluster.instances.iter().zip(["a", "b", "c"]) {
            let own = uuid(&instance.api(), &name);
            assert_eq!(mapping["instances"][place], own.as_str());
            uuids.push(own);
        }
        uuids.sort();
        uuids.dedup();
        assert_eq!(
            uuids.len(),
            4,
            "three instances and Achromat, each with its own"
        );
    }
    cluster.settle();
}

/// N2, N4: records are readable at once, and deletes hit the same records everywhere.
#[test]
fn records_and_their_deletes_are_the_same_everywhere() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let mut expected = Vec::new();
    for group in ["x", "y", "z", "w"] {
        for number in 0..5 {
            let record = format!("{group}{number}");
            let body = json!({
                "ids": [record],
                "embeddings": [[1.5, f64::from(number)]],
                "metadatas": [{ "document_id": group, "number": number }],
                "documents": [format!("word{number} of {group}")],
            });
            api.records(&id, "add", &body).ok();
            expected.push(record);
            expected.sort();
            assert_eq!(ids(&api, &id), expected, "readable at once");
        }
    }
    let mut delete = |body: Value, gone: &dyn Fn(&str) -> bool| {
        api.records(&id, "delete", &body).ok();
        expected.retain(|record| !gone(record));
        assert_eq!(ids(&api, &id), expected, "{body}");
        let contents = cluster.settle();
        let (_, held) = &contents[&format!("{DATABASE} notes")];
        assert!(held.keys().eq(expected.iter()), "{body}");
    };
    delete(json!({ "ids": ["x0", "nothing"] }), &|r| r == "x0");
    delete(json!({ "where": { "document_id": "x" } }), &|r| {
        r.starts_with('x')
    });
    delete(
        json!({ "where": { "document_id": { "$in": ["y", "q"] } } }),
        &|r| r.starts_with('y'),
    );
    delete(
        json!({ "where": { "$and": [{ "document_id": "z" }, { "number": { "$lt": 2 } }] } }),
        &|r| r == "z0" || r == "z1",
    );
    delete(
        json!({ "where_document": { "$contains": "word3" } }),
        &|r| r.ends_with('3'),
    );
    delete(
        json!({ "where": { "document_id": "w" }, "limit": 10 }),
        &|r| r.starts_with('w'),
    );
    let answer = api.records(
        &id,
        "delete",
        &json!({ "where": { "document_id": "w" }, "limit": 1 }),
    );
    assert_eq!(answer.ok(), json!({ "deleted": 0 }));
}

/// Updates and upserts, with all that a record can have, end up the same everywhere.
#[test]
fn updates_and_upserts_are_the_same_everywhere() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let full = json!({
        "ids": ["a", "b"],
        "embeddings": [[1, 2, 3], [4, 5, 6]],
        "metadatas": [{ "s": "text", "i": 9_007_199_254_740_993_i64, "f": 0.1, "b": true }, null],
        "documents": ["grüße", null],
        "uris": [null, "file:///b"],
    });
    api.records(&id, "add", &full).ok();
    let change =
        json!({ "ids": ["a", "missing"], "metadatas": [{ "s": null, "n": 1 }, { "n": 2 }] });
    api.records(&id, "update", &change).ok();
    let upsert = json!({ "ids": ["b", "c"], "embeddings": [[7, 8, 9], [0, 0, 1]], "metadatas": [{ "n": 3 }, null] });
    api.records(&id, "upsert", &upsert).ok();
    let base64 = json!({ "ids": ["d"], "embeddings": ["AACAPwAAAEAAAEBA"] });
    api.records(&id, "upsert", &base64).ok();
    let contents = cluster.settle();
    let (_, held) = &contents[&format!("{DATABASE} notes")];
    assert_eq!(held.len(), 4);
    assert_eq!(
        held["a"][2]["i"],
        json!(9_007_199_254_740_993_i64),
        "numbers keep every digit"
    );
    assert_eq!(held["a"][2].get("s"), None);
    assert_eq!(held["d"][0], json!([1.0, 2.0, 3.0]));
}

/// N7: a path may name a collection by id, by any instance's id in any spelling, or by name.
#[test]
fn a_collection_is_reached_by_each_of_its_names() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let body = json!({ "ids": ["one"], "embeddings": [[1, 2]] });
    api.records("notes", "add", &body).ok();
    let mut names = vec!["notes".to_owned(), id.clone()];
    for instance in &cluster.instances {
        names.push(uuid(&instance.api(), "notes"));
    }
    names.push(id.replace('-', ""));
    names.push(id.to_uppercase());
    for name in &names {
        assert_eq!(ids(&api, name), ["one"]);
        assert_eq!(
            api.get(&format!("$D/collections/{name}/count")).ok(),
            json!(1)
        );
        for path in [
            format!("$D/collections/{name}"),
            format!("$D/collections/by-id/{name}"),
        ] {
            let about = api.get(&path).ok();
            assert_eq!(
                (&about["id"], &about["name"]),
                (&json!(id), &json!("notes")),
                "{path}"
            );
        }
    }
    for name in names {
        let path = format!("$D/collections/{name}");
        let metadata = json!({ "new_metadata": { "by": name } });
        api.put(&path, &metadata).ok();
    }
    cluster.settle();
}

/// A collection of another tenant or database is not found, whatever Chroma would say.
#[test]
fn tenants_and_databases_are_kept_apart() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.post("/api/v2/tenants", &json!({ "name": "other" }))
        .ok();
    let databases = "/api/v2/tenants/other/databases";
    api.post(databases, &json!({ "name": "theirs" })).ok();
    let id = api.create("notes");
    api.records(
        &id,
        "add",
        &json!({ "ids": ["one"], "embeddings": [[1, 2]] }),
    )
    .ok();
    let direct = cluster.instances[0].api();
    let own = uuid(&direct, "notes");
    for reference in [id.as_str(), own.as_str(), "notes"] {
        let elsewhere = format!("{databases}/theirs/collections/{reference}");
        api.get(&format!("{elsewhere}/count")).refused(404);
        api.get(&elsewhere).refused(404);
        api.post(&format!("{elsewhere}/get"), &json!({}))
            .refused(404);
        api.post(&format!("{elsewhere}/delete"), &json!({ "ids": ["one"] }))
            .refused(404);
        api.delete(&elsewhere).refused(404);
        api.put(&elsewhere, &json!({ "new_name": "mine" }))
            .refused(404);
    }
    let at_chroma = direct.get(&format!("{databases}/theirs/collections/{own}/count"));
    assert_eq!(
        at_chroma.status, 200,
        "Chroma does not keep them apart itself"
    );
    assert_eq!(ids(&api, &id), ["one"]);
    cluster.settle_in(&[DATABASE, "/api/v2/tenants/other/databases/theirs"]);
}

/// N6: tenants, databases, renames, metadata and configuration are the same everywhere, and a
/// database has one id whichever instance answers.
#[test]
fn everything_about_collections_is_replicated() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.post("/api/v2/tenants", &json!({ "name": "acme" })).ok();
    api.post("/api/v2/tenants/acme/databases", &json!({ "name": "cms" }))
        .ok();
    let database = "/api/v2/tenants/acme/databases/cms";
    let made = json!({ "name": "pages", "metadata": { "k": 1 }, "configuration": { "hnsw": { "space": "cosine" } } });
    let made = api.post(&format!("{database}/collections"), &made).ok();
    let path = format!(
        "{database}/collections/{}",
        made["id"].as_str().expect("an id")
    );
    let body = json!({ "new_name": "articles", "new_metadata": { "v": 2 } });
    api.put(&path, &body).ok();
    let body = json!({ "new_configuration": { "hnsw": { "ef_search": 77 } } });
    api.put(&path, &body).ok();
    let about = api.get(&format!("{database}/collections/articles")).ok();
    assert_eq!(about["metadata"], json!({ "v": 2 }));
    assert_eq!(about["configuration_json"]["hnsw"]["ef_search"], 77);
    assert_eq!(about["configuration_json"]["hnsw"]["space"], "cosine");
    api.get(&format!("{database}/collections/pages"))
        .refused(404);
    let ids: Vec<_> = (0..10)
        .map(|_| api.get(database).ok()["id"].clone())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let listed = api.get("/api/v2/tenants/acme/databases").ok();
    assert_eq!(listed[0]["id"], ids[0]);
    let contents = cluster.settle_in(&[DATABASE, database]);
    assert_eq!(contents.len(), 1);
    api.delete(database).ok();
    for instance in &cluster.instances {
        instance.api().get(database).refused(404);
    }
    api.get(&format!("{database}/collections/articles"))
        .refused(404);
    assert_eq!(api.get("/collection/mappings").ok()["count"], 0);
}

/// N5: what is listed is what there is, in one order, in pages that fit together; what somebody
/// made behind Achromat's back is not listed.
#[test]
fn lists_are_ordered_and_without_strangers() {
    let cluster = Cluster::with(2, &["--reads-strategy=round_robin"]);
    let api = cluster.api();
    let names: Vec<_> = (0..9)
        .map(|number| format!("c{}", (number * 7) % 9 + 100))
        .collect();
    for name in &names {
        api.create(name);
    }
    cluster.instances[0].api().create("stranger");
    for _ in 0..4 {
        assert_eq!(api.names(), names, "in the order in which they were made");
        let mut paged = Vec::new();
        for page in 0..3 {
            let path = format!("$D/collections?limit=4&offset={}", page * 4);
            let list = api.get(&path).ok();
            let list = list.as_array().expect("a list").iter();
            paged.extend(list.map(|c| c["name"].as_str().expect("a name").to_owned()));
        }
        assert_eq!(paged, names);
        assert_eq!(api.get("$D/collections_count").ok(), json!(9));
    }
    api.get("$D/collections/stranger").refused(404);
    api.delete("$D/collections/c100").ok();
    api.delete("$D/collections/c100").refused(404);
    assert!(!api.names().contains(&"c100".to_owned()));
    for instance in &cluster.instances {
        instance.api().get("$D/collections/c100").refused(404);
    }
}

/// A name that is deleted and made again is a new collection, with nothing of the old one.
#[test]
fn a_name_made_again_is_a_new_collection() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let mut seen = Vec::new();
    for round in 0..5 {
        let id = api.create("again");
        assert!(!seen.contains(&id));
        let body = json!({ "ids": [format!("r{round}")], "embeddings": [[1, round]] });
        api.records(&id, "add", &body).ok();
        for old in &seen {
            api.records(old, "add", &body).refused(404);
        }
        assert_eq!(ids(&api, "again"), [format!("r{round}")]);
        api.delete("$D/collections/again").ok();
        seen.push(id);
    }
    assert!(cluster.settle().is_empty());
}

/// N6: a reset empties every instance that allows it, when nothing is protected.
#[test]
fn a_reset_empties_every_instance() {
    let cluster = Cluster::with(2, &["--guard-protected="]);
    let api = cluster.api();
    let id = api.create("global");
    api.records(
        &id,
        "add",
        &json!({ "ids": ["one"], "embeddings": [[1, 2]] }),
    )
    .ok();
    assert_eq!(api.post("/api/v2/reset", &json!({})).ok(), json!(true));
    assert!(api.names().is_empty());
    assert!(cluster.settle().is_empty());
    let again = api.create("global");
    assert_ne!(again, id);
    assert_eq!(api.get("$D/collections/global/count").ok(), json!(0));
}

/// What Chroma says with its own ids in it, with those replaced.
///
/// As sorted words: Chroma writes JSON in a random order of keys, within its messages too.
fn said(api: &Api, method: &str, path: &str, body: &Value, collection: &str) -> (u16, Vec<String>) {
    let answer = api.call(
        method,
        &path.replace("$C", &format!("$D/collections/{collection}")),
        body,
    );
    let text = answer.body.to_string().replace(collection, "ID");
    let mut words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || "{},".contains(c))
        .map(str::to_owned)
        .collect();
    words.sort();
    (answer.status, words)
}

/// N8: a request that Chroma refuses is refused by Achromat with the same status and the same
/// words, and nothing is changed by it.
#[test]
#[allow(clippy::too_many_lines, reason = "one row for each case")]
fn refusals_are_chromas_own() {
    let cluster = Cluster::start();
    let folder = folder();
    let single = Chroma::start(&folder.path().join("single"));
    let (achromat, chroma) = (cluster.api(), single.api());
    let mut collections = Vec::new();
    for api in [&achromat, &chroma] {
        let id = api.create("notes");
        api.create("taken");
        api.records(
            &id,
            "add",
            &json!({ "ids": ["one", "two"], "embeddings": [[1, 2], [2, 3]] }),
        )
        .ok();
        collections.push(id);
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    let cases = [
        ("POST", "$D/collections", json!({ "name": "notes" })),
        ("POST", "$D/collections", json!({ "name": "a" })),
        ("POST", "$D/collections", json!({ "name": "a b c" })),
        ("POST", "$D/collections", json!({ "get_or_create": true })),
        ("POST", "$D/collections", json!("{")),
        (
            "POST",
            "$D/collections",
            json!({ "name": "abc", "metadata": {} }),
        ),
        (
            "POST",
            "$D/collections",
            json!({ "name": "abc", "configuration": { "hnsw": { "space": "x" } } }),
        ),
        (
            "POST",
            "/api/v2/tenants/nobody/databases/none/collections",
            json!({ "name": "abc" }),
        ),
        (
            "POST",
            "/api/v2/tenants",
            json!({ "name": "default_tenant" }),
        ),
        ("POST", "/api/v2/tenants", json!({ "name": "x" })),
        (
            "POST",
            "/api/v2/tenants/default_tenant/databases",
            json!({ "name": "default_database" }),
        ),
        (
            "DELETE",
            "/api/v2/tenants/default_tenant/databases/none",
            Value::Null,
        ),
        ("GET", "/api/v2/tenants/nobody", Value::Null),
        (
            "GET",
            "/api/v2/tenants/default_tenant/databases/none",
            Value::Null,
        ),
        ("GET", "$D/collections/none", Value::Null),
        ("DELETE", "$D/collections/none", Value::Null),
        ("GET", "$D/collections?limit=-1", Value::Null),
        ("GET", "$D/collections?limit=1&limit=2", Value::Null),
        (
            "GET",
            "$D/collections/by-id/00000000-0000-4000-8000-000000000000",
            Value::Null,
        ),
        ("PUT", "$C", json!({ "new_name": "taken" })),
        ("PUT", "$C", json!({ "new_name": "x" })),
        ("PUT", "$C", json!({ "new_metadata": {} })),
        ("POST", "$C/add", json!("{")),
        ("POST", "$C/add", json!({ "ids": ["x"] })),
        ("POST", "$C/add", json!({ "ids": 5 })),
        (
            "POST",
            "$C/add",
            json!({ "ids": ["x"], "embeddings": [[1, 2, 3]] }),
        ),
        (
            "POST",
            "$C/add",
            json!({ "ids": ["x", "y"], "embeddings": [[1, 2]] }),
        ),
        (
            "POST",
            "$C/add",
            json!({ "ids": [""], "embeddings": [[1, 2]] }),
        ),
        (
            "POST",
            "$C/add",
            json!({ "ids": ["x"], "embeddings": [[1, 2]], "metadatas": [{ "a": { "b": 1 } }] }),
        ),
        (
            "POST",
            "$C/upsert",
            json!({ "ids": ["x"], "embeddings": ["not base64"] }),
        ),
        (
            "POST",
            "$C/update",
            json!({ "ids": ["one"], "embeddings": [[1, 2, 3]] }),
        ),
        ("POST", "$C/delete", json!({ "limit": 1 })),
        ("POST", "$C/delete", json!({ "ids": [] })),
        ("POST", "$C/delete", json!({ "where": {} })),
        ("POST", "$C/delete", json!({ "where": { "$bad": 1 } })),
        (
            "POST",
            "$C/delete",
            json!({ "where": { "$bad": 1 }, "limit": 1 }),
        ),
        ("POST", "$C/get", json!({ "limit": -1 })),
        (
            "POST",
            "$C/query",
            json!({ "query_embeddings": [[1, 2, 3]] }),
        ),
        ("POST", "$C/query", json!({})),
        ("GET", "$C/count?read_level=bad", Value::Null),
        ("POST", "$C/fork", json!({ "new_name": "forked" })),
        ("GET", "$C/fork_count", Value::Null),
        ("POST", "$C/search", json!({ "searches": [] })),
        ("GET", "$C/indexing_status", Value::Null),
        (
            "POST",
            "$C/functions/attach",
            json!({ "name": "f", "function_id": "x", "output_collection": "o" }),
        ),
        ("GET", "/api/v1/heartbeat", Value::Null),
    ];
    for (method, path, body) in &cases {
        let ours = said(&achromat, method, path, body, &collections[0]);
        let theirs = said(&chroma, method, path, body, &collections[1]);
        assert!(
            theirs.0 >= 400,
            "{method} {path} {body} is not refused: {theirs:?}"
        );
        assert_eq!(ours, theirs, "{method} {path} {body}");
    }
    for act in ["add", "update", "upsert", "get", "query", "delete"] {
        let body = json!({ "ids": ["x"], "embeddings": [[1, 2]], "query_embeddings": [[1, 2]] });
        let path = format!("$D/collections/{unknown}/{act}");
        let ours = achromat.post(&path, &body);
        let theirs = chroma.post(&path, &body);
        assert_eq!(
            (ours.status, ours.body),
            (theirs.status, theirs.body),
            "{act}"
        );
    }
    let contents = cluster.settle();
    assert_eq!(contents.len(), 2);
    let (about, held) = &contents[&format!("{DATABASE} notes")];
    assert_eq!((held.len(), &about[0]), (2, &Value::Null));
    let own = uuid(&chroma, "notes");
    assert_eq!(records(&chroma, DATABASE, &own).expect("records"), *held);
}

/// A refused write can set a collection's dimension in Chroma. It does so on every instance, so
/// that they go on refusing and accepting the same.
#[test]
fn a_refusal_that_leaves_a_trace_leaves_it_everywhere() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(
        &id,
        "add",
        &json!({ "ids": ["x", "y"], "embeddings": [[1, 2, 3]] }),
    )
    .refused(400);
    let contents = cluster.settle();
    assert_eq!(
        contents[&format!("{DATABASE} notes")].0[1],
        json!(3),
        "Chroma 1.5.9 does so"
    );
    api.records(&id, "add", &json!({ "ids": ["x"], "embeddings": [[1, 2]] }))
        .refused(400);
    api.records(
        &id,
        "add",
        &json!({ "ids": ["x"], "embeddings": [[1, 2, 3]] }),
    )
    .ok();
    assert_eq!(cluster.settle()[&format!("{DATABASE} notes")].1.len(), 1);
}

/// A request that makes Chroma close the connection is answered 502 after two instances, and no
/// instance is held for dead.
#[test]
fn a_poisonous_read_is_answered_502() {
    let cluster = Cluster::with(3, &[]);
    let api = cluster.api();
    api.create("notes");
    let path = "/api/v2/collections/default_tenant:default_database:notes";
    for _ in 0..3 {
        let message = api.get(path).refused(502);
        assert!(message.contains("2 instance(s)"), "{message}");
        assert_eq!(api.get("$D/collections/notes/count").ok(), json!(0));
        assert_eq!(api.get("/status").ok()["healthy_instances"], 3);
    }
    let direct = cluster.instances[0].api();
    assert!(
        direct.try_call("GET", path, &Value::Null).is_err(),
        "Chroma 1.5.9 does so"
    );
}

/// N3: reads are spread as the strategy says, and the counts per instance can be seen. Those without a
/// body take turns; searches and gets go by what they ask for, so that many different ones are spread.
#[test]
fn reads_are_spread_over_the_instances() {
    let shares = |strategy: &str| {
        let cluster = Cluster::with(2, &[&format!("--reads-strategy={strategy}")]);
        let api = cluster.api();
        let id = api.create("notes");
        let counts = || -> Vec<u64> {
            let list = api.get("/admin/instances").ok();
            let list = list["instances"].as_array().expect("instances").iter();
            list.map(|i| i["request_count"].as_u64().expect("a count"))
                .collect()
        };
        cluster.settle();
        let before = counts();
        for _ in 0..100 {
            api.get(&format!("$D/collections/{id}/count")).ok();
        }
        let between = counts();
        for number in 0..200 {
            let ids = json!({ "ids": [number.to_string()] });
            api.records(&id, "get", &ids).ok();
        }
        let after = counts();
        let gets = (after[0] - between[0], after[1] - between[1]);
        match strategy {
            // Six standard deviations of 200 throws of a coin.
            "round_robin" => assert!(gets.0.abs_diff(100) < 43, "{gets:?}"),
            "read_replica" => assert!(gets.0.abs_diff(40) < 35, "{gets:?}"),
            _ => assert_eq!(gets, (200, 0)),
        }
        (between[0] - before[0], between[1] - before[1])
    };
    assert_eq!(shares("round_robin"), (50, 50));
    assert_eq!(shares("read_replica"), (20, 80));
    assert_eq!(shares("primary_only"), (100, 0));
}
