//! How much memory it takes, whatever is owed to whom: what is in the log need not be in memory.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use achromat_tests::{api::Answer, chroma::Chroma, cluster::Cluster, wait::eventually};
use serde_json::json;

const MIB: usize = 1024 * 1024;

/// How often the resident memory is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The most bytes that are resident while something is done.
fn most_while(cluster: &Cluster, work: impl FnOnce() + Send) -> usize {
    let is_over = AtomicBool::new(false);
    let most_kb = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most_kb = 0;
            while !is_over.load(Relaxed) {
                most_kb = most_kb.max(cluster.proxy.resident_kb());
                thread::sleep(LOOK_PAUSE);
            }
            most_kb
        });
        let worker = scope.spawn(work);
        let ended = worker.join();
        is_over.store(true, Relaxed);
        ended.expect("it is done");
        watch.join().expect("it ends")
    });
    bytes(most_kb)
}

fn bytes(kb: u64) -> usize {
    usize::try_from(kb).expect("a number") * 1024
}

/// Each of so many collections holds these records with texts of this length, on each server.
fn assert_texts(cluster: &Cluster, collections: &[String], records: usize, length: usize) {
    for (chroma, name) in (0..2).flat_map(|at| collections.iter().map(move |name| (at, name))) {
        let own = cluster.own_id(chroma, name);
        let api = cluster.instances[chroma].api();
        for n in 0..records {
            let body = json!({ "ids": [format!("r{n}")], "include": ["metadatas"] });
            let held = api.records(&own, "get", &body).ok();
            let text = held["metadatas"][0]["text"].as_str();
            assert_eq!(text.map(str::len), Some(length), "r{n} of {name}");
        }
    }
}

/// A server that comes back to large writes of many collections is sent one after the other, as far as
/// there is room for their bodies: they are not all loaded from the log at once.
#[test]
fn large_bodies_are_loaded_as_there_is_room() {
    const LANES: usize = 6;
    const BODY_BYTES: usize = 12 * MIB;
    let flags = [
        "--limits-body-bytes-max=16777216",
        "--limits-memory-bytes-max=157286400",
    ];
    let mut cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let names: Vec<_> = (0..LANES).map(|n| format!("large{n}")).collect();
    let ids: Vec<_> = names.iter().map(|name| api.create(name)).collect();
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let text = "x".repeat(BODY_BYTES);
    let record = json!({ "ids": ["r0"], "embeddings": [[1, 2]], "metadatas": [{ "text": text }] });
    for id in &ids {
        api.records(id, "add", &record).ok();
    }
    let before = bytes(cluster.proxy.resident_kb());
    cluster.instances[1].up();
    let most = most_while(&cluster, || {
        cluster.wait_nothing_owed(Duration::from_secs(120));
    });
    // Two bodies, because what was just sent may not be given back yet: all six would be 72 MiB.
    let grown = most.saturating_sub(before);
    assert!(grown < 3 * BODY_BYTES, "{before} bytes have become {most}");
    assert_texts(&cluster, &names, 1, BODY_BYTES);
}

/// Writes that are accepted while no server is there are in the log, and not in memory.
#[test]
fn what_nobody_can_do_yet_is_not_in_memory() {
    const RECORDS: usize = 60;
    let mut cluster = Cluster::with(2, &["--writes-records-level=logged"]);
    let api = cluster.api();
    let names = ["one", "two"].map(str::to_owned);
    let ids = names.clone().map(|name| api.create(&name));
    cluster.instances.iter_mut().for_each(Chroma::kill);
    cluster.wait_state("a", &["down"]);
    cluster.wait_state("b", &["down"]);
    let before = bytes(cluster.proxy.resident_kb());
    let text = "x".repeat(MIB);
    for n in 0..RECORDS {
        let ids_of_it = [format!("r{n}")];
        let record =
            json!({ "ids": ids_of_it, "embeddings": [[1, 2]], "metadatas": [{ "text": text }] });
        for id in &ids {
            api.records(id, "add", &record).ok();
        }
    }
    assert_eq!(
        cluster.owed(),
        2 * u64::try_from(RECORDS).expect("a number")
    );
    // What was just accepted may not be given back yet. All of it would be 120 MiB.
    let grown = bytes(cluster.proxy.resident_kb()).saturating_sub(before);
    assert!(grown < 30 * MIB, "it has grown by {grown} bytes");
    cluster.instances.iter_mut().for_each(Chroma::up);
    cluster.wait_nothing_owed(Duration::from_secs(120));
    assert_texts(&cluster, &names, RECORDS, MIB);
}

