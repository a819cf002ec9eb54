//! `trash`: collections that can still be got back.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::remote::{Remote, or_trouble, with_address};

pub(super) fn command() -> Command {
    Command::new("trash")
        .about("Shows deleted collections that can still be got back; gets one back, or deletes it for good")
        .after_help("A guard's policy says which collections go into the trash, and for how long: README.md, the clean-up guard.")
        .args_conflicts_with_subcommands(true)
        .subcommand(
            with_id(Command::new("restore").about("Gets a collection back, with its id and its records")).arg(
                Arg::new("name")
                    .long("name")
                    .help("The name that it gets [default: the one that it had]"),
            ),
        )
        .subcommand(with_id(Command::new("delete").about("Deletes a collection for good")))
        .args(with_address(Command::new("trash")).get_arguments().cloned())
}

fn with_id(command: Command) -> Command {
    let id = Arg::new("id").value_name("ID").required(true);
    with_address(command).arg(id.help("The collection's id, as the list shows it"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(match matches.subcommand() {
        Some(("restore", matches)) => restore(matches),
        Some(("delete", matches)) => delete(matches),
        _ => list(matches),
    })
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

fn list(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let list = Remote::new(matches).get("/admin/trash")?;
    for line in list["collections"].as_array().into_iter().flatten() {
        let text = |name: &str| line[name].as_str().unwrap_or("?");
        println!(
            "{}  {} of {}/{}, deleted for good in {} s",
            text("collection_id"),
            text("collection_name"),
            text("tenant"),
            text("database"),
            line["seconds_left"],
        );
    }
    println!("{} collections", list["collection_count"]);
    Ok(ExitCode::SUCCESS)
}

fn restore(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/trash/{}/restore", text(matches, "id"));
    let name = matches.get_one::<String>("name");
    tell(&Remote::new(matches).post(&path, &json!({ "name": name }))?);
    Ok(ExitCode::SUCCESS)
}

fn delete(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/trash/{}", text(matches, "id"));
    tell(&Remote::new(matches).delete(&path)?);
    Ok(ExitCode::SUCCESS)
}

fn tell(done: &Value) {
    let text = |name: &str| done[name].as_str().unwrap_or("?");
    println!("{}: {}", text("collection_id"), text("status"));
}
