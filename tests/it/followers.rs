//! Reads that proxies carry out while another one leads: the same answers, the newest state, and none fails when an
//! instance does.

use std::time::{Duration, Instant};

use achromat_tests::{
    api::{Answer, Api},
    authority::{Authority, replace},
    chroma::{Chroma, free_port},
    cluster::{NAMES, folder, servers},
    postgres::Postgres,
    proxy::Proxy,
    wait::eventually,
};
use serde_json::{Value, json};

use crate::{access::token, fleet::Fleet};

/// A leader and a follower of two.
struct Pair {
    fleet: Fleet,
    leader: usize,
    follower: usize,
}

impl Pair {
    fn start(flags: &[&str]) -> Self {
        let fleet = Fleet::start_with(2, flags);
        let leader = fleet.leader();
        Self {
            fleet,
            leader,
            follower: 1 - leader,
        }
    }

    fn leader(&self) -> Api {
        self.fleet.proxies[self.leader].api()
    }

    fn follower(&self) -> Api {
        self.fleet.proxies[self.follower].api()
    }

    /// Number of reads that the follower has carried out itself.
    fn reads(&self) -> u64 {
        let reads = figure(&page(&self.follower()), "achromat_fleet_reads_total");
        reads.expect("it tells them")
    }

    /// The same, as the leader knows it.
    fn told_reads(&self) -> Option<u64> {
        let name = format!("proxy-{}", self.follower);
        let told = self.leader().get("/admin/fleet").ok();
        let mut proxies = told["proxies"].as_array().expect("proxies").iter();
        let line = proxies.find(|proxy| proxy["name"] == name.as_str());
        line.and_then(|line| line["reads"].as_u64())
    }

    /// Asks the follower until it has carried the read out itself: on a busy machine the leader gets some.
    fn ask_follower(&self, method: &str, path: &str, body: &Value) -> Answer {
        let what = format!("the follower carries out {path}");
        eventually(&what, Duration::from_secs(20), || {
            let before = self.reads();
            let answer = self.follower().call(method, path, body);
            if self.reads() > before {
                Ok(answer)
            } else {
                Err(format!("{answer:?}"))
            }
        })
    }
}

/// The page of a proxy's figures.
fn page(api: &Api) -> String {
    let told = api.get("/metrics").ok();
    told.as_str().expect("text").to_owned()
}

/// A figure of such a page.
fn figure(page: &str, name: &str) -> Option<u64> {
    let line = page.lines().find(|line| line.starts_with(name))?;
    let number = line.rsplit(' ').next()?;
    number.split('.').next()?.parse().ok()
}

fn filled(api: &Api, name: &str) -> String {
    let id = api.create(name);
    let numbers: Vec<u16> = (0..300).collect();
    let records = json!({
        "ids": numbers.iter().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": numbers.iter().map(|n| [f32::from(*n), 1.0, -0.5]).collect::<Vec<_>>(),
        "documents": numbers.iter().map(|n| format!("{n} ").repeat(200)).collect::<Vec<_>>(),
    });
    api.records(&id, "add", &records).ok();
    id
}

/// A follower answers every kind of read as the leader does, and carries out those itself that an instance answers.
#[test]
fn a_follower_answers_as_its_leader() {
    let pair = Pair::start(&[]);
    let (leader, follower) = (pair.leader(), pair.follower());
    let id = filled(&leader, "notes");
    leader.wait_nothing_owed(Duration::from_secs(30));
    let records = format!("$D/collections/{id}");
    let questions: Vec<(&str, String, Value)> = vec![
        (
            "POST",
            format!("{records}/get"),
            json!({ "ids": ["r1", "r2", "none"] }),
        ),
        // Larger than what is taken in as a whole.
        (
            "POST",
            format!("{records}/get"),
            json!({ "include": ["documents"] }),
        ),
        (
            "POST",
            format!("{records}/query"),
            json!({ "query_embeddings": [[3.0, 1.0, 0.0]], "n_results": 5 }),
        ),
        ("GET", format!("{records}/count"), Value::Null),
        ("GET", "$D/collections".to_owned(), Value::Null),
        ("GET", "$D/collections/notes".to_owned(), Value::Null),
    ];
    for (method, path, body) in &questions {
        let ours = pair.ask_follower(method, path, body);
        let theirs = leader.call(method, path, body);
        assert_eq!(ours.status, 200, "{path}: {}", ours.body);
        assert_eq!(ours.body, theirs.body, "{path}");
    }

    // What is not a plain success the leader answers, in its own words.
    let refused: Vec<(&str, String, Value)> = vec![
        ("GET", "$D/collections/nobody".to_owned(), Value::Null),
        ("GET", "$D/collections_count".to_owned(), Value::Null),
        (
            "POST",
            format!("{records}/query"),
            json!({ "query_embeddings": [[1.0]] }),
        ),
        ("POST", format!("{records}/get"), json!({ "ids": 7 })),
        ("GET", format!("{records}/functions/none"), Value::Null),
        ("GET", "/api/v2/tenants/none".to_owned(), Value::Null),
        ("GET", "/api/v2/nothing".to_owned(), Value::Null),
        (
            "GET",
            "/fleet/view?proxy=00000000-0000-0000-0000-000000000001&since=0&reads=0&silent=0"
                .to_owned(),
            Value::Null,
        ),
    ];
    for (method, path, body) in &refused {
        let [ours, theirs] = [&follower, &leader].map(|api| api.call(method, path, body));
        assert_eq!(
            (ours.status, ours.body),
            (theirs.status, theirs.body),
            "{path}"
        );
    }
}

