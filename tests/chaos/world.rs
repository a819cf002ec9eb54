//! What all clients of a run share: where Achromat is, what must hold, and what was counted.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::Value;

use super::{
    chronicle::Chronicle,
    ledger::{Ledger, Outcome},
};
use crate::api::{Answer, Api};

/// What has been asked and how it went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub writes: u64,
    pub reads: u64,
    /// Writes that Chroma had to refuse.
    pub refused: u64,
    /// Failures while no instance was sound, or while Achromat was not up.
    pub excused: u64,
    /// Failures that should not have been.
    pub failures: u64,
    /// The longest that a request took while an instance was sound.
    pub worst_write: Duration,
    /// The same for writes of collections, which wait up to two seconds for an instance that is
    /// slow.
    pub worst_schema_write: Duration,
    pub worst_read: Duration,
    /// The slowest of all these, for people.
    pub slowest: (Duration, String),
}

/// A collection of records.
#[derive(Clone, Debug)]
pub struct Collection {
    pub name: String,
    pub id: String,
}

/// What the supervisor tells the clients.
#[derive(Debug, Default)]
pub struct Signals {
    /// Goes up each time that Achromat is killed, so that clients connect anew.
    pub lives: AtomicU64,
    /// They shall begin no request for a moment.
    pub hold: AtomicBool,
    /// They shall end.
    pub stop: AtomicBool,
}

/// The shared part.
pub struct World {
    /// Where each Achromat is.
    pub ports: Vec<u16>,
    pub chronicle: Arc<Chronicle>,
    pub signals: Arc<Signals>,
    pub ledger: Ledger,
    pub collections: Vec<Collection>,
    tally: Mutex<Tally>,
    versions: AtomicU64,
}

/// Whether a request is a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Read,
    Write,
    /// A write of a collection, not of its records.
    SchemaWrite,
    /// A write that Chroma must refuse.
    BadWrite,
}

/// What came of a request.
pub struct Asked {
    pub outcome: Outcome,
    /// The body of a success.
    pub body: Value,
    /// How it went, for people.
    pub told: String,
}

/// One client's way to Achromat.
pub struct Asker {
    pub world: Arc<World>,
    pub random: SmallRng,
    number: usize,
    api: Api,
    life: u64,
}

/// The longest that a request may take while an instance is sound. Asking what a limited delete
/// would hit has ten seconds, and the writes behind it wait; nothing else comes near.
const PAUSE_MAX: Duration = Duration::from_secs(12);

/// The longest that a client thinks between two requests: the load must leave two busy cores room
/// for an instance to catch up, or it is never sound again and only one instance is ever broken.
const THOUGHT_MS_MAX: u64 = 150;

/// What a client waits after a connection that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(50);

impl World {
    /// Collections that are there and empty.
    pub fn new(
        ports: Vec<u16>,
        chronicle: Arc<Chronicle>,
        signals: Arc<Signals>,
        collections: Vec<Collection>,
    ) -> Self {
        Self {
            ports,
            chronicle,
            signals,
            ledger: Ledger::default(),
            collections,
            tally: Mutex::default(),
            versions: AtomicU64::new(1),
        }
    }

    /// Whether the clients shall go on.
    pub fn goes_on(&self) -> bool {
        !self.signals.stop.load(Relaxed)
    }

    /// A number that was never given.
    pub fn version(&self) -> u64 {
        self.versions.fetch_add(1, Relaxed)
    }

    /// What was counted.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("the tally")
    }

    fn count(&self, sort: Sort, took: Duration, is_excused: bool, told: &str) {
        let mut tally = self.tally();
        match sort {
            Sort::Read => tally.reads += 1,
            Sort::Write | Sort::SchemaWrite => tally.writes += 1,
            Sort::BadWrite => tally.refused += 1,
        }
        if is_excused {
            return;
        }
        let worst = match sort {
            Sort::Read => &mut tally.worst_read,
            Sort::SchemaWrite => &mut tally.worst_schema_write,
            Sort::Write | Sort::BadWrite => &mut tally.worst_write,
        };
        *worst = took.max(*worst);
        if took > tally.slowest.0 {
            tally.slowest = (took, told.to_owned());
        }
        drop(tally);
        if took > PAUSE_MAX {
            let what =
                format!("a request took too long while an instance was sound:\n      {told}");
            self.chronicle.violation(&what, &self.chronicle.lines());
        }
    }
}

