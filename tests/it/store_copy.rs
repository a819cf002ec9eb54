//! `achromat store copy`: a proxy goes on with another store where it stopped with the first one, and what can't be
//! copied is refused. What instances have is read from each by its own UUID.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    authority::Authority,
    chroma::Chroma,
    cluster::{NAMES, folder},
    postgres::Postgres,
    proxy::{Proxy, achromat},
    records::{Contents, contents, difference},
    wait::eventually,
};
use serde_json::{Value, json};

use crate::plugins::{decides, keep, swap};

const PATIENCE: Duration = Duration::from_secs(120);

/// A database of a tenant whose name needs encoding everywhere; Chroma takes no odd names of anything else.
const ODD: &str = "/api/v2/tenants/k%C3%A4se%20%27%F0%9F%A7%80%27/databases/odd";

/// Runs the command; returns its exit code, its words, and what it tells on standard error.
fn store_copy(arguments: &[&str]) -> (i32, String, String) {
    let output = achromat(&["store", "copy"])
        .args(arguments)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let told = text(output.stderr);
    assert!(!told.contains("panicked"), "{told}");
    (
        output.status.code().expect("a code"),
        text(output.stdout),
        told,
    )
}

/// Copies what can be copied; returns the number of rows of each table.
#[track_caller]
fn copied(from: &str, to: &str) -> Value {
    let (code, out, told) = store_copy(&[from, to, "--json"]);
    assert_eq!(code, 0, "{out}{told}");
    let comparison: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(comparison["is_equal"], true, "{out}");
    let tables = comparison["tables"].as_array().expect("tables").iter();
    let rows = tables.map(|table| {
        assert_eq!(table["rows"], table["copied_rows"], "{table}");
        (
            table["table"].as_str().expect("a name").to_owned(),
            table["rows"].clone(),
        )
    });
    Value::Object(rows.collect())
}

