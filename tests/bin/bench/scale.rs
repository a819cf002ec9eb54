//! `bench scale`: whether a request costs more when there are many collections, or when the log is
//! long, beside a Chroma server itself that has the same.
//!
//! Entries leave the log when every instance has done them. So that it becomes long, one of the two
//! instances is dead in the second part, and is owed them all.

use std::time::Duration;

use achromat_tests::api::Api;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::json;

use super::{
    figures::{ACHROMAT, count, quantile, sorted, value, write_json, write_svg},
    load::{self, Client, Profile, Round, by_many, profile},
    peers::{Peer, Peers},
    plot::LineChart,
    requests::{get, update_one, upsert_one},
    traffic::{Turns, measured},
};

/// Who create collections, and who write entries.
const CREATORS: usize = 8;
const WRITERS: usize = 128;

pub(super) fn command() -> Command {
    let command = Command::new("scale")
        .about("What a request costs with many collections, and with a long log")
        .arg(
            Arg::new("collections")
                .long("collections")
                .default_value("1000")
                .value_parser(value_parser!(usize))
                .help("Up to how many collections: in steps of ten times, from 10"),
        )
        .arg(
            Arg::new("entries")
                .long("entries")
                .default_value("20000")
                .value_parser(value_parser!(usize))
                .help("Up to how many owed writes: in steps of ten times, from 1,000"),
        );
    measured(command, "5")
}

const PROFILES: [Profile; 2] = [
    profile("get one by id", 1, get),
    profile("upsert one", 1, upsert_one),
];

/// One measured step.
#[derive(Serialize)]
struct Step {
    of: &'static str,
    count: usize,
    profile: &'static str,
    /// Chroma's own, and Achromat's.
    p50_us: [f64; 2],
    p99_us: [f64; 2],
    /// Achromat's over Chroma's: the median of the rounds' ratios, and of all rounds.
    p50_ratio: f64,
    p99_ratio: f64,
}

/// The steps up to a bound: each ten times the last, and the bound itself.
fn steps(first: usize, most: usize) -> Vec<usize> {
    let tenfold = std::iter::successors(Some(first), |step| step.checked_mul(10));
    let mut steps: Vec<_> = tenfold.take_while(|step| *step < most).collect();
    steps.extend((most > 0).then_some(most));
    steps
}

/// Creates collections; returns the seconds.
fn create(port: u16, numbers: std::ops::Range<usize>) -> anyhow::Result<f64> {
    by_many(
        CREATORS,
        numbers,
        || Ok(Api::at(port)),
        |api, number| {
            let body = json!({ "name": format!("many-{number}") });
            let answer = api.try_call("POST", "$D/collections", &body)?;
            anyhow::ensure!(answer.status == 200, "a collection is answered {answer:?}");
            Ok(())
        },
    )
}

/// Writes to single records; returns the seconds.
fn write(peer: &Peer, numbers: std::ops::Range<usize>) -> anyhow::Result<f64> {
    by_many(
        WRITERS,
        numbers,
        || Client::connect(peer.port),
        |client, number| client.ask(&update_one(peer, number)),
    )
}

/// Measures at one step, and prints it.
fn step(turns: &Turns, peers: &Peers, of: &'static str, count: usize) -> anyhow::Result<Vec<Step>> {
    let measure = |profile: &Profile| {
        let found = turns.take(&peers.all, |peer| load::closed(peer, profile, turns.span))?;
        let step = Step::of(of, count, profile.name, &found)?;
        step.print();
        Ok(step)
    };
    PROFILES.iter().map(measure).collect()
}

impl Step {
    fn of(
        of: &'static str,
        count: usize,
        profile: &'static str,
        found: &[Vec<Round>],
    ) -> anyhow::Result<Self> {
        let [direct, achromat] = found else {
            anyhow::bail!("a pair is measured");
        };
        let at = |share| {
            [direct, achromat].map(|rounds| {
                let times = rounds.iter().flat_map(|round| &round.times_us);
                quantile(&sorted(times.copied().collect()), share)
            })
        };
        let ratios = direct.iter().zip(achromat).map(|(direct, achromat)| {
            quantile(&achromat.times_us, 0.5) / quantile(&direct.times_us, 0.5)
        });
        let (p50_us, p99_us) = (at(0.5), at(0.99));
        Ok(Self {
            of,
            count,
            profile,
            p50_us,
            p99_us,
            p50_ratio: quantile(&sorted(ratios.collect()), 0.5),
            p99_ratio: p99_us[1] / p99_us[0],
        })
    }

