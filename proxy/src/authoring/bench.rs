//! Measures the cost of a plugin's decision, beside the default policy's and the native rule's.

use std::{
    fmt::Write as _,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use achromat_core::{
    guard::Guard,
    health::Standing,
    policy::Slot,
    read::{Strategy, Tried, plan},
    view::{Scope, View},
};

use super::{subject::Subject, trial::Trial};
use crate::policy::{
    GuardSlot, Plugins, RoutingSlot, Source, Version, WalSlot, default_source, inspect,
};

/// Calls that are timed together: a look at the clock costs some tens of nanoseconds.
const CALLS: u32 = 50;

/// Samples of each measurement, as far as there is time.
const SAMPLES_MAX: usize = 2_000;

/// Samples before the first that counts.
const WARM_UP: usize = 50;

/// Time for one measurement.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers with a table of costs.
///
/// # Errors
///
/// It can't be taken into service, or has no answer.
pub fn bench(plugins: &Plugins, subject: &Subject) -> anyhow::Result<String> {
    match inspect(plugins, &subject.source.bytes)?.slot {
        Slot::Routing => table::<RoutingSlot>(plugins, subject),
        Slot::WalEligibility => table::<WalSlot>(plugins, subject),
        Slot::CleanupGuard => table::<GuardSlot>(plugins, subject),
    }
}

/// Cost of one call, in nanoseconds.
struct Cost {
    median: f64,
    p99: f64,
}

fn measure(calls: u32, mut call: impl FnMut()) -> Cost {
    let mut sample = || {
        let begun = Instant::now();
        (0..calls).for_each(|_| call());
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    let until = Instant::now() + PATIENCE;
    let mut samples = Vec::new();
    for number in 0..SAMPLES_MAX + WARM_UP {
        let took = sample();
        if number >= WARM_UP || Instant::now() > until {
            samples.push(took);
        }
        if Instant::now() > until {
            break;
        }
    }
    samples.sort_by(f64::total_cmp);
    let at = |share: usize| samples.get(samples.len() * share / 100).copied();
    Cost {
        median: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
    }
}

/// One column of the table.
struct Costs {
    name: String,
    bytes: usize,
    compile: Duration,
    reused: Cost,
    fresh: Cost,
    fuel: u64,
    memory_bytes: usize,
}

fn table<W: Trial>(plugins: &Plugins, subject: &Subject) -> anyhow::Result<String> {
    let default = default_source(W::SLOT, "");
    let columns = [
        costs::<W>(plugins, &subject.source)?,
        costs::<W>(plugins, &default)?,
    ];
    let native = native(W::SLOT);
    Ok(render(&columns, native.as_ref()))
}

fn costs<W: Trial>(plugins: &Plugins, source: &Source) -> anyhow::Result<Costs> {
    let input = W::everyday();
    let facts = W::facts(&input);
    let begun = Instant::now();
    let version = Version::<W>::load(plugins, source, &facts)?;
    let compile = begun.elapsed();
    let shown = W::show(&input, version.wanted());
    let once = || W::lend(&shown, |question| version.ask(&facts, question));
    once()?;
    let before = version.figures().fuel;
    once()?;
    let fuel = version.figures().fuel.saturating_sub(before);
    let reused = measure(CALLS, || drop(black_box(once())));
    let fresh = measure(1, || {
        version.rest();
        drop(black_box(once()));
    });
    Ok(Costs {
        name: source.name.to_string(),
        bytes: source.bytes.len(),
        compile,
        reused,
        fresh,
        fuel,
        memory_bytes: version.figures().memory_bytes_max,
    })
}

/// The same question decided by Achromat's own rule, where there is one.
fn native(slot: Slot) -> Option<Cost> {
    match slot {
        Slot::Routing => {
            let view = View {
                standings: [Standing::Up; 3].into(),
                ..View::default()
            };
            let strategy = Strategy::ReadReplica { ratio: 0.8 };
            let mut turn = 0;
            Some(measure(CALLS, || {
                turn += 1;
                let order = plan(
                    black_box(&view),
                    Scope::Any,
                    strategy,
                    turn,
                    Tried::default(),
                );
                drop(black_box(order));
            }))
        }
        Slot::CleanupGuard => {
            let guard = Guard::new(["global"]);
            Some(measure(CALLS, || {
                let rule: Option<&Arc<str>> = guard.rule_for(black_box("articles"));
                black_box(rule);
            }))
        }
        // It is a constant.
        Slot::WalEligibility => None,
    }
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns if ns < 10_000_000.0 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

fn render(columns: &[Costs; 2], native: Option<&Cost>) -> String {
    let of_each = |tell: &dyn Fn(&Costs) -> String| columns.each_ref().map(tell);
    let of_native = |tell: fn(&Cost) -> f64| native.map_or("-".to_owned(), |cost| time(tell(cost)));
    let none = || "-".to_owned();
    let rows = [
        (
            "",
            of_each(&|costs| costs.name.clone()),
            "native".to_owned(),
        ),
        (
            "a decision, median",
            of_each(&|costs| time(costs.reused.median)),
            of_native(|cost| cost.median),
        ),
        (
            "a decision, 99 %",
            of_each(&|costs| time(costs.reused.p99)),
            of_native(|cost| cost.p99),
        ),
        (
            "in a fresh instance, median",
            of_each(&|costs| time(costs.fresh.median)),
            none(),
        ),
        (
            "in a fresh instance, 99 %",
            of_each(&|costs| time(costs.fresh.p99)),
            none(),
        ),
        (
            "fuel of a decision",
            of_each(&|costs| costs.fuel.to_string()),
            none(),
        ),
        (
            "memory of an instance, bytes",
            of_each(&|costs| costs.memory_bytes.to_string()),
            none(),
        ),
        (
            "component, bytes",
            of_each(&|costs| costs.bytes.to_string()),
            none(),
        ),
        (
            "compiled and started",
            of_each(&|costs| time(costs.compile.as_secs_f64() * 1e9)),
            none(),
        ),
    ];
    let width = columns.iter().map(|costs| costs.name.chars().count()).max();
    let width = width.unwrap_or_default().max(14);
    rows.iter()
        .fold(String::new(), |mut text, (what, [own, default], native)| {
            // Writing into a String can't fail.
            let _written = writeln!(
                text,
                "{what:<30} {own:>width$}  {default:>width$}  {native:>9}"
            );
            text
        })
}
