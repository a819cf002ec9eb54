//! Clients that write and read records, each with ids of its own in every collection that it
//! writes to, and that check whatever they read.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    ledger::{Act, Mark, Outcome, Write},
    world::{Asker, Sort, World},
};

/// Ids of a client in a collection.
const IDS: usize = 16;

/// They are in so many groups, which deletes by `where` name.
const GROUPS: usize = 4;

/// Records of one request.
const BATCH_MAX: usize = 4;

/// Characters that a document is filled up with at most.
const FILL_MAX: usize = 2000;

/// Collections that one client writes to.
const COLLECTIONS_EACH: usize = 2;

/// A client.
pub struct Client {
    asker: Asker,
    number: usize,
    clients: usize,
}

fn id(client: usize, number: usize) -> String {
    format!("c{client}-{number}")
}

fn group_of(number: usize) -> usize {
    number % GROUPS
}

/// The ids of a client's group.
fn ids_of(client: usize, group: usize) -> Vec<String> {
    let numbers = (0..IDS).filter(|number| group_of(*number) == group);
    numbers.map(|number| id(client, number)).collect()
}

fn where_group(client: usize, group: usize) -> Value {
    json!({ "$and": [{ "owner": client }, { "group": group }] })
}

impl Client {
    /// One of `clients`.
    pub fn new(world: Arc<World>, number: usize, clients: usize, seed: u64) -> Self {
        Self {
            asker: Asker::new(world, number, seed),
            number,
            clients,
        }
    }

