//! The component that a command works on, and the engine that runs it.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::{
    authoring::{Named, Subject, SubjectError},
    dev,
    policy::{EngineError, Plugins},
};

/// Adds `--project`.
pub(super) fn with_project(command: Command) -> Command {
    command.arg(
        Arg::new("project")
            .long("project")
            .value_name("FOLDER")
            .default_value(".")
            .value_parser(value_parser!(PathBuf))
            .help("The folder of the plugin's project"),
    )
}

/// Adds `FILE`, `--project` and `--config`.
pub(super) fn with_subject(command: Command) -> Command {
    with_project(command)
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A component [default: the project's]"),
        )
        .arg(own_config())
}

/// `--config`, where a project says what there is without it.
pub(super) fn own_config() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("TEXT")
        .allow_hyphen_values(true)
        .help("What it is configured with [default: as its plugin.toml says]")
}

/// The project's folder.
pub(super) fn folder(matches: &ArgMatches) -> PathBuf {
    let folder = matches.get_one::<PathBuf>("project").cloned();
    folder.unwrap_or_else(|| ".".into())
}

/// Finds the component to be tried.
pub(super) fn subject(matches: &ArgMatches) -> Result<Subject, SubjectError> {
    Subject::find(&Named {
        file: matches.get_one::<PathBuf>("file").cloned(),
        folder: folder(matches),
        config: matches.get_one::<String>("config").cloned(),
    })
}

/// An engine that finds what it compiled before in the state folder.
pub(super) fn plugins() -> Result<Plugins, EngineError> {
    Plugins::new(dev::default_state().map(|state| state.join("compiled")))
}
