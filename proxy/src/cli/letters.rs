//! `letters`: writes that came to nothing, to be retried or dismissed.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::{Value, json};

use super::remote::{Remote, or_trouble, with_address};

/// Exit code of a list that is not empty, or of a retry that was refused.
const LEFT_OVER: u8 = 1;

pub(super) fn command() -> Command {
    Command::new("letters")
        .about("Shows writes that came to nothing after their client had reason to believe otherwise; retries or dismisses them")
        .after_help("A retried write is done now, behind everything that was written since: look whether it still makes sense.\nThe list exits 0 when it is empty, 1 when it is not, and 2 when that can't be told.")
        .args_conflicts_with_subcommands(true)
        .subcommand(with_which(Command::new("retry").about("Has the write of a letter done after all")))
        .subcommand(with_which(Command::new("dismiss").about("Takes a letter away for good")))
        .args(with_address(Command::new("letters")).get_arguments().cloned())
}

fn with_which(command: Command) -> Command {
    with_address(command)
        .arg(Arg::new("id").value_name("ID").help("A letter's id"))
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Every letter that is listed, the oldest first"),
        )
        .group(ArgGroup::new("which").args(["id", "all"]).required(true))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(match matches.subcommand() {
        Some(("retry", matches)) => retry(matches),
        Some(("dismiss", matches)) => dismiss(matches),
        _ => list(matches),
    })
}

fn ids(remote: &Remote, matches: &ArgMatches) -> anyhow::Result<Vec<String>> {
    if let Some(id) = matches.get_one::<String>("id") {
        return Ok(vec![id.clone()]);
    }
    let list = remote.get("/admin/letters")?;
    let letters = list["letters"].as_array().into_iter().flatten();
    let ids = letters.filter_map(|letter| letter["id"].as_str().map(str::to_owned));
    Ok(ids.collect())
}

fn list(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let list = Remote::new(matches).get("/admin/letters")?;
    let letters = list["letters"].as_array().cloned().unwrap_or_default();
    for letter in &letters {
        let text = |name: &str| letter[name].as_str().unwrap_or("-").to_owned();
        println!(
            "{}  {}  {}  {} bytes: {}",
            text("id"),
            text("collection_name"),
            operation(&letter["operation"]),
            letter["body_bytes"],
            text("reason"),
        );
    }
    let count = list["letter_count"].as_u64().unwrap_or(0);
    println!("{count} letters");
    Ok(if count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LEFT_OVER)
    })
}

fn operation(operation: &Value) -> String {
    let verb = operation["verb"].as_str().unwrap_or("?");
    match operation["act"].as_str() {
        Some(act) => act.to_owned(),
        None => verb.replace('_', " "),
    }
}

fn retry(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    let mut code = ExitCode::SUCCESS;
    for id in ids(&remote, matches)? {
        let told = remote.post(&format!("/admin/letters/{id}/retry"), &json!({}))?;
        let status = told["status"].as_u64().unwrap_or(0);
        if (200..300).contains(&status) {
            println!("{id}: done");
        } else {
            println!("{id}: {status} {}", told["answer"].as_str().unwrap_or(""));
            code = ExitCode::from(LEFT_OVER);
        }
    }
    Ok(code)
}

fn dismiss(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    for id in ids(&remote, matches)? {
        let told = remote.delete(&format!("/admin/letters/{id}"))?;
        match told["status"].as_str() {
            Some("dismissed") => println!("{id}: dismissed"),
            _ => bail!("{id} could not be dismissed"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
