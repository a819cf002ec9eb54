//! `achromat-tests bench`: what things cost. It prints figures and judges none: build it with
//! `--release`, and nothing else running.

mod bare;
mod catchup;
mod decision;
mod failover;
mod figures;
mod fleet;
mod fronts;
mod heavy;
mod instructions;
mod lag;
mod load;
mod peers;
mod plot;
mod proxying;
mod registers;
mod requests;
mod scale;
mod startup;
mod storm;
mod traffic;
mod upstream;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub(crate) fn command() -> Command {
    Command::new("bench")
        .about("What things cost on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(decision::command())
        .subcommand(traffic::command())
        .subcommand(proxying::command())
        .subcommand(scale::command())
        .subcommand(startup::command())
        .subcommand(storm::command())
        .subcommand(failover::command())
        .subcommand(fleet::command())
        .subcommand(lag::command())
        .subcommand(heavy::command())
        .subcommand(catchup::command())
        .subcommand(instructions::command())
        .subcommand(registers::command())
        .subcommand(upstream::command())
        .subcommand(bare::command())
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let done = match matches.subcommand() {
        Some(("decision", matches)) => decision::run(matches),
        Some(("traffic", matches)) => traffic::run(matches),
        Some(("proxying", matches)) => proxying::run(matches),
        Some(("scale", matches)) => scale::run(matches),
        Some(("start", matches)) => startup::run(matches),
        Some(("storm", matches)) => storm::run(matches),
        Some(("failover", matches)) => failover::run(matches),
        Some(("fleet", matches)) => fleet::run(matches),
        Some(("lag", matches)) => lag::run(matches),
        Some(("heavy", matches)) => heavy::run(matches),
        Some(("catch-up", matches)) => catchup::run(matches),
        Some(("instructions", matches)) => instructions::run(matches),
        Some(("registers", matches)) => registers::run(matches),
        Some(("upstream", matches)) => upstream::run(matches),
        Some(("bare", matches)) => bare::run(matches),
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
