//! `achromat check`.

use std::{fmt::Write as _, process::ExitCode};

use clap::{ArgMatches, Command};

use super::{arguments, runtime};
use crate::{config::Config, run};

pub(super) fn command() -> Command {
    arguments::with_keys(
        Command::new("check")
            .about("Says what is wrong with a configuration and the files that it names, and where; serves nothing"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = arguments::config(matches)?;
    let summary = summary(&config)?;
    runtime()?.block_on(run::check(config))?;
    println!("The configuration is sound. Achromat would");
    print!("{summary}");
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &Config) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "  listen on   {}", config.listen)?;
    writeln!(text, "  log to      {:?}", config.store)?;
    for (place, instance) in config.instances.iter().enumerate() {
        let role = if place == 0 { "primary" } else { "replica" };
        let (name, address) = (&instance.name, &instance.address);
        writeln!(text, "  serve       {name} at {address} ({role})")?;
    }
    Ok(text)
}
