//! Several proxies on one PostgreSQL: one leads, the others pass requests on, and one of them leads when the
//! first dies. Clients of a proxy that lives notice nothing.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, NAMES, folder, servers},
    load::{Load, Tally},
    pooler::Pooler,
    postgres::Postgres,
    proxy::{Proxy, achromat},
    records::{contents, difference, records},
    registers::{Goal, Mix, check, record},
    wait::eventually,
};
use tempfile::TempDir;

/// Proxies that share a database and instances.
pub(super) struct Fleet {
    pub(super) proxies: Vec<Proxy>,
    pub(super) instances: Vec<Chroma>,
    _pooler: Option<Pooler>,
    pub(super) postgres: Postgres,
    folder: TempDir,
}

impl Fleet {
    pub(super) fn start(proxies: usize) -> Self {
        Self::start_with(proxies, &[])
    }

    /// With these flags beside the usual ones.
    pub(super) fn start_with(proxies: usize, flags: &[&str]) -> Self {
        let postgres = Postgres::start().expect("PostgreSQL runs here");
        Self::start_on(postgres, None, proxies, flags)
    }

    /// On the newest PostgreSQL, which the proxies reach through `PgBouncer`.
    fn start_pooled(proxies: usize) -> Self {
        let postgres = Postgres::start_newest().expect("PostgreSQL runs here");
        let pooler = Pooler::start(&postgres);
        Self::start_on(postgres, Some(pooler), proxies, &[])
    }

    pub(super) fn start_on(
        postgres: Postgres,
        pooler: Option<Pooler>,
        proxies: usize,
        flags: &[&str],
    ) -> Self {
        let folder = folder();
        let instances = servers(folder.path(), 2);
        let named: Vec<_> = NAMES
            .into_iter()
            .zip(instances.iter().map(Chroma::url))
            .collect();
        let direct = || postgres.url();
        let database = pooler.as_ref().map_or_else(direct, Pooler::url);
        let start = |number: usize| {
            let name = format!("proxy-{number}");
            Proxy::join((folder.path(), &name), &database, &named, flags)
        };
        let proxies: Vec<Proxy> = (0..proxies).map(start).collect();
        let fleet = Self {
            proxies,
            instances,
            _pooler: pooler,
            postgres,
            folder,
        };
        for proxy in &fleet.proxies {
            proxy.wait_ready();
        }
        fleet
    }

    /// Folder of all files.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Each proxy's interface.
    pub(super) fn apis(&self) -> Vec<Api> {
        self.proxies.iter().map(Proxy::api).collect()
    }

    /// Runs a command about the fleet, at one of its proxies.
    pub(super) fn command(&self, at: usize, words: &[&str]) -> (bool, String) {
        let (code, told) = self.proxies[at].command(words);
        (code == Some(0), told)
    }

    /// The proxy that leads, as the database says.
    pub(super) fn leader(&self) -> usize {
        let name = self.postgres.leader();
        let number = name.strip_prefix("proxy-").expect("one leads");
        number.parse().expect("a number")
    }

