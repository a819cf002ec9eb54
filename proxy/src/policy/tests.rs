//! The room's own tests, with the default policies as the build has made them.

use std::sync::{Arc, LazyLock};

use achromat_core::policy::{Eligibility, Permission, Preference, Routing, Slot as SlotName};

use super::*;

/// One engine for all tests: it reserves much address space.
static PLUGINS: LazyLock<Plugins> = LazyLock::new(|| Plugins::new(None).expect("an engine"));

fn members(count: usize) -> Arc<Vec<Member>> {
    let member = |at: usize| Member {
        name: format!("i{at}").into(),
        is_primary: at == 0,
    };
    Arc::new((0..count).map(member).collect())
}

fn states(count: u8) -> Vec<InstanceState> {
    let state = |index| InstanceState {
        index,
        standing: Standing::Up,
        eligible: true,
        in_flight: 0,
        latency_us: 0,
        lag_entries: 0,
    };
    (0..count).map(state).collect()
}

fn query<'a>(number: u64) -> Operation<'a> {
    Operation {
        number,
        ..plain(Action::Query, Class::Read)
    }
}

fn question(deed: Deed, collection: &str) -> Question<'_> {
    Question {
        deed,
        tenant: None,
        database: None,
        collection: Some(collection),
        collection_id: None,
        new_name: None,
        records: None,
        subject: None,
        client: None,
        is_operator: false,
        headers: &[],
    }
}

fn unfit<W: World>(bytes: &[u8], config: &str, facts: &Arc<W::Facts>) -> String {
    let source = Source {
        bytes: bytes.into(),
        ..default_source(SlotName::Routing, config)
    };
    let error = Version::<W>::load(&PLUGINS, &source, facts).err();
    error.expect("a refusal").to_string()
}

fn prefer(first: &[u8]) -> Routing {
    Routing::Prefer(Preference::new(first, true, false, 16).expect("an order"))
}

