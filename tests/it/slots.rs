//! Policies in the live path, proven on the instances: which writes are logged, who does them first,
//! what a clean-up and an operator may destroy.

use std::time::{Duration, Instant};

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    cluster::Cluster,
    wait::eventually,
};
use serde_json::{Value, json};

/// How many records each instance has of a collection, by its own UUID for it.
fn counts(cluster: &Cluster, name: &str) -> Vec<u64> {
    let count = |place: usize| {
        let id = cluster.own_id(place, name);
        let path = format!("$D/collections/{id}/count");
        let count = cluster.instances[place].api().get(&path).ok();
        count.as_u64().expect("a number")
    };
    (0..cluster.instances.len()).map(count).collect()
}

fn add(api: &Api, collection: &str, id: &str) -> Answer {
    let body = json!({ "ids": [id], "embeddings": [[1, 2]] });
    api.records(collection, "add", &body)
}

fn ids(api: &Api, collection: &str) -> Value {
    api.records(collection, "get", &json!({ "include": [] }))
        .ok()["ids"]
        .clone()
}

const WAL: &str = r#"{"rules": [
    {"collection": "scratch_*", "local_only": true},
    {"collection": "closed", "refuse": "This collection is closed until Monday"},
    {"collection": "careful", "level": "all"}
]}"#;

fn with_wal(flags: &[&str]) -> Cluster {
    let config = format!("--policy-wal-config={WAL}");
    let mut all = vec!["--policy-wal-plugin=default", &config];
    all.extend(flags);
    Cluster::with(2, &all)
}

