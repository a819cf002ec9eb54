//! What is made durable: everything that the engine asks of a store, and what a store then holds.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    catalog::{Catalog, Change},
    engine::{RestoredLane, Snapshot},
    ids::{EntryId, InstanceIx, JobId, LaneId, Position},
    log::{Entry, Logged, Verdict},
};

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new entry, which gets the next position of its lane.
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
        /// What the catalog becomes by it.
        changes: Vec<Change>,
    },
    /// An entry has got a verdict that no instance stands for.
    Close {
        /// The lane.
        lane: LaneId,
        /// The entry.
        position: Position,
        /// The verdict.
        verdict: Verdict,
        /// Why, for the operator.
        reason: String,
    },
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
    /// Cursors and catalog as a job has made them true.
    Settle {
        /// The job.
        job: JobId,
        /// Where an instance stands in a lane by now.
        cursors: Vec<(LaneId, InstanceIx, Position)>,
        /// What the catalog becomes.
        changes: Vec<Change>,
    },
}

#[derive(Clone, Debug, Default)]
struct LaneData {
    head: Position,
    trimmed: Position,
    entries: BTreeMap<Position, (Entry, Verdict)>,
    cursors: BTreeMap<InstanceIx, Position>,
}

/// What a store holds after the writes that it was given: their fold, in memory.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    catalog: Catalog,
    lanes: BTreeMap<LaneId, LaneData>,
}

impl Ledger {
    /// Takes one write in. Returns the position of an append.
    pub fn write(&mut self, write: &Write) -> Option<Position> {
        match write {
            Write::Append(entry) => return Some(self.append(entry)),
            Write::Record {
                lane,
                instance,
                position,
                verdict,
                changes,
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, *verdict);
                lane.advance(*instance, *position);
                self.change(changes);
            }
            Write::Close {
                lane,
                position,
                verdict,
                ..
            } => {
                let lane = self.lanes.entry(*lane).or_default();
                lane.judge(*position, Some(*verdict));
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

    fn append(&mut self, entry: &Entry) -> Position {
        let lane = self.lanes.entry(entry.verb.lane()).or_default();
        lane.head = lane.head.next();
        lane.entries
            .insert(lane.head, (entry.clone(), Verdict::Open));
        lane.head
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.catalog.apply(change);
            if let Change::Gone { collection, .. } = change
                && let Some(lane) = self.lanes.get_mut(&LaneId::Collection(*collection))
            {
                lane.entries.clear();
                lane.trimmed = lane.head;
            }
        }
    }

    /// What an engine is restored from.
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
                    verdict: *verdict,
                })
        })
    }

    /// Where an entry stands, if it is there.
    pub fn find(&self, id: EntryId) -> Option<Position> {
        let mut all = self.lanes.values().flat_map(|lane| &lane.entries);
        all.find(|(_, (entry, _))| entry.id == id)
            .map(|(position, _)| *position)
    }

    /// The body of an entry, if it is there.
    pub fn body(&self, lane: LaneId, position: Position) -> Option<Bytes> {
        let (entry, _) = self.lanes.get(&lane)?.entries.get(&position)?;
        Some(entry.body.clone())
    }
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
