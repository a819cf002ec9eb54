//! The simulator's command line.

use std::process::ExitCode;

use achromat_tests::sim::{
    bugs::Planting,
    faults::Fault,
    marks::Mark,
    mix::Mix,
    plan::Options,
    runner::{Summary, replay, run as live, run_all, shrink},
    scopes::{self, explore},
};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// Failing histories after which a run stops.
const FAILURES_MAX: usize = 3;

/// Histories of a long run, which must come to every place.
const LONG: u64 = 10_000;

/// Histories between two lines of progress.
const BATCH: u64 = 1_000;

pub(crate) fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .value_parser(value_parser!(u64))
    };
    Command::new("sim")
        .about("Runs simulated histories")
        .arg(number("seeds", "How many histories are run").default_value("10000"))
        .arg(number("from", "The first seed").default_value("0"))
        .arg(number("seed", "Runs this history alone"))
        .arg(number("threads", "How many are run at once"))
        .arg(number("operations", "The most operations of a history"))
        .arg(
            Arg::new("without")
                .long("without")
                .help("Kinds of faults that do not happen")
                .value_delimiter(',')
                .action(ArgAction::Append),
        )
        .arg(
            Arg::new("scopes")
                .long("scopes")
                .value_name("name")
                .num_args(0..=1)
                .default_missing_value("")
                .help("Lives exhaustively through the small scopes whose names have this in them"),
        )
        .arg(
            Arg::new("plant")
                .long("plant")
                .help("A bug that is planted"),
        )
        .arg(
            Arg::new("mix")
                .long("mix")
                .help("The odds of the histories: even, or themed"),
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .help("Tells every step")
                .action(ArgAction::SetTrue),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let options = match options(matches) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if let Some(name) = matches.get_one::<String>("scopes") {
        return run_scopes(name, &options);
    }
    match matches.get_one::<u64>("seed") {
        Some(seed) => run_one(*seed, &options),
        None => run_many(matches, &options),
    }
}

fn run_scopes(name: &str, options: &Options) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let meant = scopes::all().into_iter();
    for scope in meant.filter(|scope| scope.name.contains(name)) {
        let explored = explore(&scope, options, u64::MAX);
        println!("{}: {} histories", scope.name, explored.histories);
        if let Some((violation, choices)) = explored.violation {
            println!("{violation}\nwith the choices {choices:?}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn options(matches: &ArgMatches) -> Result<Options, String> {
    let mut options = Options {
        trace: matches.get_flag("trace"),
        ..Options::default()
    };
    if let Some(most) = matches.get_one::<u64>("operations") {
        options.operations_max = usize::try_from(*most).ok();
    }
    if let Some(name) = matches.get_one::<String>("plant") {
        let found = Planting::ALL.iter().find(|bug| bug.name() == *name);
        options.planting = Some(*found.ok_or_else(|| format!("there is no bug {name}"))?);
    }
    if let Some(name) = matches.get_one::<String>("mix") {
        let found = Mix::ALL.iter().find(|mix| mix.name() == *name);
        options.mix = *found.ok_or_else(|| format!("there is no mix {name}"))?;
    }
    for name in matches.get_many::<String>("without").into_iter().flatten() {
        let found = Fault::ALL
            .iter()
            .find(|fault| format!("{fault:?}") == *name);
        let fault = found.ok_or_else(|| format!("there is no fault {name}"))?;
        options.without.insert(*fault);
    }
    Ok(options)
}

fn run_one(seed: u64, options: &Options) -> ExitCode {
    let outcome = live(seed, options, true);
    println!(
        "seed {seed}: {} operations, trace {:x?}",
        outcome.operations, outcome.trace
    );
    match outcome.violation {
        Some(violation) => {
            println!("seed {seed} breaks: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn run_many(matches: &ArgMatches, options: &Options) -> ExitCode {
    let number = |name| matches.get_one::<u64>(name).copied();
    let (from, seeds) = (number("from").unwrap_or(0), number("seeds").unwrap_or(0));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number("threads").map_or(cores, |t| usize::try_from(t).unwrap_or(1));
    let mut whole: Option<Summary> = None;
    let end = from + seeds;
    for start in (from..end).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let seeds = start..end.min(start + BATCH);
        let part = run_all(seeds, options, threads, FAILURES_MAX);
        println!(
            "seeds {start} to {}: {:.0} histories/s, {} failed",
            start + part.histories,
            part.per_second(),
            part.failures.len()
        );
        let sum = match whole.take() {
            Some(mut sum) => {
                sum.merge(part);
                sum
            }
            None => part,
        };
        let fails = !sum.failures.is_empty();
        whole = Some(sum);
        if fails {
            break;
        }
    }
    whole.map_or(ExitCode::SUCCESS, |summary| tell(&summary, options))
}

fn tell(summary: &Summary, options: &Options) -> ExitCode {
    println!(
        "{} histories, {} operations, {:.1} s, {:.0} histories/s",
        summary.histories,
        summary.operations,
        summary.seconds,
        summary.per_second()
    );
    for fault in Fault::ALL {
        println!("{:>10} × {fault}", summary.faults.get(*fault as usize));
    }
    for mark in Mark::ALL {
        println!("{:>10} × {mark}", summary.marks.get(*mark as usize));
    }
    for (seed, violation) in &summary.failures {
        println!("\nseed {seed} breaks: {violation}");
        let (least, said) = shrink(*seed, options);
        println!(
            "made small: {said}\nrun it again: {}",
            replay(*seed, &least)
        );
    }
    let is_long = summary.histories >= LONG;
    let unreached: Vec<_> = summary.unreached(options.mix).collect();
    println!("never reached: {unreached:?}");
    if summary.failures.is_empty() && (!is_long || unreached.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