/// The default components decide in each slot, and what they decide is counted.
#[test]
fn the_default_policies_decide() {
    let facts = members(3);
    let source = default_source(SlotName::Routing, r#"{"strategy":"round_robin"}"#);
    let version = Version::<RoutingSlot>::load(&PLUGINS, &source, &facts).expect("a plugin");
    assert!(version.wanted().headers.is_empty() && version.wanted().parts == Parts::empty());
    let states = states(3);
    for (number, order) in [(0, [0, 1, 2]), (1, [1, 2, 0]), (5, [2, 0, 1])] {
        let question = RoutingQuestion {
            operation: query(number),
            states: &states,
        };
        assert_eq!(version.ask(&facts, question), Ok(prefer(&order)));
    }
    let figures = version.figures();
    assert_eq!(
        figures.decisions,
        [("native", 0), ("first", 3), ("refuse", 0)]
    );
    assert_eq!(figures.instances_made, 1, "one instance serves them all");
    assert!(figures.fuel > 0 && figures.memory_bytes_max > 0);
    assert_eq!(figures.times.iter().sum::<u64>(), 1);

    let source = default_source(SlotName::WalEligibility, "");
    let wal = Version::<WalSlot>::load(&PLUGINS, &source, &Arc::new(())).expect("a plugin");
    assert_eq!(wal.ask(&Arc::new(()), query(0)), Ok(Eligibility::SAFE));

    let source = default_source(SlotName::CleanupGuard, "");
    let guard = Version::<GuardSlot>::load(&PLUGINS, &source, &Arc::new(())).expect("a plugin");
    let asked = |deed, name| {
        guard
            .ask(&Arc::new(()), question(deed, name))
            .expect("an answer")
    };
    assert_eq!(asked(Deed::DeleteCollection, "notes"), Permission::Allow);
    let denied = asked(Deed::DeleteCollection, "global");
    assert!(
        matches!(&denied, Permission::Deny(why) if why.contains("rule `global`")),
        "{denied:?}"
    );
}

/// After a change of the instances, every instance of a plugin gets the new facts before its next question.
#[test]
fn instances_are_told_anew_when_they_change() {
    let facts = members(2);
    let source = default_source(SlotName::Routing, r#"{"replica_ratio":0}"#);
    let version = Version::<RoutingSlot>::load(&PLUGINS, &source, &facts).expect("a plugin");
    let states = states(2);
    let ask = |facts: &Arc<Vec<Member>>| {
        let question = RoutingQuestion {
            operation: query(0),
            states: &states,
        };
        version.ask(facts, question)
    };
    assert_eq!(ask(&facts), Ok(prefer(&[0, 1])));
    let mut other = members(2).as_ref().clone();
    other[0].is_primary = false;
    other[1].is_primary = true;
    assert_eq!(ask(&Arc::new(other)), Ok(prefer(&[1, 0])));
    assert_eq!(ask(&facts), Ok(prefer(&[0, 1])));
    assert_eq!(version.figures().instances_made, 1);
}

/// The default routing component decides as the native strategy does, whatever state the instances
/// are in.
#[test]
fn the_default_routing_decides_as_the_native_does() {
    use achromat_core::{
        health::Standing as Health,
        read::{Plan, Strategy, Tried, plan},
        view::{Scope, View},
    };
    let facts = members(3);
    let strategies = [
        (r#"{"strategy":"round_robin"}"#, Strategy::RoundRobin),
        ("", Strategy::ReadReplica { ratio: 0.8 }),
        (r#"{"strategy":"primary_only"}"#, Strategy::PrimaryOnly),
    ];
    let standings = [
        (Standing::Up, Health::Up),
        (Standing::Suspect, Health::Suspect),
        (Standing::Down, Health::Down),
    ];
    for (config, strategy) in strategies {
        let source = default_source(SlotName::Routing, config);
        let version = Version::<RoutingSlot>::load(&PLUGINS, &source, &facts).expect("a plugin");
        for case in 0..27 {
            let chosen = [case % 3, case / 3 % 3, case / 9].map(|at| standings[at]);
            let mut states = states(3);
            for (state, (standing, _)) in states.iter_mut().zip(chosen) {
                state.standing = standing;
                state.eligible = standing != Standing::Down;
            }
            let view = View {
                standings: chosen.map(|(_, health)| health).into(),
                ..View::default()
            };
            for turn in 0..11 {
                let question = RoutingQuestion {
                    operation: query(turn),
                    states: &states,
                };
                let Ok(Routing::Prefer(said)) = version.ask(&facts, question) else {
                    panic!("no order")
                };
                let native = match plan(&view, Scope::Any, strategy, turn, Tried::default()) {
                    Plan::Go(order) => order,
                    Plan::Wait | Plan::Nobody => achromat_core::read::Order::default(),
                };
                assert_eq!(said.first, native, "{config} {chosen:?} {turn}");
            }
        }
    }
}

/// Bytes that are no plugin are refused with the reason, and with the way to mend it.
#[test]
fn what_is_no_plugin_is_refused() {
    let facts = members(1);
    let routing = |bytes: &[u8]| unfit::<RoutingSlot>(bytes, "", &facts);
    let text = |text: &str| wat::parse_str(text).expect("WebAssembly");
    let expect = |message: String, parts: &[&str]| {
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    };
    expect(
        routing(b"#!/bin/sh"),
        &["not WebAssembly", "23, 21", ".wasm file"],
    );
    expect(routing(b""), &["not WebAssembly"]);
    expect(
        routing(&vec![0; limits::COMPONENT_BYTES_MAX + 1]),
        &["33554433 bytes", "strip"],
    );
    let cut = &default_component(SlotName::Routing)[..5000];
    expect(routing(cut), &["can't be compiled", "wasm-tools validate"]);
    let module = text(r#"(module (func (export "route")))"#);
    expect(
        routing(&module),
        &["exports no achromat:policy/route-policy", "wit-bindgen"],
    );
    let module = text(r#"(module (import "env" "open_file" (func)))"#);
    expect(
        routing(&module),
        &["core module", "env", "bindings made from wit/"],
    );
    expect(
        routing(&text("(component)")),
        &["exports no achromat:policy/route-policy", "world routing"],
    );
    let guard = default_component(SlotName::CleanupGuard);
    expect(
        routing(guard),
        &["for the slot cleanup-guard, not for routing"],
    );
    let wasi = text(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#);
    expect(
        routing(&wasi),
        &[
            "imports wasi:cli/environment@0.2.0",
            "no WASI here",
            "--stub-wasi",
        ],
    );
    let other = text(r#"(component (import "acme:db/query@1.0.0" (instance)))"#);
    expect(
        routing(&other),
        &["imports acme:db/query@1.0.0", "nothing else"],
    );
    let host = text(
        r#"(component
            (import "achromat:policy/host@0.1.0" (instance (export "delete-everything" (func))))
            (instance (export "achromat:policy/route-policy@0.1.0")))"#,
    );
    expect(
        routing(&host),
        &["another text of the contract", "delete-everything"],
    );
    let hollow = text(r#"(component (instance (export "achromat:policy/route-policy@0.1.0")))"#);
    expect(routing(&hollow), &["another text of the contract"]);
    let later = text(r#"(component (instance (export "achromat:policy/route-policy@0.2.0")))"#);
    expect(
        routing(&later),
        &[
            "built against achromat:policy@0.2.0",
            "achromat:policy@0.1.1",
        ],
    );
}

/// The version of the contract in messages is that of its text.
#[test]
fn the_contract_has_its_version() {
    let text = include_str!("../../../wit/host.wit");
    let package = format!("package achromat:policy@{};", check::CONTRACT);
    assert!(text.starts_with(&package), "{package}");
}

/// So is a plugin with a configuration that it does not take, in its own words.
#[test]
fn a_bad_configuration_is_refused() {
    let bytes = default_component(SlotName::Routing);
    let refused = |config: &str| unfit::<RoutingSlot>(bytes, config, &members(1));
    let unknown = refused(r#"{"strategie":"round_robin"}"#);
    assert!(
        unknown.contains("refuses its configuration: unknown field `strategie`"),
        "{unknown}"
    );
    let large = refused(&" ".repeat(limits::CONFIG_BYTES_MAX + 1));
    assert!(large.contains("262145 bytes"), "{large}");
}
