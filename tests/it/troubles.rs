//! Versions of plugins that get into trouble, or never should come into service: what operators read, and
//! what stays refused.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use achromat::policy::default_component;
use achromat_core::policy::Slot;
use achromat_tests::{api::Api, cluster::Cluster, proxy::achromat, wait::eventually};
use serde_json::{Value, json};

use crate::plugins::{
    ROUTING, SOON, decides, keep, pushed, read, read_until_over, says, slot, swap, write,
};

/// Waits until a line of the log has this part; returns how many have.
#[track_caller]
fn logged(cluster: &Cluster, part: &str) -> usize {
    eventually("it is logged", SOON, || {
        let told = cluster.proxy.told();
        match told.lines().filter(|line| line.contains(part)).count() {
            0 => Err(told),
            count => Ok(count),
        }
    })
}

/// The version of this name.
fn version(api: &Api, name: &str) -> Value {
    let slot = slot(api);
    let mut versions = slot["versions"].as_array().expect("versions").iter();
    versions
        .find(|v| v["name"] == name)
        .expect("it is kept")
        .clone()
}

/// A version that was taken out of service is marked with the reason, also after a restart; its figures can
/// still be read; and it comes back only when that is said twice.
#[test]
fn a_version_taken_out_is_marked() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let notes = api.create("notes");
    for deed in ["say:a", "panic"] {
        keep(&api, deed);
        swap(&api, deed);
    }
    eventually("it is taken out", SOON, || {
        read(&api, &notes).ok();
        match version(&api, "panic")["taken_out"]["why"].as_str() {
            Some(_) => Ok(()),
            None => Err(slot(&api).to_string()),
        }
    });
    let metrics = api.get("/metrics").ok();
    let metrics = metrics.as_str().expect("text").to_owned();
    let series = metrics.lines().find(|line| {
        line.starts_with("achromat_policy_troubles_total")
            && line.contains(r#"plugin="panic""#)
            && line.contains(r#"kind="trap""#)
    });
    let series = series.expect("its figures");
    assert!(
        series.contains(r#"part="retired""#) && series.ends_with(" 5.0"),
        "{series}"
    );
    let marked = |cluster: &Cluster| {
        let (_, told) = cluster.command(&["plugin", "list", "--slot", "routing"]);
        for part in [
            "taken out of service: 5 decisions of panic within 60 s had no answer",
            "it trapped: panicked at ",
            "hostile.rs:",
            "on purpose",
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    };
    marked(&cluster);
    cluster.proxy.kill();
    cluster.proxy.up();
    marked(&cluster);
    assert_eq!(decides(&api), "say:a");
    let why = &slot(&api)["swaps"][0]["why"];
    assert!(
        why.as_str().expect("a reason").contains("on purpose"),
        "{why}"
    );

    let again = ["plugin", "swap", "panic", "--slot", "routing"];
    let (code, told) = cluster.command(&again);
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("was taken out of service") && told.contains("--again"),
        "{told}"
    );
    assert_eq!(decides(&api), "say:a");
    let label = json!({ "name": "panic", "config": "panic", "swap": true });
    let push = api.post_bytes("/admin/plugins/routing/versions", &pushed(&label, ROUTING));
    assert!(push.refused(409).contains("--again"));
    let (code, told) = cluster.command(&[&again[..], &["--again"]].concat());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(decides(&api), "panic");
    assert!(version(&api, "panic")["taken_out"].is_null());
}

/// The lack of a trial is told, and the end of the last one; a second trial needs the first to be
/// named.
#[test]
fn the_end_of_a_trial_is_told() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &json!({ "ids": ["r"], "embeddings": [[1, 2]] }))
        .ok();
    keep(&api, "well");
    keep(&api, "say:other");
    let run =
        |words: &[&str]| cluster.command(&[&["plugin"], words, &["--slot", "routing"]].concat());
    let (code, told) = run(&["diffs"]);
    assert!(
        code == Some(0) && told.contains("Nothing is on trial"),
        "{told}"
    );

    let (code, told) = run(&[
        "canary",
        "well",
        "--share",
        "0.5",
        "--decisions-min",
        "100",
        "--divergence-max",
        "0.2",
    ]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["shadow", "say:other"]);
    assert!(code == Some(2) && told.contains("--replaces 1"), "{told}");
    assert_eq!(slot(&api)["trial"]["kind"], "canary");
    let ended = read_until_over(&api, &id);
    assert_eq!(ended["outcome"], "rolled back", "{ended}");
    let (code, told) = run(&["diffs"]);
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "Nothing is on trial. The last one: canary of version 1",
        "rolled back: ",
        "differ from the active version's",
        "  get  default_tenant/notes\n",
    ] {
        assert!(told.contains(part), "{part} is not in: {told}");
    }

    run(&["shadow", "well"]);
    let (code, told) = run(&["shadow", "say:other", "--replaces", "say:other"]);
    assert!(
        code == Some(2) && told.contains("is not on trial"),
        "{told}"
    );
    let (code, told) = run(&["shadow", "say:other", "--replaces", "well"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(slot(&api)["trial"]["version"], 2);
}

/// In the watched folder a slot has either of its names; a plugin and the configuration that comes after it
/// are taken together; a configuration or a plugin that goes away is told, and nothing changes by it.
#[test]
fn the_folder_takes_what_belongs_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let flag = format!("--policy-folder={}", folder.display());
    let cluster = Cluster::with(2, &[&flag]);
    let api = cluster.api();
    let marker = api.create("marker");
    write(folder, "wal.wasm", default_component(Slot::WalEligibility));
    write(folder, "wall.wasm", ROUTING);
    write(folder, "routing.wasm", ROUTING);
    std::thread::sleep(Duration::from_secs(1));
    write(folder, "routing.json", b"say:one");
    says(&api, &marker, "one");
    let versions = slot(&api)["versions"].as_array().expect("a list").len();
    assert_eq!(versions, 1, "no other configuration ever decided");
    eventually("the other slot is seen to", SOON, || {
        let wal = api.get("/admin/plugins/wal").ok();
        if wal["decides"] == "version" {
            Ok(())
        } else {
            Err(wal.to_string())
        }
    });
    assert_eq!(logged(&cluster, "wall.wasm"), 1);
    logged(
        &cluster,
        "call it routing.wasm, wal-eligibility.wasm or cleanup-guard.wasm",
    );

    std::fs::remove_file(folder.join("routing.json")).expect("it is there");
    logged(&cluster, "was there before and is missing now");
    says(&api, &marker, "one");
    write(folder, "routing.json", b"say:two");
    says(&api, &marker, "two");
    std::fs::remove_file(folder.join("routing.wasm")).expect("it is there");
    logged(&cluster, "a plugin was removed from the folder");
    says(&api, &marker, "two");
}

