//! Servers of other versions: the oldest, the newest, both together, and an upgrade while clients go on.
//! `achromat-tests matrix` lives through every version.

use std::time::Duration;

use achromat_tests::{
    tools::NEWEST,
    versions::{live, upgrade},
};

/// The oldest server that is supported does everything that it can do itself, and is made equal again
/// when its disk was wiped, although it does not know collections by their UUID.
#[test]
fn two_servers_of_the_oldest_version_are_replicated() {
    live(["1.0.0", "1.0.0"]);
}

/// The same session with the newest one.
#[test]
fn two_servers_of_the_newest_version_are_replicated() {
    live([NEWEST, NEWEST]);
}

/// The same with one of each: clients are told what both take, and what they send all the same is written
/// so that both take it.
#[test]
fn the_newest_and_the_oldest_version_are_replicated_together() {
    live([NEWEST, "1.0.0"]);
}

/// Two servers are upgraded one after the other, across the version that brought schemas: no read and no
/// write fails, and both hold the same in the end.
#[test]
fn a_rolling_upgrade_fails_no_request() {
    upgrade("1.0.20", NEWEST, Duration::from_secs(3));
}
