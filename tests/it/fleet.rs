//! Several proxies on one PostgreSQL: one leads, the others pass requests on, and one of them leads when the
//! first dies. Clients of a proxy that lives notice nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{NAMES, folder},
    load::{Load, Tally},
    pooler::Pooler,
    postgres::Postgres,
    proxy::Proxy,
    records::{contents, difference, records},
    wait::eventually,
};
use serde_json::json;
use tempfile::TempDir;

/// Proxies that share a database and instances.
struct Fleet {
    proxies: Vec<Proxy>,
    instances: Vec<Chroma>,
    _pooler: Option<Pooler>,
    postgres: Postgres,
    _folder: TempDir,
}

impl Fleet {
    fn start(proxies: usize) -> Self {
        let postgres = Postgres::start().expect("PostgreSQL runs here");
        Self::start_on(postgres, None, proxies)
    }

    /// On the newest PostgreSQL, which the proxies reach through PgBouncer.
    fn start_pooled(proxies: usize) -> Self {
        let postgres = Postgres::start_newest().expect("PostgreSQL runs here");
        let pooler = Pooler::start(&postgres);
        Self::start_on(postgres, Some(pooler), proxies)
    }

    fn start_on(postgres: Postgres, pooler: Option<Pooler>, proxies: usize) -> Self {
        let folder = folder();
        let start = |name| {
            let folder = folder.path().join(name);
            thread::spawn(move || Chroma::start(&folder))
        };
        let starting: Vec<_> = NAMES.into_iter().take(2).map(start).collect();
        let instances: Vec<Chroma> = starting
            .into_iter()
            .map(|started| started.join().expect("it starts"))
            .collect();
        let named: Vec<_> = NAMES.into_iter().zip(&instances).collect();
        let token = folder.path().join("operator.token");
        let direct = || postgres.url();
        let store = pooler.as_ref().map_or_else(direct, Pooler::url);
        let store = format!("--store={store}");
        let token = format!("--admin-token-file={}", token.display());
        let start = |number: usize| {
            let own = folder.path().join(format!("proxy-{number}"));
            std::fs::create_dir(&own).expect("a folder");
            let name = format!("--fleet-name=proxy-{number}");
            Proxy::start(&own, &named, &[&store, &token, &name])
        };
        let proxies: Vec<Proxy> = (0..proxies).map(start).collect();
        let fleet = Self {
            proxies,
            instances,
            _pooler: pooler,
            postgres,
            _folder: folder,
        };
        for proxy in &fleet.proxies {
            wait_ready(&proxy.api());
        }
        fleet
    }

    /// The proxy that leads, as the database says.
    fn leader(&self) -> usize {
        let sql = "SELECT name FROM lease WHERE holder IS NOT NULL";
        let name = self.postgres.run(sql).expect("the lease can be read");
        let number = name.trim().strip_prefix("proxy-").expect("one leads");
        number.parse().expect("a number")
    }

    /// Waits until another proxy leads.
    fn wait_for_another(&self, before: usize) -> usize {
        eventually("another proxy leads", Duration::from_secs(30), || {
            let leader = self.leader();
            if leader == before {
                Err(format!("proxy {leader} leads"))
            } else {
                Ok(leader)
            }
        })
    }

    /// Waits until no instance owes anything, and compares what they hold with what must be there.
    fn check(&self, api: &Api, expected: &achromat_tests::load::Expected) {
        api.wait_nothing_owed(Duration::from_secs(90));
        let all: Vec<_> = self
            .instances
            .iter()
            .map(|chroma| contents(&chroma.api(), &[DATABASE]).expect("an instance can be read"))
            .collect();
        assert_eq!(difference(&all[0], &all[1]), None);
        for instance in &self.instances {
            let api = instance.api();
            let about = api.get("$D/collections/load").ok();
            let uuid = about["id"].as_str().expect("an id");
            let held = records(&api, DATABASE, uuid).expect("its records");
            assert_eq!(expected.check(&held), Ok(()));
            assert!(!expected.is_empty());
        }
    }