/// A collection that is kept out of the log is on one instance alone, whatever is written to it, and
/// read from there alone; everything else is replicated as ever.
#[test]
fn a_scratch_collection_is_kept_out_of_the_log() {
    let mut cluster = with_wal(&[]);
    let api = cluster.api();
    let (scratch, notes) = (api.create("scratch_1"), api.create("notes"));
    add(&api, &notes, "n").ok();
    cluster.settle();
    for number in 0..5 {
        add(&api, &scratch, &format!("s{number}")).ok();
    }
    api.records(&scratch, "delete", &json!({ "ids": ["s0"] }))
        .ok();
    let update = json!({ "ids": ["s1"], "metadatas": [{ "k": 7 }] });
    api.records(&scratch, "update", &update).ok();
    assert_eq!(counts(&cluster, "scratch_1"), [4, 0]);
    assert_eq!(counts(&cluster, "notes"), [1, 1]);
    for _ in 0..10 {
        assert_eq!(ids(&api, &scratch), json!(["s1", "s2", "s3", "s4"]));
    }
    let mapping = mapping(&api, "scratch_1");
    assert_eq!(mapping["home"], "a", "{mapping}");

    // A key can't be kept for what is not logged.
    let told = add(&api.under("key-1"), &scratch, "k").refused(400);
    assert!(told.contains("can't be kept"), "{told}");
    // Nor can its copies be compared.
    let (code, told) = cluster.command(&["verify", "--collection", "scratch_1"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("one instance alone has its records"),
        "{told}"
    );

    // Without its home it is neither read nor written, and nothing else is touched by that.
    cluster.instances[0].kill();
    let told = add(&api, &scratch, "x").refused(503);
    assert!(told.contains("nothing was done"), "{told}");
    let read = api.records(&scratch, "get", &json!({}));
    assert_eq!(read.status, 503);
    add(&api, &notes, "m").ok();
    assert!(api.names().contains(&"scratch_1".to_owned()));
    cluster.instances[0].up();
    cluster.wait_state("a", &["up"]);

    // It outlives a restart of Achromat.
    cluster.proxy.kill();
    cluster.proxy.up();
    eventually("it is read again", Duration::from_secs(30), || {
        let read = api.records(&scratch, "get", &json!({ "include": [] }));
        match read.status {
            200 if read.body["ids"].as_array().map(Vec::len) == Some(4) => Ok(()),
            status => Err(status.to_string()),
        }
    });
    assert_eq!(counts(&cluster, "scratch_1"), [4, 0]);

    // An operator gives it to all.
    let words = ["repair", "--collection", "scratch_1", "--source", "a"];
    let (code, told) = cluster.command(&words);
    assert_eq!(code, Some(0), "{told}");
    cluster.settle();
    assert_eq!(counts(&cluster, "scratch_1"), [4, 4]);
}

fn mapping(api: &Api, name: &str) -> Value {
    let all = api.get("/collection/mappings").ok();
    let list = all["collection_mappings"].as_array().expect("a list");
    let found = list.iter().find(|m| m["collection_name"] == name);
    found.expect("the collection").clone()
}

/// What one instance alone had is lost with its disk; the collection itself goes on.
#[test]
fn what_one_instance_alone_had_is_lost_with_it() {
    let mut cluster = with_wal(&[]);
    let api = cluster.api();
    let scratch = api.create("scratch_1");
    cluster.settle();
    add(&api, &scratch, "s").ok();
    assert_eq!(counts(&cluster, "scratch_1"), [1, 0]);
    cluster.lose_disk(0);
    eventually("it is read again", Duration::from_secs(60), || {
        let read = api.records(&scratch, "get", &json!({ "include": [] }));
        match read.status {
            200 if read.body["ids"] == json!([]) => Ok(()),
            status => Err(format!("{status} {}", read.body)),
        }
    });
    cluster.settle();
    add(&api, &scratch, "t").ok();
    assert_eq!(counts(&cluster, "scratch_1").iter().sum::<u64>(), 1);
}

/// A refusal reaches the client in the policy's own words, and no instance gets the write; a level is
/// kept: with one of two instances gone, "all in service" still answers.
#[test]
fn a_wal_plugin_refuses_and_says_when_to_answer() {
    let cluster = with_wal(&[]);
    let api = cluster.api();
    let careful = api.create("careful");
    let told = api
        .post("$D/collections", &json!({ "name": "closed" }))
        .refused(403);
    assert_eq!(told, "This collection is closed until Monday");
    assert_eq!(api.names(), ["careful"]);
    for number in 0..10 {
        add(&api, &careful, &format!("c{number}")).ok();
        // No waiting: all instances have it when its client is answered.
        assert_eq!(counts(&cluster, "careful"), [number + 1, number + 1]);
    }
    let wal = &api.get("/status").ok()["policy"]["wal"];
    assert_eq!(wal["decides"], "plugin");
    assert_eq!(wal["decisions"]["refuse"], 1, "{wal}");
}

/// A tenant is refused by a rule of its own, whatever it wants to write.
#[test]
fn a_tenant_is_refused() {
    let config =
        r#"--policy-wal-config={"rules":[{"tenant":"late","refuse":"late is read-only"}]}"#;
    let cluster = Cluster::with(2, &["--policy-wal-plugin=default", config]);
    let api = cluster.api();
    api.post("/api/v2/tenants", &json!({ "name": "late" })).ok();
    let path = "/api/v2/tenants/late/databases";
    let told = api.post(path, &json!({ "name": "d" })).refused(403);
    assert_eq!(told, "late is read-only");
    for chroma in &cluster.instances {
        assert_eq!(chroma.api().get(path).ok(), json!([]));
    }
}

/// A write that finds no instance in service is accepted where the policy says so, and done later.
#[test]
fn a_wal_plugin_accepts_while_all_are_down() {
    let config =
        r#"--policy-wal-config={"rules":[{"collection":"late_*","accept_when_down":true}]}"#;
    let mut cluster = Cluster::with(2, &["--policy-wal-plugin=default", config]);
    let api = cluster.api();
    let (late, notes) = (api.create("late_1"), api.create("notes"));
    cluster.settle();
    for chroma in &mut cluster.instances {
        chroma.kill();
    }
    for name in ["a", "b"] {
        cluster.wait_state(name, &["down"]);
    }
    add(&api, &notes, "n").refused(503);
    add(&api, &late, "l").ok();
    for chroma in &mut cluster.instances {
        chroma.up();
    }
    for name in ["a", "b"] {
        cluster.wait_state(name, &["up"]);
    }
    cluster.settle();
    assert_eq!(counts(&cluster, "late_1"), [1, 1]);
    assert_eq!(counts(&cluster, "notes"), [0, 0]);
}

/// A clean-up deletes what fits its patterns, past the native guard and the plugin's, and says what
/// it keeps and why; a dry run says the same and deletes nothing. What an operator deletes of
/// Achromat's own is the guard's to allow as well.
#[test]
fn a_clean_up_goes_past_the_guard() {
    let config = r#"--policy-guard-config={"protected":["test_keep"],"cleanup":["test_*"]}"#;
    let flags = ["--policy-guard-plugin=default", config];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    for name in ["test_1", "test_2", "test_keep", "AUTOTEST_1", "notes"] {
        api.create(name);
    }
    cluster.settle();
    let names = |cluster: &Cluster| {
        let contents = cluster.settle();
        let names = contents
            .keys()
            .map(|key| key.rsplit(' ').next().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    let all = names(&cluster);
    for (words, verb) in [
        (vec!["cleanup", "--dry-run"], "would delete"),
        (vec!["cleanup"], "deleted"),
    ] {
        let (code, told) = cluster.command(&words);
        assert_eq!(code, Some(1), "{told}");
        for name in ["test_1", "test_2"] {
            assert!(
                told.contains(&format!("{verb}  default_tenant/default_database/{name}")),
                "{told}"
            );
        }
        assert!(
            told.contains("test_keep: deleting it is denied: collection [test_keep] is protected"),
            "{told}"
        );
        assert!(
            told.contains("AUTOTEST_1: collection [AUTOTEST_1] fits no pattern"),
            "{told}"
        );
        assert!(!told.contains("notes"), "{told}");
        if verb == "would delete" {
            assert_eq!(names(&cluster), all);
        }
    }
    assert_eq!(names(&cluster), ["AUTOTEST_1", "notes", "test_keep"]);

    // A mapping is deleted past the plugin as well.
    let told = api.delete("/collection/mappings/test_keep");
    assert_eq!(told.status, 403);
    assert!(
        told.body["detail"]
            .as_str()
            .expect("a reason")
            .contains("unmapping it is denied")
    );
    assert_eq!(names(&cluster).len(), 3);
    api.delete("/collection/mappings/notes").ok();
    assert!(!api.names().contains(&"notes".to_owned()));
}

/// Bad input to a clean-up is refused, and deletes nothing.
#[test]
fn a_clean_up_wants_to_be_understood() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.create("test_1");
    let told = api.post("/admin/cleanup", &json!({ "dry-run": true }));
    assert_eq!(told.status, 400);
    assert!(
        told.body["detail"]
            .as_str()
            .expect("a reason")
            .contains("dry-run")
    );
    assert_eq!(api.names(), ["test_1"]);
    let told = api
        .post(
            "/admin/cleanup",
            &json!({ "dry_run": true, "tenant": "other" }),
        )
        .ok();
    assert_eq!(told["deleted"], json!([]));
}

/// The first of a routing plugin's order does a write first, when it is as good as the others.
#[test]
fn a_routing_plugin_says_who_does_a_write_first() {
    let folder = tempfile::tempdir().expect("a folder");
    // It asks for the instances in reverse.
    let plugin = folder.path().join("reversing.wasm");
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"));
    std::fs::write(&plugin, bytes).expect("a file");
    let flags = [
        &format!("--policy-routing-plugin={}", plugin.display()),
        "--policy-routing-config=well",
        "--writes-hedge-delay-ms=20000",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let notes = api.create("notes");
    cluster.settle();
    for number in 0..10 {
        add(&api, &notes, &format!("n{number}")).ok();
        let counts = counts(&cluster, "notes");
        // The one that answered has it; the other may not yet.
        assert_eq!(counts[1], number + 1, "{counts:?}");
    }
    cluster.settle();
}

/// How long each of some reads took, sorted.
fn reads(api: &Api, collection: &str, count: usize) -> Vec<Duration> {
    let read = |_| {
        let begun = Instant::now();
        assert_eq!(ids(api, collection), json!(["r"]));
        begun.elapsed()
    };
    let mut times: Vec<_> = (0..count).map(read).collect();
    times.sort();
    times
}

/// The 99th percentile of the reads of four clients.
fn percentile(api: &Api, collection: &str) -> Duration {
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| reads(api, collection, 50)))
            .collect();
        let times = clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"));
        times.collect()
    });
    all.sort();
    all[all.len() * 99 / 100]
}

