//! Instances and the proxy itself die, freeze and come back under a steady load: no request fails,
//! no acknowledged write is lost, and afterwards the instances are equal.

use std::{thread, time::Duration};

use achromat_tests::{
    api::DATABASE,
    cluster::Cluster,
    load::{Load, Tally},
    records::records,
};

/// Runs a load on a fresh collection while `act` does things to the cluster, then checks everything.
fn under_load(mut cluster: Cluster, act: impl FnOnce(&mut Cluster, &Load)) -> Tally {
    let seed = rand::random();
    println!("seed {seed}");
    let collection = cluster.api().create("load");
    let load = Load::start(&cluster.api(), &collection, seed);
    load.wait_writes(50);
    act(&mut cluster, &load);
    load.wait_writes(50);
    let (tally, expected) = load.stop();
    println!(
        "{} writes, {} reads; worst write {:?}, worst read {:?}",
        tally.writes, tally.reads, tally.worst_write, tally.worst_read
    );
    cluster.settle();
    for instance in &cluster.instances {
        let api = instance.api();
        let about = api.get("$D/collections/load").ok();
        let uuid = about["id"].as_str().expect("an id");
        let held = records(&api, DATABASE, uuid).expect("its records");
        assert_eq!(expected.check(&held), Ok(()));
        assert!(!expected.is_empty());
    }
    cluster.proxy.assert_calm();
    tally
}

#[track_caller]
fn assert_unnoticed(tally: &Tally) {
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
}

/// F1, F3: the primary is killed and comes back.
#[test]
fn a_killed_primary_is_not_noticed() {
    let tally = under_load(Cluster::start(), |cluster, load| {
        cluster.instances[0].kill();
        load.wait_writes(100);
        cluster.instances[0].up();
        cluster.wait_state("a", &["up", "catching-up"]);
    });
    assert_unnoticed(&tally);
}

/// F2, F3: the replica is killed and comes back.
#[test]
fn a_killed_replica_is_not_noticed() {
    let tally = under_load(Cluster::start(), |cluster, load| {
        cluster.instances[1].kill();
        load.wait_writes(100);
        cluster.instances[1].up();
        cluster.wait_state("b", &["up", "catching-up"]);
    });
    assert_unnoticed(&tally);
}

/// F1: the primary accepts connections and says nothing, for ten seconds.
#[test]
fn a_frozen_primary_is_not_noticed() {
    let tally = under_load(Cluster::start(), |cluster, load| {
        cluster.instances[0].freeze();
        // The length of the freeze is what is tested, not something that is waited for.
        thread::sleep(Duration::from_secs(10));
        load.wait_writes(10);
        cluster.instances[0].thaw();
    });
    assert_unnoticed(&tally);
}

/// T2: Achromat itself is killed. Requests fail meanwhile, but what was acknowledged is everywhere.
#[test]
fn a_killed_proxy_loses_nothing() {
    under_load(Cluster::start(), |cluster, load| {
        for _ in 0..3 {
            cluster.proxy.kill();
            cluster.proxy.up();
            load.wait_writes(60);
        }
    });
}
