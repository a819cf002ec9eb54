//! Every version of Chroma that is supported, alone, beside the newest, and upgraded to it.

use std::{
    panic::catch_unwind,
    process::ExitCode,
    time::{Duration, Instant},
};

use achromat_tests::{
    tools::{NEWEST, versions},
    versions::{live, upgrade},
};
use clap::{Arg, ArgMatches, Command};

/// The versions from which an upgrade is tried with the primary away for long.
const UPGRADED: [&str; 3] = ["1.0.0", "1.0.20", "1.3.7"];

/// How long the primary is away then.
const AWAY: Duration = Duration::from_secs(25);

pub(crate) fn command() -> Command {
    Command::new("matrix")
        .about(
            "Lives through every supported version of Chroma: alone, beside the newest, upgraded",
        )
        .arg(
            Arg::new("version")
                .long("version")
                .value_name("VERSION")
                .help("Only this one [default: all]"),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let only = matches.get_one::<String>("version");
    let chosen = |version: &&str| only.is_none_or(|only| only == version);
    let mut is_sound = true;
    for version in versions().into_iter().filter(chosen) {
        is_sound &= told(&format!("{version} alone"), || live([version, version]));
        if version != NEWEST {
            let name = format!("{NEWEST} and {version}");
            is_sound &= told(&name, || live([NEWEST, version]));
        }
        if UPGRADED.contains(&version) {
            let name = format!("{version} upgraded to {NEWEST}");
            is_sound &= told(&name, || upgrade(version, NEWEST, AWAY));
        }
    }
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn told(name: &str, life: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    let begun = Instant::now();
    let is_sound = catch_unwind(life).is_ok();
    let word = if is_sound { "sound" } else { "FAILED" };
    println!("{name}: {word} after {} s", begun.elapsed().as_secs());
    is_sound
}
