//! Instances that lose their data, or that come with data of their own, end equal by themselves,
//! and no read sees the gap.

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    load::Load,
    proxy::achromat,
    records::records,
};
use serde_json::{Value, json};

fn fill(api: &Api, id: &str, count: usize) {
    let numbers = 0..count;
    let body = json!({
        "ids": numbers.clone().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": numbers.clone().map(|n| json!([n, 0.1])).collect::<Vec<_>>(),
        "documents": numbers.clone().map(|n| if n % 3 == 0 { Value::Null } else { json!(format!("text {n}")) }).collect::<Vec<_>>(),
        "metadatas": numbers.map(|n| if n % 5 == 0 { Value::Null } else { json!({ "n": n, "half": f64::from(u32::try_from(n).expect("small")) / 2.0, "big": 9_007_199_254_740_993_u64, "yes": true }) }).collect::<Vec<_>>(),
    });
    api.records(id, "add", &body).ok();
}

/// The replica's disk is wiped under load: it ends equal without a command, and no read misses an
/// acknowledged write or finds a collection gone.
#[test]
fn a_wiped_replica_is_rebuilt_under_load() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let big = api.create("big");
    fill(&api, &big, 1000);
    api.create("empty");
    let once = api.create("once");
    fill(&api, &once, 1);
    api.records(&once, "delete", &json!({ "ids": ["r0"] })).ok();
    let collection = api.create("load");
    let load = Load::start(&api, &collection, 7);
    load.wait_writes(50);
    cluster.instances[1].kill();
    cluster.instances[1].wipe();
    load.wait_writes(50);
    cluster.instances[1].up();
    load.wait_writes(200);
    for _ in 0..20 {
        assert_eq!(api.names(), ["big", "empty", "once", "load"]);
        assert_eq!(api.get("$D/collections/big/count").ok(), json!(1000));
    }
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    cluster.wait_state("b", &["up"]);
    let contents = cluster.settle();
    assert_eq!(contents.len(), 4);
    assert_eq!(contents[&format!("{DATABASE} big")].1.len(), 1000);
    let dimension = &contents[&format!("{DATABASE} once")].0[1];
    assert_eq!(
        *dimension,
        json!(2),
        "an emptied collection keeps its dimension"
    );
    for instance in &cluster.instances {
        let about = instance.api().get("$D/collections/load").ok();
        let held = records(
            &instance.api(),
            DATABASE,
            about["id"].as_str().expect("an id"),
        );
        assert_eq!(expected.check(&held.expect("records")), Ok(()));
    }
}

/// The same for the primary.
#[test]
fn a_wiped_primary_is_rebuilt() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    fill(&api, &id, 500);
    cluster.instances[0].kill();
    cluster.instances[0].wipe();
    cluster.instances[0].up();
    cluster.wait_state("a", &["up"]);
    let contents = cluster.settle();
    assert_eq!(contents[&format!("{DATABASE} notes")].1.len(), 500);
    fill(&api, &api.create("later"), 3);
    assert_eq!(cluster.settle().len(), 2);
}

/// Two servers that hold data already are taken over: what both have equal is served by both, what
/// one lacks is built there, and the clients' old ids still work.
#[test]
fn servers_with_data_are_adopted() {
    let folder = folder();
    let instances = vec![
        Chroma::start(&folder.path().join("a")),
        Chroma::start(&folder.path().join("b")),
    ];
    let (a, b) = (instances[0].api(), instances[1].api());
    let ours = a.create("both");
    fill(&a, &ours, 20);
    fill(&b, &b.create("both"), 20);
    let only_a = a.create("only-a");
    fill(&a, &only_a, 5);
    let only_b = b.create("only-b");
    fill(&b, &only_b, 7);
    let different = a.create("different");
    fill(&a, &different, 4);
    fill(&b, &b.create("different"), 6);
    let cluster = Cluster::over(folder, instances, &[]);
    let api = cluster.api();
    achromat_tests::wait::eventually(
        "all is taken over",
        std::time::Duration::from_secs(60),
        || match api.get("/admin/wal_count").ok()["pending_writes"].as_u64() {
            Some(0) => Ok(()),
            _ => Err(api.get("/status").ok().to_string()),
        },
    );
    for (id, expected) in [(&ours, 20), (&only_a, 5), (&only_b, 7), (&different, 4)] {
        for _ in 0..10 {
            let found = api.get(&format!("$D/collections/{id}/count")).ok();
            assert_eq!(found, json!(expected), "{id}");
        }
    }
    assert_eq!(count(&b, "only-a"), 5);
    assert_eq!(count(&a, "only-b"), 7);
    assert_eq!(count(&b, "different"), 6);
}

