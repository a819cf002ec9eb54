//! `bench failover`: the longest that a client waits when a server is killed, or freezes, while reads
//! and writes come by a schedule. A request that fails ends the benchmark: none may.

use std::{thread, time::Duration};

use achromat_tests::{chroma::Chroma, cluster::Cluster};
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use serde::Serialize;

use super::{
    figures::{ACHROMAT, json_flag, number_flag, quantile, sorted, value, write_json},
    load::{self, Profile, profile, sleep_exactly},
    peers::{Peer, fill},
    requests::{get, upsert_one},
};

/// Records of the collection before.
const RECORDS: usize = 1000;

/// How long requests come in a round; the fault happens when a third of it is over.
const SPAN: Duration = Duration::from_secs(6);

/// For everything to be as it was.
const PATIENCE: Duration = Duration::from_mins(2);

const READS: Profile = profile("get one by id", 1, get);
const WRITES: Profile = profile("upsert one", 1, upsert_one);

/// What befalls a server.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    happen: fn(&mut Chroma),
    end: fn(&mut Chroma),
}

const FAULTS: [Fault; 2] = [
    Fault {
        name: "killed",
        happen: Chroma::kill,
        end: Chroma::up,
    },
    Fault {
        name: "frozen",
        happen: |chroma| chroma.freeze(),
        end: |chroma| chroma.thaw(),
    },
];

/// What clients met, in milliseconds: of each round the worst, and the 99th percentile of all.
#[derive(Serialize)]
struct Figures {
    fault: &'static str,
    server: &'static str,
    requests: &'static str,
    count: usize,
    worst_ms: Vec<f64>,
    p99_ms: f64,
}

pub(super) fn command() -> Command {
    Command::new("failover")
        .about("The longest that a client waits when a server is killed, or freezes")
        .arg(number_flag("rounds", "3", "How often each fault happens"))
        .arg(number_flag("reads", "100", "Reads in a second"))
        .arg(number_flag("writes", "20", "Writes in a second"))
        .arg(json_flag())
}

/// One fault under load; returns how long reads and writes took, in milliseconds.
fn round(
    cluster: &mut Cluster,
    peer: &Peer,
    (place, fault): (usize, Fault),
    rates: [f64; 2],
) -> anyhow::Result<[Vec<f64>; 2]> {
    let chroma = &mut cluster.instances[place];
    let found = thread::scope(|scope| {
        let ask = |profile, rate| scope.spawn(move || load::open(peer, profile, SPAN, rate));
        let asking = [ask(&READS, rates[0]), ask(&WRITES, rates[1])];
        thread::sleep(SPAN / 3);
        (fault.happen)(chroma);
        asking.map(|thread| thread.join().ok().context("a client panicked"))
    });
    (fault.end)(chroma);
    cluster.wait_nothing_owed(PATIENCE);
    cluster.settle();
    let [reads, writes] = found;
    let ms = |round: load::Round| round.times_us.iter().map(|us| us / 1e3).collect();
    Ok([ms(reads??), ms(writes??)])
}

impl Figures {
    fn of(names: [&'static str; 3], rounds: &[Vec<f64>]) -> Self {
        let [fault, server, requests] = names;
        let all = sorted(rounds.iter().flatten().copied().collect());
        Self {
            fault,
            server,
            requests,
            count: all.len(),
            worst_ms: rounds.iter().map(|round| quantile(round, 1.0)).collect(),
            p99_ms: quantile(&all, 0.99),
        }
    }

    fn print(&self) {
        let worst: Vec<_> = self.worst_ms.iter().map(|ms| format!("{ms:.0}")).collect();
        println!(
            "{:<8} {:<8} {:<14} {:>6} p99 {:>5.0} ms, worst of each round {} ms",
            self.server,
            self.fault,
            self.requests,
            self.count,
            self.p99_ms,
            worst.join(", ")
        );
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let number = |name| value::<u32>(matches, name);
    let rates = [number("reads")?, number("writes")?].map(f64::from);
    let mut cluster = Cluster::with(2, &["--log-level=error"]);
    let peer = Peer {
        name: ACHROMAT,
        port: cluster.proxy.port,
        records: fill(&cluster.api(), "failover", RECORDS),
    };
    cluster.settle();
    sleep_exactly();
    let mut all = Vec::new();
    for (place, server) in ["primary", "replica"].into_iter().enumerate() {
        for fault in FAULTS {
            let mut times = [const { Vec::new() }; 2];
            for _ in 0..number("rounds")? {
                let found = round(&mut cluster, &peer, (place, fault), rates)?;
                times
                    .iter_mut()
                    .zip(found)
                    .for_each(|(all, one)| all.push(one));
            }
            for (profile, rounds) in [READS, WRITES].iter().zip(&times) {
                let figures = Figures::of([fault.name, server, profile.name], rounds);
                figures.print();
                all.push(figures);
            }
        }
    }
    println!("no request failed, and after each round both servers held the same");
    write_json(matches, &all)
}
