//! `verify` and `repair` on a large collection: one wrong value is found, named and mended, and
//! nothing else is touched.

use std::{thread, time::Duration};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    load::Load,
    records::{Records, records},
    wait::eventually,
};
use serde_json::{Value, json};

/// Records of the collection.
const RECORDS: u32 = 100_000;

/// Records of one request: the most that Chroma's own clients send.
const BATCH: u32 = 5_461;

/// What Achromat may take of memory, in KiB (S2).
const MEMORY_KIB_MAX: u64 = 400 * 1024;

/// Makes the collection on one server, without Achromat; returns its UUID there.
fn seed(api: &Api) -> String {
    let id = api.create("notes");
    for first in (0..RECORDS).step_by(BATCH as usize) {
        let numbers = first..RECORDS.min(first + BATCH);
        let all = |make: fn(u32) -> Value| numbers.clone().map(make).collect::<Vec<_>>();
        let body = json!({
            "ids": all(|n| json!(format!("r{n}"))),
            "embeddings": all(|n| json!([n, n % 7])),
            "metadatas": all(|n| json!({ "n": n })),
        });
        api.records(&id, "add", &body).ok();
    }
    id
}

/// The ids of a server's copy, in its order, which follows insertion; those of the load left out.
fn order(api: &Api, id: &str) -> Vec<String> {
    let found = api.records(id, "get", &json!({ "include": [] })).ok();
    let ids = found["ids"].as_array().expect("ids").iter();
    let ids = ids.map(|id| id.as_str().expect("an id").to_owned());
    ids.filter(|id| id.starts_with('r')).collect()
}

/// The copies of both servers, read from each under its own UUID.
fn copies(cluster: &Cluster) -> Vec<Records> {
    thread::scope(|scope| {
        let reading = [0, 1].map(|place| {
            let (api, id) = (
                cluster.instances[place].api(),
                cluster.own_id(place, "notes"),
            );
            scope.spawn(move || records(&api, DATABASE, &id).expect("records"))
        });
        reading.map(|one| one.join().expect("it is read")).into()
    })
}

/// One metadata value among 100,000 records is flipped on one server, behind Achromat's back. Under
/// a load, `verify` names the collection and the id, the wrong value is not read any more, and
/// `repair` writes that record and no other; in bounded memory.
#[test]
fn one_flipped_value_among_many_is_found_and_mended() {
    let began = std::time::Instant::now();
    let mark = |what: &str| println!("{what} after {:.1?}", began.elapsed());
    let folder = folder();
    let instances: Vec<_> = ["a", "b"]
        .map(|name| Chroma::start(&folder.path().join(name)))
        .into();
    thread::scope(|scope| {
        for chroma in &instances {
            scope.spawn(|| seed(&chroma.api()));
        }
    });
    mark("seeded");
    let cluster = Cluster::over(folder, instances, &["--copies-records-per-s=1000000"]);
    let api = cluster.api();
    eventually("both copies are served", Duration::from_secs(120), || {
        let status = api.get("/status").ok();
        match status["instances"][1]["copies_due"].as_u64() {
            Some(0) => Ok(()),
            _ => Err(status["jobs"].to_string()),
        }
    });
    mark("adopted and compared");

    let behind = cluster.instances[1].api();
    let theirs = cluster.own_id(1, "notes");
    let before = order(&behind, &theirs);
    let flipped = json!({ "ids": ["r77777"], "metadatas": [{ "n": 77_778 }] });
    behind.records(&theirs, "update", &flipped).ok();
    let id = cluster.own_id(0, "notes");
    let load = Load::start(&api, &id, 3);
    load.wait_writes(10);
    let (code, told) = cluster.command(&["verify", "--collection", "notes"]);
    mark("found");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.starts_with("notes: DIFFERENT"), "{told}");
    assert!(told.contains("1 different: r77777"), "{told}");
    assert!(
        !told.contains("missing") && !told.contains("extra"),
        "{told}"
    );
    for _ in 0..20 {
        let found = api.records(&id, "get", &json!({ "ids": ["r77777"] })).ok();
        assert_eq!(
            found["metadatas"][0]["n"], 77_777,
            "what differs is not read"
        );
    }

    refused_repairs_change_nothing(&cluster);
    let words = ["repair", "--collection", "notes", "--source", "a"];
    let (code, told) = cluster.command(&words);
    mark("mended");
    assert_eq!(code, Some(0), "{told}");
    load.wait_writes(10);
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert_eq!(cluster.own_id(1, "notes"), theirs, "it is not made anew");

    // What is written anew moves to the end; nothing else has moved.
    let stays = |id: &&String| **id != "r77777";
    let after = order(&behind, &theirs);
    assert_eq!(after.last().map(String::as_str), Some("r77777"));
    assert!(before.iter().filter(stays).eq(after.iter().filter(stays)));
    cluster.wait_nothing_owed(Duration::from_secs(60));
    let copies = copies(&cluster);
    mark("read back");
    assert!(copies[0] == copies[1], "they are equal");
    assert_eq!(copies[1]["r77777"][2], json!({ "n": 77_777 }));
    assert_eq!(after.len(), RECORDS as usize);
    assert_eq!(expected.check(&copies[1]), Ok(()));
    let kib = cluster.proxy.resident_kb_max();
    println!("Achromat has held {kib} KiB at most");
    assert!(kib < MEMORY_KIB_MAX, "{kib} KiB");
}