#[track_caller]
fn refused(arguments: &[&str], reason: &str) {
    let (code, out, told) = store_copy(arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{told}");
    assert!(told.contains(reason), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Two servers, and a proxy with one store after the other.
struct Place {
    instances: Vec<Chroma>,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let names = NAMES.into_iter().take(2);
        let instances = names.map(|name| Chroma::start(&folder.path().join(name)));
        let instances = instances.collect();
        Self { instances, folder }
    }

    /// A proxy with this store. Writes count as done once they are in the log.
    fn proxy(&self, name: &str, store: &str) -> Proxy {
        let own = self.folder.path().join(name);
        std::fs::create_dir(&own).expect("a folder");
        let named: Vec<_> = NAMES.into_iter().zip(&self.instances).collect();
        let flags = [&format!("--store={store}"), "--writes-records-level=logged"];
        let proxy = Proxy::start(&own, &named, &flags);
        proxy.wait_ready();
        proxy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Contents of an instance.
    fn held(&self, place: usize) -> Contents {
        contents(&self.instances[place].api(), &[DATABASE, ODD]).expect("it can be read")
    }

    /// Waits until nothing is owed; both instances hold the same then.
    fn settle(&self, api: &Api) -> Contents {
        api.wait_nothing_owed(PATIENCE);
        let held = self.held(0);
        assert_eq!(difference(&held, &self.held(1)), None);
        held
    }
}

fn add(api: &Api, collection: &str, id: &str) -> Answer {
    let body = json!({ "ids": [id], "embeddings": [[1, 2]], "documents": [format!("text of {id} \u{1f600}")] });
    api.records(collection, "add", &body)
}

fn said(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.body.clone())
}

/// Collections, records, a deleted and a renamed collection, a tenant with an odd name, keys, and a version of a
/// plugin that decides. Returns the id of a collection.
fn fill(api: &Api) -> String {
    let notes = api.create("notes");
    add(api, &notes, "a").ok();
    let made = api
        .under("creation")
        .post("$D/collections", &json!({ "name": "before" }));
    let id = made.ok()["id"].as_str().expect("an id").to_owned();
    api.put(
        &format!("$D/collections/{id}"),
        &json!({ "new_name": "after" }),
    )
    .ok();
    api.create("deleted");
    api.delete("$D/collections/deleted").ok();
    let (tenant, _) = ODD.split_once("/databases/").expect("its tenant");
    api.post("/api/v2/tenants", &json!({ "name": "käse '\u{1f9c0}'" }))
        .ok();
    api.post(&format!("{tenant}/databases"), &json!({ "name": "odd" }))
        .ok();
    api.post(&format!("{ODD}/collections"), &json!({ "name": "odd" }))
        .ok();
    keep(api, "good");
    swap(api, "good");
    notes
}

/// Writes that one instance takes, another one owes, and none can take: a large one and a small one, a deletion, and
/// one that is accepted while no instance is there and is refused later.
fn write_while_away(place: &mut Place, api: &Api, notes: &str) {
    for instance in &mut place.instances {
        instance.kill();
    }
    let wait_down = |name: &str| {
        eventually("it is down", PATIENCE, || {
            let status = api.get("/status").ok();
            let instances = status["instances"].as_array().expect("instances");
            let mut of_name = instances.iter().filter(|i| i["name"] == name);
            let is_down = of_name.any(|i| i["state"] == "down");
            if is_down {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    };
    wait_down("a");
    wait_down("b");
    let refused_later = json!({ "ids": ["bad"], "embeddings": [[1, 2, 3]] });
    api.records(notes, "add", &refused_later).ok();
    place.instances[0].up();
    wait_letters(api);
    let large =
        json!({ "ids": ["large"], "embeddings": [[1, 2]], "documents": ["x".repeat(3_000_000)] });
    api.records(notes, "add", &large).ok();
    add(&api.under("owed"), notes, "owed").ok();
    api.records(notes, "delete", &json!({ "ids": ["a"] })).ok();
}

fn wait_letters(api: &Api) {
    eventually("one letter is there", PATIENCE, || {
        let list = api.get("/admin/letters").ok();
        if list["letter_count"] == 1 {
            Ok(())
        } else {
            Err(list.to_string())
        }
    });
}

/// Facts that a store keeps, as operators see them.
fn kept(api: &Api) -> Value {
    let fields = |path: &str, list: &str, names: &[&str]| -> Value {
        let all = api.get(path).ok()[list].clone();
        let all = all
            .as_array()
            .unwrap_or_else(|| panic!("{path} has no {list}"))
            .iter();
        let chosen = all.map(|one| names.iter().map(|name| one[*name].clone()).collect());
        chosen.collect::<Vec<Value>>().into()
    };
    json!({
        "letters": fields("/admin/letters", "letters", &["id", "reason", "collection_name", "body_bytes"]),
        "writes": fields("/admin/writes", "writes", &["number", "begun_at_ms", "action", "collection", "key"]),
        "decides": decides(api),
        "owed": api.owed(),
        "done": api.get("/transactions/creation").ok(),
        "position": api.get("/transactions/owed").ok()["position"],
    })
}

/// From a file to a database and back: what an instance is owed reaches it, keys answer as before, letters, history and
/// plugins are there.
#[test]
fn a_proxy_goes_on_with_a_copied_store() {
    let mut place = Place::new();
    let server = Postgres::start().expect("PostgreSQL runs here");
    let (file, back) = (
        sqlite(&place.path("log.sqlite")),
        sqlite(&place.path("back/log.sqlite")),
    );
    let mut first = place.proxy("first", &file);
    let api = first.api();
    let notes = fill(&api);
    place.settle(&api);
    write_while_away(&mut place, &api, &notes);
    let creation = json!({ "name": "before" });
    let reply = said(&api.under("creation").post("$D/collections", &creation));
    wait_records_of_writes(&api);
    let before = kept(&api);
    assert!(before["owed"].as_u64() >= Some(3), "{before}");
    refused(&[&file, &server.url()], "another process holds");
    assert!(first.stop().success());

    let rows = copied(&file, &server.url());
    for (table, least) in [
        ("entries", 3),
        ("letters", 1),
        ("keys", 2),
        ("components", 1),
        ("collections", 3),
    ] {
        assert!(rows[table].as_u64() >= Some(least), "{table}: {rows}");
    }
    let mut second = place.proxy("second", &server.url());
    let api = second.api();
    assert_eq!(kept(&api), before);
    let again = sqlite(&place.path("again.sqlite"));
    refused(&[&server.url(), &again], "stop all of its proxies");
    place.instances[1].up();
    let held = place.settle(&api);
    let records = &held[&format!("{DATABASE} notes")].1;
    assert_eq!(records.keys().collect::<Vec<_>>(), ["large", "owed"]);
    let names: Vec<_> = held.keys().map(String::as_str).collect();
    let expected = [
        format!("{DATABASE} after"),
        format!("{DATABASE} notes"),
        format!("{ODD} odd"),
    ];
    assert_eq!(names, expected);
    let repeated = api.under("creation").post("$D/collections", &creation);
    assert_eq!(said(&repeated), reply);
    add(&api.under("owed"), &notes, "owed").ok();
    add(&api, &notes, "later").ok();
    second.assert_calm();
    assert!(second.stop().success());

    let rows = copied(&server.url(), &back);
    let mut third = place.proxy("third", &back);
    let api = third.api();
    assert_eq!(kept(&api)["letters"], before["letters"]);
    add(&api, &notes, "last").ok();
    let held = place.settle(&api);
    let records = &held[&format!("{DATABASE} notes")].1;
    assert_eq!(
        records.keys().collect::<Vec<_>>(),
        ["large", "last", "later", "owed"]
    );
    assert_eq!(place.held(0), place.held(1));
    assert_eq!(decides(&api), "good");
    assert!(rows["recent_writes"].as_u64() >= Some(8), "{rows}");
    third.assert_calm();
    assert!(third.stop().success());
}

/// Recent writes wait for a second before they are stored.
fn wait_records_of_writes(api: &Api) {
    eventually("the last write is listed", PATIENCE, || {
        let page = api.get("/admin/writes").ok();
        let last = page["writes"][0].clone();
        if last["action"] == "create_collection" && last["key"] == "creation" {
            Ok(())
        } else {
            Err(last.to_string())
        }
    });
}

/// Stores that can't be copied are told apart, and nothing is made, changed or shown of a password.
#[test]
fn what_can_not_be_copied_is_refused() {
    let place = folder();
    let (store, to) = (
        place.path().join("log.sqlite"),
        place.path().join("to.sqlite"),
    );
    let named = [("a", "http://127.0.0.1:1".to_owned())];
    let flag = format!("--store={}", sqlite(&store));
    let mut proxy = Proxy::before(place.path(), &named, &[&flag]);
    assert!(proxy.stop().success());
    let (from, to) = (sqlite(&store), sqlite(&to));
    let missing = sqlite(&place.path().join("missing.sqlite"));
    refused(&[&missing, &to], "holds no store");
    refused(
        &[&from, &from],
        "the store to copy from and the store to copy to",
    );
    refused(&[&from, "memory:"], "memory: keeps nothing");
    refused(
        &[&from, "mysql://cms:secret@127.0.0.1/cms"],
        "none of sqlite:PATH",
    );
    refused(
        &[&from, "postgres://cms:secret@127.0.0.1:x/cms"],
        "no address of a database",
    );
    refused(
        &[&from, "postgres://cms:secret@127.0.0.1:1/cms"],
        "cms at 127.0.0.1:1",
    );
    let (code, _, told) = store_copy(&[&from]);
    assert!(code == 2 && told.contains("<TO>"), "{told}");
    for name in [
        "missing.sqlite",
        "missing.sqlite.lock",
        "to.sqlite",
        "to.sqlite.lock",
    ] {
        assert!(!place.path().join(name).exists(), "{name} was made");
    }
}

/// The copy of a store reaches a server that wants a password, which stands in a file, and encryption; the table of
/// what was compared is printed.
#[test]
fn a_store_is_copied_with_a_password() {
    let place = folder();
    let authority = Authority::new();
    let mut server = Postgres::start().expect("PostgreSQL runs here");
    let port = server.open_port(&authority);
    let role = "CREATE ROLE cms LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO cms;";
    server.run(role).expect("its role");
    let instance = Chroma::start(&place.path().join("a"));
    let mut proxy = Proxy::start(place.path(), &[("a", &instance)], &[]);
    let id = proxy.api().create("notes");
    add(&proxy.api(), &id, "a").ok();
    assert!(proxy.stop().success());
    let from = sqlite(&place.path().join("log.sqlite"));
    let to = format!("postgres://cms@127.0.0.1:{port}/postgres?sslmode=require");
    refused(&[&from, &to], "password");
    let mut copy = achromat(&["store", "copy", &from, &to]);
    let output = copy.env("PGPASSWORD", "secret").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let is_row = |line: &&str| line.starts_with("collections ") && line.ends_with("yes");
    assert!(told.lines().any(|line| is_row(&line)), "{told}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("start the proxies with it"), "{told}");
}