/// A plugin that goes wrong for one request costs that request's decision, within its deadline, and
/// the others next to nothing; the request itself gets the slot's safe answer, and the next is clean.
#[test]
fn a_hostile_plugin_costs_the_others_nothing() {
    let deadline = Duration::from_millis(250);
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("hostile.wasm");
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"));
    std::fs::write(&plugin, bytes).expect("a file");
    let flags = [
        &format!("--policy-routing-plugin={}", plugin.display()),
        "--policy-routing-config=by-header",
        &format!("--policy-routing-deadline-ms={}", deadline.as_millis()),
    ];
    // No more than a version may do before it is taken out of service.
    let deeds = [
        ["loop", "hog", "recurse", "trap"],
        ["flood", "giant-message", "no-such-instance", "panic"],
    ];
    for deeds in deeds {
        let cluster = Cluster::with(2, &flags);
        let api = cluster.api();
        let id = api.create("notes");
        add(&api, &id, "r").ok();
        cluster.settle();
        let calm = percentile(&api, &id);
        let troubled = std::thread::scope(|scope| {
            let others = scope.spawn(|| percentile(&api, &id));
            for deed in deeds {
                let bad = api.clone().with_header("x-deed", deed);
                let begun = Instant::now();
                assert_eq!(ids(&bad, &id), json!(["r"]), "{deed}");
                let took = begun.elapsed();
                println!("{deed}: {took:?}");
                assert_eq!(ids(&api, &id), json!(["r"]), "after {deed}");
            }
            others.join().expect("the others")
        });
        println!("99th percentile of the others: {calm:?} without, {troubled:?} with");
        assert!(troubled < calm + 2 * deadline, "{calm:?} {troubled:?}");
        let routing = &api.get("/status").ok()["policy"]["routing"];
        let by_kind = routing["troubles"].as_object().expect("counts");
        let count: u64 = by_kind.values().filter_map(Value::as_u64).sum();
        assert_eq!(count, 4, "{routing}");
        assert_eq!(routing["decides"], "plugin");
    }
}

