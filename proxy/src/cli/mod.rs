//! The command line.

mod arguments;
mod check;
mod cleanup;
mod compile;
mod dev;
mod fleet;
mod health;
mod history;
mod letters;
#[macro_use]
mod out;
mod plugin;
mod remote;
mod serve;
mod show;
mod socket;
mod store;
mod token;
mod trash;

use std::{ffi::OsString, process::ExitCode};

use clap::{ArgMatches, Command};

use crate::{policy::COMPILE_COMMAND, program};

/// Exit code for what the caller did wrong, as clap uses it.
const USAGE: u8 = 2;

/// Runs the command that the arguments say. The first is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What stands before them belongs to the program that Achromat's commands are a part of.
    let others = std::env::args_os().len().saturating_sub(arguments.len());
    program::remember(std::env::args_os().skip(1).take(others).collect());
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come this way too. A closed terminal is nobody's error.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match run(&matches) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("achromat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    Command::new("achromat")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One Chroma address in front of many: keeps Chroma servers identical, and answers while any of them is down")
        .after_help("Begin with `achromat dev`: it starts two Chroma servers and serves them on 127.0.0.1:8000.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve::command())
        .subcommand(dev::command())
        .subcommand(check::command())
        .subcommand(show::command())
        .subcommand(remote::verify_command())
        .subcommand(remote::repair_command())
        .subcommand(remote::jobs_command())
        .subcommand(letters::command())
        .subcommand(cleanup::command())
        .subcommand(trash::command())
        .subcommand(fleet::command())
        .subcommand(store::command())
        .subcommand(health::command())
        .subcommand(history::wal_command())
        .subcommand(history::audit_command())
        .subcommand(token::command())
        .subcommand(plugin::command())
        .subcommand(compile::command())
}

fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("serve", matches)) => serve::run(matches),
        Some(("dev", matches)) => dev::run(matches),
        Some(("check", matches)) => check::run(matches),
        Some(("config", matches)) => show::run(matches),
        Some(("verify", matches)) => Ok(remote::verify(matches)),
        Some(("repair", matches)) => Ok(remote::repair(matches)),
        Some(("jobs", matches)) => remote::jobs(matches),
        Some(("letters", matches)) => Ok(letters::run(matches)),
        Some(("cleanup", matches)) => Ok(cleanup::run(matches)),
        Some(("trash", matches)) => Ok(trash::run(matches)),
        Some(("fleet", matches)) => Ok(fleet::run(matches)),
        Some(("store", matches)) => Ok(store::run(matches)),
        Some(("health", matches)) => Ok(health::run(matches)),
        Some(("wal", matches)) => Ok(history::wal(matches)),
        Some(("audit", matches)) => Ok(history::audit(matches)),
        Some(("token", matches)) => token::run(matches),
        Some(("plugin", matches)) => Ok(plugin::run(matches)),
        Some((COMPILE_COMMAND, matches)) => compile::run(matches),
        _ => anyhow::bail!("no such command"),
    }
}

/// The runtime that everything runs on. pingora's listener and connections run on it as well.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap's own checks of the command: no name twice, no default that does not parse.
    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }
}
