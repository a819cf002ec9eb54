//! By its marker an instance's data is known again: a reset takes the marker away without harm, a
//! disk from the past is never read, and what only was away is not made anew.

use std::{path::PathBuf, time::Duration};

use achromat_tests::{
    api::{Api, DATABASE},
    cluster::Cluster,
    load::Load,
    proxy::Proxy,
    records::records,
    wait::eventually,
};
use serde_json::{Value, json};

/// Tokens are renewed often, and nothing is compared without being asked: what is noticed is
/// noticed by the marker.
const FLAGS: [&str; 4] = [
    "--health-probe-interval-ms=100",
    "--health-token-interval-ms=200",
    "--copies-verify-interval-ms=86400000",
    "--reads-strategy=round_robin",
];

const HELD: &str = "instance is held";

const MARKER: &str = "/api/v2/tenants/achromat-own/databases/achromat-own/collections/marker";

/// The UUID of an instance's marker, and the token in it; none when there is no marker.
fn marker(cluster: &Cluster, place: usize) -> Option<(String, u64)> {
    let found = cluster.instances[place].api().get(MARKER);
    if found.status != 200 {
        return None;
    }
    let id = found.body["id"].as_str().expect("an id").to_owned();
    let token = found.body["metadata"]["token"].as_u64().unwrap_or(0);
    Some((id, token))
}

/// Waits until an instance shows another token than these, so many higher; returns what it shows.
fn wait_tokens(cluster: &Cluster, place: usize, after: u64, count: u64) -> (String, u64) {
    eventually(
        "tokens are renewed",
        Duration::from_secs(60),
        || match marker(cluster, place) {
            Some((id, token)) if token >= after + count => Ok((id, token)),
            other => Err(format!("{other:?} after {after}")),
        },
    )
}

fn upsert(api: &Api, id: &str, version: u32) {
    let numbers = 0..100_u32;
    let body = json!({
        "ids": numbers.clone().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": numbers.clone().map(|n| json!([n, version])).collect::<Vec<_>>(),
        "metadatas": numbers.map(|_| json!({ "version": version })).collect::<Vec<_>>(),
    });
    api.records(id, "upsert", &body).ok();
}

/// A reset takes the markers away too. No instance is held for having lost its data: both stay up
/// and are read, and both get new markers, with tokens that go on rising.
#[test]
fn a_reset_is_not_taken_for_lost_data() {
    let cluster = Cluster::with(2, &FLAGS);
    let api = cluster.api();
    upsert(&api, &api.create("before"), 1);
    cluster.settle();
    let old = [0, 1].map(|place| wait_tokens(&cluster, place, 0, 1));
    for _ in 0..3 {
        api.post("/api/v2/reset", &Value::Null).ok();
        upsert(&api, &api.create("after"), 2);
    }
    // Some tokens later the instances were probed with their new markers, again and again.
    for (place, (id, token)) in old.iter().enumerate() {
        let (new, later) = wait_tokens(&cluster, place, *token, 4);
        assert_ne!(new, *id, "the old marker is gone");
        wait_tokens(&cluster, place, later, 4);
    }
    let before = cluster.api().request_counts();
    for _ in 0..20 {
        assert_eq!(api.get("$D/collections/after/count").ok(), json!(100));
    }
    let after = cluster.api().request_counts();
    for place in 0..2 {
        assert_eq!(cluster.state(["a", "b"][place]), "up");
        assert!(after[place] > before[place], "both are read");
    }
    assert!(!cluster.proxy.told().contains(HELD), "none was held");
    let contents = cluster.settle();
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[&format!("{DATABASE} after")].1.len(), 100);
    cluster.proxy.assert_calm();
}

/// A disk comes back from a backup that was made some writes ago, under a load: the server's data is
/// known to be from the past before anything of it is read, and is made anew without a command. So
/// for the replica, and for the primary.
#[test]
fn a_disk_from_an_old_backup_is_never_read() {
    let mut cluster = Cluster::with(2, &FLAGS);
    let api = cluster.api();
    let id = api.create("notes");
    upsert(&api, &id, 1);
    let collection = api.create("load");
    let load = Load::start(&api, &collection, 11);
    let mut version = 1;
    for (place, name) in [(1, "b"), (0, "a")] {
        let backup = cluster.folder().join(format!("backup-{name}"));
        api.create(&format!("doomed-{name}"));
        load.wait_writes(30);
        cluster.instances[place].kill();
        cluster.instances[place].back_up(&backup);
        cluster.instances[place].up();
        cluster.wait_state(name, &["up", "catching-up"]);
        let (_, token) = marker(&cluster, place).expect("a marker");
        wait_tokens(&cluster, place, token, 2);

        version += 1;
        upsert(&api, &id, version);
        api.delete(&format!("$D/collections/doomed-{name}")).ok();
        upsert(&api, &api.create(&format!("later-{name}")), 1);
        load.wait_writes(50);
        let held = cluster.proxy.told().matches(HELD).count();
        cluster.instances[place].kill();
        cluster.instances[place].put_back(&backup);
        cluster.instances[place].up();
        eventually("it is held", Duration::from_secs(60), || {
            read_all(&api, &id, version);
            let now = cluster.proxy.told().matches(HELD).count();
            if now > held { Ok(()) } else { Err("it is not") }
        });
        cluster.wait_state(name, &["up", "catching-up"]);
        for _ in 0..20 {
            read_all(&api, &id, version);
        }
        load.wait_writes(30);
    }
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    let told = cluster.proxy.told();
    assert_eq!(told.matches(HELD).count(), 2, "{told}");
    assert_eq!(told.matches("its data is from the past").count(), 2);
    let contents = cluster.settle();
    let names: Vec<_> = contents.keys().map(String::as_str).collect();
    let all = ["later-a", "later-b", "load", "notes"].map(|name| format!("{DATABASE} {name}"));
    assert_eq!(names, all);
    for place in 0..2 {
        let own = cluster.own_id(place, "load");
        let held = records(&cluster.instances[place].api(), DATABASE, &own).expect("records");
        assert_eq!(expected.check(&held), Ok(()));
    }
    cluster.proxy.assert_calm();
}

