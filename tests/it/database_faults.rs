//! A database without room, without connections, and one whose commits are cut off: writes are refused meanwhile,
//! reads go on, all heals by itself, and nothing that was acknowledged is lost or done twice.

use std::{
    process::Child,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    load::{Load, Tally},
    postgres::Postgres,
    records::records,
    wait::eventually,
};
use serde_json::{Value, json};

use crate::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(60);

/// Most lines of warnings and errors that a proxy may log about one fault that lasts some seconds.
const LINES_MAX: usize = 12;

/// Warnings and errors of each proxy.
fn lines(fleet: &Fleet) -> Vec<Vec<String>> {
    let bad = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
    let of = |told: String| told.lines().filter(bad).map(str::to_owned).collect();
    fleet.proxies.iter().map(|proxy| of(proxy.told())).collect()
}

/// Asserts that no proxy has flooded its log since there were these lines.
#[track_caller]
fn assert_no_flood(fleet: &Fleet, before: &[Vec<String>]) {
    for (after, before) in lines(fleet).iter().zip(before) {
        let new = &after[before.len()..];
        println!("{} lines of warnings and errors", new.len());
        assert!(new.len() <= LINES_MAX, "{new:#?}");
        assert!(
            !new.iter().any(|line| line.contains("panicked")),
            "{new:#?}"
        );
    }
}

/// Nothing failed but writes: they were refused as not done, or were in the log when the database went away, so that
/// their outcome could not be recorded in time.
#[track_caller]
fn assert_writes_were_refused(tally: &Tally) {
    let is_refusal = |failure: &&String| {
        let is_unknown = failure.contains(": 504 ") && failure.contains("OutcomeUnknown");
        (failure.contains(": 503 ") || is_unknown) && !failure.starts_with("get:")
    };
    let others: Vec<_> = tally.failures.iter().filter(|f| !is_refusal(f)).collect();
    assert!(others.is_empty(), "{others:#?}");
    println!("{} writes were refused", tally.failures.len());
}

/// A write that needs room.
fn large(api: &Api, collection: &str, number: u64) -> Answer {
    let word = |at: u64| (number * 20_011 + at) * 2_654_435_761 % 4_294_967_291;
    let words: Vec<String> = (0..20_000).map(|at| format!("{:08x}", word(at))).collect();
    let text = words.concat();
    let body = json!({ "ids": ["large"], "embeddings": [[number, 1]], "documents": [text] });
    api.records(collection, "upsert", &body)
}

/// Waits until writes succeed, or until they are refused.
fn wait_writes(api: &Api, collection: &str, status: u16) {
    let mut number = 0;
    eventually("writes are answered so", PATIENCE, || {
        number += 1;
        let answer = large(api, collection, number);
        if answer.status == status {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.body))
        }
    });
}

/// The disk of the database is full for some seconds, and has room again.
#[test]
fn a_full_disk_of_the_database_is_outlived() {
    let settings = ["max_wal_size=32MB", "min_wal_size=32MB"];
    let postgres = Postgres::start_on_small_disk(112, &settings).expect("PostgreSQL runs here");
    let fleet = Fleet::start_on(postgres, None, 2, &[]);
    let tally = fleet.under_load(|fleet, load, leader| {
        let api = fleet.proxies[leader].api();
        let other = api.create("large");
        wait_writes(&api, &other, 200);
        let before = lines(fleet);
        fleet.postgres.fill_disk();
        wait_writes(&api, &other, 503);
        refused_for_a_while(&api, load, || large(&api, &other, 1));
        fleet.postgres.empty_disk();
        wait_writes(&api, &other, 200);
        load.wait_writes(50);
        assert_no_flood(fleet, &before);
    });
    assert_writes_were_refused(&tally);
    assert!(!tally.failures.is_empty());
}

/// Reads go on and writes are refused for some seconds, longer than a lease.
fn refused_for_a_while(api: &Api, load: &Load, write: impl Fn() -> Answer) {
    let until = Instant::now() + Duration::from_secs(4);
    let mut refused = 0;
    while Instant::now() < until {
        let read = api.get("$D/collections/load").ok();
        assert_eq!(read["name"], "load");
        refused += u32::from(write().status == 503);
    }
    assert!(refused > 0, "writes are refused");
    load.wait_writes(10);
}

/// Clients that hold all connections which the database has for ordinary roles.
struct Crowd(Vec<Child>);

