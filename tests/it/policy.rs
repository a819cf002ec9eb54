//! Policy plugins that behave badly, each in its own way: contained, told, and gone from the next
//! request. The plugins are real components, from `tests/guests`.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use achromat::policy::{
    Action, Class, GuardSlot, InstanceState, Operation, Plugins, RoutingQuestion, RoutingSlot,
    Slot, Source, TroubleKind, Version, WalSlot, World, default_source,
    limits::{Budget, TROUBLES_MAX},
    plain,
};
use achromat_core::policy::{Eligibility, Permission, Routing, Slot as SlotName};
use achromat_tests::{
    api::DATABASE,
    asked::{deletion_of, members, states},
    cluster::Cluster,
};
use serde_json::json;

/// One engine for all tests: it reserves much address space.
static PLUGINS: LazyLock<Plugins> = LazyLock::new(|| Plugins::new(None).expect("an engine"));

fn hostile(slot: SlotName, deed: &str) -> Source {
    let bytes: &[u8] = match slot {
        SlotName::Routing => include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm")),
        SlotName::WalEligibility => include_bytes!(concat!(env!("OUT_DIR"), "/hostile-wal.wasm")),
        SlotName::CleanupGuard => include_bytes!(concat!(env!("OUT_DIR"), "/hostile-guard.wasm")),
    };
    Source {
        name: format!("hostile-{deed}").into(),
        bytes: bytes.into(),
        config: deed.into(),
        budget: Budget::default(),
    }
}

fn load<W: World>(source: &Source, facts: &Arc<W::Facts>) -> Arc<Version<W>> {
    match Version::load(&PLUGINS, source, facts) {
        Ok(version) => Arc::new(version),
        Err(unfit) => panic!("{}: {unfit}", source.name),
    }
}

fn operation(number: u64) -> Operation<'static> {
    Operation {
        number,
        ..plain(Action::Query, Class::Read)
    }
}

/// A routing slot, its instances all alike.
struct Routes {
    slot: Slot<RoutingSlot>,
    states: [InstanceState; 3],
}

impl Routes {
    fn new() -> Self {
        Self {
            slot: Slot::native(members()),
            states: states(),
        }
    }

    fn swap(&self, source: &Source) -> Arc<Version<RoutingSlot>> {
        let version = load(source, &self.slot.facts());
        self.slot.swap(Arc::clone(&version));
        version
    }

    fn decide(&self, number: u64) -> Routing {
        let question = RoutingQuestion {
            operation: operation(number),
            states: &self.states,
        };
        let generation = self.slot.generation();
        self.slot.decide(&generation, question).expect("a plugin")
    }

