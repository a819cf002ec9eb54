//! `achromat plugin`: everything about policy plugins.

mod bench;
mod build;
mod check;
mod new;
mod subject;
mod test;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    Command::new("plugin")
        .about("Makes and tries policy plugins")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(new::command())
        .subcommand(build::command())
        .subcommand(check::command())
        .subcommand(test::command())
        .subcommand(bench::command())
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("new", matches)) => new::run(matches),
        Some(("build", matches)) => build::run(matches),
        Some(("check", matches)) => check::run(matches),
        Some(("test", matches)) => test::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        _ => anyhow::bail!("no such command"),
    }
}
