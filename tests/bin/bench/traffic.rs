//! `bench traffic`: the same requests to a Chroma server itself and to what stands in front of such
//! servers, in turn, in one run. What is told is ratios: the machine may be slow, or slow for a while.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::chaos::message::Message;
use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::json;

use super::peers::{Peer, Peers, RECORDS, embedding};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn command() -> Command {
    Command::new("traffic")
        .about("Reads and writes through Achromat, beside Chroma itself and plain reverse proxies: Envoy, and nginx and HAProxy where they are on the path")
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .default_value("7")
                .value_parser(value_parser!(u32).range(1..))
                .help("How often each is measured, in turn"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .default_value("1")
                .value_parser(value_parser!(u64).range(1..))
                .help("How long each time"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .help("Only what has this in its name"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Writes the figures to a file as well"),
        )
}

/// What is asked, by how many at once.
struct Profile {
    name: &'static str,
    connections: usize,
    request: fn(&Peer, usize) -> Vec<u8>,
}

const PROFILES: [Profile; 9] = [
    profile("get one by id", 1, get),
    profile("get one by id", 8, get),
    profile("get one by id", 64, get),
    profile("query ten", 1, query),
    profile("query ten", 8, query),
    profile("upsert one", 1, upsert_one),
    profile("upsert one", 8, upsert_one),
    profile("upsert one", 32, upsert_one),
    profile("upsert a hundred", 1, upsert_hundred),
];

const fn profile(
    name: &'static str,
    connections: usize,
    request: fn(&Peer, usize) -> Vec<u8>,
) -> Profile {
    Profile {
        name,
        connections,
        request,
    }
}

fn post(peer: &Peer, act: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {}/{act} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        peer.records,
        body.len()
    )
    .into_bytes()
}

fn get(peer: &Peer, number: usize) -> Vec<u8> {
    let body =
        json!({ "ids": [format!("r{}", number % RECORDS)], "include": ["metadatas", "documents"] });
    post(peer, "get", &body)
}

fn query(peer: &Peer, number: usize) -> Vec<u8> {
    let body = json!({ "query_embeddings": [embedding(number)], "n_results": 10 });
    post(peer, "query", &body)
}

fn upsert(peer: &Peer, number: usize, count: usize) -> Vec<u8> {
    let numbers = (0..count).map(|at| number * count + at);
    let ids: Vec<_> = numbers.clone().map(|n| format!("w{}", n % 5000)).collect();
    let embeddings: Vec<_> = numbers.map(embedding).collect();
    post(
        peer,
        "upsert",
        &json!({ "ids": ids, "embeddings": embeddings }),
    )
}

fn upsert_one(peer: &Peer, number: usize) -> Vec<u8> {
    upsert(peer, number, 1)
}

fn upsert_hundred(peer: &Peer, number: usize) -> Vec<u8> {
    upsert(peer, number, 100)
}

/// One connection, used again and again.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let buffer = vec![0; 64 * 1024];
        Ok(Self { stream, buffer })
    }

    /// Sends a request, and takes all of its answer, which must be a success.
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request)?;
        let mut answer = Message::answer();
        while !answer.is_whole() {
            let count = self.stream.read(&mut self.buffer)?;
            anyhow::ensure!(count > 0, "the connection ended within an answer");
            answer.feed(&self.buffer[..count]);
        }
        let status = answer.status().unwrap_or(0);
        anyhow::ensure!(
            (200..300).contains(&status),
            "an answer has status {status}"
        );
        Ok(())
    }
}

/// What a round came to.
#[derive(Default)]
struct Round {
    per_second: f64,
    /// Sorted, in microseconds.
    times_us: Vec<f64>,
}

