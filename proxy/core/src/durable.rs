//! Durable writes: everything that the engine asks of a store, and the contents of a store after it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    catalog::{Catalog, Change},
    engine::{RestoredLane, Snapshot},
    ids::{CollectionId, EntryId, InstanceIx, JobId, Key, LaneId, Position},
    key::{KeyOutcome, KeyRecord, Keyed, Settled},
    log::{Entry, Letter, Logged, Verdict},
    time::WallTime,
};

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new entry, which gets the next position of its lane; unless it has a key that is known.
    Append(Entry),
    /// An instance has applied an entry.
    Record {
        /// The lane.
        lane: LaneId,
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// The entry's verdict, when that is new.
        verdict: Option<Verdict>,
        /// Outcome to remember under the entry's key, when the entry has a key and the verdict is new.
        settled: Option<Box<Settled>>,
        /// Changes of the catalog that the entry causes.
        changes: Vec<Change>,
        /// Reason for making the entry a letter, when its verdict is a refusal that comes too late.
        letter: Option<String>,
    },
    /// An entry has got a verdict that does not come from an instance.
    Close {
        /// The lane.
        lane: LaneId,
        /// The entry.
        position: Position,
        /// The verdict.
        verdict: Verdict,
        /// Reason of the verdict, for the operator.
        reason: String,
        /// Outcome to remember under the entry's key, when it has one.
        settled: Option<Box<Settled>>,
        /// True when the entry becomes a letter.
        is_letter: bool,
    },
    /// An operator has dismissed a letter.
    Dismiss(EntryId),
    /// The catalog changes by itself.
    Change(Vec<Change>),
    /// Entries up to this one may be deleted; the cursors of these instances are at least there.
    Trim {
        /// The lane.
        lane: LaneId,
        /// The last entry to go.
        through: Position,
        /// The instances.
        instances: Vec<InstanceIx>,
    },
    /// Keys of entries that were logged before this time are deleted, and the oldest beyond a number, once
    /// they are settled.
    ForgetKeys {
        /// The time.
        logged_before: WallTime,
        /// The number.
        kept_max: u64,
    },
    /// Cursors and catalog as a job has made them true.
    Settle {
        /// The job.
        job: JobId,
        /// New cursors: the position that an instance has reached in a lane.
        cursors: Vec<(LaneId, InstanceIx, Position)>,
        /// Changes of the catalog.
        changes: Vec<Change>,
    },
}

/// Result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry has this position.
    At(Position),
    /// The entry's key is known, or the letter that it takes up is gone: nothing was appended.
    Known,
}

#[derive(Clone, Debug, Default)]
struct LaneData {
    head: Position,
    trimmed: Position,
    entries: BTreeMap<Position, (Entry, Verdict)>,
    cursors: BTreeMap<InstanceIx, Position>,
}

/// Contents of a store after the writes that it was given: their fold, in memory.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    catalog: Catalog,
    lanes: BTreeMap<LaneId, LaneData>,
    keys: BTreeMap<Key, KeyRecord>,
    letters: BTreeMap<EntryId, (Letter, Bytes)>,
}

