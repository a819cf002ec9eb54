//! Heavy and failing requests: they cost their own client time, and take no server out of service.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, folder},
    ends::Raised,
    heavy::heavy,
    wait::eventually,
};
use serde_json::json;

const MIB: usize = 1024 * 1024;

/// Flags that keep Achromat's own requests out of what is counted.
const QUIET: [&str; 2] = [
    "--health-token-interval-ms=3600000",
    "--copies-verify-interval-ms=3600000",
];

/// Bytes of the heavy upserts: one takes some seconds. `achromat-tests bench heavy` sends 39 MiB.
const HEAVY_BYTES: usize = 8 * MIB;

/// The times at which a server was said to be down.
fn downs(cluster: &Cluster) -> usize {
    cluster.proxy.told().matches("instance is down").count()
}

fn grown(before: &[u64], after: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(a, b)| a - b).collect()
}

/// Case 4: a `get` of more ids than Chroma's database takes is a 500 on every server. It is asked of each
/// server once, and the client gets Chroma's own words.
#[test]
fn a_read_that_fails_by_rule_is_asked_of_each_server_once() {
    let folder = folder();
    let alone = Chroma::start(&folder.path().join("alone"));
    let cluster = Cluster::with(2, &QUIET);
    let answers = [alone.api(), cluster.api()].map(|api| {
        let id = api.create("many");
        let record = json!({ "ids": ["a"], "embeddings": [[1, 2]] });
        api.records(&id, "add", &record).ok();
        let ids: Vec<_> = (0..33_000).map(|n| format!("r{n}")).collect();
        let get = json!({ "ids": ids });
        if api.base() != alone.api().base() {
            cluster.settle();
        }
        let before = cluster.api().request_counts();
        let begun = Instant::now();
        let answer = api.records(&id, "get", &get);
        let took = begun.elapsed();
        (
            answer,
            took,
            grown(&before, &cluster.api().request_counts()),
        )
    });
    let [(theirs, direct, _), (ours, through, counts)] = answers;
    println!("{direct:.2?} directly, {through:.2?} through Achromat");
    assert_eq!((ours.status, ours.body), (theirs.status, theirs.body));
    assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
}

/// Case 6: while one client upserts large texts three times, a second one that writes and reads another
/// collection is served, and no server is held to be down, although probes are late.
#[test]
fn a_server_that_works_on_a_large_upsert_is_not_down() {
    let flags = [
        &QUIET[..],
        &[
            "--health-probe-timeout-ms=400",
            "--health-probe-interval-ms=200",
        ],
    ];
    let cluster = Cluster::with(2, &flags.concat());
    let api = cluster.api();
    let (large, small) = (api.create("large"), api.create("small"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // A second client without an end would keep a failed test from ending.
        let over = Raised(&is_over);
        let other = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Relaxed) {
                rounds += 1;
                let record = json!({ "ids": ["a"], "embeddings": [[rounds, 2]] });
                api.records(&small, "upsert", &record).ok();
                let get = json!({ "ids": ["a"], "include": ["embeddings"] });
                let read = api.records(&small, "get", &get).ok();
                assert_eq!(read["embeddings"][0][0].as_f64(), Some(f64::from(rounds)));
            }
            rounds
        });
        for round in 0..3 {
            let begun = Instant::now();
            api.records(&large, "upsert", &heavy(HEAVY_BYTES, round))
                .ok();
            println!("an upsert took {:.1?}", begun.elapsed());
        }
        // Under the second client's writes something is always owed.
        drop(over);
        cluster.wait_nothing_owed(Duration::from_secs(240));
        println!(
            "{} rounds of the second client",
            other.join().expect("it ends")
        );
    });
    assert_eq!(downs(&cluster), 0, "{}", cluster.proxy.told());
    cluster.settle();
}

/// Case 7: an upsert that takes longer than the deadline of a usual one is answered 200, and is sent to
/// each server once.
#[test]
fn a_large_upsert_is_sent_once_however_long_it_takes() {
    let deadlines = [
        "--writes-attempt-deadline-ms=700",
        "--writes-deadline-ms=700",
        "--writes-settle-ms=1000",
    ];
    let cluster = Cluster::with(2, &[&QUIET[..], &deadlines].concat());
    let api = cluster.api();
    let id = api.create("large");
    cluster.settle();
    for round in 0..2 {
        let before = api.request_counts();
        let begun = Instant::now();
        api.records(&id, "upsert", &heavy(HEAVY_BYTES, round)).ok();
        println!("{:.1?}", begun.elapsed());
        cluster.wait_nothing_owed(Duration::from_secs(240));
        assert_eq!(grown(&before, &api.request_counts()), [1, 1]);
    }
    assert_eq!(downs(&cluster), 0);
    cluster.settle();
}

/// Case 8: a collection whose records are together larger than one answer may be is compared and made anew
/// in parts.
#[test]
fn large_records_are_compared_and_copied_in_parts() {
    const RECORDS: usize = 18;
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("large");
    let text = "x".repeat(4 * MIB);
    for n in 0..RECORDS {
        let record = json!({ "ids": [format!("r{n}")], "embeddings": [[n, 1]], "metadatas": [{ "text": text, "n": n }] });
        api.records(&id, "add", &record).ok();
    }
    cluster.wait_nothing_owed(Duration::from_secs(120));
    let (code, told) = cluster.command(&["verify", "--collection", "large"]);
    assert_eq!(code, Some(0), "{told}");
    cluster.lose_disk(1);
    eventually("the copy is made anew", Duration::from_secs(120), || {
        let status = cluster.api().get("/status").ok();
        let is_up = status["instances"][1]["state"] == "up";
        match status["instances"][1]["copies_due"].as_u64() {
            Some(0) if is_up => Ok(()),
            _ => Err(status["jobs"].to_string()),
        }
    });
    assert_large(
        &cluster.instances[1].api(),
        &cluster.own_id(1, "large"),
        RECORDS,
    );
}

/// Each record is there with all of its text.
fn assert_large(api: &Api, id: &str, records: usize) {
    for n in 0..records {
        let body = json!({ "ids": [format!("r{n}")], "include": ["metadatas"] });
        let held = api.records(id, "get", &body).ok();
        let metadata = &held["metadatas"][0];
        assert_eq!(metadata["text"].as_str().map(str::len), Some(4 * MIB));
        assert_eq!(metadata["n"], json!(n));
    }
}
