//! `bench catch-up`: how fast an instance that was away gets what it missed, and what it costs in memory
//! meanwhile that so much is owed to it.

use std::time::{Duration, Instant};

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::json;

use super::{
    figures::{count, json_flag, value, write_json},
    load::by_many,
    peers::embedding,
};

/// For everything that is owed to be done.
const PATIENCE: Duration = Duration::from_mins(30);

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
        .arg(json_flag())
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    writes: usize,
    clients: usize,
    /// Writes in a second: by one client with both there, by all with one away, and when it is back.
    alone_per_s: f64,
    away_per_s: f64,
    catching_up_per_s: f64,
    /// Requests in which it got them.
    requests: u64,
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
        println!(
            "memory: {rest} KiB at rest, {owed} KiB with {} owed, {most} KiB at most",
            self.writes
        );
    }
}

/// Upserts so many single records; returns how many that is in a second.
fn write(api: &Api, id: &str, clients: usize, writes: usize) -> anyhow::Result<f64> {
    let upsert = |api: &mut &Api, number| {
        let record = format!("r{number}");
        let body = json!({ "ids": [record], "embeddings": [embedding(number)] });
        api.records(id, "upsert", &body).ok();
        Ok(())
    };
    Ok(count(writes) / by_many(clients, 0..writes, || Ok(api), upsert)?)
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let writes = value(matches, "writes")?;
    let clients = value(matches, "clients")?;
    let mut cluster = Cluster::with(2, &["--log-level=warn"]);
    let api = cluster.api();
    let id = api.create("bench");
    let alone_per_s = write(&api, &id, 1, ALONE)?;
    cluster.settle();
    let rest_kb = cluster.proxy.resident_kb();
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let away_per_s = write(&api, &id, clients, writes)?;
    let owed_kb = cluster.proxy.resident_kb();
    let before = api.request_counts()[1];
    let begun = Instant::now();
    cluster.instances[1].up();
    let mut most_kb = 0;
    eventually("it has caught up", PATIENCE, || {
        most_kb = most_kb.max(cluster.proxy.resident_kb());
        match cluster.owed() {
            0 => Ok(()),
            owed => Err(format!("{owed} writes are owed")),
        }
    });
    let figures = Figures {
        writes,
        clients,
        alone_per_s,
        away_per_s,
        catching_up_per_s: count(writes) / begun.elapsed().as_secs_f64(),
        requests: api.request_counts()[1] - before,
        memory_kb: [rest_kb, owed_kb, most_kb],
    };
    figures.print();
    cluster.settle();
    write_json(matches, &figures)
}
