//! `bench traffic`: the same requests to a Chroma server itself and to what stands in front of such
//! servers, in turn, in one run. What is told is ratios: the machine may be slow, or slow for a while.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{
    figures::{
        self, BARE, DIRECT, Line, json_flag, print_head, quantile, svg_flag, value, write_json,
        write_svg,
    },
    load::{self, Profile, Round, profile},
    peers::{Peer, Peers},
    requests::{get, mixed, query, upsert_hundred, upsert_one, upsert_one_base64, upsert_ten},
};

pub(super) fn command() -> Command {
    let command = Command::new("traffic")
        .about("Reads and writes through Achromat, beside Chroma itself and plain reverse proxies: Envoy, and nginx and HAProxy where they are on the path")
        .arg(
            Arg::new("open")
                .long("open")
                .action(ArgAction::SetTrue)
                .help("Sends by a schedule that waits for no answer, and tells times instead of throughput"),
        )
        .arg(
            Arg::new("load")
                .long("load")
                .value_name("PERCENT")
                .default_value("50")
                .value_parser(value_parser!(u32).range(1..=100))
                .help("The rate of the schedule: this share of what the direct server does at most"),
        );
    flags(command)
}

/// The flags of all commands that put peers side by side in a table.
pub(super) fn flags(command: Command) -> Command {
    let only = Arg::new("only")
        .long("only")
        .help("Only what has this in its name");
    measured(command.arg(only), "7")
}

/// The flags of all commands that measure peers in turn.
pub(super) fn measured(command: Command, rounds: &'static str) -> Command {
    command
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .default_value(rounds)
                .value_parser(value_parser!(u32).range(1..))
                .help("How often each is measured, in turn"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .default_value("1")
                .value_parser(value_parser!(u64).range(1..))
                .help("How long each time"),
        )
        .arg(json_flag())
        .arg(svg_flag())
}

const PROFILES: [Profile; 13] = [
    profile("get one by id", 1, get),
    profile("get one by id", 8, get),
    profile("get one by id", 64, get),
    profile("query ten", 1, query),
    profile("query ten", 8, query),
    profile("upsert one", 1, upsert_one),
    profile("upsert one", 8, upsert_one),
    profile("upsert one", 32, upsert_one),
    profile("upsert one as Python does", 32, upsert_one_base64),
    profile("upsert ten", 8, upsert_ten),
    profile("upsert a hundred", 1, upsert_hundred),
    profile("upsert a hundred", 8, upsert_hundred),
    profile("nine get, one upsert", 8, mixed),
];

/// How often, and how long each time.
pub(super) struct Turns {
    rounds: u32,
    pub(super) span: Duration,
}

impl Turns {
    pub(super) fn of(matches: &ArgMatches) -> anyhow::Result<Self> {
        Ok(Self {
            rounds: value(matches, "rounds")?,
            span: Duration::from_secs(value(matches, "seconds")?),
        })
    }

    /// Each peer in turn, so that a slow moment of the machine hits all of them.
    pub(super) fn take(
        &self,
        peers: &[Peer],
        mut round: impl FnMut(&Peer) -> anyhow::Result<Round>,
    ) -> anyhow::Result<Vec<Vec<Round>>> {
        let mut found: Vec<Vec<Round>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.rounds {
            for (peer, found) in peers.iter().zip(&mut found) {
                found.push(round(peer)?);
            }
        }
        Ok(found)
    }
}

/// How often and how long, and what of it.
pub(super) struct Plan {
    turns: Turns,
    only: Option<String>,
}

impl Plan {
    pub(super) fn of(matches: &ArgMatches) -> anyhow::Result<Self> {
        Ok(Self {
            turns: Turns::of(matches)?,
            only: matches.get_one::<String>("only").cloned(),
        })
    }

    /// The profiles that are asked for.
    fn chosen<'a>(&'a self, profiles: &'a [Profile]) -> impl Iterator<Item = &'a Profile> {
        let is_meant = |profile: &&Profile| match &self.only {
            Some(only) => profile.name.contains(only.as_str()),
            None => true,
        };
        profiles.iter().filter(is_meant)
    }

    /// Measures profiles in a closed loop, and prints what comes of it.
    pub(super) fn closed(&self, peers: &[Peer], profiles: &[Profile]) -> anyhow::Result<Vec<Line>> {
        print_head("ratio", peers.iter().any(|peer| peer.name == BARE));
        let mut all = Vec::new();
        for profile in self.chosen(profiles) {
            let found = self
                .turns
                .take(peers, |peer| load::closed(peer, profile, self.turns.span))?;
            let lines = figures::lines(peers, profile, &found, |round| round.per_second);
            lines.iter().for_each(Line::print);
            all.extend(lines);
        }
        Ok(all)
    }

    /// Measures profiles in an open loop, at a share of what the direct server does at most. The
    /// ratios are of the median times.
    fn open(&self, peers: &[Peer], profiles: &[Profile], share: f64) -> anyhow::Result<Vec<Line>> {
        load::sleep_exactly();
        print_head("p50 ratio", false);
        let mut all = Vec::new();
        for profile in self.chosen(profiles) {
            let direct = peers.iter().filter(|peer| peer.name == DIRECT);
            let most = direct
                .map(|peer| load::closed(peer, profile, self.turns.span))
                .next()
                .transpose()?
                .map_or(1.0, |round| round.per_second);
            let rate = (most * share).max(1.0);
            let found = self.turns.take(peers, |peer| {
                load::open(peer, profile, self.turns.span, rate)
            })?;
            let lines = figures::lines(peers, profile, &found, |round| {
                quantile(&round.times_us, 0.5)
            });
            lines.iter().for_each(Line::print);
            all.extend(lines);
        }
        Ok(all)
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let plan = Plan::of(matches)?;
    let peers = Peers::start();
    let (lines, axis) = if matches.get_flag("open") {
        let share = f64::from(value::<u32>(matches, "load")?) / 100.0;
        let lines = plan.open(&peers.all, &PROFILES, share)?;
        (lines, "median time, to that of the server itself")
    } else {
        let lines = plan.closed(&peers.all, &PROFILES)?;
        (lines, "throughput, to that of the server itself")
    };
    write_svg(matches, || {
        figures::draw("Chroma behind proxies", axis, &lines)
    })?;
    write_json(matches, &lines)
}
