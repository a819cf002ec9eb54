//! How many requests one server has at once: what is too much for it goes elsewhere, waits in the log,
//! or is refused at once with a time to come again.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{chroma::Chroma, cluster::Cluster, wait::eventually};
use serde_json::json;

/// A refusal is quick when it takes less than this: no deadline of a read is as short.
const QUICK: Duration = Duration::from_secs(2);

/// Reads that each instance has at the moment.
fn reads(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.api().get("/status").ok();
    let instances = status["instances"].as_array().expect("instances");
    let in_flight = |instance: &serde_json::Value| instance["requests_in_flight"].as_u64();
    instances.iter().filter_map(in_flight).collect()
}

/// Two servers that do not answer have one read each, and may have no more: the next one is refused at
/// once. As soon as they answer, both are.
#[test]
fn who_has_enough_to_do_gets_no_more_reads() {
    let cluster = Cluster::with(
        2,
        &[
            "--limits-instance-reads-max=1",
            "--health-silent-probes-max=100",
        ],
    );
    let api = cluster.api();
    let id = api.create("busy");
    let record = json!({ "ids": ["a"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &record).ok();
    cluster.settle();
    cluster.instances.iter().for_each(Chroma::freeze);
    let get = json!({ "ids": ["a"] });
    thread::scope(|scope| {
        let first = scope.spawn(|| api.records(&id, "get", &get));
        eventually("both are asked", Duration::from_secs(20), || {
            let reads = reads(&cluster);
            (reads == [1, 1]).then_some(()).ok_or(format!("{reads:?}"))
        });
        let begun = Instant::now();
        let second = api.records(&id, "get", &get);
        assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
        assert_eq!(second.header("retry-after"), Some("1"));
        let message = second.refused(503);
        assert!(message.contains("as many reads"), "{message}");
        cluster.instances.iter().for_each(Chroma::thaw);
        let first = first.join().expect("it ends").ok();
        assert_eq!(first["ids"], json!(["a"]));
    });
    assert_eq!(api.records(&id, "get", &get).ok()["ids"], json!(["a"]));
}

/// With one write at a time for each server, writes of many collections wait for one another, and all
/// of them are done everywhere.
#[test]
fn writes_wait_for_leave() {
    let cluster = Cluster::with(2, &["--limits-instance-writes-max=1"]);
    let api = cluster.api();
    let ids: Vec<_> = (0..6).map(|n| api.create(&format!("lane{n}"))).collect();
    thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| {
                for n in 0..8 {
                    let record = json!({ "ids": [format!("r{n}")], "embeddings": [[n, 2]] });
                    api.records(id, "add", &record).ok();
                }
            });
        }
    });
    cluster.settle();
    for chroma in 0..2 {
        for n in 0..6 {
            let own = cluster.own_id(chroma, &format!("lane{n}"));
            let own_api = cluster.instances[chroma].api();
            let count = own_api.get(&format!("$D/collections/{own}/count")).ok();
            assert_eq!(count, json!(8));
        }
    }
}

/// A server that comes back to large writes of many collections is sent one after the other, as far as
/// there is room for their bodies: they are not all loaded from the log at once.
#[test]
fn large_bodies_are_loaded_as_there_is_room() {
    const LANES: usize = 6;
    const BODY_BYTES: usize = 12 * 1024 * 1024;
    let mut cluster = Cluster::with(2, &["--limits-instance-load-bytes-max=16777216"]);
    let api = cluster.api();
    let ids: Vec<_> = (0..LANES)
        .map(|n| api.create(&format!("large{n}")))
        .collect();
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let text = "x".repeat(BODY_BYTES);
    let record = json!({ "ids": ["r"], "embeddings": [[1, 2]], "metadatas": [{ "text": text }] });
    for id in &ids {
        api.records(id, "add", &record).ok();
    }
    let before = cluster.proxy.resident_kb();
    let is_over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Relaxed) {
                most = most.max(cluster.proxy.resident_kb());
                thread::sleep(Duration::from_millis(5));
            }
            most
        });
        cluster.instances[1].up();
        cluster.wait_nothing_owed(Duration::from_secs(120));
        is_over.store(true, Relaxed);
        watch.join().expect("it ends")
    });
    // Two bodies, because what was just sent may not be given back yet: all six would be 72 MiB.
    let grown = usize::try_from(most.saturating_sub(before)).expect("a number") * 1024;
    assert!(grown < 3 * BODY_BYTES, "{before} KB have become {most} KB");
    for n in 0..LANES {
        let own = cluster.own_id(1, &format!("large{n}"));
        let body = json!({ "ids": ["r"], "include": ["metadatas"] });
        let held = cluster.instances[1].api().records(&own, "get", &body).ok();
        let text = held["metadatas"][0]["text"].as_str().expect("a text");
        assert_eq!(text.len(), BODY_BYTES);
    }
}
