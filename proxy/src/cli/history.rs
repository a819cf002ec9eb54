//! `wal` and `audit`: what clients wrote lately, and what operators changed.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use achromat_core::route::push_segment;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::remote::{Remote, or_trouble, with_address};

pub(super) fn wal_command() -> Command {
    with_list(
        Command::new("wal")
            .about("Shows what clients wrote lately, the newest first: when, who, what, and with which answer")
            .after_help("How long writes are kept, history.writes_kept_ms and history.writes_max say. Contents are never kept."),
    )
    .arg(text("collection", "NAME", "Writes to this collection alone"))
    .arg(text("who", "TOKEN", "Writes with the token of this name alone"))
    .arg(
        text("outcome", "OUTCOME", "Writes that were completed, refused or failed alone")
            .value_parser(["completed", "refused", "failed"]),
    )
}

pub(super) fn audit_command() -> Command {
    with_list(
        Command::new("audit")
            .about("Shows what operators changed, what clients destroyed, and which requests were denied, the newest first")
            .after_help("How long events are kept, history.audit_kept_ms says."),
    )
    .arg(
        text("kind", "KIND", "Changes, destructions or denials alone")
            .value_parser(["change", "destruction", "denial"]),
    )
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn with_list(command: Command) -> Command {
    with_address(command)
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("COUNT")
                .default_value("100")
                .value_parser(value_parser!(u32).range(1..=1000))
                .help("How many at most"),
        )
        .arg(text(
            "before",
            "NUMBER",
            "Records with smaller numbers alone: the next page",
        ))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Prints one JSON object a line"),
        )
}

pub(super) fn wal(matches: &ArgMatches) -> ExitCode {
    let parameters = ["limit", "before", "collection", "who", "outcome"];
    or_trouble(list(
        matches,
        "/admin/writes",
        &parameters,
        "writes",
        |write| {
            format!(
                "{}  {}  {:>5} ms  {:<17} {} {}  {}",
                write["number"],
                at(&write["begun_at_ms"]),
                write["took_ms"].as_u64().unwrap_or(0),
                word(&write["action"]),
                write["status"],
                place(write),
                from(write),
            )
        },
    ))
}

pub(super) fn audit(matches: &ArgMatches) -> ExitCode {
    let parameters = ["limit", "before", "kind"];
    or_trouble(list(
        matches,
        "/admin/audit",
        &parameters,
        "events",
        |event| {
            format!(
                "{}  {}  {:<11} {} {}  {}  {}",
                event["number"],
                at(&event["at_ms"]),
                word(&event["kind"]),
                event["status"],
                word(&event["what"]),
                from(event),
                word(&event["detail"]),
            )
        },
    ))
}

fn list(
    matches: &ArgMatches,
    path: &str,
    parameters: &[&str],
    name: &str,
    line: impl Fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let told = parameters.iter().filter_map(|name| {
        let value = match *name {
            "limit" => matches.get_one::<u32>(name)?.to_string(),
            name => matches.get_one::<String>(name)?.clone(),
        };
        let mut parameter = format!("{name}=");
        push_segment(&mut parameter, &value);
        Some(parameter)
    });
    let query: Vec<_> = told.collect();
    let list = Remote::new(matches).get(&format!("{path}?{}", query.join("&")))?;
    let mut out = io::stdout().lock();
    for record in list[name].as_array().into_iter().flatten() {
        let line = if matches.get_flag("json") {
            record.to_string()
        } else {
            line(record)
        };
        // A reader that has gone, as `head` does, has seen enough.
        if writeln!(out, "{line}").is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if let Some(before) = list["next_before"].as_u64() {
        eprintln!("older ones: --before {before}");
    }
    Ok(ExitCode::SUCCESS)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The place of a write: its collection, with tenant and database where they are not the default ones.
fn place(write: &Value) -> String {
    let (tenant, database) = (word(&write["tenant"]), word(&write["database"]));
    let collection = word(&write["collection"]);
    if (tenant, database) == ("default_tenant", "default_database") {
        return collection.to_owned();
    }
    format!("{tenant}/{database}/{collection}")
}

fn from(record: &Value) -> String {
    match (word(&record["who"]), word(&record["client"])) {
        ("", client) => client.to_owned(),
        (who, client) => format!("{who}@{client}"),
    }
}

/// A time for people, in UTC.
fn at(ms: &Value) -> String {
    crate::clock::written(ms.as_u64().unwrap_or(0))
}
