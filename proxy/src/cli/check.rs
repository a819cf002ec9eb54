//! `achromat check`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::arguments;

pub(super) fn command() -> Command {
    arguments::with_keys(
        Command::new("check")
            .about("Says what is wrong with a configuration, and where; starts nothing"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = arguments::config(matches)?;
    println!("The configuration is sound. Achromat would");
    println!("  listen on   {}", config.listen);
    println!("  log to      {:?}", config.store);
    for (place, instance) in config.instances.iter().enumerate() {
        let role = if place == 0 { "primary" } else { "replica" };
        println!(
            "  serve       {} at {} ({role})",
            instance.name, instance.address
        );
    }
    Ok(ExitCode::SUCCESS)
}
