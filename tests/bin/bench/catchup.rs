//! `bench catch-up`: how fast an instance that was away gets what it missed, and what it costs in memory
//! meanwhile that so much is owed to it.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::json;

use super::{
    figures::{count, json_flag, number_flag, quantile, sorted, value, write_json},
    load::by_many,
    peers::embedding,
};

/// For everything that is owed to be done.
const PATIENCE: Duration = Duration::from_mins(30);

/// For a client alone to show how long its requests take.
const LIVE_BEFORE: Duration = Duration::from_secs(3);

/// Writes by one client alone, with which the rate is compared.
const ALONE: usize = 300;

pub(super) fn command() -> Command {
    Command::new("catch-up")
        .about("How fast an instance that was away catches up, and the memory that it costs")
        .arg(
            Arg::new("writes")
                .long("writes")
                .default_value("5000")
                .value_parser(value_parser!(usize))
                .help("Single records that are written while it is away"),
        )
        .arg(
            Arg::new("clients")
                .long("clients")
                .default_value("32")
                .value_parser(value_parser!(usize))
                .help("How many write them"),
        )
        .arg(number_flag(
            "collections",
            "1",
            "How many collections they are spread over",
        ))
        .arg(json_flag())
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    writes: usize,
    clients: usize,
    collections: usize,
    /// Writes in a second: by one client with both there, by all with one away, and when it is back.
    alone_per_s: f64,
    away_per_s: f64,
    catching_up_per_s: f64,
    /// Requests in which it got them.
    requests: u64,
    /// Of lone gets and upserts to another collection, with both there, and while it catches up: half
    /// of them take at most so long, and 99 of a hundred.
    live_ms: [Latencies; 2],
    /// Resident memory: at rest, with all of it owed, and the most while it caught up.
    memory_kb: [u64; 3],
}

impl Figures {
    fn print(&self) {
        let [rest, owed, most] = self.memory_kb;
        println!(
            "one writer, both there   {:>8.0} writes/s",
            self.alone_per_s
        );
        println!(
            "{:>3} writers, one away    {:>8.0} writes/s",
            self.clients, self.away_per_s
        );
        println!(
            "catching up              {:>8.0} writes/s, {:.1} times one writer, in {} requests",
            self.catching_up_per_s,
            self.catching_up_per_s / self.alone_per_s,
            self.requests
        );
        let [before, meanwhile] = self.live_ms;
        for ((what, before), meanwhile) in ["get", "upsert"].iter().zip(before).zip(meanwhile) {
            println!(
                "a lone {what:<6}            p50 {:>6.2} ms   p99 {:>6.2} ms, and while it catches up {:>6.2} and {:>6.2}",
                before[0], before[1], meanwhile[0], meanwhile[1]
            );
        }
        println!(
            "memory: {rest} KiB at rest, {owed} KiB with {} owed, {most} KiB at most",
            self.writes
        );
    }
}

/// Of gets, and of upserts: the median and the 99th percentile, in milliseconds.
type Latencies = [[f64; 2]; 2];

/// Upserts so many single records, spread over the collections; returns how many that is in a second.
fn write(api: &Api, ids: &[String], clients: usize, writes: usize) -> anyhow::Result<f64> {
    let upsert = |api: &mut &Api, number: usize| {
        upsert(api, &ids[number % ids.len()], number);
        Ok(())
    };
    Ok(count(writes) / by_many(clients, 0..writes, || Ok(api), upsert)?)
}

fn upsert(api: &Api, id: &str, number: usize) {
    let record = format!("r{number}");
    let body = json!({ "ids": [record], "embeddings": [embedding(number)] });
    api.records(id, "upsert", &body).ok();
}

/// One client that asks now this and now that, until it is over.
fn live(api: &Api, id: &str, is_over: &AtomicBool) -> Latencies {
    let mut took = [Vec::new(), Vec::new()];
    let mut number = 0;
    while !is_over.load(Relaxed) {
        number += 1;
        let begun = Instant::now();
        let body = json!({ "ids": [format!("r{}", number / 2)] });
        match number % 2 {
            0 => drop(api.records(id, "get", &body).ok()),
            _ => upsert(api, id, number / 2),
        }
        took[number % 2].push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.map(sorted)
        .map(|took| [0.5, 0.99].map(|share| quantile(&took, share)))
}

/// Lets that client ask while something else is done.
fn with_live<T>(api: &Api, id: &str, work: impl FnOnce() -> T) -> anyhow::Result<(T, Latencies)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| live(api, id, &is_over));
        let done = work();
        is_over.store(true, Relaxed);
        Ok((done, client.join().ok().context("the client panicked")?))
    })
}

/// What the one client has just written may be owed.
const LIVE_OWED: u64 = 2;

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let writes = value(matches, "writes")?;
    let clients = value(matches, "clients")?;
    let collections: u32 = value(matches, "collections")?;
    let mut cluster = Cluster::with(2, &["--log-level=warn"]);
    let api = cluster.api();
    let ids: Vec<_> = (0..collections)
        .map(|number| api.create(&format!("bench-{number}")))
        .collect();
    let aside = api.create("aside");
    let alone_per_s = write(&api, &ids, 1, ALONE)?;
    cluster.settle();
    let ((), live_before) = with_live(&api, &aside, || thread::sleep(LIVE_BEFORE))?;
    cluster.settle();
    let rest_kb = cluster.proxy.resident_kb();
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let away_per_s = write(&api, &ids, clients, writes)?;
    let owed_kb = cluster.proxy.resident_kb();
    let before = api.request_counts()[1];
    let begun = Instant::now();
    cluster.instances[1].up();
    let mut most_kb = 0;
    let catch_up = || {
        eventually("it has caught up", PATIENCE, || {
            most_kb = most_kb.max(cluster.proxy.resident_kb());
            match cluster.owed() {
                0..=LIVE_OWED => Ok(()),
                owed => Err(format!("{owed} writes are owed")),
            }
        });
        begun.elapsed().as_secs_f64()
    };
    let (seconds, live_meanwhile) = with_live(&api, &aside, catch_up)?;
    let figures = Figures {
        writes,
        clients,
        collections: ids.len(),
        alone_per_s,
        away_per_s,
        catching_up_per_s: count(writes) / seconds,
        requests: api.request_counts()[1] - before,
        live_ms: [live_before, live_meanwhile],
        memory_kb: [rest_kb, owed_kb, most_kb],
    };
    figures.print();
    cluster.settle();
    write_json(matches, &figures)
}