impl Crowd {
    /// Takes them one by one, those of the proxies too, whose ends come at once.
    fn take_all(server: &Postgres, count: usize) -> Self {
        let mut crowd = Vec::new();
        let sql =
            "SELECT count(pg_terminate_backend(pid)) FILTER (WHERE application_name = 'achromat'),
                          count(*) FILTER (WHERE application_name = 'psql' AND usename = 'cms')
                   FROM pg_stat_activity WHERE usename = 'cms'";
        eventually("no proxy has a connection", PATIENCE, || {
            crowd.retain_mut(|client: &mut Child| client.try_wait().is_ok_and(|end| end.is_none()));
            while crowd.len() < count {
                crowd.push(server.hold_connection());
            }
            match server.run(sql)?.trim() {
                all if all == format!("0|{count}") => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        Self(crowd)
    }

    /// They go, and leave their connections.
    fn leave(self) {
        for mut client in self.0 {
            drop(client.stdin.take());
            client.wait().expect("it ends");
        }
    }
}

/// Other clients hold all connections of the database for some seconds.
#[test]
fn a_database_without_connections_is_outlived() {
    let settings = ["max_connections=16", "superuser_reserved_connections=3"];
    let mut postgres = Postgres::start_with(&settings).expect("PostgreSQL runs here");
    postgres.use_role("cms");
    let fleet = Fleet::start_on(postgres, None, 2, &[]);
    let tally = fleet.under_load(|fleet, load, leader| {
        let api = fleet.proxies[leader].api();
        let other = api.create("large");
        let before = lines(fleet);
        let crowd = Crowd::take_all(&fleet.postgres, 13);
        wait_writes(&api, &other, 503);
        refused_for_a_while(&api, load, || large(&api, &other, 1));
        crowd.leave();
        wait_writes(&api, &other, 200);
        load.wait_writes(50);
        assert_no_flood(fleet, &before);
    });
    assert_writes_were_refused(&tally);
    assert!(!tally.failures.is_empty());
}

/// Cancels for so many seconds what the proxies' connections do, fifty times in a second, and each tenth time ends
/// the connections.
fn cut_off(server: &Postgres, seconds: u32) {
    let sql = format!(
        "DO $$
         DECLARE
             until timestamptz := clock_timestamp() + interval '{seconds} seconds';
             round integer := 0;
         BEGIN
             WHILE clock_timestamp() < until LOOP
                 round := round + 1;
                 PERFORM pg_stat_clear_snapshot();
                 IF round % 10 = 0 THEN
                     PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'achromat';
                 ELSE
                     PERFORM pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'achromat';
                 END IF;
                 PERFORM pg_sleep(0.02);
             END LOOP;
         END $$"
    );
    server.run(&sql).expect("connections are cut off");
}

/// Adds records, each under a key of its own, until it is told to stop; a write is repeated until it succeeds. Returns
/// the number of records, and of repeats.
fn add_under_keys(api: &Api, collection: &str, client: usize, stop: &AtomicBool) -> (u64, u64) {
    let (mut records, mut repeats) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let id = format!("c{client}-{records}");
        let body = json!({ "ids": [id], "embeddings": [[client, records]] });
        let keyed = api.under(&id);
        let path = format!("$D/collections/{collection}/add");
        eventually("a write succeeds in the end", PATIENCE, || {
            let answer = keyed.try_call("POST", &path, &body);
            if answer.as_ref().is_ok_and(|answer| answer.status < 300) {
                return Ok(());
            }
            repeats += 1;
            Err(format!("{answer:?}"))
        });
        records += 1;
    }
    (records, repeats)
}

/// Commits are cancelled and connections ended again and again: no acknowledged write is lost, and none is logged
/// twice.
#[test]
fn commits_that_are_cut_off_are_done_once() {
    let fleet = Fleet::start(2);
    let keyed = fleet.proxies[0].api().create("keyed");
    let tally = fleet.under_load(|fleet, load, _| {
        let before = lines(fleet);
        let stop = AtomicBool::new(false);
        let apis = fleet.apis();
        let added = thread::scope(|scope| {
            let clients = apis.iter().cycle().take(4).enumerate();
            let (stop, keyed) = (&stop, &keyed);
            let clients: Vec<_> = clients
                .map(|(client, api)| scope.spawn(move || add_under_keys(api, keyed, client, stop)))
                .collect();
            cut_off(&fleet.postgres, 10);
            load.wait_writes(20);
            stop.store(true, Ordering::Relaxed);
            let ended = clients.into_iter();
            ended
                .map(|client| client.join().expect("a client"))
                .collect::<Vec<_>>()
        });
        let (records, repeats) = added
            .iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        println!("{records} writes under keys, {repeats} repeats");
        assert_logged_once(fleet, records);
        for (after, before) in lines(fleet).iter().zip(&before) {
            println!(
                "{} lines of warnings and errors",
                after.len() - before.len()
            );
        }
    });
    assert_writes_were_refused(&tally);
}

/// Each instance has each record, and the log had one entry for each.
fn assert_logged_once(fleet: &Fleet, count: u64) {
    let found: Value = fleet.proxies[0].api().get("$D/collections/keyed").ok();
    let id = found["id"].as_str().expect("an id");
    let head = fleet
        .postgres
        .run(&format!("SELECT head FROM lanes WHERE lane = '{id}'"));
    assert_eq!(
        head.as_deref().map(str::trim),
        Ok(count.to_string().as_str())
    );
    for instance in &fleet.instances {
        let own = instance.own_id("keyed");
        eventually("each instance has all of them", PATIENCE, || {
            let records = records(&instance.api(), DATABASE, &own)?.len() as u64;
            if records == count {
                Ok(())
            } else {
                Err(records.to_string())
            }
        });
    }
}