/// A client that writes through one proxy and reads through another sees what it wrote, each time.
#[test]
fn a_follower_shows_what_was_just_written_elsewhere() {
    let pair = Pair::start(&[]);
    let (leader, follower) = (pair.leader(), pair.follower());
    let id = leader.create("notes");
    let before = pair.reads();
    for number in 0..200 {
        let writer = if number % 2 == 0 { &leader } else { &follower };
        let text = format!("version {number}");
        let record = json!({ "ids": ["x"], "embeddings": [[1.0, 2.0]], "documents": [text] });
        writer.records(&id, "upsert", &record).ok();
        let found = follower.records(&id, "get", &json!({ "ids": ["x"] })).ok();
        assert_eq!(found["documents"], json!([text]));
        if number % 20 == 0 {
            let renamed = format!("notes-{number}");
            let change = json!({ "new_name": renamed });
            leader.put(&format!("$D/collections/{id}"), &change).ok();
            let found = follower.get(&format!("$D/collections/{renamed}")).ok();
            assert_eq!(found["id"], id.as_str());
        }
    }
    let reads = pair.reads() - before;
    println!("{reads} of 210 reads were carried out by the follower");
    assert!(reads > 0);
}

/// An instance that is frozen, and one that is killed, costs a follower's clients no request and little time.
#[test]
fn a_follower_reads_while_an_instance_fails() {
    let mut pair = Pair::start(&[]);
    let (leader, follower) = (pair.leader(), pair.follower());
    let id = filled(&leader, "notes");
    leader.wait_nothing_owed(Duration::from_secs(30));
    let read_for = |span: Duration| {
        let until = Instant::now() + span;
        let (mut worst, mut count) = (Duration::ZERO, 0);
        while Instant::now() < until {
            let began = Instant::now();
            let question = json!({ "ids": [format!("r{}", count % 300)] });
            let found = follower.records(&id, "get", &question).ok();
            assert_eq!(found["ids"][0], question["ids"][0]);
            worst = worst.max(began.elapsed());
            count += 1;
        }
        (count, worst)
    };
    pair.fleet.instances[1].freeze();
    let frozen = read_for(Duration::from_secs(5));
    pair.fleet.instances[1].thaw();
    pair.fleet.instances[1].kill();
    let killed = read_for(Duration::from_secs(3));
    println!("frozen: {frozen:?}, killed: {killed:?}");
    for (_, worst) in [frozen, killed] {
        assert!(worst < Duration::from_secs(2), "{worst:?}");
    }
    let before = pair.reads();
    read_for(Duration::from_secs(1));
    assert!(pair.reads() > before, "it reads from the other instance");
}

/// With tokens, a follower lets in by its own list whom it knows, and has the leader refuse all others.
#[test]
fn a_follower_lets_nobody_in_whom_the_leader_would_not() {
    let folder = folder();
    let file = folder.path().join("tokens.toml");
    let reader = token(&file, "reader", &["read */*/notes"]);
    let stranger = token(&file, "stranger", &["read */*/others"]);
    let writer = token(&file, "writer", &["read,write,collections */*/*"]);
    let flag = format!("--access-tokens-file={}", file.display());
    let pair = Pair::start(&[&flag]);
    let id = filled(&pair.leader().with_token(&writer), "notes");
    let count = |token: Option<&str>| {
        let api = Api::at(pair.fleet.proxies[pair.follower].port);
        let api = match token {
            Some(token) => api.with_token(token),
            None => api.as_anybody(),
        };
        api.get(&format!("$D/collections/{id}/count")).status
    };
    eventually(
        "the follower lets the reader in",
        Duration::from_secs(20),
        || {
            let before = pair.reads();
            assert_eq!(count(Some(&reader)), 200);
            if pair.reads() > before {
                Ok(())
            } else {
                Err(before)
            }
        },
    );
    let before = pair.reads();
    assert_eq!(count(Some(&stranger)), 403);
    assert_eq!(count(Some("nobody's")), 401);
    assert_eq!(count(None), 401);
    assert_eq!(pair.reads(), before);
}

