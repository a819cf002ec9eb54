//! Versions of plugins in a running Achromat: pushed, swapped under load, tried, rolled back, and
//! what can't be used refused. The plugins are those of `tests/guests`.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use achromat::policy::default_component;
use achromat_core::policy::{Digest, Slot};
use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use serde_json::{Value, json};

pub(crate) const ROUTING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"));
const GUARD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-guard.wasm"));

/// For something to happen by itself.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What is pushed: a label, and a component.
pub(crate) fn pushed(label: &Value, component: &[u8]) -> Vec<u8> {
    [label.to_string().as_bytes(), b"\n", component].concat()
}

fn push(api: &Api, label: &Value) -> Value {
    let body = pushed(label, ROUTING);
    api.post_bytes("/admin/plugins/routing/versions", &body)
        .ok()
}

/// Keeps a routing version that does what its configuration says, under that name.
pub(crate) fn keep(api: &Api, deed: &str) {
    push(api, &json!({ "name": deed, "config": deed }));
}

pub(crate) fn swap(api: &Api, to: &str) -> Value {
    api.post("/admin/plugins/routing/swap", &json!({ "to": to }))
        .ok()
}

pub(crate) fn slot(api: &Api) -> Value {
    api.get("/admin/plugins/routing").ok()
}

/// The name of the version that decides; `native` and `nobody` as they are.
pub(crate) fn decides(api: &Api) -> String {
    let slot = slot(api);
    let versions = slot["versions"].as_array().expect("versions");
    let active = versions.iter().find(|v| v["version"] == slot["version"]);
    let name = active.map_or(&slot["decides"], |version| &version["name"]);
    let name = name.as_str().expect("a name").to_owned();
    let status = api.get("/status").ok()["policy"]["routing"].clone();
    match name.as_str() {
        "native" => assert_eq!(status["decides"], "native"),
        "nobody" => assert_eq!(status["decides"], "none"),
        name => assert_eq!(status["plugin"], name, "{status}"),
    }
    name
}

pub(crate) fn read(api: &Api, id: &str) -> achromat_tests::api::Answer {
    api.records(id, "get", &json!({ "ids": ["r"] }))
}

/// A thousand swaps among versions that are loaded anew each time, while clients read and write: no
/// request fails, each is decided by a version that was active while it was under way, and after the
/// first hundred swaps memory does not grow.
#[test]
fn a_thousand_swaps_lose_nothing() {
    const VERSIONS: u64 = 6;
    const SWAPS: u64 = 1000;
    let cache = tempfile::tempdir().expect("a folder");
    let cache = format!("--policy-cache={}", cache.path().display());
    let cluster = Cluster::with(2, &[&cache, "--log-level=warn"]);
    let api = cluster.api();
    let marker = api.create("marker");
    let notes = api.create("notes");
    for version in 0..VERSIONS {
        keep(&api, &format!("say:{version}"));
    }
    swap(&api, "say:0");
    let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    let told = |floor: u64, ceiling: u64| (floor..=ceiling).map(|n| (n % VERSIONS).to_string());
    let mut resident_kb = Vec::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let api = cluster.api();
                while !is_over.load(SeqCst) {
                    let floor = done.load(SeqCst);
                    let said = read(&api, &marker).refused(403);
                    let ceiling = begun.load(SeqCst);
                    assert!(
                        told(floor, ceiling).any(|version| version == said),
                        "{said} decided between swap {floor} and swap {ceiling}"
                    );
                    seen.fetch_add(1, SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let api = cluster.api();
            let mut number = 0;
            while !is_over.load(SeqCst) {
                number += 1;
                let body = json!({ "ids": ["r"], "embeddings": [[number, 1]] });
                api.records(&notes, "upsert", &body).ok();
                assert_eq!(read(&api, &notes).ok()["ids"], json!(["r"]));
            }
        });
        for number in 1..=SWAPS {
            begun.store(number, SeqCst);
            let told = swap(&api, &format!("say:{}", number % VERSIONS));
            done.store(number, SeqCst);
            assert_eq!(told["status"], "swapped");
            if number % 100 == 0 {
                resident_kb.push(cluster.proxy.resident_kb());
            }
        }
        is_over.store(true, SeqCst);
    });
    assert!(seen.load(SeqCst) > 500, "{seen:?} answers were looked at");
    let (first, last) = (resident_kb[0], resident_kb[resident_kb.len() - 1]);
    // What is kept of 900 swaps and of the writes meanwhile takes 3 MB. A version that stays behind would take
    // more than 100 KB each time.
    assert!(last <= first + 8 * 1024, "{resident_kb:?}");
    println!("{seen:?} decisions, {resident_kb:?} KB");
    let status = api.get("/status").ok()["policy"]["routing"].clone();
    assert_eq!(status["quarantined_versions"], 0);
    let troubles = status["troubles"].as_object().expect("troubles");
    assert!(troubles.values().all(|count| *count == 0), "{status}");
    cluster.settle();
    cluster.proxy.assert_calm();
}

