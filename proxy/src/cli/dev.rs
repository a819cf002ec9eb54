//! `achromat dev`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::{runtime, serve::stop_signal};
use crate::{config::LogFormat, dev, telemetry};

pub(super) fn command() -> Command {
    Command::new("dev")
        .about("Starts two Chroma servers of its own and serves them as one, to try things out")
        .long_about(
            "Starts two Chroma servers of its own and serves them as one, to try things out.\n\n\
             Chroma is taken from the path, or installed once into the state folder. What you store \
             is kept there too, and is there again at the next start.",
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:8000")
                .value_parser(value_parser!(SocketAddr))
                .help("Where clients connect to"),
        )
        .arg(
            Arg::new("state")
                .long("state")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .help("Where Chroma and its data are kept [default: ~/.local/state/achromat] [env: ACHROMAT_STATE]"),
        )
        .arg(
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .default_value("info")
                .help("What is told: error, warn, info, debug or trace"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let state = match matches.get_one::<PathBuf>("state") {
        Some(state) => state.clone(),
        None => dev::default_state().context("there is no home folder; name one with --state")?,
    };
    let listen = *matches
        .get_one::<SocketAddr>("listen")
        .context("--listen has a default")?;
    let level = matches
        .get_one::<String>("log-level")
        .context("--log-level has a default")?;
    telemetry::start(level, LogFormat::Text);
    runtime()?.block_on(dev::run(&state, listen, stop_signal()))?;
    Ok(ExitCode::SUCCESS)
}
