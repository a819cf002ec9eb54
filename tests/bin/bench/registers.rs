//! `bench registers`: whether clients see registers, over as many operations as are wanted.

use std::time::{Duration, Instant};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, folder},
    registers::{Act, Goal, Mix, Recorded, check, record},
};
use anyhow::ensure;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::figures::value;

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("NUMBER")
            .default_value(default)
            .value_parser(value_parser!(u64))
            .help(help)
    };
    Command::new("registers")
        .about("Clients write, delete and read the same few records; their history is checked, and reads are counted")
        .arg(number("operations", "100000", "Operations of all clients together"))
        .arg(number("instances", "2", "How many Chroma servers: 1 to 4"))
        .arg(number("clients", "6", "Clients at once"))
        .arg(number("registers", "3", "Records that they meet at"))
        .arg(number("reads", "50", "Of a hundred operations, how many are reads"))
        .arg(number("seed", "1", "What the clients' choices follow from"))
        .arg(
            Arg::new("direct")
                .long("direct")
                .action(ArgAction::SetTrue)
                .help("Ask one Chroma directly instead"),
        )
}

fn count(matches: &ArgMatches, name: &str) -> anyhow::Result<usize> {
    Ok(usize::try_from(value::<u64>(matches, name)?)?)
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let mix = Mix {
        clients: count(matches, "clients")?,
        registers: count(matches, "registers")?,
        reads: count(matches, "reads")?,
        pause: Duration::ZERO,
    };
    let instances = count(matches, "instances")?;
    let seed = value(matches, "seed")?;
    let operations = count(matches, "operations")?;
    let goal = Goal::operations(operations);
    if matches.get_flag("direct") {
        let folder = folder();
        let chroma = Chroma::start(&folder.path().join("direct"));
        return judged(&chroma.api(), mix, &goal, seed);
    }
    let cluster = Cluster::with(instances, &[]);
    judged(&cluster.api(), mix, &goal, seed)
}

/// Has the clients do their work, and fails when something of it can't be explained.
fn judged(api: &Api, mix: Mix, goal: &Goal, seed: u64) -> anyhow::Result<()> {
    let collection = api.create("registers");
    let began = Instant::now();
    let recorded = record(std::slice::from_ref(api), &collection, mix, goal, seed);
    let took = began.elapsed();
    println!("{}", told(&recorded, took));
    let began = Instant::now();
    let violations = check(&recorded.history);
    println!(
        "{} violations, found out in {:.1?}",
        violations.len(),
        began.elapsed()
    );
    for violation in &violations {
        println!("{violation}");
    }
    ensure!(recorded.failures.is_empty(), "{:#?}", recorded.failures);
    ensure!(violations.is_empty(), "the records are no registers");
    Ok(())
}

fn reads_of(recorded: &Recorded) -> usize {
    let is_read = |act| matches!(act, Act::Read(_));
    recorded.history.iter().filter(|o| is_read(o.act)).count()
}

fn told(recorded: &Recorded, took: Duration) -> String {
    let (all, reads) = (recorded.history.len(), reads_of(recorded));
    let number = |count: usize| f64::from(u32::try_from(count).expect("a small number"));
    let per_second = |count: usize| number(count) / took.as_secs_f64();
    format!(
        "{all} operations in {took:.1?}: {:.0} reads/s, {:.0} writes/s; {} failed",
        per_second(reads),
        per_second(all - reads),
        recorded.failures.len()
    )
}
