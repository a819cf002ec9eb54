//! `bench storm`: two hundred clients at once, and what is left when they have gone, beside a Chroma
//! server by itself in the same storm. An honest answer under such a load is a success, or a 503 that
//! says when to come back; nobody waits for that here, each client goes on at once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, folder},
    wait::eventually,
};
use anyhow::Context as _;
use clap::{ArgMatches, Command, value_parser};
use serde::Serialize;

use super::{
    figures::{
        ACHROMAT, DIRECT, count, json_flag, number_flag, quantile, sorted, value, write_json,
    },
    load::{Client, header},
    peers::{Peer, fill},
    requests::{Request, get, upsert_one},
};

/// Records of each collection before the storm.
const RECORDS: usize = 1000;

/// Requests whose median is the latency of a lone one.
const LONE: usize = 50;

/// The same after the storm, where it must be seen soon.
const LONE_AFTER: usize = 10;

/// For everything to be as it was.
const PATIENCE: Duration = Duration::from_mins(5);

/// Answers of each kind that are told.
const EXAMPLES: usize = 3;

pub(super) fn command() -> Command {
    Command::new("storm")
        .about("Very many clients at once, what they are told, and how soon it is over when they have gone")
        .arg(number_flag("seconds", "20", "How long it lasts"))
        .arg(number_flag("clients", "200", "How many at once"))
        .arg(number_flag("collections", "8", "How many collections they use"))
        .arg(number_flag("reads", "70", "How many of a hundred requests are reads").value_parser(value_parser!(u32).range(0..=100)))
        .arg(json_flag())
}

/// What came of the requests of one kind.
#[derive(Default, Serialize)]
struct Tally {
    successes: usize,
    /// 503 with `Retry-After`.
    come_back: usize,
    /// By status, or by what became of the connection.
    others: BTreeMap<String, usize>,
    examples: Vec<String>,
    #[serde(skip)]
    times_ms: Vec<f64>,
}

impl Tally {
    /// Counts one answer.
    fn count(&mut self, answer: anyhow::Result<(u16, Vec<u8>)>, took: Duration) {
        let (what, example) = match answer {
            Ok((200..=299, _)) => {
                self.successes += 1;
                self.times_ms.push(took.as_secs_f64() * 1e3);
                return;
            }
            Ok((503, bytes)) if header(&bytes, b"retry-after").is_some() => {
                self.come_back += 1;
                return;
            }
            Ok((status, bytes)) => {
                let text = String::from_utf8_lossy(&bytes);
                let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
                (status.to_string(), format!("{status} {body:.300}"))
            }
            Err(error) => ("no answer".to_owned(), format!("{error:#}")),
        };
        *self.others.entry(what).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }

    fn add(&mut self, other: Self) {
        self.successes += other.successes;
        self.come_back += other.come_back;
        for (what, number) in other.others {
            *self.others.entry(what).or_default() += number;
        }
        self.times_ms.extend(other.times_ms);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    fn print(&self, what: &str, spent: f64) {
        let times = sorted(self.times_ms.clone());
        println!(
            "{what}: {} successes ({:.0}/s), p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms; {} told to come back",
            self.successes,
            count(self.successes) / spent,
            quantile(&times, 0.5),
            quantile(&times, 0.99),
            quantile(&times, 1.0),
            self.come_back
        );
        for (other, number) in &self.others {
            println!("{what}: {number} times {other}");
        }
        for example in &self.examples {
            println!("  for example: {example}");
        }
    }
}

/// Reads, and writes.
type Kinds = [Tally; 2];

/// One of the clients: it asks as fast as it is answered, until the end.
fn client(peers: &[Peer], number: usize, reads: usize, is_over: &AtomicBool) -> Kinds {
    let mut kinds = Kinds::default();
    let mut connection = None;
    let mut turn = number * 7919;
    while !is_over.load(Relaxed) {
        turn += 1;
        let peer = &peers[turn % peers.len()];
        // Spread evenly, and differently for each client.
        let is_read = turn.wrapping_mul(37) % 100 < reads;
        let request = if is_read {
            get(peer, turn)
        } else {
            upsert_one(peer, turn)
        };
        let begun = Instant::now();
        let answer = ask(&mut connection, peer.port, &request);
        if answer.is_err() {
            connection = None;
        }
        kinds[usize::from(!is_read)].count(answer, begun.elapsed());
    }
    kinds
}

fn ask(
    connection: &mut Option<Client>,
    port: u16,
    request: &[u8],
) -> anyhow::Result<(u16, Vec<u8>)> {
    if connection.is_none() {
        *connection = Some(Client::connect(port).context("connecting")?);
    }
    let client = connection.as_mut().context("there is one")?;
    client.ask_whole(request)
}

/// The median of a few lone requests, in microseconds.
fn lone(peer: &Peer, request: Request, times: usize) -> anyhow::Result<f64> {
    let mut client = Client::connect(peer.port)?;
    let mut took = Vec::new();
    for number in 0..times {
        let request = request(peer, number);
        let begun = Instant::now();
        client.ask(&request)?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&sorted(took), 0.5))
}

