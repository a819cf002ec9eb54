//! `achromat-tests achromat …` is Achromat's own command: the tests start it as a process of its
//! own, from the same build. `achromat-tests chaos` runs faults for as long as is wanted,
//! `achromat-tests sim` histories in virtual time, `achromat-tests matrix` every supported version of
//! Chroma, `achromat-tests attack` hostile connections; `achromat-tests bench` says what things cost.

mod attack;
mod bench;
mod matrix;
mod sim;

use std::process::ExitCode;

use achromat_tests::chaos::{self, Options};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// Achromat's, because this is Achromat too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // Achromat reads its own arguments.
    if arguments.peek().is_some_and(|word| word == "achromat") {
        return achromat::cli::main(arguments);
    }
    match command().get_matches().subcommand() {
        Some(("chaos", matches)) => run_chaos(options(matches), matches.get_flag("time-line")),
        Some(("sim", matches)) => sim::run(matches),
        Some(("matrix", matches)) => matrix::run(matches),
        Some(("attack", matches)) => attack::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        _ => ExitCode::from(2),
    }
}

fn command() -> Command {
    let chaos = Command::new("chaos")
        .about("Breaks real servers, links and Achromat itself under a load that checks everything")
        .arg(number("seconds", "60", "How long"))
        .arg(
            number("instances", "2", "How many Chroma servers: 2 or 3")
                .value_parser(value_parser!(u64).range(2..=3)),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64))
                .help("What the faults and the clients' choices follow from [default: by chance]"),
        )
        .arg(
            number(
                "proxies",
                "1",
                "How many Achromats; more than one are a fleet",
            )
            .value_parser(value_parser!(u64).range(1..=5)),
        )
        .arg(flag("time-line", "Tell what was done when"))
        .arg(flag("wipes", "Let instances lose their data"))
        .arg(flag("blackouts", "Let all instances be broken at once"))
        .arg(flag(
            "late",
            "Let requests be carried out later than Achromat waits for that",
        ));
    Command::new("achromat-tests")
        .about("What Achromat's tests start, and longer tests by hand")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("achromat").about("Achromat's own command"))
        .subcommand(chaos)
        .subcommand(sim::command())
        .subcommand(matrix::command())
        .subcommand(attack::command())
        .subcommand(bench::command())
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("NUMBER")
        .default_value(default)
        .value_parser(value_parser!(u64))
        .help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn options(matches: &ArgMatches) -> Options {
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    Options {
        seconds: number("seconds").unwrap_or(60),
        seed: number("seed").unwrap_or_else(|| rand::random_range(0..1_000_000_000)),
        instances: if number("instances") == Some(3) { 3 } else { 2 },
        wipes: matches.get_flag("wipes"),
        blackouts: matches.get_flag("blackouts"),
        late: matches.get_flag("late"),
        proxies: number("proxies")
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1),
    }
}

fn run_chaos(options: Options, tells: bool) -> ExitCode {
    println!("{}", options.command());
    let summary = chaos::run(options);
    for line in summary.time_line.iter().filter(|_| tells) {
        println!("{line}");
    }
    println!("{summary}");
    if summary.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