    /// Has clients of a proxy that does not lead work while something is done to the fleet.
    fn under_load(mut self, act: impl FnOnce(&mut Self, &Load, usize)) -> Tally {
        let leader = self.leader();
        let follower = (leader + 1) % self.proxies.len();
        let api = self.proxies[follower].api();
        let collection = api.create("load");
        let load = Load::start(&api, &collection, rand::random());
        load.wait_writes(50);
        act(&mut self, &load, leader);
        load.wait_writes(50);
        let (tally, expected) = load.stop();
        println!(
            "{} writes, {} reads; worst write {:?}, worst read {:?}",
            tally.writes, tally.reads, tally.worst_write, tally.worst_read
        );
        self.check(&api, &expected);
        tally
    }
}

/// Waits until a proxy can serve, itself or through the one that leads.
fn wait_ready(api: &Api) {
    eventually("a proxy is ready", Duration::from_secs(30), || {
        match api.try_call("GET", "/readyz", &json!(null)) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[track_caller]
fn assert_unnoticed(tally: &Tally) {
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
}

/// T2: the proxy that leads is killed, twice, and comes back each time.
#[test]
fn a_killed_leader_is_not_noticed_at_the_others() {
    let tally = Fleet::start_pooled(3).under_load(|fleet, load, leader| {
        fleet.proxies[leader].kill();
        let killed_at = Instant::now();
        load.wait_writes(20);
        println!("writes went on after {:?}", killed_at.elapsed());
        fleet.wait_for_another(leader);
        fleet.proxies[leader].up();
        load.wait_writes(20);
    });
    assert_unnoticed(&tally);
    assert!(
        tally.worst_write < Duration::from_secs(6),
        "{:?}",
        tally.worst_write
    );
}

/// The proxy that leads is told to stop: the next one leads at once.
#[test]
fn a_leader_that_stops_hands_over() {
    let tally = Fleet::start(2).under_load(|fleet, load, leader| {
        let status = fleet.proxies[leader].stop();
        assert!(status.success(), "{status}");
        load.wait_writes(20);
        assert_ne!(fleet.leader(), leader);
        fleet.proxies[leader].up();
    });
    assert_unnoticed(&tally);
    println!("handed over: worst write {:?}", tally.worst_write);
}

/// The proxy that leads is frozen for longer than its lease: another one leads, and it follows that one when it
/// goes on.
#[test]
fn a_frozen_leader_follows_when_it_goes_on() {
    let tally = Fleet::start(2).under_load(|fleet, load, leader| {
        fleet.proxies[leader].freeze();
        let next = fleet.wait_for_another(leader);
        load.wait_writes(30);
        fleet.proxies[leader].thaw();
        let api = fleet.proxies[leader].api();
        eventually("it follows", Duration::from_secs(30), || {
            let told = fleet.proxies[leader].told();
            let follows = told.contains(&format!("name=\"proxy-{next}\""));
            if follows { Ok(()) } else { Err(told) }
        });
        wait_ready(&api);
        let found = api.get("$D/collections/load").ok();
        assert_eq!(found["name"], "load");
    });
    assert_unnoticed(&tally);
}

/// The database dies and comes back: writes are refused meanwhile and reads go on, and nothing that was
/// acknowledged is lost.
#[test]
fn a_dead_database_is_outlived() {
    let tally = Fleet::start(2).under_load(|fleet, load, leader| {
        fleet.postgres.kill();
        let api = fleet.proxies[leader].api();
        let read = |api: &Api| api.get("$D/collections/load").ok()["name"].clone();
        // Longer than the lease.
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            assert_eq!(read(&api), "load");
        }
        fleet.postgres.up();
        load.wait_writes(50);
        assert_eq!(fleet.leader(), leader, "nobody else leads");
    });
    let is_refusal = |failure: &&String| failure.contains(": 503 ");
    let others: Vec<_> = tally.failures.iter().filter(|f| !is_refusal(f)).collect();
    assert!(others.is_empty(), "{others:#?}");
}