fn refused_repairs_change_nothing(cluster: &Cluster) {
    let refused = |words: &[&str]| {
        let (code, told) = cluster.command(words);
        assert_ne!(code, Some(0), "{told}");
        code
    };
    let without = refused(&["repair", "--collection", "notes"]);
    assert_eq!(without, Some(2), "without a source it is a wrong command");
    refused(&["repair", "--collection", "notes", "--source", "z"]);
    refused(&["repair", "--collection", "nothing", "--source", "a"]);
    let unknown = json!({ "collection": "nothing" });
    assert_eq!(cluster.api().post("/admin/verify", &unknown).status, 404);
}

/// What can't be meant is refused with what is wrong, and changes nothing.
#[test]
fn wrong_wishes_are_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let body = json!({ "ids": ["x"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &body).ok();
    let before = cluster.settle();
    let refused = |path: &str, body: Value, status: u16, says: &str| {
        let answer = api.post(path, &body);
        let detail = answer.body["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(detail.contains(says), "{path} {body}: {detail}");
    };
    let none = json!({ "collection": "none" });
    refused("/admin/verify", none.clone(), 404, "no collection");
    refused(
        "/admin/verify",
        json!({ "colection": "notes" }),
        400,
        "colection",
    );
    refused("/admin/repair", json!({ "source": "a" }), 400, "collection");
    refused(
        "/admin/repair",
        json!({ "collection": "notes" }),
        400,
        "source",
    );
    let body = json!({ "collection": "notes", "source": "z" });
    refused("/admin/repair", body, 404, "\"z\"");
    let body = json!({ "collection": "none", "source": "a" });
    refused("/admin/repair", body, 404, "no collection");
    let body = json!({ "collection_name": "notes" });
    refused("/admin/create_mapping", body, 400, "UUID");
    for (words, code) in [
        (["verify", "--collection", "none"].as_slice(), 2),
        (&["repair", "--collection", "notes"], 2),
        (&["repair", "--collection", "notes", "--source", "z"], 2),
    ] {
        let (exit, told) = cluster.command(words);
        assert_eq!(exit, Some(code), "{words:?}: {told}");
    }
    assert_eq!(cluster.settle(), before);
}

/// A copy that was taken away behind Achromat's back, and that nobody reads, is found by a
/// comparison: it is made anew, and the comparison goes on with it.
#[test]
fn a_copy_that_is_missing_is_made_anew() {
    let cluster = Cluster::with(2, &["--reads-strategy=primary_only"]);
    let api = cluster.api();
    let id = api.create("notes");
    let body = json!({ "ids": ["r", "s"], "embeddings": [[1, 2], [3, 4]] });
    api.records(&id, "add", &body).ok();
    cluster.settle();
    let before = cluster.own_id(1, "notes");
    let theirs = cluster.instances[1].api();
    theirs.delete("$D/collections/notes").ok();
    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("notes: equal, 2 records"), "{told}");
    assert_ne!(cluster.own_id(1, "notes"), before);
    let contents = cluster.settle();
    assert_eq!(contents.len(), 1);
}