    /// Goes on until the world stops.
    pub fn run(mut self) {
        while self.asker.world.goes_on() {
            match self.below(100) {
                0..30 => self.write_records(Act::Upsert),
                30..40 => self.write_records(Act::Add),
                40..48 => self.write_records(Act::Update),
                48..54 => self.delete_ids(),
                54..60 => self.delete_where(),
                60..62 => self.delete_some(),
                62..65 => self.write_badly(),
                65..82 => self.get_ids(),
                82..92 => self.get_where(),
                _ => self.query(),
            }
            self.asker.think();
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.asker.random.random_range(0..limit)
    }

    /// One of the collections that it writes to.
    fn own_collection(&mut self) -> usize {
        (self.number + self.below(COLLECTIONS_EACH)) % self.asker.world.collections.len()
    }

    fn path(&self, collection: usize, act: &str) -> String {
        let id = &self.asker.world.collections[collection].id;
        format!("$D/collections/{id}/{act}")
    }

    /// Different numbers of its own ids.
    fn some_numbers(&mut self) -> Vec<usize> {
        let (first, count) = (self.below(IDS), 1 + self.below(BATCH_MAX));
        // An odd step goes through all of them.
        let step = 1 + 2 * self.below(IDS / 2);
        (0..count).map(|at| (first + at * step) % IDS).collect()
    }

    fn records(&mut self, numbers: &[usize], version: u64, dimension: usize) -> Value {
        let fill = "x".repeat(self.below(FILL_MAX));
        let embedding: Vec<u64> = (0..dimension as u64).map(|at| version + at).collect();
        let metadata = |number: &usize| json!({ "owner": self.number, "group": group_of(*number), "version": version });
        json!({
            "ids": numbers.iter().map(|number| id(self.number, *number)).collect::<Vec<_>>(),
            "embeddings": vec![embedding; numbers.len()],
            "metadatas": numbers.iter().map(metadata).collect::<Vec<_>>(),
            "documents": vec![format!("version {version} {fill}"); numbers.len()],
        })
    }

    fn write_records(&mut self, act: Act) {
        let (collection, numbers) = (self.own_collection(), self.some_numbers());
        let version = self.asker.world.version();
        let body = self.records(&numbers, version, super::DIMENSION);
        let ids = numbers.iter().map(|number| id(self.number, *number));
        let write = Write {
            collection,
            ids: ids.collect(),
            act,
            version,
        };
        let word = match act {
            Act::Add => "add",
            Act::Update => "update",
            _ => "upsert",
        };
        self.write(&write, word, &body);
    }

    fn delete_ids(&mut self) {
        let (collection, numbers) = (self.own_collection(), self.some_numbers());
        let ids: Vec<_> = numbers.iter().map(|n| id(self.number, *n)).collect();
        let body = json!({ "ids": ids });
        self.delete(collection, ids, Act::Delete, &body);
    }

    fn delete_where(&mut self) {
        let (collection, group) = (self.own_collection(), self.below(GROUPS));
        let body = json!({ "where": where_group(self.number, group) });
        let ids = ids_of(self.number, group);
        self.delete(collection, ids, Act::Delete, &body);
    }

    fn delete_some(&mut self) {
        let (collection, group) = (self.own_collection(), self.below(GROUPS));
        let body = json!({ "where": where_group(self.number, group), "limit": 1 });
        let ids = ids_of(self.number, group);
        self.delete(collection, ids, Act::DeleteSome, &body);
    }

    fn delete(&mut self, collection: usize, ids: Vec<String>, act: Act, body: &Value) {
        let write = Write {
            collection,
            ids,
            act,
            version: self.asker.world.version(),
        };
        self.write(&write, "delete", body);
    }

    fn write(&mut self, write: &Write, act: &str, body: &Value) {
        let world = Arc::clone(&self.asker.world);
        world.ledger.begin(write);
        let path = self.path(write.collection, act);
        let asked = self.asker.ask(Sort::Write, "POST", &path, body);
        let told = format!("{} (version {})", asked.told, write.version);
        world.ledger.end(write, asked.outcome, &told);
    }

    /// A write of its own ids that Chroma refuses, for its dimension. Nothing of it may be seen.
    fn write_badly(&mut self) {
        let (collection, numbers) = (self.own_collection(), self.some_numbers());
        let version = self.asker.world.version();
        let body = self.records(&numbers, version, super::DIMENSION + 1);
        let path = self.path(collection, "upsert");
        let asked = self.asker.ask(Sort::BadWrite, "POST", &path, &body);
        let write = Write {
            collection,
            ids: numbers.iter().map(|n| id(self.number, *n)).collect(),
            act: Act::Upsert,
            version,
        };
        let told = format!("{} (version {version}, to be refused)", asked.told);
        self.asker.world.ledger.end(&write, Outcome::NotDone, &told);
    }

    /// Any client, and one of the collections that it writes to.
    fn anyone(&mut self) -> (usize, usize) {
        let client = self.below(self.clients);
        let collections = self.asker.world.collections.len();
        let collection = (client + self.below(COLLECTIONS_EACH)) % collections;
        (client, collection)
    }

    fn get_ids(&mut self) {
        let (client, collection) = self.anyone();
        let numbers = self.some_numbers();
        let ids: Vec<_> = numbers.iter().map(|n| id(client, *n)).collect();
        let body = json!({ "ids": ids });
        self.read(collection, "get", &body, &ids);
    }

    fn get_where(&mut self) {
        let (client, collection) = self.anyone();
        let group = self.below(GROUPS);
        let body = json!({ "where": where_group(client, group) });
        self.read(collection, "get", &body, &ids_of(client, group));
    }

    /// A search, which need not find everything; but what it finds must be right.
    fn query(&mut self) {
        let (client, collection) = self.anyone();
        let near = vec![self.below(1000); super::DIMENSION];
        let body = json!({
            "query_embeddings": [near],
            "n_results": 5,
            "where": { "owner": client },
        });
        self.read(collection, "query", &body, &[]);
    }

    fn read(&mut self, collection: usize, word: &str, body: &Value, must: &[String]) {
        let since = self.asker.world.ledger.mark();
        let path = self.path(collection, word);
        let asked = self.asker.ask(Sort::Read, "POST", &path, body);
        if asked.outcome != Outcome::Done {
            return;
        }
        let found = found(&asked.body, word == "query");
        for id in must
            .iter()
            .filter(|id| !found.iter().any(|(f, _)| f == *id))
        {
            self.check(collection, id, since, None, &asked.told);
        }
        for (id, record) in found {
            match version_of(&record) {
                // Chroma's own, measured without Achromat: a search that meets a delete shows the
                // id without its record.
                None if word == "query" && record == json!([null, null]) => {
                    self.check(collection, &id, since, None, &asked.told);
                }
                Some(version) => self.check(collection, &id, since, Some(version), &asked.told),
                None => {
                    let what = format!("{id} is not one version: {record}");
                    self.asker
                        .world
                        .chronicle
                        .violation(&what, std::slice::from_ref(&asked.told));
                }
            }
        }
    }

    fn check(&self, collection: usize, id: &str, since: Mark, found: Option<u64>, told: &str) {
        let world = &self.asker.world;
        if let Err(why) = world.ledger.check(collection, id, since, found) {
            let name = &world.collections[collection].name;
            let what = format!("a read of {id} in {name} {why}:\n      {told}");
            world.violation_about(collection, id, &what);
        }
    }
}

impl World {
    /// Writes down a violation with the time lines of faults and of the requests on an id.
    pub fn violation_about(&self, collection: usize, id: &str, what: &str) {
        let mut lines = self.chronicle.lines();
        lines.extend(self.ledger.told(collection, id));
        // Both begin with the time in the same width.
        lines.sort();
        self.chronicle.violation(what, &lines);
    }
}

/// The records of an answer to `get`, or to a `query` with one embedding.
fn found(body: &Value, is_query: bool) -> Vec<(String, Value)> {
    let part = |name: &str| {
        let part = &body[name];
        if is_query { &part[0] } else { part }.clone()
    };
    let (metadatas, documents) = (part("metadatas"), part("documents"));
    let ids = part("ids").as_array().cloned().unwrap_or_default();
    let record = |(at, id): (usize, Value)| {
        let id = id.as_str().unwrap_or_default().to_owned();
        (id, json!([metadatas[at], documents[at]]))
    };
    ids.into_iter().enumerate().map(record).collect()
}

/// The version that a record's metadata and document both say.
pub fn version_of(record: &Value) -> Option<u64> {
    let version = record[0]["version"].as_u64()?;
    let document = record[1].as_str()?;
    document
        .starts_with(&format!("version {version} "))
        .then_some(version)
}
