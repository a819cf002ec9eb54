//! `health`: a check for scripts and containers.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::remote::{Remote, or_trouble, with_address};

/// Exit code for a service that goes on with less than it should have.
const DEGRADED: u8 = 1;

/// Exit code for one that serves nothing.
const DOWN: u8 = 2;

pub(super) fn command() -> Command {
    with_address(
        Command::new("health")
            .about("Tells whether a running Achromat is healthy, and if not, why")
            .after_help("Exits 0 when it is healthy, 1 when it is degraded but serves, and 2 when it serves nothing or can't be reached."),
    )
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(check(matches))
}

fn check(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (code, health) = Remote::new(matches).ask("/health")?;
    let status = health["status"].as_str().unwrap_or("unknown");
    let up = format!(
        "{} of {} instances",
        health["healthy_instances"], health["total_instances"]
    );
    println!(
        "{status}, {up}, {} pending writes",
        health["pending_writes"]
    );
    for reason in health["reasons"].as_array().into_iter().flatten() {
        println!("{}", reason.as_str().unwrap_or_default());
    }
    Ok(match (code, status) {
        (200, "healthy") => ExitCode::SUCCESS,
        (200, _) => ExitCode::from(DEGRADED),
        _ => ExitCode::from(DOWN),
    })
}