    /// What it refuses with.
    fn message(&self) -> String {
        match self.decide(1) {
            Routing::Refuse(refusal) => {
                let body: serde_json::Value =
                    serde_json::from_slice(&refusal.reply().body).expect("JSON");
                body["message"].as_str().expect("a message").to_owned()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn troubles<W: World>(version: &Version<W>) -> Vec<(&'static str, u64)> {
    let troubles = version.figures().troubles;
    troubles
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Every bad deed costs its own decision and no other: the safe answer holds, the kind is counted,
/// and it is over long before anybody notices.
#[test]
fn each_bad_deed_is_contained() {
    let deeds = [
        ("loop", TroubleKind::Fuel),
        ("trap", TroubleKind::Trap),
        ("panic", TroubleKind::Trap),
        ("recurse", TroubleKind::Trap),
        ("hog", TroubleKind::Overstep),
        ("flood", TroubleKind::Overstep),
        ("giant-log", TroubleKind::Nonsense),
        ("no-such-instance", TroubleKind::Nonsense),
        ("twice", TroubleKind::Nonsense),
        ("nowhere", TroubleKind::Nonsense),
        ("no-message", TroubleKind::Nonsense),
        ("giant-message", TroubleKind::Nonsense),
        ("beyond-message", TroubleKind::Nonsense),
    ];
    let routes = Routes::new();
    let good = routes.swap(&default_source(SlotName::Routing, ""));
    for (deed, kind) in deeds {
        let bad = routes.swap(&hostile(SlotName::Routing, deed));
        let begun = Instant::now();
        assert_eq!(routes.decide(1), Routing::Native, "{deed}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{deed}");
        assert_eq!(troubles(&bad), [(kind.as_str(), 1)], "{deed}");
        assert!(bad.figures().memory_bytes_max <= Budget::default().memory_bytes);
        routes.slot.roll_back().expect("the good one");
        assert!(
            matches!(routes.decide(1), Routing::Prefer(_)),
            "after {deed}"
        );
    }
    assert_eq!(troubles(&good), []);
    assert_eq!(routes.slot.quarantined(), 0);
}

/// Fuel is the budget; the deadline is the net under it, for what has fuel without end.
#[test]
fn what_has_fuel_without_end_meets_its_deadline() {
    let routes = Routes::new();
    let mut source = hostile(SlotName::Routing, "loop");
    source.budget.fuel = u64::MAX / 2;
    source.budget.deadline = Duration::from_millis(100);
    let bad = routes.swap(&source);
    let begun = Instant::now();
    assert_eq!(routes.decide(1), Routing::Native);
    let took = begun.elapsed();
    assert!(took >= source.budget.deadline, "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(troubles(&bad), [("deadline", 1)]);
}

/// What a plugin does beyond a host's bound is not done, and is no reason to end it.
#[test]
fn the_hosts_bounds_hold_quietly() {
    let routes = Routes::new();
    for deed in ["log", "giant-key"] {
        let version = routes.swap(&hostile(SlotName::Routing, deed));
        assert!(matches!(routes.decide(1), Routing::Prefer(_)), "{deed}");
        assert_eq!(troubles(&version), []);
    }
}

/// A version that has no answer too often goes, and the last good one comes back by itself.
#[test]
fn repeated_trouble_brings_the_last_good_one_back() {
    let routes = Routes::new();
    let good = routes.swap(&default_source(SlotName::Routing, ""));
    let bad = routes.swap(&hostile(SlotName::Routing, "sometimes"));
    for number in 1..=u64::from(TROUBLES_MAX) {
        assert!(matches!(routes.decide(number * 2), Routing::Prefer(_)));
        assert_eq!(routes.decide(number * 2 + 1), Routing::Native);
    }
    assert_eq!(troubles(&bad), [("trap", u64::from(TROUBLES_MAX))]);
    assert_eq!(routes.slot.quarantined(), 1);
    let generation = routes.slot.generation();
    assert!(Arc::ptr_eq(generation.version().expect("a version"), &good));
    assert!(matches!(routes.decide(1), Routing::Prefer(_)));
    assert!(
        routes.slot.roll_back().is_none(),
        "there is nothing to go back to"
    );
}

/// The safe answers: native routing, logged and replicated, denied; and when no version is left,
/// they are all there is.
#[test]
fn each_slot_has_its_safe_answer() {
    let wal: Slot<WalSlot> = Slot::native(Arc::new(()));
    let decide = |slot: &Slot<WalSlot>| slot.decide(&slot.generation(), operation(1));
    assert_eq!(decide(&wal), None);
    wal.swap(load(
        &hostile(SlotName::WalEligibility, "no-message"),
        &wal.facts(),
    ));
    assert_eq!(decide(&wal), Some(Eligibility::SAFE));
    wal.swap(load(
        &hostile(SlotName::WalEligibility, "well"),
        &wal.facts(),
    ));
    assert_eq!(decide(&wal), Some(Eligibility::LocalOnly));

    let guard: Slot<GuardSlot> = Slot::native(Arc::new(()));
    let decide = |slot: &Slot<GuardSlot>| slot.decide(&slot.generation(), deletion_of("notes"));
    guard.swap(load(
        &hostile(SlotName::CleanupGuard, "well"),
        &guard.facts(),
    ));
    assert_eq!(decide(&guard), Some(Permission::Allow));
    for deed in ["trap", "loop", "no-message", "forever"] {
        let guard: Slot<GuardSlot> = Slot::native(Arc::new(()));
        guard.swap(load(&hostile(SlotName::CleanupGuard, deed), &guard.facts()));
        for _ in 0..=TROUBLES_MAX {
            assert_eq!(decide(&guard), Some(Permission::safe()), "{deed}");
        }
        assert!(guard.generation().is_vacant(), "{deed}");
        assert_eq!(guard.quarantined(), 1);
    }
}

/// A request ends in the generation in which it began, whatever becomes of the slot meanwhile.
#[test]
fn a_request_keeps_its_generation() {
    let routes = Routes::new();
    routes.swap(&hostile(SlotName::Routing, "state"));
    let begun = routes.slot.generation();
    routes.swap(&default_source(SlotName::Routing, ""));
    let question = || RoutingQuestion {
        operation: operation(1),
        states: &routes.states,
    };
    let old = routes.slot.decide(&begun, question());
    assert!(matches!(old, Some(Routing::Refuse(_))), "{old:?}");
    assert!(matches!(routes.decide(1), Routing::Prefer(_)));
}

/// What an instance remembers lives as long as the instance; what the host keeps, as long as the
/// version, whatever becomes of its instances.
#[test]
fn state_goes_with_what_holds_it() {
    let routes = Routes::new();
    for _ in 0..2 {
        routes.swap(&hostile(SlotName::Routing, "state"));
        assert_eq!([routes.message(), routes.message()], ["1", "2"]);
    }
    routes.swap(&hostile(SlotName::Routing, "shared-state"));
    assert_eq!([routes.message(), routes.message()], ["1", "2"]);
    let version = routes.swap(&hostile(SlotName::Routing, "flaky"));
    let ends = [1, 2, 3, 4].map(|number| routes.decide(number) == Routing::Native);
    assert_eq!(
        ends,
        [false, true, false, true],
        "a trapped instance is never asked again"
    );
    assert_eq!(version.figures().instances_made, 2);
}

/// The lean world is judged as the other one: what makes no sense is no answer, and what is refused is
/// refused in the plugin's words.
#[test]
fn a_lean_plugin_is_judged_like_any_other() {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-lean.wasm"));
    let source = |deed: &str| Source {
        bytes: bytes.into(),
        ..hostile(SlotName::Routing, deed)
    };
    let routes = Routes::new();
    routes.swap(&source("well"));
    let Routing::Prefer(order) = routes.decide(1) else {
        panic!("no order")
    };
    assert_eq!(order.to_string(), "first [2, 1, 0], then others");
    routes.swap(&source("say"));
    assert_eq!(routes.message(), "not today");
    for (deed, kind) in [
        ("no-such-instance", "nonsense"),
        ("twice", "nonsense"),
        ("too-many", "nonsense"),
        ("nowhere", "nonsense"),
        ("no-message", "nonsense"),
        ("trap", "trap"),
        ("trap-in-words", "trap"),
        ("loop", "fuel"),
    ] {
        let version = routes.swap(&source(deed));
        assert_eq!(routes.decide(1), Routing::Native, "{deed}");
        assert_eq!(troubles(&version), [(kind, 1)], "{deed}");
    }
    let refused = Version::<RoutingSlot>::load(&PLUGINS, &source("refuse"), &members());
    let refused = refused.err().expect("a refusal").to_string();
    assert!(refused.contains("takes no configuration"), "{refused}");
}

/// What does not start is never put into service, and says why.
#[test]
fn what_does_not_start_is_refused() {
    let refused = |deed: &str| {
        let source = hostile(SlotName::Routing, deed);
        let version = Version::<RoutingSlot>::load(&PLUGINS, &source, &members());
        version.err().expect("a refusal").to_string()
    };
    let expect = |deed: &str, part: &str| {
        let message = refused(deed);
        assert!(message.contains(part), "{deed}: {message}");
    };
    expect(
        "refuse",
        "refuses its configuration: this plugin takes no configuration",
    );
    expect("trap-at-start", "does not start: it trapped");
    expect("loop-at-start", "does not start: it");
    expect("many-headers", "it wants 17 headers, and may have 16");
    expect("bad-header", r#"it wants a header "x y""#);
    let no_answer = "has no answer to a plain question: it trapped";
    expect("fail-self-test", no_answer);
}

/// Many threads ask one version at once: each gets its answer, and no more instances are kept than
/// can be asked at once.
#[test]
fn many_threads_ask_at_once() {
    let routes = Routes::new();
    let version = routes.swap(&default_source(
        SlotName::Routing,
        r#"{"strategy":"round_robin"}"#,
    ));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let routes = &routes;
            scope.spawn(move || {
                for number in 0..500 {
                    let Routing::Prefer(order) = routes.decide(thread + number) else {
                        panic!("no order")
                    };
                    let first = u64::from(order.first[0].0);
                    assert_eq!(first, (thread + number) % 3);
                }
            });
        }
    });
    let figures = version.figures();
    assert_eq!(figures.decisions[1], ("first", 4000));
    assert_eq!(troubles(&version), []);
}

/// A plugin decides in the live path: where reads go, as the instances' own counts say; what is
/// refused, in its own words; and one that fails costs no read.
#[test]
fn a_routing_plugin_decides_in_the_live_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("hostile.wasm");
    let source = hostile(SlotName::Routing, "well");
    std::fs::write(&plugin, &source.bytes).expect("a file");
    let named = format!("--policy-routing-plugin={}", plugin.display());
    let cluster = |deed: &str| {
        let config = format!("--policy-routing-config={deed}");
        Cluster::with(2, &[&named, &config])
    };
    let reads = |cluster: &Cluster, id: &str| {
        let before = cluster.api().request_counts();
        for _ in 0..20 {
            let got = cluster.api().records(id, "get", &json!({ "ids": ["r"] }));
            assert_eq!(got.ok()["ids"], json!(["r"]));
        }
        let after = cluster.api().request_counts();
        [after[0] - before[0], after[1] - before[1]]
    };
    let prepare = |cluster: &Cluster| {
        let id = cluster.api().create("notes");
        let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
        cluster.api().records(&id, "add", &body).ok();
        cluster.settle();
        id
    };

    // It asks for the instances in reverse.
    let reversed = cluster("well");
    let id = prepare(&reversed);
    let [primary, replica] = reads(&reversed, &id);
    assert!(replica >= 20 && primary < 10, "{primary} {replica}");
    let policy = &reversed.api().get("/status").ok()["policy"]["routing"];
    assert_eq!(policy["decides"], "plugin");
    assert_eq!(policy["plugin"], "hostile.wasm");
    assert!(
        policy["decisions"]["first"].as_u64().expect("a count") >= 20,
        "{policy}"
    );
    drop(reversed);

    // It never ends: reads are answered all the same, and it is out of service soon.
    let endless = cluster("loop");
    let id = prepare(&endless);
    reads(&endless, &id);
    let policy = &endless.api().get("/status").ok()["policy"]["routing"];
    assert_eq!(policy["decides"], "none", "{policy}");
    assert_eq!(policy["quarantined_versions"], 1);
    drop(endless);

    // It refuses, and the client reads why.
    let refusing = cluster("shared-state");
    refusing.api().get("/api/v2/version");
    let answer = refusing.api().get("/api/v2/heartbeat");
    let number: u64 = answer.refused(403).parse().expect("its own words");
    assert!(number > 0);
}

/// A plugin that can't be used keeps Achromat from starting, with what is wrong and how to mend it.
#[test]
fn an_unusable_plugin_is_told_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("guard.wasm");
    let guard = achromat::policy::default_component(SlotName::CleanupGuard);
    std::fs::write(&plugin, guard).expect("a file");
    let tell = |plugin: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_achromat-tests"))
            .args([
                "achromat",
                "serve",
                "--store",
                "memory:",
                "--listen",
                "127.0.0.1:0",
            ])
            .args([
                "--instance",
                "a=http://127.0.0.1:9",
                "--policy-routing-plugin",
                plugin,
            ])
            .output()
            .expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let other = tell(&plugin.display().to_string());
    assert!(
        other.contains("policy.routing.plugin: guard.wasm"),
        "{other}"
    );
    assert!(
        other.contains("for the slot cleanup-guard, not for routing"),
        "{other}"
    );
    let missing = tell("/nowhere/plugin.wasm");
    assert!(missing.contains("/nowhere/plugin.wasm"), "{missing}");
}

/// A guard's plugin denies in the live path what Achromat's own rules allow, in its own words; what
/// it allows and they do not is denied all the same, and while it has no answer nothing is
/// destroyed.
#[test]
fn a_guard_plugin_decides_in_the_live_path() {
    let config = r#"{"protected":["kep*"],"delete_records_max":2,"unless_header":"x-confirm"}"#;
    let config = format!("--policy-guard-config={config}");
    let cluster = Cluster::with(2, &["--policy-guard-plugin=default", &config]);
    let api = cluster.api();
    let kept = api.create("kept");
    let id = api.create("notes");
    api.create("global");
    let body = json!({
        "ids": ["a", "b", "c", "d"],
        "embeddings": [[1], [2], [3], [4]],
        "metadatas": [{ "k": 1 }, { "k": 1 }, { "k": 1 }, null],
    });
    api.records(&id, "add", &body).ok();
    for path in [
        format!("$D/collections/{kept}"),
        "$D/collections/kept".to_owned(),
    ] {
        let message = api.delete(&path).refused(403);
        assert!(
            message.contains("[kept] is protected by the rule `kep*`"),
            "{message}"
        );
    }
    let renamed = api.call(
        "PUT",
        &format!("$D/collections/{kept}"),
        &json!({ "new_name": "x" }),
    );
    assert!(renamed.refused(403).contains("renaming it is denied"));
    assert!(api.delete(DATABASE).refused(403).contains("denied"));
    assert!(
        api.delete("$D/collections/global")
            .refused(403)
            .contains("rule `global`")
    );
    let delete = |ids: &[&str]| api.records(&id, "delete", &json!({ "ids": ids }));
    let message = delete(&["a", "b", "c"]).refused(403);
    assert!(message.contains("hits 3 records"), "{message}");
    let filtered = api.records(&id, "delete", &json!({ "where": { "k": 1 } }));
    assert!(filtered.refused(403).contains("hits 3 records"));
    delete(&["a", "b"]).ok();
    let contents = cluster.settle();
    let records = &contents[&format!("{DATABASE} notes")].1;
    assert!(records.keys().eq(["c", "d"]), "{records:?}");
    assert!(contents.contains_key(&format!("{DATABASE} kept")));
    let guard = &api.get("/status").ok()["policy"]["guard"];
    assert!(
        guard["decisions"]["deny"].as_u64().expect("a count") >= 5,
        "{guard}"
    );
    drop(cluster);

    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("trap.wasm");
    std::fs::write(&plugin, &hostile(SlotName::CleanupGuard, "").bytes).expect("a file");
    let plugin = format!("--policy-guard-plugin={}", plugin.display());
    let cluster = Cluster::with(2, &[&plugin, "--policy-guard-config=trap"]);
    cluster.api().create("notes");
    for _ in 0..8 {
        let message = cluster.api().delete("$D/collections/notes").refused(403);
        assert!(message.contains("no answer"), "{message}");
    }
    assert_eq!(cluster.settle().len(), 1);
}

/// A thousand swaps while others decide: every decision is one of the version that was active when
/// its request began, and none is lost.
#[test]
fn swaps_under_load_mix_nothing_up() {
    let routes = Routes::new();
    let ordering = routes.swap(&default_source(SlotName::Routing, ""));
    let refusing = routes.swap(&hostile(SlotName::Routing, "state"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let decided = std::thread::scope(|scope| {
        let deciding: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut decided = [0_u64; 2];
                    loop {
                        let generation = routes.slot.generation();
                        let version = generation.version().expect("a version");
                        let orders = Arc::ptr_eq(version, &ordering);
                        assert!(orders || Arc::ptr_eq(version, &refusing));
                        let question = RoutingQuestion {
                            operation: operation(decided[0] + decided[1] + 1),
                            states: &routes.states,
                        };
                        match routes.slot.decide(&generation, question) {
                            Some(Routing::Prefer(_)) => assert!(orders),
                            Some(Routing::Refuse(_)) => assert!(!orders),
                            other => panic!("{other:?}"),
                        }
                        decided[usize::from(orders)] += 1;
                        if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                            return decided;
                        }
                    }
                })
            })
            .collect();
        for swap in 0..1000 {
            let next = [&ordering, &refusing][swap % 2];
            routes.slot.swap(Arc::clone(next));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        let all = deciding
            .into_iter()
            .map(|thread| thread.join().expect("it decides"));
        all.fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
    });
    assert!(decided[0] + decided[1] > 0);
    assert_eq!((troubles(&ordering), troubles(&refusing)), (vec![], vec![]));
    assert_eq!(routes.slot.quarantined(), 0);
}