/// The same when all of these are asked at once: the slowest one's.
fn lone_at_all(peers: &[Peer], request: Request, times: usize) -> anyhow::Result<f64> {
    thread::scope(|scope| {
        let asking = |peer| scope.spawn(move || lone(peer, request, times));
        let asking: Vec<_> = peers.iter().map(asking).collect();
        let mut slowest = 0.0_f64;
        for thread in asking {
            slowest = slowest.max(thread.join().ok().context("a client panicked")??);
        }
        Ok(slowest)
    })
}

/// The medians of a few lone requests, in microseconds.
#[derive(Clone, Copy, Default, Serialize)]
struct Lone {
    here_us: f64,
    servers_us: f64,
}

impl Lone {
    /// Whether it is as it was before: within twice that, or twice what the servers themselves take now.
    fn is_over(&self, before: &Self) -> bool {
        self.here_us <= 2.0 * before.here_us.max(self.servers_us)
    }
}

impl fmt::Display for Lone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (here, servers) = (self.here_us, self.servers_us);
        write!(f, "{here:.0} us (the servers themselves {servers:.0})")
    }
}

/// When the storm was over for one kind of request, and what a lone one takes then.
#[derive(Clone, Copy, Default, Serialize)]
struct Again {
    after_ms: f64,
    lone: Lone,
}

/// Who is in the storm.
struct Target<'a> {
    name: &'static str,
    /// The collections that it goes to.
    peers: Vec<Peer>,
    /// One that it leaves alone, for lone requests.
    aside: Peer,
    /// The same at each server itself, in a collection that only it has. What a lone write costs there is
    /// not the same after a storm: 3.3 ms at two servers that are asked at once, and 7.7 to 14.5 ms when
    /// each has taken 1,000 to 2,700 writes of 32 clients, with no Achromat anywhere.
    servers: Vec<Peer>,
    /// What it is, when it is Achromat.
    cluster: Option<&'a Cluster>,
}

impl<'a> Target<'a> {
    fn new(
        name: &'static str,
        port: u16,
        servers: &[Chroma],
        collections: usize,
        cluster: Option<&'a Cluster>,
    ) -> Self {
        let peer = |port, collection: &str| Peer {
            name,
            port,
            records: fill(&Api::at(port), collection, RECORDS),
        };
        let stormy = |number| peer(port, &format!("storm-{number}"));
        let own = |server: &Chroma| peer(server.port, "own");
        Self {
            name,
            peers: (0..collections).map(stormy).collect(),
            aside: peer(port, "aside"),
            servers: servers.iter().map(own).collect(),
            cluster,
        }
    }

    /// What lone requests take here, and at the servers themselves.
    fn lone(&self, request: Request, times: usize) -> anyhow::Result<Lone> {
        Ok(Lone {
            here_us: lone(&self.aside, request, times)?,
            servers_us: lone_at_all(&self.servers, request, times)?,
        })
    }

    fn memory_kb(&self) -> u64 {
        self.cluster
            .map_or(0, |cluster| cluster.proxy.resident_kb())
    }
}

/// What was found.
#[derive(Serialize)]
struct Figures {
    target: &'static str,
    clients: usize,
    seconds: f64,
    reads: Tally,
    writes: Tally,
    memory_before_kb: u64,
    memory_most_kb: u64,
    memory_after_kb: u64,
    /// A lone get and a lone upsert, before, and as soon as it was over for them.
    before: [Lone; 2],
    again: [Again; 2],
    /// Until nothing was owed any more.
    settled_ms: f64,
}

/// The storm itself; returns what the clients were told, for how long, and the most memory.
fn storm(
    target: &Target<'_>,
    clients: usize,
    reads: usize,
    span: Duration,
) -> anyhow::Result<(Kinds, f64, u64)> {
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        let working: Vec<_> = (0..clients)
            .map(|number| {
                scope.spawn({
                    let is_over = &is_over;
                    move || client(&target.peers, number, reads, is_over)
                })
            })
            .collect();
        let mut memory_most_kb = 0;
        while begun.elapsed() < span {
            memory_most_kb = memory_most_kb.max(target.memory_kb());
            thread::sleep(Duration::from_millis(50));
        }
        is_over.store(true, Relaxed);
        let mut all = Kinds::default();
        for thread in working {
            let kinds = thread.join().ok().context("a client panicked")?;
            all.iter_mut()
                .zip(kinds)
                .for_each(|(all, one)| all.add(one));
        }
        Ok((all, begun.elapsed().as_secs_f64(), memory_most_kb))
    })
}

