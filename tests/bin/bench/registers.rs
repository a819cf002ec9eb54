//! `bench registers`: whether clients see registers, over as many operations as are wanted, and what
//! that costs reads of records that are being written.

use std::{
    process::{Child, Command as Process, Stdio},
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::Api,
    chroma::{Chroma, free_port},
    cluster::{Cluster, NAMES, folder},
    registers::{Act, Goal, Mix, Recorded, check, record},
    wait::eventually,
};
use anyhow::ensure;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tempfile::TempDir;

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
        .arg(
            Arg::new("beside")
                .long("beside")
                .value_name("PROGRAM")
                .help("Another `achromat-tests`, whose Achromat is measured in turn with this one for --seconds each, over the same servers"),
        )
        .arg(number("seconds", "5", "How long each turn of --beside takes"))
        .arg(number("rounds", "4", "Turns of --beside for each"))
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
    if let Some(other) = matches.get_one::<String>("beside") {
        let turns = (value(matches, "seconds")?, count(matches, "rounds")?);
        return beside(other, instances, mix, turns, seed);
    }
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
    let recorded = record(&[api.clone()], &collection, mix, goal, seed);
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
    let per_second = |count: usize| count as f64 / took.as_secs_f64();
    format!(
        "{all} operations in {took:.1?}: {:.0} reads/s, {:.0} writes/s; {} failed",
        per_second(reads),
        per_second(all - reads),
        recorded.failures.len()
    )
}

/// Another build of Achromat in front of servers of its own.
struct Other {
    port: u16,
    child: Child,
    _instances: Vec<Chroma>,
    _folder: TempDir,
}

impl Other {
    fn start(program: &str, count: usize) -> Self {
        let folder = folder();
        let named = NAMES.into_iter().take(count);
        let instances = named
            .clone()
            .map(|name| Chroma::start(&folder.path().join(name)));
        let instances: Vec<_> = instances.collect();
        let port = free_port();
        let store = folder.path().join("log.sqlite");
        let mut command = Process::new(program);
        command
            .args(["achromat", "serve"])
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--store=sqlite:{}", store.display()));
        for (name, chroma) in named.zip(&instances) {
            command.arg(format!("--instance={name}={}", chroma.url()));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = child.spawn().expect("the other Achromat starts");
        eventually(
            "the other Achromat serves",
            Duration::from_secs(30),
            || match Api::at(port).try_call("GET", "/readyz", &serde_json::Value::Null) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        Self {
            port,
            child,
            _instances: instances,
            _folder: folder,
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It has no work to lose.
        let _gone = self.child.kill().and_then(|()| self.child.wait().map(drop));
    }
}

/// Measures this Achromat and another one in turn: each with servers of its own, the same clients.
fn beside(
    other: &str,
    instances: usize,
    mix: Mix,
    (seconds, rounds): (u64, usize),
    seed: u64,
) -> anyhow::Result<()> {
    let new = Cluster::with(instances, &[]);
    let old = Other::start(other, instances);
    let sides = [("this", new.api()), ("the other", Api::at(old.port))];
    let collections = sides.each_ref().map(|(_, api)| api.create("registers"));
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..rounds as u64 {
        for (at, ((name, api), collection)) in sides.iter().zip(&collections).enumerate() {
            let (goal, began) = (Goal::default(), Instant::now());
            let recorded = thread::scope(|scope| {
                let clients =
                    scope.spawn(|| record(&[api.clone()], collection, mix, &goal, seed + round));
                thread::sleep(Duration::from_secs(seconds));
                goal.stop.store(true, Relaxed);
                clients.join().expect("the clients end well")
            });
            let took = began.elapsed();
            println!("{name}: {}", told(&recorded, took));
            rates[at].push(reads_of(&recorded) as f64 / took.as_secs_f64());
        }
    }
    let sum = |at: usize| rates[at].iter().sum::<f64>();
    println!(
        "reads of this one to those of the other: {:.2}",
        sum(0) / sum(1)
    );
    Ok(())
}
