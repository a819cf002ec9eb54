//! `achromat plugin test`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::subject::{plugins, subject, with_subject};
use crate::authoring;

pub(super) fn command() -> Command {
    with_subject(
        Command::new("test")
            .about("Asks a component its project's cases, and what every plugin of its slot must stand")
            .after_help("Exits 1 when something is not as it should be."),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let report = authoring::test(&plugins()?, &subject(matches)?)?;
    out!("{report}");
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
