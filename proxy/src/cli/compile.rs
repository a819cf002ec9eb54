//! The process in which a serving Achromat compiles a plugin. It is not for people.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::policy::{COMPILE_COMMAND, CompileLimits, compile_for_parent};

pub(super) fn command() -> Command {
    let number = |name| {
        Arg::new(name)
            .required(true)
            .value_parser(value_parser!(u64))
    };
    Command::new(COMPILE_COMMAND)
        .hide(true)
        .about("Compiles the plugin on standard input, within limits; Achromat starts it by itself")
        .arg(number("memory-bytes"))
        .arg(number("seconds"))
        .arg(Arg::new("cache").value_parser(value_parser!(PathBuf)))
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let number = |name| {
        matches
            .get_one::<u64>(name)
            .copied()
            .context("it is required")
    };
    let limits = CompileLimits {
        memory_bytes: number("memory-bytes")?,
        deadline: Duration::from_secs(number("seconds")?),
    };
    let cache = matches.get_one::<PathBuf>("cache");
    Ok(compile_for_parent(limits, cache.map(PathBuf::as_path)))
}
