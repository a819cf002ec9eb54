//! Attacks with many connections, one kind after the other, on a proxy with its default limits.

use std::{process::ExitCode, time::Duration};

use achromat_tests::{
    attacks::{Attack, Kind, Stage, attack},
    cluster::Cluster,
};
use clap::{Arg, ArgMatches, Command, value_parser};

/// Time within which the proxy must have closed all connections. Streams of HTTP/2 take longest by default: 15 s for
/// a body, 10 s for what is sent after its refusal, and 75 s for the idle connection.
const DEADLINE: Duration = Duration::from_secs(180);

/// The memory that a proxy may have by default, in KiB.
const MEMORY_KB_MAX: u64 = 400 * 1024;

pub(crate) fn command() -> Command {
    Command::new("attack")
        .about("Attacks a proxy with many connections, and watches its ordinary clients meanwhile")
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_name("NUMBER")
                .default_value("2000")
                .value_parser(value_parser!(u16).range(1..=4000))
                .help("Connections of each attack"),
        )
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("KIND")
                .value_parser(Kind::ALL.map(Kind::as_str))
                .help("Only this kind [default: all]"),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let connections = matches.get_one::<u16>("connections").copied();
    let only = matches.get_one::<String>("kind");
    let chosen = |kind: &Kind| only.is_none_or(|only| only == kind.as_str());
    let mut is_sound = true;
    for kind in Kind::ALL.into_iter().filter(chosen) {
        let cluster = Cluster::start();
        let stage = Stage::set(&cluster.api());
        let outcome = attack(
            &cluster.proxy,
            &stage,
            &Attack {
                kinds: vec![kind],
                connections: connections.unwrap_or(2000).into(),
                deadline: DEADLINE,
            },
        );
        println!("{outcome}");
        for fault in outcome.faults(MEMORY_KB_MAX) {
            println!("  FAULT: {fault}");
            is_sound = false;
        }
    }
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
