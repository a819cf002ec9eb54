//! Attacks on a proxy of this machine by many connections at once, and what its ordinary clients meet meanwhile.
//! An attack ends by itself: every wait in it has a deadline.

mod ordinary;
mod wire;

use std::{
    fmt,
    future::pending,
    io::{Error, ErrorKind, Result},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
    time::{sleep, timeout},
};

use self::ordinary::{Client, Seen};
use crate::{api::Api, proxy::Proxy, wait::eventually};

/// Bytes of an answer that slow readers ask for.
const LARGE_BYTES: usize = 512 * 1024;

/// Collections whose list has as many bytes.
const LISTED: usize = 16;

/// Bytes that the machine keeps for a slow reader.
const RECEIVE_BYTES: u32 = 4096;

/// Pause of an attacker between two bytes.
const DRIP: Duration = Duration::from_millis(500);

/// Time for a connection of an attacker to be made, and its first bytes to be taken.
const OPENING_DEADLINE: Duration = Duration::from_secs(60);

/// Time for which ordinary clients are watched before an attack.
const CALM: Duration = Duration::from_secs(2);

/// Connections that may be open when no attack is on: the ordinary clients' own, and those that ask for figures.
const ORDINARY_MAX: usize = 12;

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection that sends nothing.
    Silent,
    /// A head that comes byte by byte.
    SlowHead,
    /// A body that comes byte by byte.
    SlowBody,
    /// A body in chunks of one byte.
    Chunks,
    /// An answer that is taken byte by byte.
    SlowReader,
    /// An answer that Achromat holds whole, and that is taken byte by byte.
    HeldReader,
    /// Streams of HTTP/2 whose bodies come byte by byte.
    Streams,
    /// Streams of HTTP/2 whose answers are never taken.
    StreamReaders,
    /// Streams of HTTP/2 that are taken back as soon as they are there.
    Resets,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Silent,
        Self::SlowHead,
        Self::SlowBody,
        Self::Chunks,
        Self::SlowReader,
        Self::HeldReader,
        Self::Streams,
        Self::StreamReaders,
        Self::Resets,
    ];

    /// Its name in commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SlowHead => "slow-head",
            Self::SlowBody => "slow-body",
            Self::Chunks => "chunks",
            Self::SlowReader => "slow-reader",
            Self::HeldReader => "held-reader",
            Self::Streams => "h2-streams",
            Self::StreamReaders => "h2-readers",
            Self::Resets => "h2-resets",
        }
    }

    fn is_reader(self) -> bool {
        matches!(
            self,
            Self::SlowReader | Self::HeldReader | Self::StreamReaders
        )
    }
}

/// An attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// The kinds that are at work together.
    pub kinds: Vec<Kind>,
    /// Connections of each kind.
    pub connections: usize,
    /// Time within which the proxy must have closed all of them, once they are there.
    pub deadline: Duration,
}

/// The course of an attack.
#[derive(Debug)]
pub struct Outcome {
    attack: Attack,
    /// Connections that were made and took their first bytes.
    pub opened: usize,
    /// The most connections that the proxy had at once.
    pub most: usize,
    /// Time until the proxy had closed all of them; none when it had not by the deadline.
    pub closed_after: Option<Duration>,
    /// The most memory that the proxy has had so far, in KiB.
    pub resident_kb_max: u64,
    /// Requests of ordinary clients that failed, before and during the attack.
    pub failures: Vec<String>,
    before: Seen,
    during: Seen,
}

