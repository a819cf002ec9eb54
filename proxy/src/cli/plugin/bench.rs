//! `achromat plugin bench`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::subject::{subject, with_subject};
use crate::{authoring, policy::Plugins};

pub(super) fn command() -> Command {
    with_subject(
        Command::new("bench")
            .about("Measures what a decision costs, beside the default policy and the native rule"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let subject = subject(matches)?;
    // Without a cache: compiling is one of the costs.
    out!(
        "{}",
        authoring::bench(&Plugins::new(None)?, &subject)?.trim_end()
    );
    Ok(ExitCode::SUCCESS)
}
