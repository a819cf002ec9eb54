//! `bench decision`: what a policy's decision costs.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use achromat::policy::{
    Action, Class, GuardSlot, Header, InstanceState, Member, Operation, Parts, Plugins,
    RoutingQuestion, RoutingSlot, Slot, Source, Version, WalSlot, World, default_source,
};
use achromat_core::{
    health::Standing as Health,
    policy::Slot as SlotName,
    read::{Strategy, Tried, plan},
    view::{Scope, View},
};
use achromat_tests::asked::{deletion_of, members, states};
use clap::{ArgMatches, Command};
use serde::Serialize;

use super::figures::{json_flag, write_json};

/// Calls whose median is one sample: a look at the clock costs as much as a tenth of a call.
const CALLS: u32 = 100;

const SAMPLES: usize = 2_000;

/// The median and the 99th percentile of a call, in nanoseconds.
fn measure(mut call: impl FnMut(u64)) -> (f64, f64) {
    let mut number = 0;
    let mut sample = || {
        let begun = Instant::now();
        for _ in 0..CALLS {
            call(number);
            number += 1;
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    for _ in 0..SAMPLES / 10 {
        sample();
    }
    let mut times: Vec<f64> = (0..SAMPLES).map(|_| sample()).collect();
    times.sort_by(f64::total_cmp);
    (times[SAMPLES / 2], times[SAMPLES * 99 / 100])
}

/// What one kind of decision costs.
#[derive(Serialize)]
struct Line {
    what: &'static str,
    median_ns: f64,
    p99_ns: f64,
    /// Fuel, where that was asked for.
    fuel: Option<u64>,
}

/// All that was measured.
#[derive(Default, Serialize)]
struct Table(Vec<Line>);

impl Table {
    fn tell(&mut self, what: &'static str, (median_ns, p99_ns): (f64, f64), fuel: Option<u64>) {
        let told = fuel.map_or(String::new(), |fuel| format!("   fuel {fuel}"));
        println!("{what:<58} {median_ns:>9.0} ns   p99 {p99_ns:>9.0} ns{told}");
        self.0.push(Line {
            what,
            median_ns,
            p99_ns,
            fuel,
        });
    }
}

pub(super) fn command() -> Command {
    Command::new("decision")
        .about("A policy's decision, by the default components and by the native function")
        .arg(json_flag())
}

/// A request with all its parts; what a plugin does not want of it stays behind.
fn operation<'a>(number: u64, wanted: Parts, headers: &'a [Header<'a>]) -> Operation<'a> {
    let part = |part, text| wanted.contains(part).then_some(text);
    Operation {
        number,
        action: Action::Query,
        class: Class::Read,
        body_bytes: 6_000,
        tenant: part(Parts::TENANT, "default_tenant"),
        database: part(Parts::DATABASE, "default_database"),
        collection: part(Parts::COLLECTION, "articles"),
        collection_id: None,
        client: None,
        sizes: None,
        headers: (!headers.is_empty()).then_some(headers),
    }
}

fn load<W: World>(
    plugins: &Plugins,
    source: &Source,
    facts: &Arc<W::Facts>,
) -> anyhow::Result<(Arc<Version<W>>, Duration)> {
    let begun = Instant::now();
    let version = Version::load(plugins, source, facts)?;
    Ok((Arc::new(version), begun.elapsed()))
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (states, facts) = (states(), members());
    let mut table = Table::default();
    let plugins = Plugins::new(None)?;
    println!("three instances; eight headers, none of which the default policies want");
    native(&mut table);
    let headers: Vec<_> = (0..8)
        .map(|index| Header {
            index,
            value: "Mozilla/5.0 (X11; Linux x86_64)",
        })
        .collect();
    let slot = Slot::native(Arc::clone(&facts));
    let source = default_source(SlotName::Routing, "");
    let (default, compile) = load::<RoutingSlot>(&plugins, &source, &facts)?;
    let usual = Source {
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"))[..].into(),
        config: "well".into(),
        ..source.clone()
    };
    let (usual, _) = load::<RoutingSlot>(&plugins, &usual, &facts)?;
    for (what, version, parts, headers) in [
        (
            "routing component, all limits on",
            &default,
            Parts::empty(),
            &headers[..],
        ),
        (
            "a plugin of the world `routing`",
            &usual,
            Parts::empty(),
            &[],
        ),
        (
            "  the same with tenant, database and collection",
            &usual,
            names_of_all(),
            &[],
        ),
        (
            "  the same with these and eight headers",
            &usual,
            names_of_all(),
            &headers,
        ),
    ] {
        slot.swap(Arc::clone(version));
        let before = spent(version);
        let cost = measure(|number| {
            let question = RoutingQuestion {
                operation: operation(number, parts, headers),
                states: &states,
            };
            let generation = slot.generation();
            black_box(slot.decide(&generation, question));
        });
        let (fuel, decisions) = spent(version);
        let fuel = (fuel - before.0) / (decisions - before.1).max(1);
        table.tell(what, cost, Some(fuel));
    }
    let figures = default.figures();
    println!("memory of an instance {} bytes", figures.memory_bytes_max);
    fresh(&mut table, &default, &facts, &states);
    others(&mut table, &plugins)?;
    println!(
        "routing component: {} bytes, compiled and started in {:.1} ms",
        source.bytes.len(),
        compile.as_secs_f64() * 1e3
    );
    cached(&source, &facts)?;
    write_json(matches, &table)
}

/// Fuel, and how many decisions took it.
fn spent(version: &Version<RoutingSlot>) -> (u64, u64) {
    let figures = version.figures();
    let decisions = figures.decisions.iter().map(|(_, count)| count).sum();
    (figures.fuel, decisions)
}

fn names_of_all() -> Parts {
    Parts::TENANT | Parts::DATABASE | Parts::COLLECTION
}

fn native(table: &mut Table) {
    let view = View {
        standings: [Health::Up; 3].into(),
        ..View::default()
    };
    let strategy = Strategy::ReadReplica { ratio: 0.8 };
    let cost = measure(|turn| {
        black_box(plan(
            black_box(&view),
            Scope::Any,
            strategy,
            turn,
            Tried::default(),
        ));
    });
    table.tell("native routing", cost, None);
}

/// An instance made for one decision.
fn fresh(
    table: &mut Table,
    version: &Version<RoutingSlot>,
    facts: &Arc<Vec<Member>>,
    states: &[InstanceState],
) {
    let mut times: Vec<f64> = (0..2_000)
        .map(|number| {
            version.rest();
            let begun = Instant::now();
            let question = RoutingQuestion {
                operation: operation(number, Parts::empty(), &[]),
                states,
            };
            let _answer = black_box(version.ask(facts, question));
            begun.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let cost = (times[1_000], times[1_980]);
    table.tell("routing in a fresh instance", cost, None);
}

fn others(table: &mut Table, plugins: &Plugins) -> anyhow::Result<()> {
    let facts = Arc::new(());
    let source = default_source(SlotName::WalEligibility, "");
    let (wal, _) = load::<WalSlot>(plugins, &source, &facts)?;
    let cost = measure(|number| {
        let _answer = black_box(wal.ask(&facts, operation(number, Parts::empty(), &[])));
    });
    table.tell("WAL component, all limits on", cost, None);
    let source = default_source(SlotName::CleanupGuard, "");
    let (guard, _) = load::<GuardSlot>(plugins, &source, &facts)?;
    let cost = measure(|_| {
        let question = deletion_of("articles");
        let _answer = black_box(guard.ask(&facts, question));
    });
    table.tell("guard component, all limits on", cost, None);
    Ok(())
}

/// A start that finds what an earlier one compiled.
fn cached(source: &Source, facts: &Arc<Vec<Member>>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for what in ["with an empty cache", "from the cache"] {
        let plugins = Plugins::new(Some(folder.path().to_owned()))?;
        let (_, took) = load::<RoutingSlot>(&plugins, source, facts)?;
        println!("  {what}: {:.1} ms", took.as_secs_f64() * 1e3);
    }
    Ok(())
}