const LONELY: [Request; 2] = [get, upsert_one];

impl Target<'_> {
    /// Waits until it is over for lone requests of both kinds.
    fn recover(&self, since: Instant, before: [Lone; 2]) -> [Again; 2] {
        let mut all = [None; 2];
        eventually("lone requests are as fast as before", PATIENCE, || {
            for ((request, before), again) in LONELY.into_iter().zip(before).zip(&mut all) {
                if again.is_some() {
                    continue;
                }
                let lone = self.lone(request, LONE_AFTER);
                let lone = lone.map_err(|error| format!("{error:#}"))?;
                if !lone.is_over(&before) {
                    return Err(format!("{lone}, and {before} before"));
                }
                let after_ms = since.elapsed().as_secs_f64() * 1e3;
                *again = Some(Again { after_ms, lone });
            }
            Ok(())
        });
        all.map(Option::unwrap_or_default)
    }

    /// Waits until nothing is owed; returns how long since a moment that was, in milliseconds.
    fn settled_ms(&self, since: Instant) -> f64 {
        let Some(cluster) = self.cluster else {
            return 0.0;
        };
        cluster.wait_nothing_owed(PATIENCE);
        since.elapsed().as_secs_f64() * 1e3
    }

    fn measure(&self, clients: usize, reads: usize, span: Duration) -> anyhow::Result<Figures> {
        let mut before = [Lone::default(); 2];
        for (request, before) in LONELY.into_iter().zip(&mut before) {
            *before = self.lone(request, LONE)?;
        }
        let memory_before_kb = self.memory_kb();
        let ([reads, writes], seconds, memory_most_kb) = storm(self, clients, reads, span)?;
        let over = Instant::now();
        let (settled_ms, again) = thread::scope(|scope| {
            let settling = scope.spawn(|| self.settled_ms(over));
            let again = self.recover(over, before);
            (settling.join(), again)
        });
        let figures = Figures {
            target: self.name,
            clients,
            seconds,
            reads,
            writes,
            memory_before_kb,
            memory_most_kb,
            memory_after_kb: self.memory_kb(),
            before,
            again,
            settled_ms: settled_ms.ok().context("it never settled")?,
        };
        figures.print();
        Ok(figures)
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let number =
        |name| -> anyhow::Result<usize> { Ok(usize::try_from(value::<u32>(matches, name)?)?) };
    let (clients, reads) = (number("clients")?, number("reads")?);
    let (collections, span) = (
        number("collections")?,
        Duration::from_secs(value::<u32>(matches, "seconds")?.into()),
    );
    let folder = folder();
    let alone = Chroma::start(folder.path());
    let itself = std::slice::from_ref(&alone);
    let direct = Target::new(DIRECT, alone.port, itself, collections, None);
    let direct = direct.measure(clients, reads, span)?;
    drop(alone);
    let cluster = Cluster::with(2, &["--log-level=warn"]);
    let achromat = Target::new(
        ACHROMAT,
        cluster.proxy.port,
        &cluster.instances,
        collections,
        Some(&cluster),
    );
    cluster.settle();
    let achromat = achromat.measure(clients, reads, span)?;
    cluster.settle();
    println!("both instances hold the same");
    write_json(matches, &[direct, achromat])
}

impl Figures {
    fn print(&self) {
        println!(
            "{}: {} clients for {:.1} s",
            self.target, self.clients, self.seconds
        );
        self.reads.print("reads", self.seconds);
        self.writes.print("writes", self.seconds);
        if self.memory_most_kb > 0 {
            println!(
                "memory: {} KiB before, {} KiB at most, {} KiB after",
                self.memory_before_kb, self.memory_most_kb, self.memory_after_kb
            );
        }
        let all = ["get", "upsert"].iter().zip(self.before).zip(self.again);
        for ((what, before), again) in all {
            println!(
                "a lone {what}: {before} before; {} again {:.0} ms after the end",
                again.lone, again.after_ms
            );
        }
        if self.settled_ms > 0.0 {
            println!("nothing was owed {:.0} ms after the end", self.settled_ms);
        }
    }
}
