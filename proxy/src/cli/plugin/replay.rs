//! `plugin record` and `replay`.

use std::{collections::BTreeMap, io::Write as _, path::Path, process::ExitCode};

use achromat_core::policy::Slot;
use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command};

use super::{
    super::remote::Remote,
    versions::{config, config_argument, of_slot, path, slot_argument, text},
};
use crate::policy::{Change, Plugins, Replayed, Source, limits::Budget, replay};

/// Exit code for "they differ", as `diff` uses it.
const DIFFERENT: u8 = 1;

/// Decisions that are shown one by one.
const SHOWN_MAX: usize = 20;

pub(super) fn record_command() -> Command {
    of_slot(Command::new("record").about(
        "Prints the decisions that were recorded, one line of JSON each, to be replayed",
    ))
    .after_help("`policy.record_share` says how many are, and `policy.record_contents` whether the ids and filters of deletes are.")
}

pub(super) fn command() -> Command {
    Command::new("replay")
        .about("Asks a plugin what was decided before, and says what it would decide otherwise; needs no Achromat that runs")
        .after_help("Exits 0 when nothing would change, 1 when something would, and 2 when that can't be told.")
        .arg(Arg::new("file").value_name("FILE").required(true).help("The component, or core module"))
        .arg(slot_argument())
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("FILE")
                .required(true)
                .help("What `achromat plugin record` has printed"),
        )
        .arg(config_argument())
}

pub(super) fn record(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let lines = Remote::new(matches).get_text(&path(matches, "decisions"))?;
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let named = text(matches, "slot").unwrap_or_default();
    let slot = Slot::parse(named).with_context(|| {
        let names: Vec<_> = Slot::ALL.iter().map(|slot| slot.as_str()).collect();
        format!("there is no slot {named:?}; there are {}", names.join(", "))
    })?;
    let file = Path::new(text(matches, "file").unwrap_or_default());
    let from = text(matches, "from").unwrap_or_default();
    let lines = std::fs::read_to_string(from).with_context(|| from.to_owned())?;
    let source = Source {
        name: file.display().to_string().into(),
        bytes: std::fs::read(file)
            .with_context(|| file.display().to_string())?
            .into(),
        config: config(matches)?.into(),
        budget: Budget::default(),
    };
    let plugins = Plugins::new(None)?;
    let replayed = replay(slot, &plugins, &source, &lines)?;
    tell(&replayed);
    Ok(if replayed.changes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

fn tell(replayed: &Replayed) {
    let changed = replayed.changes.len();
    out!(
        "{changed} of {} decisions would be others",
        replayed.decisions
    );
    let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for Change { before, after, .. } in &replayed.changes {
        *kinds.entry((before, after)).or_default() += 1;
    }
    for ((before, after), count) in kinds {
        out!("{count:>8}  {before}  ->  {after}");
    }
    for change in replayed.changes.iter().take(SHOWN_MAX) {
        out!(
            "line {}: request {}, {}: {}  ->  {}",
            change.line,
            change.number,
            change.collection.as_deref().unwrap_or("-"),
            change.before,
            change.after,
        );
    }
}