/// Large writes by many clients, with a server that hangs and comes back: memory stays within what is
/// configured. Who finds no room is told when to come again, and in the end all of it is everywhere.
#[test]
fn memory_stays_within_its_limit() {
    const MEMORY_BYTES: usize = 184 * MIB;
    const CLIENTS: usize = 12;
    const RECORDS: usize = 4;
    const BODY_BYTES: usize = 10 * MIB;
    let limit = format!("--limits-memory-bytes-max={MEMORY_BYTES}");
    let cluster = Cluster::with(2, &["--limits-body-bytes-max=16777216", &limit]);
    let api = cluster.api();
    let names: Vec<_> = (0..CLIENTS).map(|n| format!("client{n}")).collect();
    let ids: Vec<_> = names.iter().map(|name| api.create(name)).collect();
    let text = "x".repeat(BODY_BYTES);
    let write = |id: &str, n: usize| {
        let ids = [format!("r{n}")];
        let record = json!({ "ids": ids, "embeddings": [[1, 2]], "metadatas": [{ "text": text }] });
        eventually("it is done", Duration::from_secs(90), || {
            match api.records(id, "upsert", &record) {
                Answer { status: 200, .. } => Ok(()),
                refused if refused.header("retry-after").is_some() => Err(refused.refused(503)),
                other => panic!("{other:?}"),
            }
        });
    };
    let most = most_while(&cluster, || {
        let all = |from: usize, to: usize| {
            thread::scope(|scope| {
                for id in &ids {
                    scope.spawn(move || (from..to).for_each(|n| write(id, n)));
                }
            });
        };
        cluster.instances[1].freeze();
        all(0, RECORDS / 2);
        cluster.instances[1].thaw();
        all(RECORDS / 2, RECORDS);
        cluster.wait_nothing_owed(Duration::from_secs(120));
    });
    println!("{} MiB of {}", most / MIB, MEMORY_BYTES / MIB);
    assert!(most <= MEMORY_BYTES, "{most} bytes");
    assert_texts(&cluster, &names, RECORDS, BODY_BYTES);
}

/// A large answer finds memory too, or is refused with a time to come again.
#[test]
fn a_large_answer_waits_for_memory() {
    // The least for two servers and such bodies: when one is being served there is room for no more.
    const BODY_BYTES: usize = 4 * MIB;
    let flags = [
        "--limits-body-bytes-max=4194304",
        "--limits-memory-bytes-max=114085069",
        "--limits-queue-wait-ms=200",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    // 1.4 KB each, so that the list is no small answer.
    let ids: Vec<_> = (0..60).map(|n| api.create(&format!("listed{n}"))).collect();
    let mut slow = TcpStream::connect(("127.0.0.1", cluster.proxy.port)).expect("it listens");
    let path = format!(
        "/api/v2/tenants/default_tenant/databases/default_database/collections/{}/add",
        ids[0]
    );
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n{{");
    slow.write_all(head.as_bytes()).expect("it is taken");
    // All but the last byte: memory is taken as they come.
    slow.write_all(&vec![b' '; BODY_BYTES - 2])
        .expect("it is taken");
    let listed_with = |status| {
        eventually("it is answered", Duration::from_secs(20), || {
            let answer = api.get("$D/collections");
            if answer.status == status {
                Ok(answer)
            } else {
                Err(answer.status)
            }
        })
    };
    let refused = listed_with(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let message = refused.refused(503);
    assert!(message.contains("all the memory"), "{message}");
    drop(slow);
    let listed = listed_with(200).ok();
    assert_eq!(listed.as_array().map(Vec::len), Some(60));
}
