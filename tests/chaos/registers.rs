//! Clients that write to, delete and read the same few records, so that a value seen and later an older one
//! is found.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::json;

use super::{
    ledger::Outcome,
    world::{Asker, Sort, World},
};
use crate::registers::{Act, Operation, check};

/// The collection of these records.
pub const NAME: &str = "registers";

/// Records that the clients meet at.
const REGISTERS: usize = 2;

/// A client.
pub struct RegisterClient {
    asker: Asker,
    number: usize,
    collection: String,
    values: u64,
    history: Vec<Operation>,
}

impl RegisterClient {
    /// A client of the collection with this id.
    pub fn new(world: Arc<World>, number: usize, seed: u64, collection: &str) -> Self {
        Self {
            asker: Asker::new(world, number, seed),
            number,
            collection: collection.to_owned(),
            values: 0,
            history: Vec::new(),
        }
    }

    /// Goes on until the world stops; returns what it has done.
    pub fn run(mut self) -> Vec<Operation> {
        while self.asker.world.goes_on() {
            let register = self.asker.random.random_range(0..REGISTERS);
            match self.asker.random.random_range(0..10) {
                0..4 => self.write(register),
                4 => self.delete(register),
                _ => self.read(register),
            }
            self.asker.think();
        }
        self.history
    }

    fn write(&mut self, register: usize) {
        self.values += 1;
        let value = self.number as u64 * 1_000_000_000 + self.values;
        let body = json!({
            "ids": [format!("r{register}")],
            "embeddings": [vec![register; super::DIMENSION]],
            "metadatas": [{ "value": value }],
        });
        self.change(register, Act::Write(value), ("upsert", &body));
    }

    fn delete(&mut self, register: usize) {
        let body = json!({ "ids": [format!("r{register}")] });
        self.change(register, Act::Delete, ("delete", &body));
    }

    fn now(&self) -> u64 {
        let now = self.asker.world.chronicle.now().as_nanos();
        u64::try_from(now).expect("a few hours")
    }

    fn path(&self, word: &str) -> String {
        format!("$D/collections/{}/{word}", self.collection)
    }

    fn note(&mut self, register: usize, act: Act, begun: u64, ended: Option<u64>) {
        self.history.push(Operation {
            register,
            client: self.number,
            act,
            begun,
            ended,
        });
    }

    fn change(&mut self, register: usize, act: Act, (word, body): (&str, &serde_json::Value)) {
        let (begun, path) = (self.now(), self.path(word));
        let asked = self.asker.ask(Sort::Write, "POST", &path, body);
        let ended = self.now();
        match asked.outcome {
            Outcome::Done => self.note(register, act, begun, Some(ended)),
            Outcome::Unknown => self.note(register, act, begun, None),
            Outcome::NotDone => {}
        }
    }

    fn read(&mut self, register: usize) {
        let body = json!({ "ids": [format!("r{register}")] });
        let (begun, path) = (self.now(), self.path("get"));
        let asked = self.asker.ask(Sort::Read, "POST", &path, &body);
        let ended = self.now();
        if asked.outcome == Outcome::Done {
            let value = asked.body["metadatas"][0]["value"].as_u64();
            self.note(register, Act::Read(value), begun, Some(ended));
        }
    }
}

/// Judges what all clients have done; what is not linearizable is in the chronicle afterwards. Returns how
/// many operations there were.
pub fn judge(world: &World, histories: &[Vec<Operation>]) -> usize {
    let history = histories.concat();
    for violation in check(&history) {
        let what = format!("{violation}");
        world.chronicle.violation(&what, &world.chronicle.lines());
    }
    history.len()
}