/// How many records a server holds of a collection, asked for by its own UUID.
fn count(api: &Api, name: &str) -> u64 {
    let about = api.get(&format!("$D/collections/{name}")).ok();
    let id = about["id"].as_str().expect("an id").to_owned();
    let count = api.get(&format!("$D/collections/{id}/count")).ok();
    count.as_u64().expect("a count")
}

/// Runs a command against the cluster's Achromat; returns its exit code and what it printed.
fn command(cluster: &Cluster, words: &[&str]) -> (Option<i32>, String) {
    let output = achromat(words)
        .args(["--url", cluster.api().base()])
        .output()
        .expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).expect("text"))
}

/// One flipped value among many records is found by `verify` under a load, named, and mended by
/// `repair`; nothing else is written.
#[test]
fn one_flipped_value_is_found_and_mended() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    for part in 0..10 {
        let ids: Vec<_> = (part * 1000..part * 1000 + 1000).collect();
        let body = json!({
            "ids": ids.iter().map(|n| format!("r{n}")).collect::<Vec<_>>(),
            "embeddings": ids.iter().map(|n| json!([n, 1])).collect::<Vec<_>>(),
            "metadatas": ids.iter().map(|n| json!({ "n": n })).collect::<Vec<_>>(),
        });
        api.records(&id, "upsert", &body).ok();
    }
    let before = cluster.settle();
    assert_eq!(command(&cluster, &["verify"]).0, Some(0));
    let behind = cluster.instances[1].api();
    let theirs = behind.get("$D/collections/notes").ok()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let flipped = json!({ "ids": ["r777"], "metadatas": [{ "n": 778 }] });
    behind.records(&theirs, "update", &flipped).ok();
    let load = Load::start(&api, &id, 3);
    load.wait_writes(10);
    let (code, told) = command(&cluster, &["verify", "--collection", "notes"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("1 different: r777"), "{told}");
    for _ in 0..20 {
        let found = api.records(&id, "get", &json!({ "ids": ["r777"] })).ok();
        assert_eq!(found["metadatas"][0]["n"], 777, "what differs is not read");
    }
    let (code, told) = command(&cluster, &["repair", "--collection", "notes"]);
    assert_eq!(code, Some(2), "without a source it is refused: {told}");
    let (code, _) = command(
        &cluster,
        &["repair", "--collection", "notes", "--source", "z"],
    );
    assert_eq!(code, Some(1));
    let words = ["repair", "--collection", "notes", "--source", "a"];
    let (code, told) = command(&cluster, &words);
    assert_eq!(code, Some(0), "{told}");
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert_eq!(command(&cluster, &["verify"]).0, Some(0));
    let after = cluster.settle();
    let name = format!("{DATABASE} notes");
    assert_eq!(after[&name].1["r777"], before[&name].1["r777"]);
    assert_eq!(expected.check(&after[&name].1), Ok(()));
    let unknown = api.post("/admin/verify", &json!({ "collection": "nothing" }));
    assert_eq!(unknown.status, 404);
}

/// P3: a mapping that was deleted by mistake is restored, but only as the instances confirm it.
#[test]
fn a_mapping_is_deleted_and_restored() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    fill(&api, &id, 3);
    api.create("global");
    cluster.settle();
    let own = |place: usize| {
        let about = cluster.instances[place]
            .api()
            .get("$D/collections/notes")
            .ok();
        about["id"].as_str().expect("an id").to_owned()
    };
    let (a, b) = (own(0), own(1));
    api.delete("/collection/mappings/global").refused(403);
    assert_eq!(api.delete("/collection/mappings/nothing").status, 404);
    assert_eq!(api.delete("/collection/mappings/notes").status, 200);
    assert_eq!(api.names(), ["global"]);
    let map = |primary: &str, replica: &str| {
        api.post(
            "/admin/create_mapping",
            &json!({ "collection_name": "notes", "primary_id": primary, "replica_id": replica }),
        )
    };
    let missing = "00000000-0000-4000-8000-000000000000";
    assert_eq!(map(&a, missing).status, 409);
    assert_eq!(map(&b, &a).status, 409);
    assert_eq!(api.names(), ["global"], "nothing is changed by a refusal");
    assert_eq!(map(&a, &b).status, 200);
    assert_eq!(api.get(&format!("$D/collections/{a}/count")).ok(), json!(3));
    fill(&api, &a, 5);
    assert_eq!(cluster.settle()[&format!("{DATABASE} notes")].1.len(), 5);
}