impl Outcome {
    /// Faults of the proxy; times are none, because they are the machine's too.
    pub fn faults(&self, memory_kb_max: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let wanted = self.attack.kinds.len() * self.attack.connections;
        if self.opened < wanted {
            faults.push(format!("{} of {wanted} connections were made", self.opened));
        }
        if self.closed_after.is_none() {
            let deadline = self.attack.deadline;
            faults.push(format!("connections are open after {deadline:?}"));
        }
        if self.resident_kb_max > memory_kb_max {
            let held = self.resident_kb_max;
            faults.push(format!("{held} KiB of memory, of {memory_kb_max}"));
        }
        if let Some(first) = self.failures.first() {
            let count = self.failures.len();
            faults.push(format!("{count} ordinary requests failed, first: {first}"));
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.attack.kinds.iter().map(|kind| kind.as_str()).collect();
        let (before, during) = (self.before.p99(), self.during.p99());
        let ratio = during.as_secs_f64() / before.as_secs_f64().max(f64::EPSILON);
        let closed = self.closed_after.map_or_else(
            || "not closed".to_owned(),
            |after| format!("closed after {after:.1?}"),
        );
        write!(
            f,
            "{}: {} connections, {} at most at once, {closed}; ordinary GET p99 {before:.1?} before, {during:.1?} during \
             (x{ratio:.1}, {} requests, worst {:.1?}), {} failed; {} MiB at most",
            names.join(" "),
            self.opened,
            self.most,
            self.during.count(),
            self.during.worst(),
            self.failures.len(),
            self.resident_kb_max >> 10,
        )
    }
}

/// Targets of attackers and of ordinary clients.
#[derive(Debug)]
pub struct Stage {
    /// The collection whose record is large, in the default tenant.
    large: String,
    /// The ordinary clients' own, in another tenant.
    ordinary: String,
}

impl Stage {
    /// Makes the collections. A list of the default tenant's is large too.
    pub fn set(api: &Api) -> Self {
        let large = api.create("large");
        let text = "x".repeat(LARGE_BYTES);
        let record = json!({ "ids": ["r"], "embeddings": [[1, 2]], "documents": [text] });
        api.records(&large, "add", &record).ok();
        for number in 0..LISTED {
            let metadata = json!({ "text": "x".repeat(LARGE_BYTES / LISTED) });
            let body = json!({ "name": format!("listed-{number}"), "metadata": metadata });
            api.post("$D/collections", &body).ok();
        }
        let ordinary = ordinary::prepare(api);
        Self { large, ordinary }
    }
}

/// Attacks a proxy, and tells what came of it.
pub fn attack(proxy: &Proxy, stage: &Stage, attack: &Attack) -> Outcome {
    let api = proxy.api();
    let (before, mut failures) = watched(&api, stage, || std::thread::sleep(CALM));
    let mut course = (0, 0, None);
    let besieged = || course = besiege(proxy, attack, &stage.large);
    let (during, failed) = watched(&api, stage, besieged);
    failures.extend(failed);
    let (opened, most, closed_after) = course;
    Outcome {
        attack: attack.clone(),
        opened,
        most,
        closed_after,
        resident_kb_max: proxy.resident_kb_max(),
        failures,
        before,
        during,
    }
}

/// Has ordinary clients at work while something happens.
fn watched(api: &Api, stage: &Stage, happens: impl FnOnce()) -> (Seen, Vec<String>) {
    let client = Client::start(api, &stage.ordinary);
    happens();
    client.stop()
}

/// Number of the clients' connections that are open at a proxy.
fn connections(api: &Api) -> usize {
    let answer = api.try_call("GET", "/metrics", &Value::Null);
    let text = answer.expect("figures").ok();
    let lines = text.as_str().unwrap_or_default().lines();
    let mut figures = lines.filter(|line| line.starts_with("achromat_connections{"));
    let figure = figures.next().and_then(|line| line.split(' ').next_back());
    let whole = figure.map(|figure| figure.trim_end_matches(".0"));
    whole
        .and_then(|figure| figure.parse().ok())
        .expect("a count")
}

/// Opens the connections, and waits until the proxy has closed them. Returns how many were opened, the most that
/// were open at once, and when all were closed.
fn besiege(proxy: &Proxy, attack: &Attack, large: &str) -> (usize, usize, Option<Duration>) {
    let siege = Siege::begin(proxy.port, attack, large);
    let api = proxy.api();
    let mut most = 0;
    eventually("attackers connect", OPENING_DEADLINE, || {
        most = most.max(connections(&api));
        let settled = siege.settled.load(Relaxed);
        (settled == siege.wanted)
            .then_some(())
            .ok_or_else(|| Error::from(ErrorKind::WouldBlock))
    });
    let began = Instant::now();
    let mut closed_after = None;
    while closed_after.is_none() && began.elapsed() < attack.deadline {
        let open = connections(&api);
        most = most.max(open);
        if open <= ORDINARY_MAX {
            closed_after = Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (siege.end(), most, closed_after)
}

/// Attackers at work.
struct Siege {
    runtime: Runtime,
    over: watch::Sender<bool>,
    wanted: usize,
    opened: Arc<AtomicUsize>,
    /// Connections that were made, or could not be.
    settled: Arc<AtomicUsize>,
}

impl Siege {
    fn begin(port: u16, attack: &Attack, large: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (over, watching) = watch::channel(false);
        let siege = Self {
            runtime,
            over,
            wanted: attack.kinds.len() * attack.connections,
            opened: Arc::default(),
            settled: Arc::default(),
        };
        let large: Arc<str> = large.into();
        for number in 0..siege.wanted {
            let kind = attack.kinds[number % attack.kinds.len()];
            let (opened, settled) = (Arc::clone(&siege.opened), Arc::clone(&siege.settled));
            let (mut over, large) = (watching.clone(), Arc::clone(&large));
            siege.runtime.spawn(async move {
                let opening = timeout(OPENING_DEADLINE, open(port, kind, &large)).await;
                settled.fetch_add(1, Relaxed);
                if let Ok(Ok(stream)) = opening {
                    opened.fetch_add(1, Relaxed);
                    tokio::select! {
                        _ = over.wait_for(|over| *over) => {}
                        () = hold(stream, kind) => {}
                    }
                }
            });
        }
        siege
    }

    /// Ends all attackers; returns how many there were.
    fn end(self) -> usize {
        self.over.send_replace(true);
        self.runtime.shutdown_timeout(OPENING_DEADLINE);
        self.opened.load(Relaxed)
    }
}

/// Makes a connection, and sends the bytes that it begins with.
async fn open(port: u16, kind: Kind, large: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if kind.is_reader() {
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = socket.connect(address).await?;
    stream.write_all(&wire::opening(kind, large)).await?;
    Ok(stream)
}

/// Goes on byte by byte, and keeps the connection although the proxy has closed it.
async fn hold(mut stream: TcpStream, kind: Kind) {
    loop {
        sleep(DRIP).await;
        if kind.is_reader() {
            let mut scrap = [0; 64];
            // Nothing may be there: an attacker does not mind.
            let _read = stream.try_read(&mut scrap);
        }
        if stream.write_all(wire::drip(kind)).await.is_err() {
            return pending().await;
        }
    }
}
