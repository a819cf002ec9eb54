//! `bench fleet`: what the log costs in SQLite and in PostgreSQL, what it costs to ask a proxy that follows, and
//! how long clients of such a proxy wait when the one that leads is killed or hands over.

use std::{thread, time::Duration};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, NAMES, folder},
    postgres::Postgres,
    proxy::Proxy,
};
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use tempfile::TempDir;

use super::{
    figures::{DIRECT, number_flag, quantile, sorted, value, write_json},
    load::{self, Profile, profile, sleep_exactly},
    peers::{Peer, fill},
    requests::{get, upsert_one},
    traffic::{Plan, flags},
};

/// Records of the collection before.
const RECORDS: usize = 1000;

/// Length of a round of requests; the proxy that leads changes when a third of it is over.
const SPAN: Duration = Duration::from_secs(6);

/// Writes in a second meanwhile.
const RATE: f64 = 50.0;

/// Time for a proxy to be there again.
const PATIENCE: Duration = Duration::from_mins(1);

const PROFILES: [Profile; 6] = [
    profile("get one by id", 1, get),
    profile("get one by id", 8, get),
    profile("get one by id", 32, get),
    profile("upsert one", 1, upsert_one),
    profile("upsert one", 8, upsert_one),
    profile("upsert one", 32, upsert_one),
];

const READS: Profile = profile("get one by id", 8, get);

const WRITES: Profile = profile("upsert one", 4, upsert_one);

pub(super) fn command() -> Command {
    let command = Command::new("fleet").about(
        "What a log in PostgreSQL and a proxy that follows cost, and the wait for the next leader",
    );
    flags(command.arg(number_flag(
        "changes",
        "5",
        "How often the leader is killed, and how often it hands over",
    )))
}

/// Two proxies on one database.
struct Fleet {
    proxies: [Proxy; 2],
    _instances: Vec<Chroma>,
    database: Postgres,
    records: String,
    _folder: TempDir,
}

impl Fleet {
    fn start() -> Self {
        let folder = folder();
        let database = Postgres::start().expect("PostgreSQL runs here");
        let start = |name| Chroma::start(&folder.path().join(name));
        let instances: Vec<Chroma> = NAMES.into_iter().take(2).map(start).collect();
        let urls = instances.iter().map(Chroma::url);
        let named: Vec<_> = NAMES.into_iter().zip(urls).collect();
        let proxies = ["first", "second"].map(|name| {
            let place = (folder.path(), name);
            let proxy = Proxy::join(place, &database.url(), &named, &["--log-level=warn"]);
            proxy.wait_ready();
            proxy
        });
        let records = fill(&proxies[0].api(), "bench", RECORDS);
        proxies[0].api().wait_nothing_owed(PATIENCE);
        Self {
            proxies,
            _instances: instances,
            database,
            records,
            _folder: folder,
        }
    }

    fn leader(&self) -> usize {
        usize::from(self.database.leader() != "first")
    }

    fn peer(&self, name: &'static str, number: usize) -> Peer {
        Peer {
            name,
            port: self.proxies[number].port,
            records: self.records.clone(),
        }
    }

    /// The processor's time that each proxy takes for a get, in microseconds, when clients ask one of them: first the
    /// one that leads, then the one that follows.
    fn processor_us(&self, asked: usize) -> anyhow::Result<[f64; 2]> {
        let leader = self.leader();
        let both = [leader, 1 - leader].map(|number| self.proxies[number].api());
        let taken = || both.each_ref().map(processor_s);
        let before = taken();
        let round = load::closed(&self.peer("asked", asked), &READS, SPAN)?;
        let gets = u32::try_from(round.times_us.len()).unwrap_or(u32::MAX);
        let after = taken();
        Ok([0, 1].map(|at| (after[at] - before[at]) * 1e6 / f64::from(gets)))
    }

    /// Has another proxy lead while clients of the one that follows write; returns the longest that one waited, in
    /// milliseconds. A request that fails ends the benchmark.
    fn change(&mut self, change: &Change) -> anyhow::Result<f64> {
        let leader = self.leader();
        let peer = self.peer("follower", 1 - leader);
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| load::open(&peer, &WRITES, SPAN, RATE));
            thread::sleep(SPAN / 3);
            (change.happen)(&mut self.proxies[leader]);
            asking.join().ok().context("a client panicked")
        });
        let worst = quantile(&sorted(asked??.times_us), 1.0) / 1e3;
        (change.end)(&mut self.proxies[leader]);
        Ok(worst)
    }
}

/// The processor's time that a proxy has taken so far, in seconds.
fn processor_s(api: &Api) -> f64 {
    let page = api.get("/metrics").ok();
    let mut lines = page.as_str().unwrap_or_default().lines();
    let line = lines.find(|line| line.starts_with("achromat_cpu_seconds"));
    let taken = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    taken.expect("its figure")
}

/// A way in which another proxy comes to lead.
struct Change {
    name: &'static str,
    happen: fn(&mut Proxy),
    end: fn(&mut Proxy),
}

const CHANGES: [Change; 2] = [
    Change {
        name: "killed",
        happen: Proxy::kill,
        end: |proxy| {
            proxy.up();
            proxy.wait_ready();
        },
    },
    Change {
        name: "handed over",
        happen: hand_over,
        end: |_| {},
    },
];

fn hand_over(proxy: &mut Proxy) {
    let (code, told) = proxy.command(&["fleet", "hand-over"]);
    assert_eq!(code, Some(0), "{told}");
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let plan = Plan::of(matches)?;
    let alone = Cluster::with(2, &["--log-level=warn"]);
    let direct = Chroma::start(&alone.folder().join("direct"));
    let mut fleet = Fleet::start();
    let leader = fleet.leader();
    let peers = [
        Peer {
            name: DIRECT,
            port: direct.port,
            records: fill(&direct.api(), "bench", RECORDS),
        },
        Peer {
            name: "SQLite",
            port: alone.proxy.port,
            records: fill(&alone.api(), "bench", RECORDS),
        },
        fleet.peer("PostgreSQL", leader),
        fleet.peer("follower", 1 - leader),
    ];
    alone.settle();
    let lines = plan.closed(&peers, &PROFILES)?;
    for (asked, name) in [(leader, "leads"), (1 - leader, "follows")] {
        let [leaders, followers] = fleet.processor_us(asked)?;
        println!(
            "get one by id, 8, of the proxy that {name}: {leaders:.0} µs of the leader's processor time each, {followers:.0} µs of the follower's"
        );
    }
    sleep_exactly();
    let changes: u32 = value(matches, "changes")?;
    for change in &CHANGES {
        let worst: anyhow::Result<Vec<f64>> = (0..changes).map(|_| fleet.change(change)).collect();
        let worst = sorted(worst?);
        println!(
            "{:<12} {} times, no request failed; the longest wait of a client: median {:.0} ms, worst {:.0} ms",
            change.name,
            worst.len(),
            quantile(&worst, 0.5),
            quantile(&worst, 1.0)
        );
    }
    fleet.proxies[0].api().wait_nothing_owed(PATIENCE);
    write_json(matches, &lines)
}