/// All records are there in this version, whichever instance is read.
fn read_all(api: &Api, id: &str, version: u32) {
    let found = api.records(id, "get", &json!({ "limit": 100 })).ok();
    let metadatas = found["metadatas"].as_array().expect("metadata");
    assert_eq!(metadatas.len(), 100);
    for metadata in metadatas {
        assert_eq!(metadata["version"], version, "what is old is not read");
    }
    let list = api.names();
    let doomed = list.iter().find(|name| name.starts_with("doomed"));
    assert_eq!(doomed, None, "what was deleted stays deleted");
}

/// What only was away is not taken for the past: servers that are killed and started, frozen and
/// thawed, and an Achromat that is killed at any moment of renewing tokens.
#[test]
fn what_was_only_away_is_not_made_anew() {
    let mut cluster = Cluster::with(2, &FLAGS);
    let api = cluster.api();
    let id = api.create("notes");
    upsert(&api, &id, 1);
    let renewed = |cluster: &Cluster, count| {
        for place in 0..2 {
            let token = marker(cluster, place).map_or(0, |(_, token)| token);
            wait_tokens(cluster, place, token, count);
        }
    };
    renewed(&cluster, 2);
    for place in [0, 1] {
        let name = ["a", "b"][place];
        cluster.instances[place].kill();
        cluster.wait_state(name, &["down"]);
        upsert(&api, &id, 2);
        cluster.instances[place].up();
        renewed(&cluster, 2);
        cluster.instances[place].freeze();
        cluster.wait_state(name, &["down"]);
        upsert(&api, &id, 3);
        cluster.instances[place].thaw();
        cluster.wait_state(name, &["up", "catching-up"]);
        renewed(&cluster, 2);
    }
    for _ in 0..10 {
        cluster.proxy.kill();
        cluster.proxy.up();
        renewed(&cluster, 1);
    }
    upsert(&api, &id, 4);
    let contents = cluster.settle();
    assert_eq!(contents[&format!("{DATABASE} notes")].1.len(), 100);
    assert!(!cluster.proxy.told().contains(HELD), "none was held");
    cluster.proxy.assert_calm();
}

/// When all servers come back from backups none of them can say what is right, and nothing of it is
/// served. A fresh store takes over what they hold, and data that is older still is known again.
#[test]
fn when_all_are_from_the_past_a_fresh_store_takes_over() {
    let mut cluster = Cluster::with(2, &FLAGS);
    let api = cluster.api();
    let id = api.create("notes");
    let folder = cluster.folder().to_owned();
    let backup = |place: usize, version: u32| folder.join(format!("backup-{place}-{version}"));
    for version in 1..=2 {
        upsert(&api, &id, version);
        cluster.settle();
        for place in 0..2 {
            cluster.instances[place].kill();
            cluster.instances[place].back_up(&backup(place, version));
            cluster.instances[place].up();
            let (_, token) = marker(&cluster, place).expect("a marker");
            wait_tokens(&cluster, place, token, 2);
        }
    }
    upsert(&api, &id, 3);
    cluster.settle();
    put_back(&mut cluster, &[(0, backup(0, 2)), (1, backup(1, 2))]);
    for name in ["a", "b"] {
        cluster.wait_state(name, &["quarantined"]);
    }
    let refused = api.records(&id, "get", &json!({}));
    assert_eq!(refused.status, 503, "{refused:?}");
    cluster.proxy.stop();

    let fresh = folder.join("fresh");
    std::fs::create_dir(&fresh).expect("a folder");
    let named: Vec<_> = ["a", "b"].into_iter().zip(&cluster.instances).collect();
    cluster.proxy = Proxy::start(&fresh, &named, &FLAGS);
    let api = cluster.api();
    cluster.settle();
    read_all(&api, &cluster.own_id(0, "notes"), 2);
    put_back(&mut cluster, &[(1, backup(1, 1))]);
    eventually("it is held", Duration::from_secs(60), || {
        read_all(&api, &cluster.own_id(0, "notes"), 2);
        if cluster.proxy.told().contains("its data is from the past") {
            Ok(())
        } else {
            Err("it is not")
        }
    });
    let contents = cluster.settle();
    let held = &contents[&format!("{DATABASE} notes")].1;
    assert_eq!(held["r7"][2], json!({ "version": 2 }));
}

fn put_back(cluster: &mut Cluster, backups: &[(usize, PathBuf)]) {
    for (place, backup) in backups {
        cluster.instances[*place].kill();
        cluster.instances[*place].put_back(backup);
    }
    for (place, _) in backups {
        cluster.wait_state(["a", "b"][*place], &["down"]);
        cluster.instances[*place].up();
    }
}