/// Asks by many connections at once for a while, each as soon as its last answer is there.
fn round(peer: &Peer, profile: &Profile, span: Duration) -> anyhow::Result<Round> {
    let next = AtomicUsize::new(0);
    let clients: anyhow::Result<Vec<_>> = (0..profile.connections)
        .map(|_| Client::connect(peer.port))
        .collect();
    let begun = Instant::now();
    let all: anyhow::Result<Vec<Vec<f64>>> = thread::scope(|scope| {
        let next = &next;
        let work = |mut client: Client| {
            scope.spawn(move || -> anyhow::Result<Vec<f64>> {
                let mut times = Vec::new();
                while begun.elapsed() < span {
                    let request = (profile.request)(peer, next.fetch_add(1, Relaxed));
                    let sent = Instant::now();
                    client.ask(&request)?;
                    times.push(sent.elapsed().as_secs_f64() * 1e6);
                }
                Ok(times)
            })
        };
        let working: Vec<_> = clients?.into_iter().map(work).collect();
        let ended = working.into_iter().map(|thread| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
        });
        ended.collect()
    });
    let all = all.with_context(|| format!("{} {}", peer.name, profile.name))?;
    let spent = begun.elapsed().as_secs_f64();
    let mut times_us: Vec<f64> = all.into_iter().flatten().collect();
    times_us.sort_by(f64::total_cmp);
    let count = u32::try_from(times_us.len()).unwrap_or(u32::MAX);
    Ok(Round {
        per_second: f64::from(count) / spent,
        times_us,
    })
}

/// One line of the table.
#[derive(Serialize)]
struct Line {
    profile: &'static str,
    connections: usize,
    peer: &'static str,
    per_second: f64,
    /// Of the direct one's throughput: the median of the rounds, and the least and the most.
    ratio: [f64; 3],
    p50_us: f64,
    p99_us: f64,
}

/// What this share of the values is below.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

/// Measures one profile: each peer in turn, so that a slow moment of the machine hits all of them.
fn measure(
    peers: &Peers,
    profile: &Profile,
    rounds: u32,
    span: Duration,
) -> anyhow::Result<Vec<Line>> {
    let mut found: Vec<Vec<Round>> = peers.all.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (peer, found) in peers.all.iter().zip(&mut found) {
            found.push(round(peer, profile, span)?);
        }
    }
    let direct: Vec<f64> = found[0].iter().map(|round| round.per_second).collect();
    let line = |(peer, rounds): (&Peer, &Vec<Round>)| {
        let ratios = rounds
            .iter()
            .zip(&direct)
            .map(|(round, direct)| round.per_second / direct);
        let ratios = sorted(ratios.collect());
        let times = sorted(
            rounds
                .iter()
                .flat_map(|round| round.times_us.iter().copied())
                .collect(),
        );
        Line {
            profile: profile.name,
            connections: profile.connections,
            peer: peer.name,
            per_second: quantile(&sorted(rounds.iter().map(|r| r.per_second).collect()), 0.5),
            ratio: [
                quantile(&ratios, 0.5),
                quantile(&ratios, 0.0),
                quantile(&ratios, 1.0),
            ],
            p50_us: quantile(&times, 0.5),
            p99_us: quantile(&times, 0.99),
        }
    };
    Ok(peers.all.iter().zip(&found).map(line).collect())
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let rounds = *matches
        .get_one::<u32>("rounds")
        .context("it has a default")?;
    let seconds = *matches
        .get_one::<u64>("seconds")
        .context("it has a default")?;
    let only = matches.get_one::<String>("only");
    let peers = Peers::start();
    println!(
        "{:<18} {:>5}  {:<9} {:>9}  {:>7} {:>15}  {:>9} {:>9}",
        "", "conns", "", "per s", "ratio", "from - to", "p50 us", "p99 us"
    );
    let mut lines = Vec::new();
    for profile in &PROFILES {
        if only.is_some_and(|only| !profile.name.contains(only.as_str())) {
            continue;
        }
        for line in measure(&peers, profile, rounds, Duration::from_secs(seconds))? {
            let [ratio, from, to] = line.ratio;
            println!(
                "{:<18} {:>5}  {:<9} {:>9.0}  {ratio:>7.3} {:>15}  {:>9.0} {:>9.0}",
                line.profile,
                line.connections,
                line.peer,
                line.per_second,
                format!("{from:.2} - {to:.2}"),
                line.p50_us,
                line.p99_us,
            );
            lines.push(line);
        }
    }
    if let Some(file) = matches.get_one::<PathBuf>("json") {
        std::fs::write(file, serde_json::to_vec_pretty(&lines)?)?;
    }
    Ok(())
}
