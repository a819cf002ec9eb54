//! `achromat plugin build`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use super::subject::{folder, with_project};
use crate::{
    authoring::{Project, build},
    cli::runtime,
    dev::{self, toolbox::Toolbox},
    policy::Digest,
};

pub(super) fn command() -> Command {
    with_project(
        Command::new("build")
            .about("Makes a project's component")
            .after_help("What a language needs is taken from the path, or fetched once into the state folder. `[build]` in plugin.toml says another way."),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let project = Project::open(&folder(matches))?;
    let state = dev::default_state().context("there is no home folder; set ACHROMAT_STATE")?;
    let toolbox = Toolbox::at(state.join("tools"));
    let component = runtime()?.block_on(build(&project, &toolbox))?;
    let bytes = std::fs::read(&component)?;
    out!(
        "{}: {} bytes, sha256:{}",
        component.display(),
        bytes.len(),
        Digest::of(&bytes)
    );
    Ok(ExitCode::SUCCESS)
}
