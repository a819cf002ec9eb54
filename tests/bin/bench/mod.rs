//! `achromat-tests bench`: what things cost. It prints figures and judges none: build it with
//! `--release`, and nothing else running.

mod catchup;
mod decision;
mod fronts;
mod peers;
mod traffic;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub(crate) fn command() -> Command {
    Command::new("bench")
        .about("What things cost on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("decision")
                .about("A policy's decision, by the default components and by the native function"),
        )
        .subcommand(traffic::command())
        .subcommand(catchup::command())
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let done = match matches.subcommand() {
        Some(("decision", _)) => decision::run(),
        Some(("traffic", matches)) => traffic::run(matches),
        Some(("catch-up", matches)) => catchup::run(matches),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
