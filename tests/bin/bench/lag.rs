//! `bench lag`: how long after its answer a write can be read from every instance, asked directly.
//! The writes come by a schedule; one reader for each instance asks it again and again from the
//! moment of the answer, so a time includes up to two exchanges with Chroma and a short pause.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::Cluster,
};
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use serde::Serialize;
use serde_json::json;

use super::{
    figures::{json_flag, number_flag, quantile, sorted, value, write_json},
    load::{Client, sleep_exactly},
    peers::embedding,
    requests::with_headers,
};

/// For one write to be readable.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at an instance: it is to be looked at, not to be kept busy.
const PAUSE: Duration = Duration::from_micros(500);

/// The name of the collection.
const NAME: &str = "lag";

pub(super) fn command() -> Command {
    Command::new("lag")
        .about("How long after its answer a write can be read from each instance")
        .arg(number_flag("seconds", "20", "How long is written"))
        .arg(number_flag("rate", "50", "Single records in a second"))
        .arg(json_flag())
}

/// A write that has been answered.
#[derive(Clone, Copy)]
struct Written {
    number: u32,
    answered: Instant,
}

/// A median, a high value and the highest, in milliseconds.
#[derive(Serialize)]
struct Milliseconds {
    p50: f64,
    p99: f64,
    most: f64,
}

impl Milliseconds {
    fn of(seconds: Vec<f64>) -> Self {
        let seconds = sorted(seconds);
        let at = |share| quantile(&seconds, share) * 1e3;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            most: at(1.0),
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what:<44} p50 {:>8.2} ms   p99 {:>8.2} ms   at most {:>8.2} ms",
            self.p50, self.p99, self.most
        );
    }
}

/// What was found.
#[derive(Serialize)]
struct Figures {
    writes: usize,
    /// From the moment at which a write was due to its answer.
    write_ms: Milliseconds,
    /// From the answer to when each instance gave the record, the primary first.
    instances_ms: Vec<Milliseconds>,
    /// The later of them.
    everywhere_ms: Milliseconds,
    /// The greatest age of what was owed, as Achromat tells it itself.
    oldest_pending_most_ms: f64,
}

/// Reads each record from an instance as soon as it can; returns the seconds since its answer.
fn read(instance: &Chroma, records: &str, written: &Receiver<Written>) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(instance.port)?;
    let mut times = Vec::new();
    for Written { number, answered } in written {
        let id = format!("w{number}");
        let body = json!({ "ids": [id], "include": [] });
        let request = with_headers(records, "get", "", &body);
        let there = format!("\"{id}\"").into_bytes();
        loop {
            let (_, answer) = client.ask_whole(&request)?;
            if answer.windows(there.len()).any(|part| part == there) {
                break;
            }
            let is_late = answered.elapsed() > PATIENCE;
            anyhow::ensure!(!is_late, "{id} was never there at {}", instance.url());
            thread::sleep(PAUSE);
        }
        times.push(answered.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Writes by the schedule; returns the seconds that each took since it was due.
fn write(
    port: u16,
    records: &str,
    rate: u32,
    seconds: u32,
    readers: &[Sender<Written>],
) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(port)?;
    let mut times = Vec::new();
    let begun = Instant::now();
    for number in 0..rate * seconds {
        let body = json!({
            "ids": [format!("w{number}")],
            "embeddings": [embedding(usize::try_from(number)?)],
        });
        let request = with_headers(records, "upsert", "", &body);
        let due = begun + Duration::from_secs(1) * number / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        client.ask(&request)?;
        let answered = Instant::now();
        times.push((answered - due).as_secs_f64());
        for reader in readers {
            // A reader that has failed says so itself.
            let _sent = reader.send(Written { number, answered });
        }
    }
    Ok(times)
}

/// The greatest age of what is owed, until all is written; in milliseconds.
fn watch(api: &Api, done: &Receiver<()>) -> f64 {
    let mut most: f64 = 0.0;
    while done.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) {
        let page = api.get("/metrics").body;
        let lines = page.as_str().unwrap_or_default().lines();
        let mut ages = lines
            .filter(|line| !line.starts_with('#') && line.contains("oldest_pending_seconds"))
            .filter_map(|line| line.split(' ').nth(1)?.parse::<f64>().ok());
        most = most.max(ages.next().unwrap_or(0.0) * 1e3);
    }
    most
}

fn measure(cluster: &Cluster, id: &str, rate: u32, seconds: u32) -> anyhow::Result<Figures> {
    let path = |id: &str| format!("{DATABASE}/collections/{id}");
    let own: Vec<_> = (0..cluster.instances.len())
        .map(|place| path(&cluster.own_id(place, NAME)))
        .collect();
    let (end, done) = mpsc::channel();
    let api = cluster.api();
    thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut readers = Vec::new();
        for (instance, records) in cluster.instances.iter().zip(&own) {
            let (sender, written) = mpsc::channel();
            senders.push(sender);
            readers.push(scope.spawn(move || read(instance, records, &written)));
        }
        let watched = &api;
        let watching = scope.spawn(move || watch(watched, &done));
        let wrote = write(cluster.proxy.port, &path(id), rate, seconds, &senders);
        // This ends the readers when they have read what there is, and then the watch.
        drop(senders);
        let read: anyhow::Result<Vec<_>> = readers
            .into_iter()
            .map(|reader| reader.join().ok().context("a reader panicked")?)
            .collect();
        drop(end);
        let oldest_pending_most_ms = watching.join().ok().context("the watch panicked")?;
        let (wrote, read) = (wrote?, read?);
        let later = |at: usize| read.iter().map(|times| times[at]).fold(0.0, f64::max);
        Ok(Figures {
            writes: wrote.len(),
            everywhere_ms: Milliseconds::of((0..wrote.len()).map(later).collect()),
            write_ms: Milliseconds::of(wrote),
            instances_ms: read.into_iter().map(Milliseconds::of).collect(),
            oldest_pending_most_ms,
        })
    })
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (rate, seconds) = (value(matches, "rate")?, value(matches, "seconds")?);
    let cluster = Cluster::with(2, &["--log-level=warn"]);
    let api = cluster.api();
    let id = api.create(NAME);
    // The first record fixes the dimension, and is no ordinary write.
    let first = json!({ "ids": ["first"], "embeddings": [embedding(0)] });
    api.records(&id, "add", &first).ok();
    cluster.settle();
    sleep_exactly();
    let figures = measure(&cluster, &id, rate, seconds)?;
    println!("{} single records, {rate} in a second", figures.writes);
    figures
        .write_ms
        .print("a write, from when it was due to its answer");
    for (instance, times) in ["a", "b"].iter().zip(&figures.instances_ms) {
        times.print(&format!(
            "from the answer until {instance} gives the record"
        ));
    }
    figures
        .everywhere_ms
        .print("from the answer until both give it");
    println!(
        "the oldest that was owed, by /metrics       at most {:.0} ms",
        figures.oldest_pending_most_ms
    );
    cluster.settle();
    write_json(matches, &figures)
}
