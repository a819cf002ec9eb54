//! `fleet`: the proxies that share a database.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::{
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::remote::{Remote, or_trouble, with_address};

/// Longest time for the other proxy to lead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Interval between two questions about who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) fn command() -> Command {
    let hand_over = Command::new("hand-over")
        .about("Has another proxy lead, and waits until it does; no request fails")
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .help("The proxy that is to lead [default: any other one]"),
        );
    let accept = Command::new("accept-database")
        .about("Accepts a database that has gone back as it is: what it lacks is lost, and all copies are compared");
    Command::new("fleet")
        .about("Shows the proxies that share a database: who leads, who is there, their versions; has another one lead")
        .args_conflicts_with_subcommands(true)
        .subcommand(with_address(hand_over))
        .subcommand(with_address(accept))
        .args(with_address(Command::new("fleet")).get_arguments().cloned())
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(match matches.subcommand() {
        Some(("hand-over", matches)) => hand_over(matches),
        Some(("accept-database", matches)) => accept_database(matches),
        _ => list(matches),
    })
}

fn list(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let list = Remote::new(matches).get("/admin/fleet")?;
    for line in list["proxies"].as_array().into_iter().flatten() {
        let text = |name: &str| line[name].as_str().unwrap_or("?");
        let ago = line["seen_seconds_ago"].as_f64().unwrap_or_default();
        let seen = if line["is_there"] == true {
            String::new()
        } else {
            format!(", gone: not seen for {ago:.0} s")
        };
        let reads = line["reads"].as_u64();
        let reads = reads.map_or_else(String::new, |reads| format!(", {reads} reads"));
        println!(
            "{:8}  {} at {}, version {}{reads}{seen}",
            text("role"),
            text("name"),
            text("address"),
            text("version"),
        );
    }
    println!("{} proxies, epoch {}", list["proxy_count"], list["epoch"]);
    Ok(ExitCode::SUCCESS)
}

fn accept_database(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let accepted = Remote::new(matches).post("/admin/fleet/accept-database", &json!({}))?;
    println!(
        "the database is accepted as it is; {} collection(s) are compared, see `achromat jobs`",
        accepted["collections_to_compare"]
    );
    Ok(ExitCode::SUCCESS)
}

fn hand_over(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    let began = Instant::now();
    let name = matches.get_one::<String>("name");
    let accepted = remote.post("/admin/fleet/hand-over", &json!({ "to": name }))?;
    let heir = accepted["to"].as_str().unwrap_or_default();
    while began.elapsed() < PATIENCE {
        // Between two leaders nobody may answer for a moment.
        let list = remote.get("/admin/fleet").unwrap_or(Value::Null);
        if list["leader"] == heir {
            println!("{heir} leads since {:.1} s", began.elapsed().as_secs_f64());
            return Ok(ExitCode::SUCCESS);
        }
        sleep(LOOK_AGAIN);
    }
    bail!("{heir} does not lead after {PATIENCE:?}; see `achromat fleet`");
}
