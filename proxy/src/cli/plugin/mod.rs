//! `plugin`: policy plugins, from their first line to their versions in a running Achromat.

mod bench;
mod build;
mod check;
mod dev;
mod new;
mod replay;
mod subject;
mod test;
mod trials;
mod versions;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::remote::or_trouble;

pub(super) fn command() -> Command {
    Command::new("plugin")
        .about("Policy plugins: makes and tries them; which versions there are, which decides, and which is on trial")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(new::command())
        .subcommand(build::command())
        .subcommand(check::command())
        .subcommand(test::command())
        .subcommand(bench::command())
        .subcommand(dev::command())
        .subcommand(versions::push_command())
        .subcommand(versions::list_command())
        .subcommand(versions::swap_command())
        .subcommand(versions::rollback_command())
        .subcommand(trials::shadow_command())
        .subcommand(trials::canary_command())
        .subcommand(trials::diffs_command())
        .subcommand(replay::record_command())
        .subcommand(replay::command())
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(match matches.subcommand() {
        Some(("new", matches)) => new::run(matches),
        Some(("build", matches)) => build::run(matches),
        Some(("check", matches)) => check::run(matches),
        Some(("test", matches)) => test::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        Some(("dev", matches)) => dev::run(matches),
        Some(("push", matches)) => versions::push(matches),
        Some(("list", matches)) => versions::list(matches),
        Some(("swap", matches)) => versions::swap(matches),
        Some(("rollback", matches)) => versions::roll_back(matches),
        Some(("shadow", matches)) => trials::shadow(matches),
        Some(("canary", matches)) => trials::canary(matches),
        Some(("diffs", matches)) => trials::diffs(matches),
        Some(("record", matches)) => replay::record(matches),
        Some(("replay", matches)) => replay::run(matches),
        _ => Err(anyhow::anyhow!("no such command")),
    })
}