/// Each proxy tells its own figures, so that those of a fleet can be added up.
#[test]
fn a_followers_figures_are_its_own() {
    let pair = Pair::start(&[]);
    let id = filled(&pair.leader(), "notes");
    pair.leader().wait_nothing_owed(Duration::from_secs(30));
    let count = format!("$D/collections/{id}/count");
    assert_eq!(
        pair.ask_follower("GET", &count, &Value::Null).ok(),
        json!(300)
    );
    let reads = pair.reads();
    eventually(
        "the leader knows of them",
        Duration::from_secs(10),
        || match pair.told_reads() {
            Some(told) if told == reads => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    for (api, leads, tells_instances) in [(pair.follower(), 0, false), (pair.leader(), 1, true)] {
        let page = page(&api);
        assert_eq!(figure(&page, "achromat_fleet_leads"), Some(leads));
        let instances = figure(&page, "achromat_instance_requests_total");
        assert_eq!(instances.is_some(), tells_instances, "{page}");
    }
}

/// Reads are refused, where no old answer is wanted, as long as nobody knows who leads.
#[test]
fn reads_are_refused_without_the_database_where_that_is_wanted() {
    let mut pair = Pair::start(&["--fleet-reads-when-blind=refuse"]);
    let id = filled(&pair.leader(), "notes");
    let apis = [pair.leader(), pair.follower()];
    let count = |api: &Api| api.get(&format!("$D/collections/{id}/count"));
    pair.fleet.postgres.kill();
    for api in &apis {
        let words = eventually("reads are refused", Duration::from_secs(20), || {
            let told = count(api);
            match told.status {
                503 => Ok(told.refused(503)),
                _ => Err(format!("{told:?}")),
            }
        });
        assert!(words.contains("another proxy may lead"), "{words}");
    }
    pair.fleet.postgres.up();
    for api in &apis {
        eventually("reads are served", Duration::from_secs(20), || {
            let told = count(api);
            if told.status == 200 {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        });
        assert_eq!(count(api).ok(), json!(300));
    }
}

/// Proxies know each other by their certificates. One that does not trust the leader's passes nothing on to it, and
/// says so.
#[test]
fn proxies_of_a_fleet_know_each_other_by_their_certificates() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    replace(&path("authority.pem"), &authority.pem);
    replace(&path("stranger.pem"), &Authority::new().pem);
    authority.renew(folder.path());
    let postgres = Postgres::start().expect("PostgreSQL runs here");
    let instances = servers(folder.path(), 2);
    let named: Vec<_> = NAMES
        .into_iter()
        .zip(instances.iter().map(Chroma::url))
        .collect();
    let start = |name: &str, trusted: &str| {
        let file = |flag: &str, name: &str| format!("--{flag}={}", path(name).display());
        let flags = [
            file("tls-certificate", "certificate.pem"),
            file("tls-key", "key.pem"),
            file("fleet-ca-file", trusted),
            format!("--admin-listen=127.0.0.1:{}", free_port()),
            "--reads-deadline-ms=2000".to_owned(),
            "--writes-deadline-ms=2000".to_owned(),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Proxy::join((folder.path(), name), &postgres.url(), &named, &flags)
    };
    let leader = start("leader", "authority.pem");
    eventually("it leads", Duration::from_secs(20), || {
        match postgres.leader().as_str() {
            "leader" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let (follower, other) = (
        start("follower", "authority.pem"),
        start("other", "stranger.pem"),
    );
    let [leader, follower, stranger] =
        [&leader, &follower, &other].map(|proxy| Api::encrypted(proxy.port, &authority.pem));
    let id = filled(&follower, "notes");
    for api in [&leader, &follower] {
        assert_eq!(
            api.get(&format!("$D/collections/{id}/count")).ok(),
            json!(300)
        );
    }
    let refused = stranger
        .get(&format!("$D/collections/{id}/count"))
        .refused(503);
    assert!(refused.contains("No proxy of the fleet"), "{refused}");
    assert!(
        other.told().to_lowercase().contains("certificate"),
        "{}",
        other.told()
    );
}