    fn print_head() {
        println!(
            "{:<20} {:<14} {:>28}  {:>28}",
            "", "", "p50 us: direct, achromat, ratio", "p99 us: direct, achromat, ratio"
        );
    }

    fn print(&self) {
        println!(
            "{:>8} {:<12} {:<14} {:>10.0} {:>10.0} {:>8.3}   {:>11.0} {:>10.0} {:>8.3}",
            self.count,
            self.of,
            self.profile,
            self.p50_us[0],
            self.p50_us[1],
            self.p50_ratio,
            self.p99_us[0],
            self.p99_us[1],
            self.p99_ratio,
        );
    }
}

/// Something that there is ever more of.
struct Growth {
    of: &'static str,
    steps: Vec<usize>,
    /// Makes those with these numbers; returns the seconds.
    make: fn(&Peer, std::ops::Range<usize>) -> anyhow::Result<f64>,
    makers: usize,
    /// Whether there is to be ever more of it in Achromat's log alone.
    is_owed: bool,
}

impl Growth {
    /// Measures at each step.
    fn measure(&self, turns: &Turns) -> anyhow::Result<Vec<Step>> {
        let peers = if self.is_owed {
            Peers::owing()
        } else {
            Peers::pair()
        };
        let makes = |peer: &&Peer| !self.is_owed || peer.name == ACHROMAT;
        let (mut all, mut there) = (Vec::new(), 0);
        for step in self.steps.iter().copied() {
            for peer in peers.all.iter().filter(makes) {
                let (made, seconds) = (step - there, (self.make)(peer, there..step)?);
                println!(
                    "{}: {made} {} made by {} at once, {:.0} in a second",
                    peer.name,
                    self.of,
                    self.makers,
                    count(made) / seconds
                );
            }
            there = step;
            if !self.is_owed {
                peers.cluster.wait_nothing_owed(Duration::from_mins(10));
            }
            all.extend(self::step(turns, &peers, self.of, step)?);
            println!(
                "achromat's memory: {} KiB, owed: {}",
                peers.cluster.proxy.resident_kb(),
                peers.cluster.owed()
            );
        }
        Ok(all)
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let turns = Turns::of(matches)?;
    println!("requests are about one collection, the others are only there");
    Step::print_head();
    let collections = Growth {
        of: "collections",
        steps: steps(10, value(matches, "collections")?),
        make: |peer, numbers| create(peer.port, numbers),
        makers: CREATORS,
        is_owed: false,
    };
    let entries = Growth {
        of: "owed",
        steps: steps(1000, value(matches, "entries")?),
        make: write,
        makers: WRITERS,
        is_owed: true,
    };
    let mut all = collections.measure(&turns)?;
    all.extend(entries.measure(&turns)?);
    write_svg(matches, || draw(&all))?;
    write_json(matches, &all)
}

/// A count for the axis: its places are narrow.
fn short(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// A value of one step.
type Figure = fn(&Step) -> f64;

/// Draws the ratios, the collections' beside the entries'.
fn draw(all: &[Step]) -> String {
    let mut labels: Vec<String> = Vec::new();
    let kinds: [(&str, &str, Figure); 4] = [
        ("get, median", PROFILES[0].name, |step| step.p50_ratio),
        ("get, p99", PROFILES[0].name, |step| step.p99_ratio),
        ("upsert, median", PROFILES[1].name, |step| step.p50_ratio),
        ("upsert, p99", PROFILES[1].name, |step| step.p99_ratio),
    ];
    let mut curves = kinds.map(|(name, ..)| (name.to_owned(), Vec::new()));
    let mut last = None;
    for step in all {
        let label = format!("{} {}", short(step.count), step.of);
        if last.is_some_and(|of| of != step.of) {
            labels.push(String::new());
            for (_, values) in &mut curves {
                values.push(f64::NAN);
            }
        }
        last = Some(step.of);
        if labels.last() != Some(&label) {
            labels.push(label);
        }
        for ((_, values), (_, profile, figure)) in curves.iter_mut().zip(&kinds) {
            if *profile == step.profile {
                values.push(figure(step));
            }
        }
    }
    LineChart {
        title: "What requests cost with many collections, and with a long log",
        axis: "time, to that of the server itself",
        steps: &labels,
        curves: &curves,
    }
    .draw()
}
