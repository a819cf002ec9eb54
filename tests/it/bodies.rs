//! What was judged is what is sent: odd bodies mean to Achromat what they mean to Chroma, or are refused.

use achromat_tests::{
    api::{Answer, Api},
    chroma::Chroma,
    cluster::{Cluster, folder},
};
use serde_json::{Value, json};

/// An Achromat over two servers, and one server beside it that is asked directly.
fn beside() -> (Cluster, Chroma, tempfile::TempDir) {
    let folder = folder();
    let single = Chroma::start(&folder.path().join("single"));
    (Cluster::start(), single, folder)
}

/// What an answer says, as sorted words: Chroma writes the keys within its messages in random order.
fn said(answer: &Answer) -> (u16, Vec<String>) {
    let text = answer.body["message"].as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| answer.body.to_string());
    let mut words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || "{},".contains(c))
        .map(str::to_owned)
        .collect();
    words.sort();
    (answer.status, words)
}

fn raw(body: &str) -> Value {
    Value::String(body.to_owned())
}

/// Chroma takes positional arrays where it expects objects; Achromat takes none, so that neither the
/// servers nor the catalog change behind the other's back.
#[test]
fn a_positional_array_is_refused_and_changes_nothing() {
    let (cluster, single, _folder) = beside();
    let (api, chroma) = (cluster.api(), single.api());
    let (ours, theirs) = (api.create("notes"), chroma.create("notes"));
    api.create("global");
    api.records(
        &ours,
        "add",
        &json!({ "ids": ["a"], "embeddings": [[1, 2]] }),
    )
    .ok();
    let cases = [
        ("POST", "/api/v2/tenants", r#"["tenant"]"#, 200),
        (
            "POST",
            "/api/v2/tenants/default_tenant/databases",
            r#"["database"]"#,
            200,
        ),
        (
            "PATCH",
            "/api/v2/tenants/default_tenant",
            r#"["resource"]"#,
            200,
        ),
        (
            "POST",
            "$D/collections",
            r#"["made",null,null,null,false]"#,
            200,
        ),
        (
            "POST",
            "$D/collections",
            r#" ["notes",null,null,null,true]"#,
            200,
        ),
        (
            "POST",
            "$D/collections",
            r#"["achromat-trash.1.2.x",null,null,null,false]"#,
            200,
        ),
        ("PUT", "$C", r#"["renamed",null,null]"#, 200),
        ("PUT", "$C", "\n[null,null,null]", 200),
        ("POST", "$C/add", r#"[["b"],[[1,2]],null,null,null]"#, 201),
        (
            "POST",
            "$C/upsert",
            r#"[["b"],[[1,2]],null,null,null]"#,
            200,
        ),
        (
            "POST",
            "$C/update",
            r#"[["a"],[[3,4]],null,null,null]"#,
            200,
        ),
        ("POST", "$C/delete", r#"[["a"],null,null,null]"#, 422),
        ("POST", "$C/get", r#"[["a"]]"#, 422),
        ("POST", "$C/fork", r#"["forked"]"#, 501),
        ("POST", "$C/attached_functions/f/detach", "[true]", 501),
    ];
    for (method, path, body, at_chroma) in cases {
        let there = path.replace("$C", &format!("$D/collections/{theirs}"));
        assert_eq!(
            chroma.call(method, &there, &raw(body)).status,
            at_chroma,
            "{path} {body}"
        );
        for name in [ours.as_str(), "notes"] {
            let here = path.replace("$C", &format!("$D/collections/{name}"));
            let message = api.call(method, &here, &raw(body)).refused(422);
            assert!(message.contains("invalid type: sequence"), "{message}");
        }
    }
    let put = "$D/collections/global";
    api.put(put, &raw(r#"["mortal",null,null]"#)).refused(422);
    assert_eq!(api.names(), ["notes", "global"]);
    api.get("/api/v2/tenants/tenant").refused(404);
    let contents = cluster.settle();
    assert_eq!(contents.len(), 2, "{contents:?}");
    // The catalog and the servers still mean the same by a name.
    api.delete("$D/collections/notes").ok();
    api.create("renamed");
    for instance in &cluster.instances {
        let mut names = instance.api().names();
        names.sort();
        assert_eq!(names, ["global", "renamed"]);
    }
}

/// Duplicate keys, escapes, other spellings, byte order marks, text behind the object and the like are
/// taken and refused as Chroma takes and refuses them, in its words.
#[test]
fn odd_bodies_are_answered_as_by_one_chroma() {
    let (cluster, single, _folder) = beside();
    let (achromat, chroma) = (cluster.api(), single.api());
    let (ours, theirs) = (achromat.create("notes"), chroma.create("notes"));
    let deep = format!(
        r#"{{"name":"deep","x":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let create = [
        r#"{"name":"one","name":"two"}"#,
        r#"{"Name":"one"}"#,
        r#"{"n\u0061me":"escaped","zzz":1,"zzz":2}"#,
        "\u{feff}{\"name\":\"marked\"}",
        r#"{"name":"behind"} x"#,
        "  {\"name\":\"white\"}\n\n",
        r#"{"name":null}"#,
        r#"{"name":7}"#,
        r#"{"name":"nan","x":NaN}"#,
        r#"{"name":"huge","x":1e999}"#,
        r#"{"name":"lone","x":"\ud800"}"#,
        r#"{"name":"lo\ud800ne"}"#,
        r#"{"name":"flag","get_or_create":null}"#,
        r#"{"name":"flag","get_or_create":1}"#,
        r#"{"name":"flag","get_or_create":true,"get_or_create":false}"#,
        r#"{"name":"again","get_or_cr\u0065ate":true}"#,
        r#"{"name":"nested","configuration":[null,null,null]}"#,
        "null",
        "5",
        "{}",
        "{",
        "",
        &deep,
    ];
    for body in create {
        let answers = [&achromat, &chroma].map(|api| api.post("$D/collections", &raw(body)));
        let [ours, theirs] = answers;
        assert_eq!(ours.status, theirs.status, "{body}: {ours:?} {theirs:?}");
        if theirs.status != 200 {
            assert_eq!(said(&ours), said(&theirs), "{body}");
        }
    }
    let modify = [
        r#"{"new_name":"one","new_name":"two"}"#,
        r#"{"new_name":7}"#,
        r#"{"new_name":null}"#,
        r#"{"NEW_NAME":"other"}"#,
        r#"{"new_nam\u0065":"other"}"#,
        r#"{"new_name":"again"}"#,
        "null",
        "{}",
        "",
    ];
    for body in modify {
        let put = |api: &Api, id: &str| api.put(&format!("$D/collections/{id}"), &raw(body));
        let (ours, theirs) = (put(&achromat, &ours), put(&chroma, &theirs));
        assert_eq!(said(&ours), said(&theirs), "{body}");
    }
    let names = |api: &Api| {
        let mut names = api.names();
        names.sort();
        names
    };
    assert_eq!(names(&achromat), names(&chroma));
    cluster.settle();
    for instance in &cluster.instances {
        assert_eq!(names(&instance.api()), names(&chroma));
    }
}

/// Content types are taken and refused as Chroma takes and refuses them; the body is judged all the same.
#[test]
fn content_types_are_answered_as_by_one_chroma() {
    let (cluster, single, _folder) = beside();
    for (number, content_type) in [
        "application/json; charset=utf-8",
        "application/vnd.x+json",
        "APPLICATION/JSON",
        "text/plain",
        "application/jsonp",
        "application/json, text/plain",
    ]
    .iter()
    .enumerate()
    {
        let answers = [cluster.api(), single.api()].map(|api| {
            let body = format!(r#"{{"name":"typed-{number}"}}"#);
            post_as(&api, content_type, &body)
        });
        assert_eq!(answers[0], answers[1], "{content_type}");
        let array = post_as(
            &cluster.api(),
            content_type,
            r#"["x1y",null,null,null,false]"#,
        );
        assert!(array >= 400, "{content_type}");
    }
    assert_eq!(cluster.api().names(), ["typed-0", "typed-1", "typed-2"]);
    cluster.settle();
}

fn post_as(api: &Api, content_type: &str, body: &str) -> u16 {
    let path = format!(
        "{}{}/collections",
        api.base(),
        achromat_tests::api::DATABASE
    );
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let request = agent.post(path).header("content-type", content_type);
    request.send(body).expect("an answer").status().as_u16()
}

/// The same without lines and columns: Chroma's type of a delete has a part that it reads at the end.
fn without_place((status, mut words): (u16, Vec<String>)) -> (u16, Vec<String>) {
    words.retain(|word| word.parse::<u32>().is_err());
    (status, words)
}

/// Bodies of deletes, of all kinds.
const DELETES: [&str; 40] = [
    r#"{"ids":["1","3"],"limit":5}"#,
    r#"{"ids":["1","3"],"limit":null}"#,
    r#"{"ids":["1"],"where":{"k":1},"limit":5}"#,
    r#"{"ids":["1"],"where":null,"limit":5}"#,
    r#"{"where":{"k":1},"limit":0}"#,
    r#"{"where":{"k":1},"limit":-1}"#,
    r#"{"where":{"k":1},"limit":1.0}"#,
    r#"{"where":{"k":1},"limit":4294967295}"#,
    r#"{"where":{"k":1},"limit":4294967296}"#,
    r#"{"where":{"k":1},"limit":99999999999999999999999}"#,
    r#"{"where":{"k":1},"limit":"1"}"#,
    r#"{"where":{"k":1},"limit":1}"#,
    r#"{"where":{"k":1},"limit":1,"limit":2}"#,
    r#"{"where":{"k":9},"limit":1}"#,
    r#"{"limit":1}"#,
    "{}",
    r#"{"ids":[]}"#,
    r#"{"ids":[],"limit":1}"#,
    r#"{"ids":[],"where":{"k":1}}"#,
    r#"{"ids":[],"where":{"k":1},"limit":2}"#,
    r#"{"ids":["1","4"],"where":{"k":1}}"#,
    r#"{"ids":["nope"],"where":{"k":1},"limit":2}"#,
    r#"{"ids":["1","1"]}"#,
    r#"{"ids":[1]}"#,
    r#"{"ids":"1"}"#,
    r#"{"ids":["1"],"ids":["2"]}"#,
    r#"{"where":null,"where":{"k":1}}"#,
    r#"{"wher\u0065":{"k":2}}"#,
    r#"{"where":5,"limit":2}"#,
    r#"{"ids":["1"],"where":5,"limit":2}"#,
    r#"{"where":{},"ids":["1"],"limit":1}"#,
    r#"{"where":{"k":{"$foo":1}},"limit":2}"#,
    r#"{"where":{"k":{"$in":[]}},"limit":3}"#,
    r#"{"where":{"$and":[]},"limit":2}"#,
    r#"{"where_document":{"$not_contains":"x"},"limit":1}"#,
    r#"{"where_document":7,"limit":1}"#,
    r#"{"where":{"k":1},"limit":1,"offset":1,"zzz":[]}"#,
    "null",
    "[]",
    "",
];

/// Four records, and one more that keeps a protected collection from being emptied.
fn filled(api: &Api, name: &str) -> String {
    let id = api.create(name);
    let records = json!({
        "ids": ["1", "2", "3", "4", "last"],
        "embeddings": [[1, 2], [1, 3], [1, 4], [1, 5], [1, 6]],
        "metadatas": [{ "k": 1 }, { "k": 1 }, { "k": 2 }, null, null],
    });
    api.records(&id, "add", &records).ok();
    id
}

fn left(api: &Api, collection: &str) -> Value {
    let found = api.records(collection, "get", &json!({ "include": [] }));
    found.ok()["ids"].clone()
}

/// A delete is refused where Chroma refuses it, with its words, and otherwise hits what Chroma would hit,
/// also where Achromat rewrites it, and in a protected collection.
#[test]
fn odd_deletes_are_answered_as_by_one_chroma() {
    let folder = folder();
    let single = Chroma::start(&folder.path().join("single"));
    let cluster = Cluster::with(2, &["--guard-protected=prod_*"]);
    let (achromat, chroma) = (cluster.api(), single.api());
    for (number, body) in DELETES.iter().enumerate() {
        for prefix in ["notes", "prod_"] {
            let name = format!("{prefix}{number}");
            let (ours, theirs) = (filled(&achromat, &name), filled(&chroma, &name));
            let answers = [(&achromat, &ours), (&chroma, &theirs)].map(|(api, id)| {
                let answer = api.records(id, "delete", &raw(body));
                (said(&answer), left(api, id))
            });
            // Which of several records a limit hits is the same here: they were added in one order.
            assert_eq!(
                answers[0].1, answers[1].1,
                "{name} {body}: {:?}",
                answers[0].0
            );
            let [ours, theirs] = answers.map(|(said, _)| without_place(said));
            if *body == "[]" {
                assert_eq!(ours.0, theirs.0);
            } else {
                assert_eq!(ours, theirs, "{name} {body}");
            }
            achromat.delete(&format!("$D/collections/{name}"));
            chroma.delete(&format!("$D/collections/{name}")).ok();
        }
    }
    cluster.settle();
}
