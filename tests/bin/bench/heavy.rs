//! `bench heavy`: what one large upsert takes through Achromat, and on one Chroma server alone.

use std::time::{Duration, Instant};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, folder},
    heavy::heavy,
};
use clap::{ArgMatches, Command};

use super::figures::{number_flag, value};

/// For one upsert to be answered.
const PATIENCE: Duration = Duration::from_mins(15);

pub(super) fn command() -> Command {
    Command::new("heavy")
        .about("What one large upsert takes, through Achromat and on one server alone")
        .arg(number_flag("mib", "39", "MiB of its texts"))
        .arg(number_flag(
            "rounds",
            "3",
            "Upserts of the same ids, each after the last is everywhere",
        ))
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (mib, rounds): (u32, u32) = (value(matches, "mib")?, value(matches, "rounds")?);
    // The ids and embeddings have some bytes as well: the whole is to be below Chroma's limit.
    let bytes = usize::try_from(mib)? * 1024 * 1024;
    let rounds = usize::try_from(rounds)?;
    let folder = folder();
    let mut alone = Chroma::start(&folder.path().join("alone"));
    let id = alone.api().create("heavy");
    let mut direct = Vec::new();
    for round in 0..rounds {
        direct.push(upsert(&alone.api(), &id, bytes, round));
    }
    alone.kill();
    let cluster = Cluster::start();
    let id = cluster.api().create("heavy");
    for (round, direct) in direct.iter().enumerate() {
        let through = upsert(&cluster.api(), &id, bytes, round);
        let begun = Instant::now();
        cluster.wait_nothing_owed(PATIENCE);
        let ratio = through.as_secs_f64() / direct.as_secs_f64();
        println!(
            "round {round}: {:.1} s alone, {:.1} s through Achromat ({ratio:.2}), on both servers {:.1} s later",
            direct.as_secs_f64(),
            through.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
    }
    let downs = cluster.proxy.told().matches("instance is down").count();
    println!("servers held to be down: {downs} times");
    Ok(())
}

fn upsert(api: &Api, id: &str, bytes: usize, round: usize) -> Duration {
    let body = heavy(bytes, round);
    let begun = Instant::now();
    api.clone()
        .patient(PATIENCE)
        .records(id, "upsert", &body)
        .ok();
    begun.elapsed()
}