impl Asker {
    /// A client with random choices of its own.
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        let mixed = seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
        Self {
            number,
            api: Api::at(world.ports[number % world.ports.len()]),
            life: world.signals.lives.load(Relaxed),
            random: SmallRng::seed_from_u64(mixed),
            world,
        }
    }

    /// Time to think, longer while the supervisor wants it.
    pub fn think(&mut self) {
        loop {
            let ms = self.random.random_range(0..THOUGHT_MS_MAX);
            thread::sleep(Duration::from_millis(ms));
            if !self.world.signals.hold.load(Relaxed) {
                break;
            }
        }
    }

    /// One request. A failure that had no right to be is a violation.
    pub fn ask(&mut self, sort: Sort, method: &str, path: &str, body: &Value) -> Asked {
        self.connect_anew();
        let chronicle = Arc::clone(&self.world.chronicle);
        let began = chronicle.now();
        let result = self.api.try_call(method, path, body);
        let took = chronicle.now().saturating_sub(began);
        let is_excused = chronicle.is_excused(self.proxy(), began);
        let how = match &result {
            Ok(answer) if answer.status < 300 => answer.status.to_string(),
            Ok(answer) => format!("{} {}", answer.status, answer.body),
            Err(error) => error.to_string(),
        };
        let (began_s, took_s) = (began.as_secs_f64(), took.as_secs_f64());
        let number = self.number;
        let told =
            format!("{began_s:8.3} s  client {number}: {method} {path}: {how} in {took_s:.3} s");
        self.world.count(sort, took, is_excused, &told);
        if !is_right(sort, &result) {
            self.failed(&result, &told, is_excused);
        }
        Asked {
            outcome: outcome(&result),
            body: result.map_or(Value::Null, |answer| answer.body),
            told,
        }
    }

    /// The Achromat that it asks.
    fn proxy(&self) -> usize {
        self.number % self.world.ports.len()
    }

    /// Connections to an Achromat that was killed are of no use.
    fn connect_anew(&mut self) {
        let life = self.world.signals.lives.load(Relaxed);
        if life != self.life {
            self.life = life;
            self.api = Api::at(self.world.ports[self.proxy()]);
        }
    }

    fn failed(&self, result: &Result<Answer, ureq::Error>, told: &str, is_excused: bool) {
        let may_be_excused = result.as_ref().map_or(true, |answer| answer.status >= 500);
        if is_excused && may_be_excused {
            self.world.tally().excused += 1;
        } else {
            self.world.tally().failures += 1;
            let lines = self.world.chronicle.lines();
            let last = &lines[lines.len().saturating_sub(LINES_TOLD)..];
            let what = format!("a request failed while an instance was sound:\n      {told}");
            self.world.chronicle.violation(&what, last);
        }
        if result.is_err() {
            thread::sleep(FAILED_PAUSE);
        }
    }
}

/// Lines of the time line that are told with a failure.
const LINES_TOLD: usize = 12;

/// Whether a request of this sort may be answered so without any excuse.
fn is_right(sort: Sort, result: &Result<Answer, ureq::Error>) -> bool {
    match (sort, result) {
        (_, Err(_)) => false,
        (Sort::BadWrite, Ok(answer)) => (400..500).contains(&answer.status),
        (Sort::Write | Sort::SchemaWrite, Ok(answer)) => answer.status < 300,
        // Looking for what is not there is not a failure.
        (Sort::Read, Ok(answer)) => answer.status < 300 || answer.status == 404,
    }
}

/// What a client knows of a request's effect: 503 says that nothing was done; a broken connection
/// and any other status of the 500s may mean either.
fn outcome(result: &Result<Answer, ureq::Error>) -> Outcome {
    match result {
        Ok(answer) if answer.status < 300 => Outcome::Done,
        Ok(answer) if answer.status < 500 || answer.status == 503 => Outcome::NotDone,
        Err(ureq::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Outcome::NotDone
        }
        Err(ureq::Error::ConnectionFailed) => Outcome::NotDone,
        Ok(_) | Err(_) => Outcome::Unknown,
    }
}
