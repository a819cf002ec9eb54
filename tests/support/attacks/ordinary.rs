//! Ordinary clients: one that keeps its connection, and one that makes a connection for each request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::api::Api;

/// The database that they are at home in.
const HOME: &str = "/api/v2/tenants/ordinary/databases/ordinary";

/// Reads between two writes.
const READS_PER_WRITE: usize = 20;

/// Pause between two requests: the machine is the attackers' too.
const PAUSE: Duration = Duration::from_millis(5);

/// Latencies of reads.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<Duration>);

impl Seen {
    /// The latency that 99 of 100 reads do not exceed.
    pub(super) fn p99(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    /// The longest latency.
    pub(super) fn worst(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// Number of reads.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Makes the clients' home and their collection; returns its id.
pub(super) fn prepare(api: &Api) -> String {
    let name = json!({ "name": "ordinary" });
    api.post("/api/v2/tenants", &name).ok();
    api.post("/api/v2/tenants/ordinary/databases", &name).ok();
    let made = api.post(&format!("{HOME}/collections"), &name).ok();
    made["id"].as_str().expect("an id").to_owned()
}

/// Both clients at work.
pub(super) struct Client {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(Seen, Vec<String>)>>,
}

impl Client {
    pub(super) fn start(api: &Api, id: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = [true, false].map(|keeps| {
            let (api, over, id) = (api.clone(), Arc::clone(&over), id.to_owned());
            thread::spawn(move || work(&api, &over, &id, keeps))
        });
        Self {
            over,
            threads: threads.into(),
        }
    }

    /// Ends both; returns the latencies of their reads and what failed.
    pub(super) fn stop(mut self) -> (Seen, Vec<String>) {
        self.over.store(true, Relaxed);
        let (mut seen, mut failures) = (Seen::default(), Vec::new());
        for thread in std::mem::take(&mut self.threads) {
            let (own, failed) = thread.join().expect("an ordinary client");
            seen.0.extend(own.0);
            failures.extend(failed);
        }
        (seen, failures)
    }
}

/// Clients without an end would keep a failed test from ending.
impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

fn work(api: &Api, over: &AtomicBool, id: &str, keeps: bool) -> (Seen, Vec<String>) {
    let (mut seen, mut failures) = (Seen::default(), Vec::new());
    let mut number = 0_usize;
    while !over.load(Relaxed) {
        number += 1;
        // A client without a pool of connections makes a new one.
        let fresh = (!keeps).then(|| api.clone().patient(Duration::from_secs(30)));
        let api = fresh.as_ref().unwrap_or(api);
        let is_write = number.is_multiple_of(READS_PER_WRITE);
        let began = Instant::now();
        let answer = if is_write {
            let body = json!({ "ids": ["r"], "embeddings": [[number, 1]] });
            api.try_call("POST", &format!("{HOME}/collections/{id}/upsert"), &body)
        } else {
            api.try_call("GET", &format!("{HOME}/collections/ordinary"), &Value::Null)
        };
        match answer {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => failures.push(format!("{} {}", answer.status, answer.body)),
            Err(error) => failures.push(error.to_string()),
        }
        if !is_write {
            seen.0.push(began.elapsed());
        }
        thread::sleep(PAUSE);
    }
    (seen, failures)
}
