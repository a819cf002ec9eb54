//! The load of the benchmarks: requests over connections that are kept, each as soon as the last
//! one is answered (a closed loop), or by a schedule that waits for nobody (an open loop).

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::chaos::message::Message;
use anyhow::Context as _;

use super::{figures::sorted, peers::Peer, requests::Request};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of an open loop, at least: one that waits must not hold up the schedule.
const OPEN_CONNECTIONS_MIN: usize = 16;

/// What is asked, by how many at once.
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    pub(super) request: Request,
}

/// A profile, in one line of a table.
pub(super) const fn profile(name: &'static str, connections: usize, request: Request) -> Profile {
    Profile {
        name,
        connections,
        request,
    }
}

/// What a round came to.
#[derive(Default)]
pub(super) struct Round {
    pub(super) per_second: f64,
    /// Sorted, in microseconds.
    pub(super) times_us: Vec<f64>,
}

/// One connection, used again and again.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where a head ends, and how long the body behind it is; none when that is not said in so many
/// bytes, or not yet.
pub(super) fn framing(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length = header(&bytes[..end], b"content-length")?;
    Some((end, std::str::from_utf8(length).ok()?.parse().ok()?))
}

/// A header's value.
pub(super) fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

impl Client {
    /// Connects to this port of 127.0.0.1.
    pub(super) fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let buffer = vec![0; 64 * 1024];
        Ok(Self { stream, buffer })
    }

    /// Sends a request, and takes all of its answer, which must be a success.
    pub(super) fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request)?;
        let count = self.read()?;
        let mut answer = Message::answer();
        let status = match framing(&self.buffer[..count]) {
            // The body is not looked at: it may be a megabyte.
            Some((end, length)) => {
                answer.feed(&self.buffer[..end]);
                let mut left = (end + length).saturating_sub(count);
                while left > 0 {
                    left = left.saturating_sub(self.read()?);
                }
                answer.status()
            }
            None => {
                answer.feed(&self.buffer[..count]);
                while !answer.is_whole() {
                    let count = self.read()?;
                    answer.feed(&self.buffer[..count]);
                }
                answer.status()
            }
        };
        anyhow::ensure!(
            status.is_some_and(|status| (200..300).contains(&status)),
            "an answer has status {status:?}"
        );
        Ok(())
    }

    /// Sends a request, and returns the status and the whole of its answer, whatever it is.
    pub(super) fn ask_whole(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request)?;
        let mut answer = Message::answer();
        let mut bytes = Vec::new();
        while !answer.is_whole() {
            let count = self.read()?;
            answer.feed(&self.buffer[..count]);
            bytes.extend_from_slice(&self.buffer[..count]);
        }
        let status = answer.status().context("an answer without a status")?;
        Ok((status, bytes))
    }

    fn read(&mut self) -> anyhow::Result<usize> {
        let count = self.stream.read(&mut self.buffer)?;
        anyhow::ensure!(count > 0, "the connection ended within an answer");
        Ok(count)
    }
}

/// When each request is sent.
#[derive(Clone, Copy)]
enum Pace {
    /// As soon as the connection's last answer is there.
    Closed,
    /// So many in a second, over all connections, whatever becomes of them. The time of a request
    /// runs from the moment at which it was due, so that one that had to wait for a slow one before
    /// it counts as slow as well.
    Open(f64),
}

impl Pace {
    /// When the request with this number is due, since the start.
    fn due(self, number: usize) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open(rate) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                Some(Duration::from_secs_f64(f64::from(number) / rate))
            }
        }
    }
}

/// Asks by many connections at once for a while, each as soon as its last answer is there.
pub(super) fn closed(peer: &Peer, profile: &Profile, span: Duration) -> anyhow::Result<Round> {
    round(peer, profile, span, profile.connections, Pace::Closed)
}

/// Asks so often in a second for a while.
pub(super) fn open(
    peer: &Peer,
    profile: &Profile,
    span: Duration,
    rate: f64,
) -> anyhow::Result<Round> {
    let connections = profile.connections.max(OPEN_CONNECTIONS_MIN);
    round(peer, profile, span, connections, Pace::Open(rate))
}

fn round(
    peer: &Peer,
    profile: &Profile,
    span: Duration,
    connections: usize,
    pace: Pace,
) -> anyhow::Result<Round> {
    let next = AtomicUsize::new(0);
    let clients: anyhow::Result<Vec<_>> = (0..connections)
        .map(|_| Client::connect(peer.port))
        .collect();
    let begun = Instant::now();
    let all: anyhow::Result<Vec<Vec<f64>>> = thread::scope(|scope| {
        let work = |client| {
            scope.spawn(|| {
                let next = || next.fetch_add(1, Relaxed);
                ask_on(client, peer, profile, begun, span, pace, next)
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
    let times_us = sorted(all.into_iter().flatten().collect());
    let count = u32::try_from(times_us.len()).unwrap_or(u32::MAX);
    Ok(Round {
        per_second: f64::from(count) / spent,
        times_us,
    })
}

/// Asks on one connection until the time is up; returns how long each took, in microseconds.
fn ask_on(
    mut client: Client,
    peer: &Peer,
    profile: &Profile,
    begun: Instant,
    span: Duration,
    pace: Pace,
    next: impl Fn() -> usize,
) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    while begun.elapsed() < span {
        let number = next();
        let request = (profile.request)(peer, number);
        let sent = match pace.due(number) {
            None => Instant::now(),
            Some(due) if due > span => break,
            Some(due) => {
                thread::sleep((begun + due).saturating_duration_since(Instant::now()));
                begun + due
            }
        };
        client.ask(&request)?;
        times.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Lets this process sleep to the microsecond, where the system can be told so; sleeps are up to
/// 50 µs too long otherwise. What is started afterwards inherits it: start the servers before.
pub(super) fn sleep_exactly() {
    if std::fs::write("/proc/self/timerslack_ns", "1000").is_err() {
        println!("sleeps are as exact as the system has them: times may be 50 µs too long");
    }
}

/// Does the work with these numbers by many at once; returns how long that took, in seconds.
pub(super) fn by_many<S: Send>(
    workers: usize,
    numbers: std::ops::Range<usize>,
    start: impl Fn() -> anyhow::Result<S> + Sync,
    work: impl Fn(&mut S, usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<f64> {
    let next = AtomicUsize::new(numbers.start);
    let begun = Instant::now();
    thread::scope(|scope| {
        let worker = || -> anyhow::Result<()> {
            let mut state = start()?;
            while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|n| *n < numbers.end) {
                work(&mut state, number)?;
            }
            Ok(())
        };
        let working: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        for thread in working {
            thread.join().ok().context("a worker panicked")??;
        }
        Ok(begun.elapsed().as_secs_f64())
    })
}
