//! Reads and writes of a record are linearizable, also in the moment when a write is done on one instance
//! and not on the other.

use std::time::Duration;

use achromat_tests::{
    chroma::Chroma,
    cluster::{Cluster, folder},
    ends::Raised,
    registers::{Goal, Mix, check, record},
};

/// Operations of the test command.
const OPERATIONS: usize = 6_000;

/// Case 18: six clients write, delete and read three records. Nobody sees a value and later an older one.
/// One Chroma asked directly is judged by the same rule.
#[test]
fn clients_see_registers() {
    let seed = rand::random();
    println!("seed {seed}");
    let cluster = Cluster::start();
    let collection = cluster.api().create("registers");
    let goal = Goal::operations(OPERATIONS);
    let recorded = record(&[cluster.api()], &collection, Mix::USUAL, &goal, seed);
    assert!(recorded.failures.is_empty(), "{:#?}", recorded.failures);
    let violations = check(&recorded.history);
    assert!(violations.is_empty(), "{}", violations[0]);
    assert!(recorded.history.len() >= OPERATIONS);
    cluster.wait_nothing_owed(Duration::from_secs(60));
    cluster.settle();
    cluster.proxy.assert_calm();

    let folder = folder();
    let direct = Chroma::start(&folder.path().join("direct"));
    let collection = direct.api().create("registers");
    let goal = Goal::operations(OPERATIONS / 4);
    let recorded = record(&[direct.api()], &collection, Mix::USUAL, &goal, seed);
    assert_eq!(check(&recorded.history), []);
}

/// The same while the primary is killed, comes back, and is frozen: nobody sees an older value, and no
/// request fails.
#[test]
fn clients_see_registers_while_the_primary_fails() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut cluster = Cluster::start();
    let collection = cluster.api().create("registers");
    let (goal, api) = (Goal::default(), cluster.api());
    let recorded = std::thread::scope(|scope| {
        let clients = scope.spawn(|| record(&[api], &collection, Mix::USUAL, &goal, seed));
        // Clients without an end would keep a failed test from ending.
        let _stop = Raised(&goal.stop);
        std::thread::sleep(Duration::from_secs(1));
        cluster.instances[0].kill();
        std::thread::sleep(Duration::from_secs(2));
        cluster.instances[0].up();
        cluster.wait_state("a", &["up", "catching-up"]);
        cluster.instances[0].freeze();
        // The length of the freeze is what is tested, not something that is waited for.
        std::thread::sleep(Duration::from_secs(4));
        cluster.instances[0].thaw();
        cluster.wait_state("a", &["up", "catching-up"]);
        goal.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.join().expect("the clients end well")
    });
    assert!(recorded.failures.is_empty(), "{:#?}", recorded.failures);
    let violations = check(&recorded.history);
    assert!(violations.is_empty(), "{}", violations[0]);
    assert!(recorded.history.len() > 500);
}