/// Every way in which a collection can be destroyed, by whatever name it is called: each is denied,
/// and the instances still have it with all its records.
fn nothing_destroys(cluster: &Cluster, name: &str) {
    let api = cluster.api();
    let before = cluster.settle();
    let about = api.get(&format!("$D/collections/{name}")).ok();
    let id = about["id"].as_str().expect("an id").to_owned();
    let mut names = vec![name.to_owned(), id.clone()];
    names.extend([0, 1].map(|place| cluster.own_id(place, name)));
    for name in &names {
        api.delete(&format!("$D/collections/{name}")).refused(403);
    }
    let path = format!("$D/collections/{id}");
    api.put(&path, &json!({ "new_name": "other" })).refused(403);
    api.delete(DATABASE).refused(403);
    api.post("/api/v2/reset", &json!({})).refused(403);
    for (id, body) in [
        (&id, json!({ "ids": ["r"] })),
        (&names[2], json!({ "where": { "k": 1 } })),
        (&id, json!({ "where": { "k": 1 }, "limit": 1 })),
    ] {
        api.records(id, "delete", &body).refused(403);
    }
    let (_, told) = cluster.command(&["cleanup"]);
    assert!(
        told.contains(&format!("kept  default_tenant/default_database/{name}")),
        "{told}"
    );
    let unmapped = api.delete(&format!("/collection/mappings/{name}"));
    assert_eq!(unmapped.status, 403, "{}", unmapped.body);
    assert_eq!(cluster.settle(), before);
    assert_eq!(counts(cluster, name), [1, 1]);
}

/// The guard's plugin holds by name, by id, by an instance's id, by database delete, by reset, by
/// clean-up, by mapping delete, and by a delete of records that would leave none; and so it does
/// while it traps, and when no version of it is left.
#[test]
fn the_guards_plugin_holds_on_every_path() {
    let prepare = |cluster: &Cluster| {
        let api = cluster.api();
        let id = api.create("test_keep");
        let body = json!({ "ids": ["r"], "embeddings": [[1]], "metadatas": [{ "k": 1 }] });
        api.records(&id, "add", &body).ok();
    };
    let config = r#"--policy-guard-config={"protected":["test_keep"],"cleanup":["*"]}"#;
    let cluster = Cluster::with(2, &["--policy-guard-plugin=default", config]);
    prepare(&cluster);
    nothing_destroys(&cluster, "test_keep");
    assert_eq!(
        cluster.api().get("/status").ok()["policy"]["guard"]["decides"],
        "plugin"
    );
    drop(cluster);

    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("trap.wasm");
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-guard.wasm"));
    std::fs::write(&plugin, bytes).expect("a file");
    let plugin = format!("--policy-guard-plugin={}", plugin.display());
    let cluster = Cluster::with(2, &[&plugin, "--policy-guard-config=trap"]);
    prepare(&cluster);
    // It is taken out of service on the way, and there is nothing to go back to.
    nothing_destroys(&cluster, "test_keep");
    assert_eq!(
        cluster.api().get("/status").ok()["policy"]["guard"]["decides"],
        "none"
    );
}
