//! How many requests one server has at once: what is too much for it goes elsewhere, waits in the log,
//! or is refused at once with a time to come again.

use std::{
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

/// One tenant that asks for too much is answered 429 with a time to come again, in Chroma's form; another
/// tenant, and the operator's own calls, are not.
#[test]
fn a_tenant_has_its_quota() {
    let cluster = Cluster::with(
        2,
        &[
            "--quotas-requests-per-s=20",
            "--quotas-bytes-per-s=1000",
            "--limits-body-bytes-max=100000",
        ],
    );
    let api = cluster.api();
    api.post("/api/v2/tenants", &json!({ "name": "calm" })).ok();
    let calm = "/api/v2/tenants/calm/databases";
    let refused = (0..200)
        .map(|_| api.get("$D/collections"))
        .find(|answer| answer.status != 200)
        .expect("a refusal");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(refused.body["error"], "TooManyRequests", "{refused:?}");
    assert!(refused.refused(429).contains("quotas.requests_per_s"));
    api.post(calm, &json!({ "name": "news" })).ok();
    api.get("/status").ok();
    // Names that nobody has share one quota.
    let strangers: Vec<_> = (0..200)
        .map(|number| api.get(&format!("/api/v2/tenants/nobody{number}")).status)
        .collect();
    assert!(strangers.contains(&429), "{strangers:?}");

    // Bytes: after a body of the largest size it takes a while until the next.
    let large = json!({ "name": "long", "metadata": { "text": "x".repeat(90_000) } });
    api.post(&format!("{calm}/news/collections"), &large).ok();
    let told = api
        .post(&format!("{calm}/news/collections"), &large)
        .refused(429);
    assert!(told.contains("quotas.bytes_per_s"), "{told}");
    let page = api.get("/metrics").ok();
    let counted = page.as_str().expect("text").lines();
    let line = counted
        .into_iter()
        .find(|line| line.starts_with("achromat_quota_refusals_total"));
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    cluster.proxy.assert_calm();
}
