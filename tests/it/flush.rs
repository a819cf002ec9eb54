//! The order of system calls: a write is on the disk before a byte of it goes to an instance, and
//! before its client is answered (I01).

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use achromat_tests::{cluster::Cluster, wait::eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const CALLS: &str =
    "trace=read,recvfrom,readv,pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg";

fn attach(pid: u32, output: &Path) -> Option<Child> {
    let tracer = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "400",
            "-e",
            CALLS,
            "-p",
            &pid.to_string(),
            "-o",
        ])
        .arg(output)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    tracer.ok()
}

/// Which way a call moves bytes. Probes go on beside the write: an instance's answer to one of
/// them is received, and must not be taken for the answer that the client is sent.
#[derive(Debug, PartialEq)]
enum Way {
    In,
    Out,
}

fn way(line: &str) -> Way {
    let call = line.split('"').next().unwrap_or_default();
    if call.contains("recv") || call.contains("read") {
        Way::In
    } else {
        Way::Out
    }
}

/// The number of the first line at or after `from` that goes this way and has all of these words.
fn line(lines: &[&str], from: usize, direction: &Way, words: &[&str]) -> Option<usize> {
    let has = |line: &str| way(line) == *direction && words.iter().all(|word| line.contains(word));
    (from..lines.len()).find(|at| has(lines[*at]))
}

#[test]
fn the_flush_comes_before_the_first_byte_and_the_answer() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    cluster.settle();
    let output = cluster.folder().join("calls");
    let Some(mut tracer) = attach(cluster.proxy.pid(), &output) else {
        println!("left out: strace is not installed here, and nothing else shows system calls");
        return;
    };
    let calls = || std::fs::read_to_string(&output).unwrap_or_default();
    eventually("strace sees calls", Duration::from_secs(30), || {
        api.get("/livez").ok();
        if calls().contains("/livez") {
            Ok(())
        } else {
            Err("none yet".to_owned())
        }
    });
    let body = json!({ "ids": ["seen"], "embeddings": [[1, 2]], "documents": ["seen by strace"] });
    api.records(&id, "upsert", &body).ok();
    eventually("strace has seen it all", Duration::from_secs(30), || {
        let sent = calls().matches("/upsert").count();
        if sent >= 3 {
            Ok(())
        } else {
            Err(format!("{sent} of 3 requests"))
        }
    });
    let pid = Pid::from_child(&tracer);
    kill_process(pid, Signal::INT).expect("strace can be stopped");
    tracer.wait().expect("it ends");
    let calls = calls();
    let lines: Vec<&str> = calls.lines().collect();
    let find = |from, direction: Way, words: &[&str]| {
        line(&lines, from, &direction, words)
            .unwrap_or_else(|| panic!("no call {direction:?} with {words:?} in\n{calls}"))
    };
    let asked = find(0, Way::In, &["POST", "/upsert"]);
    let written = find(asked + 1, Way::Out, &["pwrite64", "-wal"]);
    let flushed = find(written + 1, Way::Out, &["sync(", "-wal"]);
    let sent = find(asked + 1, Way::Out, &["POST", "/upsert"]);
    let answered = find(asked + 1, Way::Out, &["HTTP/1.1 200", "\\r\\n"]);
    assert!(
        flushed < sent,
        "the flush is call {flushed}, the first byte sent {sent}\n{calls}"
    );
    assert!(sent < answered, "{calls}");
}