/// The public key of somebody whose secret one is not kept.
const KEY: &str = "RWRvdXJzAAAAAKzfLHGqVTPfjhhe8ONb3/wEjR0mh+uqe/cWrO0cVN/D";

/// Once signatures are required, a version that was kept without one neither decides after a start nor can
/// be swapped in; what comes with the binary can.
#[test]
fn what_is_kept_is_judged_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("achromat.toml");
    std::fs::write(&file, "").expect("a file");
    let mut cluster = Cluster::with(2, &[&format!("--config={}", file.display())]);
    let api = cluster.api();
    keep(&api, "say:one");
    keep(&api, "say:two");
    swap(&api, "say:one");
    swap(&api, "default");
    swap(&api, "say:one");
    let strict = format!("[policy]\nrequire_signature = true\npublic_keys = ['{KEY}']\n");
    std::fs::write(&file, strict).expect("a file");
    cluster.proxy.kill();
    cluster.proxy.up();
    let status = || api.get("/status").ok()["policy"]["routing"]["decides"].clone();
    assert_eq!(status(), "none");
    logged(
        &cluster,
        "the active version can't be put into service again",
    );
    logged(&cluster, "policy.require_signature wants one");
    for word in ["say:two", "say:one"] {
        let body = json!({ "to": word });
        let told = api.post("/admin/plugins/routing/swap", &body).refused(422);
        assert!(told.contains("has no signature"), "{told}");
    }
    let shadow = json!({ "version": "say:two" });
    api.post("/admin/plugins/routing/shadow", &shadow)
        .refused(422);
    swap(&api, "default");
    assert_eq!(status(), "plugin");
}

/// A command whose reader has gone ends without a word, and `push` says what a registry's name must be.
#[test]
fn commands_are_polite() {
    let cluster = Cluster::start();
    keep(&cluster.api(), "well");
    let mut list = achromat(&["plugin", "list", "--url", cluster.api().base()]);
    list.env("ACHROMAT_ADMIN_TOKEN_FILE", cluster.proxy.token_file());
    let mut list = list
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Nobody reads.
    drop(list.stdout.take());
    let begun = Instant::now();
    let output = list.wait_with_output().expect("it ends");
    assert!(begun.elapsed() < SOON);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");

    let push = |name: &str| cluster.command(&["plugin", "push", name, "--slot", "routing"]);
    let (code, told) = push("oci://127.0.0.1:1/plugins/x");
    assert!(code == Some(2) && told.contains("@sha256:"), "{told}");
    let reference = format!("oci://127.0.0.1:1/plugins/x@sha256:{}", "0".repeat(64));
    let (code, told) = push(&reference);
    assert!(code == Some(2) && told.contains("127.0.0.1:1"), "{told}");
    assert!(!told.contains("No such file"), "{told}");
}

/// A policy that names one instance and no other is asked again when that one has just died, and sees it as
/// down. One that names it all the same is obeyed, and the answer says why no other was asked.
#[test]
fn a_policy_is_asked_again_when_what_it_named_has_died() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    api.records(&id, "add", &json!({ "ids": ["r"], "embeddings": [[1, 2]] }))
        .ok();
    cluster.settle();
    keep(&api, "only-up");
    swap(&api, "only-up");
    for round in 0..3 {
        cluster.instances[0].kill();
        for _ in 0..5 {
            assert_eq!(read(&api, &id).ok()["ids"], json!(["r"]), "round {round}");
        }
        cluster.instances[0].up();
        cluster.wait_state("a", &["up"]);
        cluster.settle();
    }
    keep(&api, "only-first");
    swap(&api, "only-first");
    cluster.instances[0].kill();
    let told = read(&api, &id).refused(503);
    assert!(
        told.contains("The routing policy lets some instances answer"),
        "{told}"
    );
}
