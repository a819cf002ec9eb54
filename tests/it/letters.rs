//! Dead letters: what comes to nothing after its client was told that it would be carried out is
//! listed with its reason, and retried or dismissed by command.

use std::time::Duration;

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use serde_json::{Value, json};

/// Has no instance answer while something is asked.
fn frozen(cluster: &Cluster, ask: impl FnOnce()) {
    for instance in &cluster.instances {
        instance.freeze();
    }
    ask();
    for instance in &cluster.instances {
        instance.thaw();
    }
}

fn wait_letters(api: &Api, count: usize) -> Vec<Value> {
    let what = format!("{count} letters");
    eventually(&what, Duration::from_secs(180), || {
        let list = api.get("/admin/letters").ok();
        let letters = list["letters"].as_array().expect("a list").clone();
        assert_eq!(list["letter_count"], letters.len());
        if letters.len() == count {
            return Ok(letters);
        }
        Err(list.to_string())
    })
}

/// A record write that Chroma refuses too late is listed, refused again when it is retried, and
/// dismissed; nothing of it is ever on an instance.
#[test]
fn a_late_refusal_is_listed_and_dismissed() {
    let cluster = Cluster::with(2, &["--writes-deadline-ms=1500"]);
    let api = cluster.api();
    let id = api.create("notes");
    let good = json!({ "ids": ["a"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &good).ok();
    assert_eq!(cluster.command(&["letters"]).0, Some(0));
    cluster.settle();
    let bad = json!({ "ids": ["b"], "embeddings": [[1, 2, 3]] });
    frozen(&cluster, || {
        api.records(&id, "add", &bad).refused(504);
    });
    let letter = &wait_letters(&api, 1)[0];
    assert_eq!(letter["collection_name"], "notes");
    assert_eq!(letter["operation"]["act"], "add");
    let reason = letter["reason"].as_str().expect("a reason");
    assert!(reason.contains("dimension"), "{reason}");
    let number = letter["id"].as_str().expect("an id").to_owned();
    let (code, told) = cluster.command(&["letters"]);
    assert!(code == Some(1) && told.contains(&number), "{told}");
    let (code, told) = cluster.command(&["letters", "retry", &number]);
    assert!(code == Some(1) && told.contains("dimension"), "{told}");
    let again = wait_letters(&api, 1)[0]["id"].clone();
    assert_ne!(again, json!(number), "a retry is a write of its own");
    let (code, told) = cluster.command(&["letters", "retry", &number]);
    assert!(code == Some(2) && told.contains("no letter"), "{told}");
    assert_eq!(cluster.command(&["letters", "dismiss", "--all"]).0, Some(0));
    assert_eq!(cluster.command(&["letters"]).0, Some(0));
    for (_, records) in cluster.settle().into_values() {
        assert_eq!(records.len(), 1, "only the good one");
    }
}

/// A write that no instance could do, because no disk took it, is given up after a minute; it is
/// retried when there is space again. The letter outlives a kill -9 of Achromat.
#[test]
fn a_letter_is_done_after_all() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let add = |id: &str| json!({ "ids": [id], "embeddings": [[1, 2]] });
    api.records(&id, "add", &add("a")).ok();
    cluster.settle();
    for instance in &cluster.instances {
        instance.limit_files(Some(0));
    }
    let path = format!("$D/collections/{id}/add");
    let told = api.try_call("POST", &path, &add("b")).expect("an answer");
    assert!(told.status >= 500, "{told:?}");
    let letters = wait_letters(&api, 1);
    assert_eq!(letters[0]["collection_name"], "notes");
    cluster.proxy.kill();
    for instance in &mut cluster.instances {
        // Chroma 1.5.9 keeps a transaction open after a write that failed for want of space.
        instance.kill();
        instance.up();
    }
    cluster.proxy.up();
    let api = cluster.api();
    wait_letters(&api, 1);
    let (code, told) = cluster.command(&["letters", "retry", "--all"]);
    assert_eq!(code, Some(0), "{told}");
    wait_letters(&api, 0);
    for (_, records) in cluster.settle().into_values() {
        let ids: Vec<_> = records.keys().map(String::as_str).collect();
        assert_eq!(ids, ["a", "b"]);
    }
}

/// Where being in the log is enough, writes are accepted while no instance is in service: they are
/// done when the instances are back, and what Chroma refuses then is a letter.
#[test]
fn what_was_accepted_while_all_were_down_is_done_or_listed() {
    let mut cluster = Cluster::with(2, &["--writes-records-level=logged"]);
    let api = cluster.api();
    let id = api.create("notes");
    let add = |id: &str, embedding: &[f64]| json!({ "ids": [id], "embeddings": [embedding] });
    api.records(&id, "add", &add("a", &[1.0, 2.0])).ok();
    cluster.settle();
    for instance in &mut cluster.instances {
        instance.kill();
    }
    cluster.wait_state("a", &["down"]);
    cluster.wait_state("b", &["down"]);
    assert_eq!(api.records(&id, "add", &add("b", &[3.0, 4.0])).status, 201);
    assert_eq!(api.records(&id, "add", &add("c", &[5.0])).status, 201);
    let body = json!({ "name": "other" });
    api.post("$D/collections", &body).refused(503);
    cluster.proxy.kill();
    cluster.proxy.up();
    for instance in &mut cluster.instances {
        instance.up();
    }
    let api = cluster.api();
    let letters = wait_letters(&api, 1);
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("dimension"), "{reason}");
    for (_, records) in cluster.settle().into_values() {
        let ids: Vec<_> = records.keys().map(String::as_str).collect();
        assert_eq!(ids, ["a", "b"]);
    }
}

/// What names no letter is refused, and changes nothing.
#[test]
fn wrong_letters_are_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.post("/admin/letters/x/retry", &json!({})).refused(400);
    let none = "00000000-0000-7000-8000-000000000000";
    api.post(&format!("/admin/letters/{none}/retry"), &json!({}))
        .refused(404);
    api.delete(&format!("/admin/letters/{none}")).refused(404);
    api.post("/admin/letters", &json!({})).refused(405);
    assert_eq!(cluster.command(&["letters", "retry"]).0, Some(2));
}
