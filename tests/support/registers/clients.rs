//! Clients that write to a few records, delete and read them, all at once, and remember everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::{Act, Operation};
use crate::api::{Answer, Api};

/// Who does what.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Clients at once.
    pub clients: usize,
    /// Records that they meet at.
    pub registers: usize,
    /// Of a hundred operations, how many are reads.
    pub reads: usize,
    /// How long a client thinks before its next operation.
    pub pause: Duration,
}

impl Mix {
    /// The mix that has found what it was made for: six clients on three records, which meet all the time.
    pub const USUAL: Self = Self {
        clients: 6,
        registers: 3,
        reads: 50,
        pause: Duration::ZERO,
    };
}

/// When clients stop.
#[derive(Clone, Debug, Default)]
pub struct Goal {
    /// When all of them together have done so many operations, if there is an end to them.
    pub operations: Option<usize>,
    /// When this says so.
    pub stop: Arc<AtomicBool>,
}

/// What clients have done.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Everything that was done, or may have been.
    pub history: Vec<Operation>,
    /// Writes that were asked for, the failed ones among them.
    pub writes: usize,
    /// What failed, as the client was told.
    pub failures: Vec<String>,
}

impl Goal {
    /// So many operations.
    pub fn operations(operations: usize) -> Self {
        Self {
            operations: Some(operations),
            ..Self::default()
        }
    }

    fn is_reached(&self, done: &AtomicUsize) -> bool {
        let done = done.fetch_add(1, Relaxed);
        self.stop.load(Relaxed) || self.operations.is_some_and(|goal| done >= goal)
    }
}

/// Has clients do things to a collection until their goal is reached. Each of `apis` is a way to the
/// same records; the clients change it with every operation.
pub fn record(apis: &[Api], collection: &str, mix: Mix, goal: &Goal, seed: u64) -> Recorded {
    let (started, done) = (Instant::now(), AtomicUsize::new(0));
    let run = |number: usize| {
        let client = Client {
            number,
            apis: apis.to_vec(),
            path: format!("$D/collections/{collection}"),
            mix,
            started,
            random: SmallRng::seed_from_u64(seed.wrapping_add(number as u64)),
            values: 0,
            recorded: Recorded::default(),
        };
        client.run(goal, &done)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..mix.clients)
            .map(|n| scope.spawn(move || run(n)))
            .collect();
        let mut all = Recorded::default();
        for client in clients {
            let recorded = client.join().expect("a client ends well");
            all.history.extend(recorded.history);
            all.failures.extend(recorded.failures);
            all.writes += recorded.writes;
        }
        all
    })
}

struct Client {
    number: usize,
    apis: Vec<Api>,
    path: String,
    mix: Mix,
    started: Instant,
    random: SmallRng,
    values: u64,
    recorded: Recorded,
}

impl Client {
    fn run(mut self, goal: &Goal, done: &AtomicUsize) -> Recorded {
        while !goal.is_reached(done) {
            let register = self.random.random_range(0..self.mix.registers);
            let choice = self.random.random_range(0..100);
            if choice < self.mix.reads {
                self.read(register);
            } else if choice % 5 == 0 {
                self.write(register, Act::Delete);
            } else {
                self.values += 1;
                // Beyond all numbers of other clients, and within what JSON's readers keep exactly.
                let value = self.number as u64 * 1_000_000_000 + self.values;
                self.write(register, Act::Write(value));
            }
            if !self.mix.pause.is_zero() {
                thread::sleep(self.mix.pause);
            }
        }
        self.recorded
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).expect("a few hours")
    }

    /// Sends a request; returns when it was begun, and its answer when that was good.
    fn ask(&mut self, act: &str, body: &Value) -> (u64, Result<Answer, bool>) {
        let begun = self.now();
        let path = format!("{}/{act}", self.path);
        let way = self.random.random_range(0..self.apis.len());
        let outcome = match self.apis[way].try_call("POST", &path, body) {
            Ok(answer) if answer.status < 300 => return (begun, Ok(answer)),
            Ok(answer) => {
                self.recorded
                    .failures
                    .push(format!("{act}: {} {}", answer.status, answer.body));
                // Chroma and Achromat say when nothing was done.
                (400..500).contains(&answer.status) || answer.status == 503
            }
            Err(error) => {
                self.recorded.failures.push(format!("{act}: {error}"));
                false
            }
        };
        (begun, Err(outcome))
    }

    fn note(&mut self, register: usize, act: Act, begun: u64, ended: Option<u64>) {
        self.recorded.history.push(Operation {
            register,
            client: self.number,
            act,
            begun,
            ended,
        });
    }

    fn write(&mut self, register: usize, act: Act) {
        let id = format!("r{register}");
        let (verb, body) = match act {
            Act::Write(value) => {
                let metadata = json!({ "value": value });
                let body = json!({
                    "ids": [id],
                    "embeddings": [[register, 1]],
                    "metadatas": [metadata],
                    "documents": [value.to_string()],
                });
                ("upsert", body)
            }
            Act::Delete | Act::Read(_) => ("delete", json!({ "ids": [id] })),
        };
        self.recorded.writes += 1;
        let (begun, answer) = self.ask(verb, &body);
        let ended = self.now();
        match answer {
            Ok(_) => self.note(register, act, begun, Some(ended)),
            // It is known not to have happened.
            Err(true) => {}
            Err(false) => self.note(register, act, begun, None),
        }
    }

    fn read(&mut self, register: usize) {
        let body =
            json!({ "ids": [format!("r{register}")], "include": ["metadatas", "documents"] });
        let (begun, answer) = self.ask("get", &body);
        let ended = self.now();
        if let Ok(answer) = answer {
            let value = answer.body["metadatas"][0]["value"].as_u64();
            let document = answer.body["documents"][0].as_str();
            assert_eq!(
                value.map(|v| v.to_string()).as_deref(),
                document,
                "a torn record"
            );
            self.note(register, Act::Read(value), begun, Some(ended));
        }
    }
}
