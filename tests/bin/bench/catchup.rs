//! `bench catch-up`: how fast an instance that was away gets what it missed, and what it costs in memory
//! meanwhile that so much is owed to it.

use std::time::{Duration, Instant};

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;

use super::{
    figures::{count, value},
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
    let alone = write(&api, &id, 1, ALONE)?;
    println!("one writer, both there        {alone:>8.0} writes/s");
    cluster.settle();
    println!(
        "memory at rest                {:>8} KiB",
        cluster.proxy.resident_kb()
    );
    cluster.instances[1].kill();
    cluster.wait_state("b", &["down"]);
    let away = write(&api, &id, clients, writes)?;
    println!("{clients:>2} writers, one away          {away:>8.0} writes/s");
    println!(
        "memory, {writes:>6} owed           {:>8} KiB",
        cluster.proxy.resident_kb()
    );
    let before = api.request_counts()[1];
    let begun = Instant::now();
    cluster.instances[1].up();
    let mut most = 0;
    eventually("it has caught up", PATIENCE, || {
        most = most.max(cluster.proxy.resident_kb());
        match cluster.owed() {
            0 => Ok(()),
            owed => Err(format!("{owed} writes are owed")),
        }
    });
    let caught_up = count(writes) / begun.elapsed().as_secs_f64();
    println!(
        "catching up                   {caught_up:>8.0} writes/s, {:.1} times one writer, in {} requests",
        caught_up / alone,
        api.request_counts()[1] - before
    );
    println!("memory, at most               {most:>8} KiB");
    cluster.settle();
    Ok(())
}
