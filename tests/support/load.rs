//! A steady load whose every answer is checked.
//!
//! Each writer owns its ids, so that it knows for each of them what the last acknowledged write
//! was; a reader may then demand to see that, or something that was begun later.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

use crate::api::Api;

/// What is known of one id.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last acknowledged version; 0 is absent.
    acknowledged: u64,
    /// The last version that was begun.
    begun: u64,
    /// Whether the acknowledged one is a delete.
    deleted: bool,
    /// Whether a delete was begun after it.
    delete_begun: bool,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Tally {
    pub writes: u64,
    pub reads: u64,
    pub worst_write: Duration,
    pub worst_read: Duration,
    /// Requests that failed, and reads that missed an acknowledged write.
    pub failures: Vec<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    known: Mutex<BTreeMap<String, Known>>,
    tally: Mutex<Tally>,
    version: AtomicU64,
}

/// A load under way.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Ids that each writer goes through.
const IDS_PER_WRITER: u64 = 40;

impl Load {
    /// Two writers and two readers on one collection.
    pub fn start(api: &Api, collection: &str, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for number in 0..2 {
            let (api, shared, collection) =
                (api.clone(), Arc::clone(&shared), collection.to_owned());
            let mut random = SmallRng::seed_from_u64(seed + number);
            threads.push(thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.write(&api, &collection, number, &mut random);
                }
            }));
        }
        for number in 0..2 {
            let (api, shared, collection) =
                (api.clone(), Arc::clone(&shared), collection.to_owned());
            let mut random = SmallRng::seed_from_u64(seed + 100 + number);
            threads.push(thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.read(&api, &collection, &mut random);
                }
            }));
        }
        Self { shared, threads }
    }

    /// Waits until so many more writes have been answered, however they were.
    pub fn wait_writes(&self, more: u64) {
        let answered = || self.shared.tally.lock().expect("the tally").writes;
        let goal = answered() + more;
        crate::wait::eventually("the load goes on", Duration::from_secs(60), || {
            let now = answered();
            if now >= goal {
                Ok(())
            } else {
                Err(format!("{now} of {goal} writes"))
            }
        });
    }

    /// Ends it.
    pub fn stop(self) -> (Tally, Expected) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client of the load");
        }
        let tally = std::mem::take(&mut *self.shared.tally.lock().expect("the tally"));
        let known = std::mem::take(&mut *self.shared.known.lock().expect("what is known"));
        (tally, Expected(known))
    }
}

impl Shared {
    fn count(&self, add: impl FnOnce(&mut Tally)) {
        add(&mut self.tally.lock().expect("the tally"));
    }

    fn write(&self, api: &Api, collection: &str, writer: u64, random: &mut SmallRng) {
        let id = format!("w{writer}-{}", random.random_range(0..IDS_PER_WRITER));
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let deletes = random.random_range(0..6) == 0;
        {
            let mut known = self.known.lock().expect("what is known");
            let known = known.entry(id.clone()).or_default();
            known.begun = version;
            known.delete_begun |= deletes;
        }
        let (act, body) = if deletes {
            match random.random_range(0..2) {
                0 => ("delete", json!({ "ids": [id] })),
                _ => ("delete", json!({ "where": { "id": id } })),
            }
        } else {
            let record = json!({
                "ids": [id],
                "embeddings": [[version, writer]],
                "metadatas": [{ "id": id, "version": version }],
                "documents": [format!("version {version}")],
            });
            ("upsert", record)
        };
        let begun = Instant::now();
        let result = api.try_call("POST", &format!("$D/collections/{collection}/{act}"), &body);
        let took = begun.elapsed();
        let failure = match result {
            Ok(answer) if answer.status < 300 => None,
            Ok(answer) => Some(format!("{act}: {} {}", answer.status, answer.body)),
            Err(error) => Some(format!("{act}: {error}")),
        };
        if failure.is_none() {
            let mut known = self.known.lock().expect("what is known");
            let known = known.entry(id).or_default();
            known.acknowledged = version;
            known.deleted = deletes;
            known.delete_begun = false;
        }
        self.count(|tally| {
            tally.writes += 1;
            tally.worst_write = tally.worst_write.max(took);
            tally.failures.extend(failure);
        });
    }

