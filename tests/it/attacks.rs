//! Attacks by hundreds of connections. `achromat-tests attack` runs each kind with thousands.

use std::time::Duration;

use achromat_tests::{
    attacks::{Attack, Kind, Stage, attack},
    cluster::Cluster,
};

/// Memory that the proxy may have, in MiB: more than what two servers and the largest body need at least.
const MEMORY_MIB_MAX: u64 = 300;

/// While connections of every kind attack at once, no ordinary request fails, memory stays within its bound, and
/// the proxy closes each of them. There are fewer places than slow clients.
#[test]
fn attackers_stop_nobody_and_are_closed() {
    let memory = format!("--limits-memory-bytes-max={}", MEMORY_MIB_MAX << 20);
    let flags = [
        memory.as_str(),
        "--limits-head-deadline-ms=2000",
        "--limits-grace-ms=2000",
        "--limits-idle-ms=2000",
        "--limits-rate-bytes-per-s-min=32768",
        "--limits-requests-max=40",
        "--limits-queue-max=40",
        "--limits-instance-reads-max=20",
    ];
    let cluster = Cluster::with(2, &flags);
    let stage = Stage::set(&cluster.api());
    let outcome = attack(
        &cluster.proxy,
        &stage,
        &Attack {
            kinds: Kind::ALL.to_vec(),
            connections: 50,
            // Streams of HTTP/2 are listened to for 10 s after the refusal of their bodies.
            deadline: Duration::from_secs(60),
        },
    );
    println!("{outcome}");
    assert_eq!(outcome.faults(MEMORY_MIB_MAX << 10), Vec::<String>::new());
}