    /// Waits until another proxy leads.
    pub(super) fn wait_for_another(&self, before: usize) -> usize {
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
    pub(super) fn check(&self, api: &Api, expected: &achromat_tests::load::Expected) {
        api.wait_nothing_owed(Duration::from_secs(90));
        let all: Vec<_> = self
            .instances
            .iter()
            .map(|chroma| contents(&chroma.api(), &[DATABASE]).expect("an instance can be read"))
            .collect();
        assert_eq!(difference(&all[0], &all[1]), None);
        for instance in &self.instances {
            let uuid = instance.own_id("load");
            let held = records(&instance.api(), DATABASE, &uuid).expect("its records");
            assert_eq!(expected.check(&held), Ok(()));
            assert!(!expected.is_empty());
        }
    }

    /// Has clients of a proxy that does not lead work while something is done to the fleet.
    pub(super) fn under_load(mut self, act: impl FnOnce(&mut Self, &Load, usize)) -> Tally {
        let leader = self.leader();
        let follower = (leader + 1) % self.proxies.len();
        let api = self.proxies[follower].api();
        let collection = api.create("load");
        let load = Load::start(&api, &collection, rand::random());
        load.wait_writes(50);
        act(&mut self, &load, leader);
        load.wait_writes(50);
        let (tally, expected) = load.stop();
        tell(&tally);
        self.check(&api, &expected);
        tally
    }
}

fn tell(tally: &Tally) {
    println!(
        "{} writes, {} reads; worst write {:?}, worst read {:?}",
        tally.writes, tally.reads, tally.worst_write, tally.worst_read
    );
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
        fleet.proxies[leader].wait_ready();
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

/// An operator has another proxy lead, through one that follows: clients of neither notice it.
#[test]
fn an_operator_hands_over() {
    let fleet = Fleet::start(3);
    let leader = fleet.leader();
    let [heir, asked] = [1, 2].map(|n| (leader + n) % 3);
    let (is_good, told) = fleet.command(asked, &["fleet"]);
    assert!(is_good && told.contains("3 proxies"), "{told}");
    for number in [leader, asked] {
        let (is_healthy, words) = fleet.command(number, &["health"]);
        assert!(is_healthy, "{words}");
    }
    let told_of = |number: usize| {
        let name = format!("proxy-{number} ");
        let line = told.lines().find(|line| line.contains(&name));
        line.expect("a line")
            .split(' ')
            .next()
            .expect("a role")
            .to_owned()
    };
    assert_eq!(
        [leader, heir, asked].map(told_of),
        ["leader", "follower", "follower"]
    );

    let loads = [leader, asked].map(|number| {
        let api = fleet.proxies[number].api();
        let collection = api.create(&format!("load-{number}"));
        Load::start(&api, &collection, rand::random())
    });
    for load in &loads {
        load.wait_writes(50);
    }
    let name = format!("proxy-{heir}");
    let (is_good, told) = fleet.command(asked, &["fleet", "hand-over", &name]);
    println!("{told}");
    assert!(
        is_good && told.starts_with(&format!("{name} leads")),
        "{told}"
    );
    assert_eq!(fleet.leader(), heir);
    for load in loads {
        load.wait_writes(50);
        let (tally, expected) = load.stop();
        tell(&tally);
        assert_unnoticed(&tally);
        assert!(!expected.is_empty());
    }
    let nobody = fleet.command(heir, &["fleet", "hand-over", "proxy-7"]);
    assert!(!nobody.0 && nobody.1.contains("proxy-7"), "{}", nobody.1);
    assert_eq!(fleet.leader(), heir);
}

/// All proxies are stopped and started again, one after the other, as for an upgrade. Clients of each of them
/// see nothing but that it does not answer while it is not there.
#[test]
fn proxies_are_restarted_in_turn() {
    let mut fleet = Fleet::start(3);
    let start = |(number, api): (usize, &Api)| {
        let collection = api.create(&format!("load-{number}"));
        Load::start(api, &collection, rand::random())
    };
    let loads: Vec<Load> = fleet.apis().iter().enumerate().map(start).collect();
    let epoch = |fleet: &Fleet| fleet.proxies[0].api().get("/admin/fleet").ok()["epoch"].clone();
    let before = epoch(&fleet);
    for number in 0..3 {
        for load in &loads {
            load.wait_writes(20);
        }
        let status = fleet.proxies[number].stop();
        assert!(status.success(), "{status}");
        for (other, load) in loads.iter().enumerate() {
            if other != number {
                load.wait_writes(20);
            }
        }
        fleet.proxies[number].up();
        fleet.proxies[number].wait_ready();
    }
    assert_ne!(epoch(&fleet), before, "another one leads by now");
    let api = fleet.proxies[0].api();
    for load in loads {
        load.wait_writes(20);
        let (tally, expected) = load.stop();
        tell(&tally);
        let is_away =
            |failure: &&String| failure.contains("io: ") || failure.contains("connection");
        let others: Vec<_> = tally.failures.iter().filter(|f| !is_away(f)).collect();
        assert!(others.is_empty(), "{others:#?}");
        assert!(!expected.is_empty());
    }
    api.wait_nothing_owed(Duration::from_secs(90));
    let held = |chroma: &Chroma| contents(&chroma.api(), &[DATABASE]).expect("it can be read");
    let [one, other] = [0, 1].map(|number| held(&fleet.instances[number]));
    assert_eq!(difference(&one, &other), None);
}

/// Reads and writes of a record are linearizable through any proxy: clients change it with each request, while
/// the one that leads is killed and while it hands over.
#[test]
fn clients_change_the_proxy_with_each_request() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut fleet = Fleet::start(3);
    let leader = fleet.leader();
    let apis = fleet.apis();
    let collection = apis[0].create("registers");
    let goal = Goal::operations(800);
    let recorded = record(&apis, &collection, Mix::USUAL, &goal, seed);
    assert!(recorded.failures.is_empty(), "{:#?}", recorded.failures);
    assert_eq!(check(&recorded.history), []);

    let others = fleet.proxies.iter().enumerate();
    let others = others.filter(|(number, _)| *number != leader);
    let others: Vec<Api> = others.map(|(_, proxy)| proxy.api()).collect();
    let collection = apis[0].create("registers-of-survivors");
    let goal = Goal::operations(700);
    let recorded = thread::scope(|scope| {
        let clients = scope.spawn(|| record(&others, &collection, Mix::USUAL, &goal, seed));
        fleet.proxies[leader].kill();
        let next = fleet.wait_for_another(leader);
        fleet.proxies[leader].up();
        fleet.proxies[leader].wait_ready();
        let (is_good, told) = fleet.command(next, &["fleet", "hand-over"]);
        assert!(is_good, "{told}");
        fleet.wait_for_another(next);
        assert!(!clients.is_finished(), "they worked all the time");
        clients.join().expect("the clients end well")
    });
    assert!(recorded.failures.is_empty(), "{:#?}", recorded.failures);
    let violations = check(&recorded.history);
    assert!(violations.is_empty(), "{}", violations[0]);
    assert!(recorded.history.len() >= 700);
}

/// Sends a request from an address of its own; returns the whole answer.
fn from_address(last: u8, port: u16, request: &str) -> String {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpSocket,
        runtime::Builder,
        time::timeout,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let asked = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, last], 0).into())?;
        let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let asked = async { timeout(Duration::from_secs(30), asked).await };
    let answer = runtime.expect("a runtime").block_on(asked);
    answer
        .expect("it is answered in time")
        .expect("it is answered")
}