/// Has requests made until a trial is over; each must succeed. Returns how it ended.
pub(crate) fn read_until_over(api: &Api, id: &str) -> Value {
    eventually("the trial is over", SOON, || {
        for _ in 0..50 {
            read(api, id).ok();
        }
        let slot = slot(api);
        match &slot["trial"] {
            Value::Null => Ok(slot["last_trial"].clone()),
            trial => Err(trial.to_string()),
        }
    })
}

/// A canary that is worse goes by itself, and no request suffers from it; one that is good becomes
/// active; both are told.
#[test]
fn a_canary_is_promoted_or_goes() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &body).ok();
    keep(&api, "sometimes");
    keep(&api, "well");
    let command = ["plugin", "canary", "sometimes", "--slot", "routing"];
    let (code, told) = cluster.command(&[&command[..], &["--share", "0.1"]].concat());
    assert!(code == Some(0) && told.contains("goes on"), "{told}");
    let status = api.get("/status").ok();
    assert_eq!(status["policy"]["routing"]["trial"]["kind"], "canary");
    let ended = read_until_over(&api, &id);
    assert_eq!(ended["outcome"], "rolled back", "{ended}");
    assert_eq!(ended["troubles"], 3);
    assert_eq!(decides(&api), "native");

    // It asks for the replica first; Achromat's own rules do that for some requests only.
    let canary = |rules: Value| {
        let mut body = json!({ "version": "well", "share": 0.5, "decisions_min": 100 });
        for (name, value) in rules.as_object().expect("rules") {
            body[name] = value.clone();
        }
        api.post("/admin/plugins/routing/canary", &body).ok();
        read_until_over(&api, &id)
    };
    let ended = canary(json!({ "divergence_max": 0.2 }));
    assert_eq!(ended["outcome"], "rolled back", "{ended}");
    let reason = ended["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("differ from the active version's"),
        "{reason}"
    );
    let ended = canary(json!({}));
    assert_eq!(ended["outcome"], "promoted", "{ended}");
    assert_eq!(ended["troubles"], 0);
    assert_eq!(decides(&api), "well");
    let last = &slot(&api)["swaps"][0];
    assert_eq!(last["who"], "achromat");
    assert!(
        last["why"].as_str().expect("why").contains("canary"),
        "{last}"
    );
    assert_eq!(
        cluster
            .command(&["plugin", "rollback", "--slot", "routing"])
            .0,
        Some(0)
    );
    assert_eq!(decides(&api), "native");
    cluster.proxy.assert_calm();
}

/// A shadow's answers are compared and never used; where they differ is told with the collection and
/// both reasons. It goes when it has no answers.
#[test]
fn a_shadow_is_compared_and_not_used() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let marker = api.create("marker");
    let notes = api.create("notes");
    keep(&api, "say:not this one");
    let diffs = ["plugin", "diffs", "--slot", "routing"];
    assert_eq!(cluster.command(&diffs).0, Some(0));
    let shadow = ["plugin", "shadow", "say:not this one", "--slot", "routing"];
    let (code, told) = cluster.command(&shadow);
    assert_eq!(code, Some(0), "{told}");
    for _ in 0..5 {
        read(&api, &marker).ok();
        read(&api, &notes).ok();
    }
    let told = api.get("/admin/plugins/routing/diffs").ok();
    assert_eq!(told["trial"]["diverged"], 5, "{told}");
    assert!(told["trial"]["decisions"].as_u64() >= Some(10), "{told}");
    for difference in told["differences"].as_array().expect("a list") {
        assert_eq!(difference["collection"], "marker");
        assert_eq!(difference["active"], "native");
        assert_eq!(difference["tried"], "refused with 403: not this one");
    }
    let (code, told) = cluster.command(&diffs);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("marker") && told.contains("not this one"),
        "{told}"
    );
    let stop = ["plugin", "shadow", "--stop", "--slot", "routing"];
    assert_eq!(cluster.command(&stop).0, Some(0));
    assert_eq!(cluster.command(&stop).0, Some(2), "nothing is left to stop");

    keep(&api, "trap");
    let of_collection = json!({ "version": "trap", "collection": "notes" });
    api.post("/admin/plugins/routing/shadow", &of_collection)
        .ok();
    read(&api, &marker).ok();
    assert_eq!(slot(&api)["trial"]["troubles"], 0, "it is not asked");
    let ended = read_until_over(&api, &notes);
    assert_eq!(ended["outcome"], "rolled back", "{ended}");
    assert_eq!(decides(&api), "native");
}

