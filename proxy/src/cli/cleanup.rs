//! `cleanup`: deletes the collections that may be cleaned up.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::remote::{Remote, or_trouble, with_address};

/// Exit code when something that fits was kept.
const KEPT: u8 = 1;

pub(super) fn command() -> Command {
    let text = |name: &'static str| Arg::new(name).long(name).value_name("NAME");
    with_address(Command::new("cleanup"))
        .about("Deletes the collections that fit guard.cleanup, as far as the guard allows it")
        .after_help("Protected collections are kept, and so is what the guard's plugin denies.\nIt exits 0 when all that fits is deleted, 1 when something was kept, and 2 when that can't be told.")
        .arg(text("tenant").help("Of this tenant alone"))
        .arg(text("database").help("Of databases of this name alone"))
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Deletes nothing, and says what it would"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(clean(matches))
}

fn clean(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let dry_run = matches.get_flag("dry-run");
    let body = json!({
        "dry_run": dry_run,
        "tenant": matches.get_one::<String>("tenant"),
        "database": matches.get_one::<String>("database"),
    });
    let told = Remote::new(matches).post("/admin/cleanup", &body)?;
    let verb = if dry_run { "would delete" } else { "deleted" };
    let lines = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (deleted, kept) = (lines(&told["deleted"]), lines(&told["kept"]));
    for line in &deleted {
        println!("{verb}  {}", path(line));
    }
    for line in &kept {
        let reason = line["reason"].as_str().unwrap_or("-");
        println!("kept  {}: {reason}", path(line));
    }
    println!("{verb} {}, kept {}", deleted.len(), kept.len());
    Ok(if kept.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(KEPT)
    })
}

fn path(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
    let [tenant, database, name] = ["tenant", "database", "collection_name"].map(text);
    format!("{tenant}/{database}/{name}")
}