/// The leader knows of clients what the proxy knows to which they came: their addresses, and that they are
/// operators, by that proxy's own token. It believes that of the fleet's proxies and of nobody else.
#[test]
fn a_follower_vouches_for_its_clients() {
    let fleet = Fleet::start(2);
    let leader = fleet.leader();
    let follower = 1 - leader;
    let tokens = [leader, follower].map(|number| {
        let file = fleet.proxies[number].token_file();
        std::fs::read_to_string(file)
            .expect("a token")
            .trim()
            .to_owned()
    });
    assert_ne!(tokens[0], tokens[1], "each has made its own");

    let port = fleet.proxies[follower].port;
    let path = "/api/v2/tenants/default_tenant/databases/default_database/collections";
    let create = |name: &str, more: &str| {
        let body = format!(r#"{{"name":"{name}"}}"#);
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = from_address(9, port, &create("notes", ""));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for number in [leader, follower] {
        let api = fleet.proxies[number].api();
        let line = eventually("it is on record", Duration::from_secs(10), || {
            let writes = api.get("/admin/writes").ok();
            let line = writes["writes"][0].clone();
            if line.is_null() {
                Err(writes.to_string())
            } else {
                Ok(line)
            }
        });
        assert_eq!(line["client"], "127.0.0.9");
    }

    for (at, token, status) in [
        (leader, &tokens[0], 200),
        (follower, &tokens[1], 200),
        (follower, &tokens[0], 200),
        (leader, &tokens[1], 401),
        (follower, &"nobody's".to_owned(), 401),
    ] {
        let api = Api::at(fleet.proxies[at].port).with_token(token);
        assert_eq!(api.get("/admin/writes").status, status, "{at} {token}");
    }

    let forged = [
        "1",
        "1 127.0.0.7 operators operator",
        "1 127.0.0.7 operators operator 0000000000000000000000000000000000000000000000000000000000000000",
    ];
    for number in [leader, follower] {
        for word in forged {
            let more = format!("X-Achromat-Passed-On: {word}\r\n");
            let answer = from_address(7, fleet.proxies[number].port, &create("forged", &more));
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            assert!(
                answer.contains("it was not passed on by a proxy of this fleet"),
                "{answer}"
            );
        }
    }
    assert_eq!(fleet.proxies[follower].api().names(), ["notes"]);
}

/// A proxy with other instances would write to them as soon as it leads: it does not start.
#[test]
fn a_proxy_with_other_instances_is_refused() {
    let fleet = Fleet::start(1);
    let folder = folder();
    let store = format!("--store={}", fleet.postgres.url());
    let token = format!(
        "--admin-token-file={}",
        folder.path().join("token").display()
    );
    for (instances, told) in [(["a", "c"], "a,c"), (["b", "a"], "b,a")] {
        let mut serve = achromat(&["serve", "--listen=127.0.0.1:0", &store, &token]);
        serve.arg("--fleet-name=stranger");
        for (number, name) in instances.into_iter().enumerate() {
            serve.arg(format!("--instance={name}=http://127.0.0.1:{}", number + 1));
        }
        let refused = serve.output().expect("it runs");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{words}");
        let whole =
            format!("\"proxy-0\" of this database has the instances a,b, and this one {told}");
        assert!(words.contains(&whole), "{words}");
    }
    assert_eq!(fleet.leader(), 0);
    assert_eq!(
        fleet.proxies[0].api().get("/admin/fleet").ok()["proxy_count"],
        1
    );
}

/// Who is alone has no fleet, and says so.
#[test]
fn a_proxy_alone_has_no_fleet() {
    let cluster = Cluster::with(1, &[]);
    let told = cluster.api().get("/admin/fleet").refused(404);
    assert!(told.contains("its store is sqlite"), "{told}");
    let (code, told) = cluster.command(&["fleet", "hand-over"]);
    assert!(
        code != Some(0) && told.contains("its store is sqlite"),
        "{told}"
    );
}
