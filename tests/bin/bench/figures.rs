//! Figures of several rounds, side by side: medians, ratios, tables and files of them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, ArgMatches, value_parser};
use serde::Serialize;

use super::{
    load::{Profile, Round},
    peers::Peer,
    plot::{BarChart, Group},
};

/// What this share of the values is below.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

pub(super) fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

/// The name of the peer that is no proxy at all.
pub(super) const DIRECT: &str = "direct";

/// The name of what all this is about.
pub(super) const ACHROMAT: &str = "achromat";

/// The name of the peer that is a proxy and nothing else.
pub(super) const BARE: &str = "bare pingora";

/// One line of the table.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) profile: &'static str,
    pub(super) connections: usize,
    pub(super) peer: &'static str,
    pub(super) per_second: f64,
    /// Of the direct one's throughput: the median of the rounds, and the least and the most.
    pub(super) ratio: [f64; 3],
    /// The same of the bare proxy's, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio_to_bare: Option<[f64; 3]>,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// The median, the least and the most.
fn spread(all: Vec<f64>) -> [f64; 3] {
    let all = sorted(all);
    [0.5, 0.0, 1.0].map(|share| quantile(&all, share))
}

/// A figure of each round over the same figure of another's.
fn ratios(rounds: &[Round], others: &[Round], figure: fn(&Round) -> f64) -> [f64; 3] {
    let both = rounds.iter().zip(others);
    spread(
        both.map(|(one, other)| figure(one) / figure(other))
            .collect(),
    )
}

/// What all rounds say together: a line for each peer. `figure` is what the ratios are of.
pub(super) fn lines(
    peers: &[Peer],
    profile: &Profile,
    found: &[Vec<Round>],
    figure: fn(&Round) -> f64,
) -> Vec<Line> {
    let rounds_of = |name| {
        let at = peers.iter().position(|peer| peer.name == name)?;
        found.get(at)
    };
    let (direct, bare) = (rounds_of(DIRECT), rounds_of(BARE));
    let line = |(peer, rounds): (&Peer, &Vec<Round>)| {
        let times = rounds
            .iter()
            .flat_map(|round| round.times_us.iter().copied());
        let times = sorted(times.collect());
        let [per_second, ..] = spread(rounds.iter().map(|round| round.per_second).collect());
        let to = |other: &Vec<Round>| ratios(rounds, other, figure);
        Line {
            profile: profile.name,
            connections: profile.connections,
            peer: peer.name,
            per_second,
            ratio: direct.map_or([f64::NAN; 3], to),
            ratio_to_bare: bare.map(to),
            p50_us: quantile(&times, 0.5),
            p99_us: quantile(&times, 0.99),
        }
    };
    peers.iter().zip(found).map(line).collect()
}

/// The table's first line.
pub(super) fn print_head(ratio: &str, has_bare: bool) {
    let bare = if has_bare { "   to bare" } else { "" };
    println!(
        "{:<18} {:>5}  {:<20} {:>9}  {ratio:>9} {:>15}{bare}  {:>9} {:>9}",
        "", "conns", "", "per s", "from - to", "p50 us", "p99 us"
    );
}

impl Line {
    /// Prints it below [`print_head`].
    pub(super) fn print(&self) {
        let [ratio, from, to] = self.ratio;
        let bare = self
            .ratio_to_bare
            .map(|[ratio, ..]| format!(" {ratio:>9.3}"));
        println!(
            "{:<18} {:>5}  {:<20} {:>9.0}  {ratio:>9.3} {:>15}{}  {:>9.0} {:>9.0}",
            self.profile,
            self.connections,
            self.peer,
            self.per_second,
            format!("{from:.2} - {to:.2}"),
            bare.unwrap_or_default(),
            self.p50_us,
            self.p99_us,
        );
    }
}

/// A flag for a number that is not 0.
pub(super) fn number_flag(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .default_value(default)
        .value_parser(value_parser!(u32).range(1..))
        .help(help)
}

/// The flag for a file of all figures.
pub(super) fn json_flag() -> Arg {
    file_flag("json", "Writes the figures to a file as well")
}

/// The flag for a drawing of the ratios.
pub(super) fn svg_flag() -> Arg {
    file_flag("svg", "Draws the ratios into a file as well")
}

fn file_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// The value of a flag that has a default.
pub(super) fn value<T: Copy + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &str,
) -> anyhow::Result<T> {
    let value = matches.get_one::<T>(name).copied();
    value.with_context(|| format!("--{name} has a default"))
}

/// Writes the figures to the file that was asked for.
pub(super) fn write_json(matches: &ArgMatches, figures: &impl Serialize) -> anyhow::Result<()> {
    match matches.get_one::<PathBuf>("json") {
        Some(file) => write(file, &serde_json::to_vec_pretty(figures)?),
        None => Ok(()),
    }
}

/// Writes a drawing to the file that was asked for.
pub(super) fn write_svg(matches: &ArgMatches, draw: impl FnOnce() -> String) -> anyhow::Result<()> {
    match matches.get_one::<PathBuf>("svg") {
        Some(file) => write(file, draw().as_bytes()),
        None => Ok(()),
    }
}

/// A count as a number that can be divided.
pub(super) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| file.display().to_string())
}

/// Draws the ratios to the direct one: a group for each profile, a bar for each other peer.
pub(super) fn draw(title: &str, axis: &str, lines: &[Line]) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for line in lines.iter().filter(|line| line.peer != DIRECT) {
        let label = [
            line.profile.to_owned(),
            format!("{} at once", line.connections),
        ];
        if groups.last().is_none_or(|group| group.label != label) {
            groups.push(Group {
                label,
                bars: Vec::new(),
            });
        }
        if let Some(group) = groups.last_mut() {
            group.bars.push((line.peer, line.ratio));
        }
    }
    BarChart {
        title,
        axis,
        groups: &groups,
    }
    .draw()
}
