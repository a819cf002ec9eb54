//! `plugin shadow`, `canary` and `diffs`.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};

use super::{
    super::remote::Remote,
    versions::{of_slot, path, text},
};

/// Exit code of a list that is not empty, as `diff` uses it.
const DIFFERENT: u8 = 1;

fn number(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("NUMBER")
        .value_parser(value_parser!(u64))
        .help(help)
}

fn share(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("SHARE")
        .value_parser(value_parser!(f64))
        .help(help)
}

fn of_version(command: Command) -> Command {
    of_slot(command)
        .arg(
            Arg::new("version")
                .value_name("VERSION")
                .help("Its number, its name, the beginning of its digest, or `default`"),
        )
        .arg(
            Arg::new("stop")
                .long("stop")
                .action(ArgAction::SetTrue)
                .help("Ends the trial that goes on"),
        )
        .group(
            ArgGroup::new("what")
                .args(["version", "stop"])
                .required(true),
        )
        .arg(share("share", "Of the requests, from 0 to 1"))
        .arg(
            Arg::new("tenant")
                .long("tenant")
                .help("The requests of one tenant"),
        )
        .arg(
            Arg::new("collection")
                .long("collection")
                .help("The requests about collections of one name"),
        )
        .group(ArgGroup::new("which").args(["share", "tenant", "collection"]))
        .arg(
            Arg::new("replaces")
                .long("replaces")
                .value_name("VERSION")
                .help("The version on trial that this one takes the place of"),
        )
        .arg(number(
            "troubles-max",
            "Calls without an answer that it may have [default: 2]",
        ))
}

pub(super) fn shadow_command() -> Command {
    of_version(
        Command::new("shadow").about(
            "Asks a version what the active one is asked, compares the answers, and uses none",
        ),
    )
    .after_help(
        "`achromat plugin diffs` shows where they differ. A trial ends with Achromat's process.",
    )
}

pub(super) fn canary_command() -> Command {
    of_version(
        Command::new("canary").about(
            "Lets a version decide about some requests; it becomes active, or goes, by itself",
        ),
    )
    .arg(share(
        "divergence-max",
        "Of its decisions, those that may differ from the active version's [default: 1]",
    ))
    .arg(number(
        "decisions-min",
        "Decisions after which it is judged [default: 1000]",
    ))
    .arg(
        Arg::new("hold")
            .long("hold")
            .action(ArgAction::SetTrue)
            .help("Does not become active by itself"),
    )
    .after_help("A trial ends with Achromat's process.")
}

pub(super) fn diffs_command() -> Command {
    of_slot(Command::new("diffs").about("Shows decisions in which what is tried differs"))
        .after_help("When nothing is on trial, those of the last trial are shown, and how it ended. Exits 0 when there are none, 1 when there are or the last trial was rolled back, and 2 when that can't be told.")
}

pub(super) fn shadow(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    begin(matches, "shadow", wanted(matches))
}

pub(super) fn canary(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut wanted = wanted(matches);
    if let Some(share) = matches.get_one::<f64>("divergence-max") {
        wanted.insert("divergence_max".to_owned(), json!(share));
    }
    if let Some(number) = matches.get_one::<u64>("decisions-min") {
        wanted.insert("decisions_min".to_owned(), json!(number));
    }
    wanted.insert("promote".to_owned(), json!(!matches.get_flag("hold")));
    begin(matches, "canary", wanted)
}

fn wanted(matches: &ArgMatches) -> Map<String, Value> {
    let mut wanted = Map::new();
    for name in ["version", "tenant", "collection", "replaces"] {
        if let Some(word) = text(matches, name) {
            wanted.insert(name.to_owned(), json!(word));
        }
    }
    if let Some(share) = matches.get_one::<f64>("share") {
        wanted.insert("share".to_owned(), json!(share));
    }
    if let Some(number) = matches.get_one::<u64>("troubles-max") {
        wanted.insert("troubles_max".to_owned(), json!(number));
    }
    wanted
}

fn begin(matches: &ArgMatches, kind: &str, wanted: Map<String, Value>) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    let slot = if matches.get_flag("stop") {
        remote.delete(&path(matches, "trial"))?
    } else {
        remote.post(&path(matches, kind), &Value::Object(wanted))?
    };
    let trial = match &slot["trial"] {
        Value::Null => &slot["last_trial"],
        trial => trial,
    };
    out!(
        "{}: {}",
        slot["slot"].as_str().unwrap_or("?"),
        in_short(trial)
    );
    Ok(ExitCode::SUCCESS)
}

/// A trial in one line.
pub(super) fn in_short(trial: &Value) -> String {
    let outcome = trial["outcome"].as_str().unwrap_or("goes on");
    let reason = trial["reason"].as_str();
    format!(
        "{} of version {}: {} decisions, {} differ, {} troubles; {outcome}{}",
        trial["kind"].as_str().unwrap_or("?"),
        trial["version"],
        trial["decisions"],
        trial["diverged"],
        trial["troubles"],
        reason.map_or_else(String::new, |reason| format!(": {reason}")),
    )
}

pub(super) fn diffs(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let told = Remote::new(matches).get(&path(matches, "diffs"))?;
    let differences = told["differences"].as_array().cloned().unwrap_or_default();
    for difference in &differences {
        let text = |name: &str| difference[name].as_str().unwrap_or("-").to_owned();
        out!(
            "{}  {}  {}/{}\n  active: {}\n  tried:  {}",
            difference["request"],
            text("action"),
            text("tenant"),
            text("collection"),
            text("active"),
            text("tried"),
        );
    }
    let last = &told["last_trial"];
    match (told["trial"].is_object(), last.is_object()) {
        (true, _) => out!("{}", in_short(&told["trial"])),
        (false, true) => out!("Nothing is on trial. The last one: {}", in_short(last)),
        (false, false) => out!(
            "Nothing is on trial, and nothing was since Achromat's start: a trial ends with its process"
        ),
    }
    let is_worse = last["outcome"] == "rolled back";
    Ok(if differences.is_empty() && !is_worse {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}