/// A guard on trial denies nothing, and what it would deny is told by name and reason.
#[test]
fn a_guard_is_tried_before_it_guards() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.create("kept");
    let label = json!({ "name": "strict", "config": r#"{"protected":["kep*"]}"# });
    let component = default_component(Slot::CleanupGuard);
    api.post_bytes("/admin/plugins/guard/versions", &pushed(&label, component))
        .ok();
    let shadow = json!({ "version": "strict" });
    api.post("/admin/plugins/guard/shadow", &shadow).ok();
    api.delete("$D/collections/kept").ok();
    let told = api.get("/admin/plugins/guard/diffs").ok();
    let difference = &told["differences"][0];
    assert_eq!(difference["collection"], "kept", "{told}");
    assert_eq!(difference["active"], "allowed");
    let tried = difference["tried"].as_str().expect("words");
    assert!(
        tried.contains("denied") && tried.contains("rule `kep*`"),
        "{tried}"
    );
}

/// What decides is in the store: it outlives a kill -9, and so does the way back, of which each step
/// is recorded; also the one that Achromat takes when a version has too much trouble.
#[test]
fn what_decides_outlives_a_restart() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let notes = api.create("notes");
    for deed in ["say:a", "say:b"] {
        let label = json!({ "name": deed, "config": deed, "swap": true, "who": "tester" });
        push(&api, &label);
    }
    let restart = |cluster: &mut Cluster| {
        cluster.proxy.kill();
        cluster.proxy.up();
        decides(&cluster.api())
    };
    assert_eq!(restart(&mut cluster), "say:b");
    let rollback = |cluster: &Cluster| {
        let told = cluster.command(&["plugin", "rollback", "--slot", "routing"]);
        (told.0, decides(&cluster.api()))
    };
    assert_eq!(rollback(&cluster), (Some(0), "say:a".to_owned()));
    assert_eq!(restart(&mut cluster), "say:a");
    assert_eq!(rollback(&cluster), (Some(0), "native".to_owned()));
    assert_eq!(rollback(&cluster), (Some(2), "native".to_owned()));
    swap(&api, "say:a");

    keep(&api, "sometimes");
    swap(&api, "sometimes");
    let back = || {
        eventually("it falls back", SOON, || {
            read(&api, &notes).ok();
            match decides(&api).as_str() {
                "say:a" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
    };
    eventually("it is in trouble", SOON, || {
        read(&api, &notes).ok();
        match slot(&api)["swaps"][0]["who"].as_str() {
            Some("achromat") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    back();
    assert_eq!(restart(&mut cluster), "say:a");

    // After a restart nothing is ready to go back to: it is fetched.
    let again = json!({ "to": "sometimes", "again": true });
    api.post("/admin/plugins/routing/swap", &again).ok();
    assert_eq!(restart(&mut cluster), "sometimes");
    eventually("it falls back", SOON, || {
        read(&api, &notes).ok();
        match slot(&api)["swaps"][0]["who"].as_str() {
            Some("achromat") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    back();
    let history = slot(&api)["swaps"].clone();
    let whos: Vec<_> = history.as_array().expect("swaps").iter().collect();
    assert!(whos.iter().any(|swap| swap["who"] == "tester"), "{history}");
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("WebAssembly")
}

/// What can't be used is refused with what is wrong and how to mend it, and changes nothing.
#[test]
fn what_is_unfit_changes_nothing() {
    let cluster = Cluster::start();
    let api = cluster.api();
    push(
        &api,
        &json!({ "name": "good", "config": "well", "swap": true }),
    );
    let before = slot(&api);
    let refused = |status: u16, label: &Value, component: &[u8], parts: &[&str]| {
        let body = pushed(label, component);
        let answer = api.post_bytes("/admin/plugins/routing/versions", &body);
        let message = answer.refused(status);
        for part in parts {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert_eq!(slot(&api), before, "{message}");
    };
    let swap = json!({ "swap": true });
    refused(422, &swap, b"#!/bin/sh", &["not WebAssembly", ".wasm file"]);
    refused(422, &swap, b"", &["not WebAssembly"]);
    let hollow = text(r#"(module (func (export "route")))"#);
    refused(422, &swap, &hollow, &["exports no", "wit-bindgen"]);
    let module = text(r#"(module (import "env" "open_file" (func)))"#);
    refused(422, &swap, &module, &["core module", "env"]);
    let wasi = text(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#);
    refused(422, &swap, &wasi, &["wasi:cli/environment", "--stub-wasi"]);
    refused(
        422,
        &swap,
        GUARD,
        &["for the slot cleanup-guard, not for routing"],
    );
    let large = vec![0; 33 * 1024 * 1024];
    refused(422, &swap, &large, &["34603008 bytes", "strip it"]);
    refused(422, &swap, &ROUTING[..5000], &["can't be compiled"]);
    let config = json!({ "config": "refuse", "swap": true });
    refused(
        422,
        &config,
        ROUTING,
        &["refuses its configuration", "takes no configuration"],
    );
    let trap = json!({ "config": "fail-self-test", "swap": true });
    refused(422, &trap, ROUTING, &["no answer to a plain question"]);
    let digest = json!({ "digest": Digest::of(b"other").to_string(), "swap": true });
    refused(422, &digest, ROUTING, &["its SHA-256 is", "cut or changed"]);
    refused(
        400,
        &json!({ "name": "native" }),
        ROUTING,
        &["can't be a version's name"],
    );
    refused(
        400,
        &json!({ "nam": "x" }),
        ROUTING,
        &["unknown field `nam`"],
    );
    refused(400, &json!({ "who": "" }), ROUTING, &["who is a name"]);

    let post = |call: &str, body: Value| api.post(&format!("/admin/plugins/{call}"), &body);
    let nothing = post("routing/swap", json!({ "to": "nothing" })).refused(404);
    assert!(nothing.contains("achromat plugin list"), "{nothing}");
    post("nowhere/swap", json!({ "to": "native" })).refused(404);
    post("routing/canary", json!({ "version": "good", "share": 0.1 })).refused(409);
    post("routing/canary", json!({ "version": "good" })).refused(400);
    post("routing/canary", json!({ "version": "good", "share": 2 })).refused(400);
    api.get("/admin/plugins/routing/nothing").refused(404);
    api.get("/admin/plugins/routing/swap").refused(405);
    assert_eq!(slot(&api), before);

    let file = cluster.folder().join("guard.wasm");
    std::fs::write(&file, GUARD).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let (code, told) = cluster.command(&["plugin", "push", file, "--slot", "routing"]);
    assert_eq!(code, Some(2));
    assert!(
        told.contains("guard.wasm: it is a plugin for the slot"),
        "{told}"
    );
    cluster.proxy.assert_calm();
}

/// The commands, as an operator would type them; with a token, only who has it.
#[test]
fn commands_change_versions() {
    let token = "a-token-of-the-operator";
    let cluster = Cluster::with(2, &[&format!("--admin-token={token}")]);
    let file = cluster.folder().join("my.wasm");
    std::fs::write(&file, ROUTING).expect("a file");
    let config = cluster.folder().join("config");
    std::fs::write(&config, "say:from a file").expect("a file");
    let (file, config) = (file.display().to_string(), format!("@{}", config.display()));
    let digest = Digest::of(ROUTING).to_string();
    let run = |words: &[&str], expected: i32| {
        let words = [&["plugin"], words, &["--token", token]].concat();
        let (code, told) = cluster.command(&words);
        assert_eq!(code, Some(expected), "{told}");
        told
    };
    let push = ["push", &file, "--slot", "routing", "--config", &config];
    let (code, told) = cluster.command(&[&["plugin"], &push[..]].concat());
    assert!(code == Some(2) && told.contains("Authorization"), "{told}");
    let told = run(&[&push[..], &["--digest", &digest]].concat(), 0);
    assert!(told.contains("version 1 (my.wasm"), "{told}");
    let api = cluster.api().with_token(token);
    cluster
        .api()
        .get("/admin/plugins/routing/diffs")
        .refused(401);
    assert_eq!(decides(&api), "native");
    run(&["swap", &digest[..8], "--slot", "routing"], 0);
    assert_eq!(decides(&api), "my.wasm");
    run(&["swap", "default", "--slot", "routing"], 0);
    assert_eq!(decides(&api), "default-routing");
    let told = run(&["swap", "default", "--slot", "routing"], 0);
    assert!(told.contains("decides already"), "{told}");
    run(&["swap", "native", "--slot", "routing"], 0);
    run(&["swap", "1", "--slot", "routing"], 0);
    let told = run(&["list"], 0);
    assert!(told.contains("* version 1 (my.wasm"), "{told}");
    assert!(
        told.contains("cleanup-guard: Achromat's own rules"),
        "{told}"
    );
    run(&["rollback", "--slot", "routing"], 0);
    assert_eq!(decides(&api), "native");
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) {
    // As a careful operator does it: beside, then in its place.
    let beside = folder.join(format!(".{name}"));
    std::fs::write(&beside, bytes).expect("a file");
    std::fs::rename(beside, folder.join(name)).expect("in its place");
}

/// The message that a version answers with about its collection.
pub(crate) fn says(api: &Api, marker: &str, expected: &str) {
    eventually("it decides", SOON, || {
        let answer = read(api, marker);
        match answer.body["message"].as_str() {
            Some(message) if message == expected => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// What is put into the watched folder is put into service, with its configuration; what can't be
/// used changes nothing and is told once; what an operator says later holds, also after a restart.
#[test]
fn the_folder_is_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let flag = format!("--policy-folder={}", folder.display());
    let mut cluster = Cluster::with(2, &[&flag]);
    let api = cluster.api();
    let marker = api.create("marker");
    write(folder, "routing.json", b"say:one");
    write(folder, "routing.wasm", ROUTING);
    says(&api, &marker, "one");
    write(folder, "routing.json", b"say:two");
    says(&api, &marker, "two");
    write(folder, "routing.wasm", GUARD);
    let told = |cluster: &Cluster| {
        let told = cluster.proxy.told();
        let lines = told.lines();
        lines
            .filter(|line| line.contains("in the folder can't be used"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    eventually("it is told", SOON, || match told(&cluster).as_slice() {
        [line] if line.contains("for the slot cleanup-guard, not for routing") => Ok(()),
        lines => Err(format!("{lines:?}")),
    });
    says(&api, &marker, "two");
    write(folder, "routing.wasm", ROUTING);
    keep(&api, "say:operator");
    swap(&api, "say:operator");
    write(
        folder,
        "cleanup-guard.wasm",
        default_component(Slot::CleanupGuard),
    );
    eventually("the other slot is seen to", SOON, || {
        let guard = api.get("/admin/plugins/guard").ok();
        match guard["decides"].as_str() {
            Some("version") => Ok(()),
            _ => Err(guard.to_string()),
        }
    });
    cluster.proxy.kill();
    cluster.proxy.up();
    says(&api, &marker, "operator");
    write(folder, "routing.json", b"say:three");
    says(&api, &marker, "three");
    assert_eq!(told(&cluster).len(), 1, "once");
    let swaps = slot(&api)["swaps"].clone();
    let whos: Vec<_> = swaps.as_array().expect("a list").iter().collect();
    assert_eq!(
        whos.iter().filter(|swap| swap["who"] == "folder").count(),
        3,
        "{swaps}"
    );
}

/// A configuration that is read again puts its plugin into service when what it says has changed,
/// and not otherwise; what else has changed is told; a bad one changes nothing.
#[test]
fn the_configuration_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("routing.wasm");
    std::fs::write(&plugin, ROUTING).expect("a file");
    let file = folder.path().join("achromat.toml");
    let write = |deed: &str, more: &str| {
        let plugin = plugin.display();
        let text = format!("[policy.routing]\nplugin = '{plugin}'\nconfig = '{deed}'\n{more}");
        std::fs::write(&file, text).expect("a file");
    };
    write("say:one", "");
    let flag = format!("--config={}", file.display());
    let mut cluster = Cluster::with(2, &[&flag]);
    let api = cluster.api();
    let marker = api.create("marker");
    let told = |cluster: &Cluster, what: &str, count: usize| {
        eventually(what, SOON, || {
            let told = cluster.proxy.told().matches(what).count();
            if told >= count {
                Ok(())
            } else {
                Err(told.to_string())
            }
        });
    };
    says(&api, &marker, "one");
    write("say:two", "[reads]\nhedge_delay_ms = 151\n");
    cluster.proxy.hang_up();
    says(&api, &marker, "two");
    told(&cluster, "reads.hedge_delay_ms", 1);
    let again = "what the configuration says of plugins was read again";
    told(&cluster, again, 1);

    keep(&api, "say:operator");
    swap(&api, "say:operator");
    cluster.proxy.hang_up();
    told(&cluster, again, 2);
    says(&api, &marker, "operator");
    cluster.proxy.kill();
    cluster.proxy.up();
    says(&api, &marker, "operator");

    write("refuse", "");
    cluster.proxy.hang_up();
    told(
        &cluster,
        "policy.routing.plugin: routing.wasm: it refuses its configuration",
        1,
    );
    says(&api, &marker, "operator");
    std::fs::write(&file, "[policy\n").expect("a file");
    cluster.proxy.hang_up();
    told(&cluster, "can't be read again, and nothing changes", 1);
    says(&api, &marker, "operator");
    write("say:three", "");
    cluster.proxy.hang_up();
    says(&api, &marker, "three");

    // So is the slot of writes.
    write("say:three", "[policy.wal]\nplugin = 'default'\n");
    cluster.proxy.hang_up();
    eventually("the plugin of writes decides", SOON, || {
        let status = api.get("/status").ok()["policy"]["wal"].clone();
        if status["plugin"] == "default-wal-eligibility" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });

    // Whose plugins are taken is read again as well: from now on, none without a signature.
    let key = "RWRvdXJzAAAAAKzfLHGqVTPfjhhe8ONb3/wEjR0mh+uqe/cWrO0cVN/D";
    let signed = format!("[policy]\nrequire_signature = true\npublic_keys = ['{key}']\n");
    write("say:four", &signed);
    cluster.proxy.hang_up();
    told(&cluster, "policy.require_signature wants one", 1);
    says(&api, &marker, "three");
    let body = pushed(&json!({ "name": "unsigned", "config": "well" }), ROUTING);
    let refused = api.post_bytes("/admin/plugins/routing/versions", &body);
    assert!(refused.refused(422).contains("achromat plugin push"));
}

/// Decisions are recorded with what they were made of, and asked again of another version: what would
/// change is told, line by line. What documents say and secrets are in none of them.
#[test]
fn decisions_are_recorded_and_replayed() {
    let cluster = Cluster::with(2, &["--policy-record-share=1"]);
    let api = cluster.api();
    let marker = api.create("marker");
    let notes = api.create("notes");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]], "documents": ["a private text"] });
    api.records(&notes, "add", &body).ok();
    for _ in 0..3 {
        read(&api, &marker).ok();
        read(&api, &notes).ok();
    }
    let delete = json!({ "ids": ["r"], "where": { "private": 1 } });
    api.records(&notes, "delete", &delete).ok();
    let record = |slot: &str| {
        let (code, lines) = cluster.command(&["plugin", "record", "--slot", slot]);
        assert_eq!(code, Some(0), "{lines}");
        assert!(!lines.contains("private"), "{lines}");
        let file = cluster.folder().join(format!("{slot}.jsonl"));
        std::fs::write(&file, &lines).expect("a file");
        (lines.lines().count(), file.display().to_string())
    };
    let (count, routing) = record("routing");
    assert!(count >= 6, "{count} lines");
    let (count, guard) = record("cleanup-guard");
    assert_eq!(count, 1);
    let plugin = |name: &str, bytes: &[u8]| {
        let file = cluster.folder().join(name);
        std::fs::write(&file, bytes).expect("a file");
        file.display().to_string()
    };
    let replay = |plugin: &str, slot: &str, from: &str, config: &str| {
        let words = ["plugin", "replay", plugin, "--slot", slot, "--from", from];
        let output = achromat_tests::proxy::achromat(&words)
            .args(["--config", config])
            .output()
            .expect("it runs");
        let told = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.code(), told)
    };
    let hostile = plugin("hostile.wasm", ROUTING);
    let (code, told) = replay(&hostile, "routing", &routing, "say:no");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.starts_with("3 of "), "{told}");
    assert!(
        told.contains("marker: native  ->  refused with 403: no"),
        "{told}"
    );
    assert!(!told.contains("notes"), "{told}");
    let (code, told) = replay(&hostile, "routing", &routing, "trap");
    assert!(
        code == Some(1) && told.contains("no answer: it trapped"),
        "{told}"
    );
    let default = plugin("guard.wasm", default_component(Slot::CleanupGuard));
    let (code, told) = replay(&default, "cleanup-guard", &guard, "");
    assert_eq!(
        (code, told.as_str()),
        (Some(0), "0 of 1 decisions would be others\n")
    );
    let strict = r#"{"protected":["note*"]}"#;
    let (code, told) = replay(&default, "cleanup-guard", &guard, strict);
    assert!(
        code == Some(1) && told.contains("allowed  ->  denied"),
        "{told}"
    );
    let (code, told) = replay(&hostile, "routing", &guard, "well");
    assert!(
        code == Some(2) && told.contains("of the slot cleanup-guard"),
        "{told}"
    );
    let (code, told) = replay(&default, "routing", &routing, "");
    assert!(
        code == Some(2) && told.contains("for the slot cleanup-guard"),
        "{told}"
    );
    let garbage = plugin("garbage", b"{}\n");
    let (code, told) = replay(&hostile, "routing", &garbage, "well");
    assert!(code == Some(2) && told.contains("line 1"), "{told}");
}

/// What is recorded of a delete's contents is said by the configuration, and secrets never are.
#[test]
fn contents_are_recorded_when_that_is_wanted() {
    let flags = ["--policy-record-share=1", "--policy-record-contents=true"];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let notes = api.create("notes");
    let body = json!({ "ids": ["an id"], "embeddings": [[1, 2]] });
    api.records(&notes, "add", &body).ok();
    let config = r#"{"delete_records_max":9,"unless_header":"authorization"}"#;
    let label = json!({ "name": "guard", "config": config, "swap": true });
    let component = default_component(Slot::CleanupGuard);
    api.post_bytes("/admin/plugins/guard/versions", &pushed(&label, component))
        .ok();
    let asking = api.clone().with_token("a secret");
    asking
        .records(&notes, "delete", &json!({ "ids": ["an id"] }))
        .ok();
    let (code, lines) = cluster.command(&["plugin", "record", "--slot", "guard"]);
    assert_eq!(code, Some(0), "{lines}");
    assert!(
        lines.contains("an id") && !lines.contains("a secret"),
        "{lines}"
    );
}

/// While guards are swapped, nothing slips through: each request is denied by the one or the other,
/// in words that say which, and the collection is where it was on both instances.
#[test]
fn a_guard_holds_while_it_is_swapped() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let names = ["first", "second"];
    for name in names {
        let config = json!({ "protected": ["kept", name] }).to_string();
        let label = json!({ "name": name, "config": config, "swap": true });
        let component = default_component(Slot::CleanupGuard);
        api.post_bytes(
            "/admin/plugins/cleanup-guard/versions",
            &pushed(&label, component),
        )
        .ok();
    }
    let id = api.create("kept");
    let record = json!({ "ids": ["r"], "embeddings": [[1]] });
    api.records(&id, "add", &record).ok();
    let before = cluster.settle();
    let is_over = AtomicBool::new(false);
    let denied = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut denied = 0_u64;
            loop {
                let told = api.delete(&format!("$D/collections/{id}")).refused(403);
                assert!(
                    told.contains("[kept] is protected by the rule `kept`"),
                    "{told}"
                );
                let all = api.records(&id, "delete", &json!({ "ids": ["r"] }));
                assert!(all.refused(403).contains("its last records"));
                denied += 2;
                if is_over.load(SeqCst) {
                    return denied;
                }
            }
        });
        for number in 0..40 {
            let to = json!({ "to": names[number % 2] });
            api.post("/admin/plugins/cleanup-guard/swap", &to).ok();
        }
        is_over.store(true, SeqCst);
        asking.join().expect("it asks")
    });
    assert!(denied >= 2);
    assert_eq!(cluster.settle(), before);
    let guard = api.get("/admin/plugins/cleanup-guard").ok();
    assert!(
        guard["swaps"].as_array().map_or(0, Vec::len) >= 40,
        "{guard}"
    );
}
