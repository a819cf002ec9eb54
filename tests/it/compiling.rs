//! Plugins that are made to cost the compiler gigabytes or minutes: refused, while everybody else is served.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use achromat_tests::cluster::Cluster;
use serde_json::json;

const ROUTING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"));

/// A component of some 100 KB with one function. `jumps` tables of jumps, each to `depth` places that take
/// `values` values, make `jumps * depth * values` operands of what the compiler works on.
fn bomb(jumps: usize, depth: usize, values: usize) -> Vec<u8> {
    let results = "i32 ".repeat(values);
    let mut text = format!("(component (core module (func (param i32) (result {results}) ");
    for _ in 0..depth {
        write!(text, "block (result {results}) ").expect("a text");
    }
    let places: Vec<_> = (0..depth).map(|place| place.to_string()).collect();
    for _ in 0..jumps {
        let pushed = "local.get 0 ".repeat(values + 1);
        write!(text, "local.get 0 if {pushed} br_table ").expect("a text");
        // Inside of `if`, the places are one further out.
        for place in &places {
            write!(text, "{} ", place.parse::<usize>().expect("a number") + 1).expect("a text");
        }
        text.push_str("end ");
    }
    text.push_str(&"local.get 0 ".repeat(values));
    text.push_str(&"end ".repeat(depth));
    text.push_str(")))");
    wat::parse_str(&text).expect("WebAssembly")
}

/// A component with so many functions of a hundred additions: each is compiled in no memory, all of them
/// together in a long time.
fn busy(functions: usize) -> Vec<u8> {
    let sum = format!("local.get 0 {}", "local.get 0 i32.add ".repeat(100));
    let function = format!("(func (param i32) (result i32) {sum})");
    let text = format!("(component (core module {}))", function.repeat(functions));
    wat::parse_str(&text).expect("WebAssembly")
}

/// A component that costs more memory to compile than it may, and one that costs more time, are refused with
/// what to do; the proxy's own memory does not grow, clients are served meanwhile, and the next good plugin
/// is taken.
#[test]
fn compile_bombs_end_alone() {
    let cluster = Cluster::with(
        2,
        &[
            "--policy-compile-memory-bytes-max=268435456",
            "--policy-compile-deadline-ms=5000",
        ],
    );
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &json!({ "ids": ["r"], "embeddings": [[1, 2]] }))
        .ok();
    // The message, and the slowest read meanwhile.
    let push = |component: &[u8]| {
        let body = [b"{\"name\":\"bomb\"}\n", component].concat();
        thread::scope(|scope| {
            let pushing = scope.spawn(|| {
                let answer = api.post_bytes("/admin/plugins/routing/versions", &body);
                answer.refused(422)
            });
            let mut slowest = Duration::ZERO;
            while !pushing.is_finished() {
                let begun = Instant::now();
                api.records(&id, "get", &json!({ "ids": ["r"] })).ok();
                slowest = slowest.max(begun.elapsed());
            }
            (pushing.join().expect("an answer"), slowest)
        })
    };
    let before = cluster.proxy.resident_kb_max();
    let (memory, slowest) = push(&bomb(30, 300, 1000));
    println!("slowest read {slowest:?}: {memory}");
    assert!(
        memory.contains("takes more memory than policy.compile_memory_bytes_max (256 MiB)"),
        "{memory}"
    );
    let (time, slowest) = push(&busy(60_000));
    println!("slowest read {slowest:?}: {time}");
    assert!(
        time.contains("takes more time than") && time.contains("policy.compile_deadline_ms (5s)"),
        "{time}"
    );
    let grown = cluster.proxy.resident_kb_max() - before;
    println!("grown by {grown} kB");
    assert!(
        grown < 64 * 1024,
        "the proxy itself has grown by {grown} kB"
    );
    let good = [b"{\"name\":\"good\",\"config\":\"well\"}\n", ROUTING].concat();
    api.post_bytes("/admin/plugins/routing/versions", &good)
        .ok();
    cluster.proxy.assert_calm();
}