    fn read(&self, api: &Api, collection: &str, random: &mut SmallRng) {
        let before = self.known.lock().expect("what is known").clone();
        let chosen: BTreeMap<_, _> = before
            .into_iter()
            .filter(|_| random.random_range(0..4) == 0)
            .collect();
        if chosen.is_empty() {
            thread::yield_now();
            return;
        }
        let ids: Vec<_> = chosen.keys().collect();
        let begun = Instant::now();
        let path = format!("$D/collections/{collection}/get");
        let result = api.try_call("POST", &path, &json!({ "ids": ids }));
        let took = begun.elapsed();
        let after = self.known.lock().expect("what is known").clone();
        let failures = match result {
            Ok(answer) if answer.status == 200 => missed(&chosen, &after, &answer.body),
            Ok(answer) => vec![format!("get: {} {}", answer.status, answer.body)],
            Err(error) => vec![format!("get: {error}")],
        };
        self.count(|tally| {
            tally.reads += 1;
            tally.worst_read = tally.worst_read.max(took);
            tally.failures.extend(failures);
        });
    }
}

/// What an answer should have shown: for each id, the write that was acknowledged before the read
/// began, or one that was begun by the time it ended.
fn missed(
    before: &BTreeMap<String, Known>,
    after: &BTreeMap<String, Known>,
    body: &Value,
) -> Vec<String> {
    let mut found = BTreeMap::new();
    let ids = body["ids"].as_array().cloned().unwrap_or_default();
    for (at, id) in ids.iter().enumerate() {
        let version = body["metadatas"][at]["version"].as_u64().unwrap_or(0);
        found.insert(id.as_str().unwrap_or_default().to_owned(), version);
    }
    let mut failures = Vec::new();
    for (id, known) in before {
        let later = after.get(id).copied().unwrap_or_default();
        let is_right = match found.get(id) {
            Some(version) => {
                *version <= later.begun
                    && (*version >= known.acknowledged)
                    && (!known.deleted || *version > known.acknowledged)
            }
            None => {
                let was_absent = known.acknowledged == 0 || known.deleted;
                // A delete may have been begun, and even acknowledged and overwritten, meanwhile.
                was_absent || known.delete_begun || later.begun != known.begun
            }
        };
        if !is_right {
            failures.push(format!(
                "a read of {id} found {:?}, knowing {known:?} and then {later:?}",
                found.get(id)
            ));
        }
    }
    failures
}

/// What the instances must hold in the end.
#[derive(Debug)]
pub struct Expected(BTreeMap<String, Known>);

impl Expected {
    /// Compares with the records of one instance. What was begun and not acknowledged may be there
    /// or not.
    pub fn check(&self, records: &crate::records::Records) -> Result<(), String> {
        for (id, known) in &self.0 {
            let version = records
                .get(id)
                .map(|record| record[2]["version"].as_u64().unwrap_or(0));
            let is_settled = known.begun == known.acknowledged;
            let is_right = match version {
                Some(version) => {
                    version >= known.acknowledged
                        && !(known.deleted && version == known.acknowledged)
                }
                None => {
                    known.acknowledged == 0 || known.deleted || known.delete_begun || !is_settled
                }
            };
            if !is_right {
                return Err(format!("{id} is at {version:?}, but {known:?}"));
            }
        }
        Ok(())
    }

    /// How many ids must be there.
    pub fn len(&self) -> usize {
        self.0
            .values()
            .filter(|known| known.acknowledged > 0 && !known.deleted)
            .count()
    }

    /// Whether none must be there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
