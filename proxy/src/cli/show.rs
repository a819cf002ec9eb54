//! `achromat config`.

use std::{io::Write as _, process::ExitCode};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

use crate::config::{defaults_toml, schema_json};

pub(super) fn command() -> Command {
    let flag = |name: &'static str, about: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(about)
    };
    Command::new("config")
        .about("Prints what there is to configure")
        .arg(flag(
            "defaults",
            "Every key with its documentation and default, as a file to begin with",
        ))
        .arg(flag("schema", "The JSON Schema of the file, for editors"))
        .group(
            ArgGroup::new("what")
                .args(["defaults", "schema"])
                .required(true),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let text = if matches.get_flag("schema") {
        schema_json()
    } else {
        defaults_toml()
    };
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