impl Ledger {
    /// Takes in one write. Returns the result of an append.
    pub fn write(&mut self, write: &Write) -> Option<Appended> {
        match write {
            Write::Append(entry) => return Some(self.append(entry)),
            Write::Record {
                lane,
                instance,
                position,
                verdict,
                settled,
                changes,
                letter,
            } => {
                self.settle(*lane, *position, settled.as_deref());
                if let Some(reason) = letter {
                    self.keep_letter(*lane, *position, reason);
                }
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, *verdict);
                lane.advance(*instance, *position);
                self.change(changes);
            }
            Write::Close {
                lane,
                position,
                verdict,
                reason,
                settled,
                is_letter,
            } => {
                self.settle(*lane, *position, settled.as_deref());
                if *is_letter {
                    self.keep_letter(*lane, *position, reason);
                }
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, Some(*verdict));
            }
            Write::Dismiss(letter) => {
                self.letters.remove(letter);
            }
            Write::Change(changes) => self.change(changes),
            Write::Trim {
                lane,
                through,
                instances,
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                for instance in instances {
                    lane.advance(*instance, *through);
                }
                lane.trimmed = lane.trimmed.max(*through);
                lane.entries = lane.entries.split_off(&through.next());
            }
            Write::ForgetKeys {
                logged_before,
                kept_max,
            } => self.forget_keys(*logged_before, *kept_max),
            Write::Settle {
                cursors, changes, ..
            } => {
                for (lane, instance, position) in cursors {
                    self.lanes
                        .entry(*lane)
                        .or_default()
                        .advance(*instance, *position);
                }
                self.change(changes);
            }
        }
        None
    }

    fn append(&mut self, entry: &Entry) -> Appended {
        let id = entry.verb.lane();
        let head = self.lanes.get(&id).map(|lane| lane.head);
        let position = head.unwrap_or_default().next();
        if let Some(letter) = entry.retries
            && self.letters.remove(&letter).is_none()
        {
            return Appended::Known;
        }
        if let Some(keyed) = &entry.key {
            let Keyed { key, fingerprint } = keyed.clone();
            let known = self.keys.get(&key);
            if known.is_some_and(|known| !known.yields_to(fingerprint)) {
                return Appended::Known;
            }
            let record = KeyRecord {
                fingerprint,
                lane: id,
                position,
                logged_at: entry.logged_at,
                outcome: None,
            };
            self.keys.insert(key, record);
        }
        let lane = self.lanes.entry(id).or_default();
        lane.head = position;
        lane.entries
            .insert(position, (entry.clone(), Verdict::Open));
        Appended::At(position)
    }

    fn keep_letter(&mut self, lane: LaneId, position: Position, reason: &str) {
        let entries = self.lanes.get(&lane).map(|lane| &lane.entries);
        let Some((entry, _)) = entries.and_then(|entries| entries.get(&position)) else {
            return;
        };
        let letter = Letter {
            id: entry.id,
            lane,
            position,
            logged_at: entry.logged_at,
            verb: entry.verb.clone(),
            content_type: entry.content_type.clone(),
            reason: reason.to_owned(),
            body_bytes: u64::try_from(entry.body.len()).unwrap_or(u64::MAX),
        };
        let kept = (letter, entry.body.clone());
        self.letters.entry(entry.id).or_insert(kept);
    }

    /// The first outcome of an entry is remembered under its key.
    fn settle(&mut self, lane: LaneId, position: Position, settled: Option<&Settled>) {
        if let Some(Settled { key, outcome }) = settled
            && let Some(record) = self.keys.get_mut(key)
            && (record.lane, record.position) == (lane, position)
            && record.outcome.is_none()
        {
            record.outcome = Some(outcome.clone());
        }
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.catalog.apply(change);
            if let Change::Gone { collection, .. } = change {
                self.bury(*collection);
            }
        }
    }

    fn forget_keys(&mut self, logged_before: WallTime, kept_max: u64) {
        let mut times: Vec<WallTime> = self.keys.values().map(|key| key.logged_at).collect();
        times.sort_unstable_by(|one, other| other.cmp(one));
        let kept_max = usize::try_from(kept_max).unwrap_or(usize::MAX);
        let superfluous = times.get(kept_max).copied();
        self.keys.retain(|_, key| {
            let is_old = key.logged_at < logged_before || Some(key.logged_at) <= superfluous;
            key.outcome.is_none() || !is_old
        });
    }

    fn bury(&mut self, collection: CollectionId) {
        let id = LaneId::Collection(collection);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.entries.clear();
            lane.trimmed = lane.head;
        }
        for key in self.keys.values_mut() {
            if key.lane == id && key.outcome.is_none() {
                key.outcome = Some(KeyOutcome::void(collection));
            }
        }
    }

    /// Snapshot from which an engine is restored.
    pub fn snapshot(&self, instances: usize) -> Snapshot {
        let lanes = self.lanes.iter().map(|(id, lane)| RestoredLane {
            id: *id,
            head: lane.head,
            trimmed: lane.trimmed,
            cursors: InstanceIx::all(instances)
                .map(|instance| lane.cursors.get(&instance).copied())
                .collect(),
        });
        Snapshot {
            catalog: self.catalog.clone(),
            lanes: lanes.collect(),
            entries: self.entries().collect(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Logged> {
        self.lanes.iter().flat_map(|(id, lane)| {
            lane.entries
                .iter()
                .map(|(position, (entry, verdict))| Logged {
                    lane: *id,
                    position: *position,
                    id: entry.id,
                    logged_at: entry.logged_at,
                    verb: entry.verb.clone(),
                    content_type: entry.content_type.clone(),
                    bytes: entry.body.len(),
                    verdict: *verdict,
                    key: open_key(entry, *verdict),
                })
        })
    }

    /// Position of an entry, if the ledger has it.
    pub fn find(&self, id: EntryId) -> Option<Position> {
        let mut all = self.lanes.values().flat_map(|lane| &lane.entries);
        all.find(|(_, (entry, _))| entry.id == id)
            .map(|(position, _)| *position)
    }

    /// Record that is kept under a key.
    pub fn key(&self, key: &Key) -> Option<KeyRecord> {
        self.keys.get(key).cloned()
    }

    /// All letters.
    pub fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.letters.values().map(|(letter, _)| letter)
    }

    /// A letter and its body.
    pub fn letter(&self, id: EntryId) -> Option<(Letter, Bytes)> {
        self.letters.get(&id).cloned()
    }

    /// The body of an entry, if it is there.
    pub fn body(&self, lane: LaneId, position: Position) -> Option<Bytes> {
        let (entry, _) = self.lanes.get(&lane)?.entries.get(&position)?;
        Some(entry.body.clone())
    }
}

fn open_key(entry: &Entry, verdict: Verdict) -> Option<Key> {
    let keyed = entry.key.as_ref().filter(|_| verdict == Verdict::Open);
    keyed.map(|keyed| keyed.key.clone())
}

impl LaneData {
    fn judge(&mut self, position: Position, verdict: Option<Verdict>) {
        if let (Some(entry), Some(verdict)) = (self.entries.get_mut(&position), verdict) {
            entry.1 = verdict;
        }
    }

    fn advance(&mut self, instance: InstanceIx, position: Position) {
        let cursor = self.cursors.entry(instance).or_default();
        *cursor = (*cursor).max(position);
    }
}
