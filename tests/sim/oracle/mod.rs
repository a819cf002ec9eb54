//! Whoever judges: it sees what is written to the log, what is sent to the instances and carried
//! out there, and what the clients are told. It never asks a proxy.

pub mod altered;
mod evidence;
mod fold;
mod homes;
mod letters;
mod past;
mod reads;
mod registers;
mod trash;
mod vanished;
mod watch;
mod writes;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use achromat_core::{
    catalog::Marker,
    ids::{CollectionId, EntryId, InstanceId, InstanceIx, Key, LaneId, Position},
    log::{Entry, Level, Verb, Verdict},
};

use self::{homes::Homes, vanished::Vanished};
use super::{process::is_old, requests::Known};

/// An entry, for ever: what the log forgets is kept here.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) entry: Entry,
    pub(super) verdict: Verdict,
    /// When it was appended.
    at: u64,
    /// When its verdict became durable.
    decided: Option<u64>,
    /// The instances that have carried it out, as bits.
    executed: u16,
    /// Of those, the ones that have lost their data since.
    lost: u16,
}

/// What an instance has done of a lane.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The last entry that it was made to do, or the first of those that came together.
    last: Position,
    /// How many requests for entries of the lane are on their way to it.
    under_way: BTreeMap<Position, u32>,
    /// The entry whose sending ended in silence, and when.
    silent: Option<(Position, u64)>,
}

/// A write that its client was told to be done.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    lane: LaneId,
    position: Position,
    at: u64,
}

/// The judge.
#[derive(Debug)]
pub struct Oracle {
    /// What is not as it must be.
    pub violation: Option<String>,
    seed: u64,
    instances: usize,
    /// When clients of writes of records are answered.
    level: Level,
    /// The UUID of each collection on each instance, as far as that is durable.
    copies: BTreeMap<(CollectionId, InstanceIx), InstanceId>,
    requests: u64,
    log: BTreeMap<LaneId, Vec<Noted>>,
    places: BTreeMap<EntryId, (LaneId, Position)>,
    keys: BTreeMap<Key, EntryId>,
    cursors: BTreeMap<(LaneId, InstanceIx), Position>,
    trimmed: BTreeMap<LaneId, Position>,
    seen: BTreeMap<(LaneId, InstanceIx), Seen>,
    quarantined: BTreeSet<(CollectionId, InstanceIx)>,
    distrusted: BTreeSet<(CollectionId, InstanceIx)>,
    /// Copies that a job has made right, when that is not recorded yet.
    healing: BTreeSet<(CollectionId, InstanceIx)>,
    /// All collections that ever were.
    made: BTreeSet<CollectionId>,
    /// Instances on which somebody has changed a record, behind the proxy's back.
    altered: BTreeSet<InstanceIx>,
    /// Collections that have, or had, a copy which was made anew.
    remade: BTreeSet<CollectionId>,
    out: BTreeSet<InstanceIx>,
    /// Instances that have lost everything, and were not taken into service again.
    wiped: BTreeSet<InstanceIx>,
    /// Of them, those that have data from the past.
    past: BTreeSet<InstanceIx>,
    /// Of those, the ones that Achromat has found.
    held: BTreeSet<InstanceIx>,
    /// The marker of each instance, as far as that is durable.
    markers: BTreeMap<InstanceIx, Marker>,
    gone: BTreeSet<CollectionId>,
    acknowledged: Vec<Acknowledged>,
    known: Vec<Known>,
    /// Entries of which operators found letters.
    letters: BTreeSet<EntryId>,
    /// Names that somebody has deleted on an instance, behind the proxy's back.
    tampered: BTreeSet<(InstanceIx, String, String)>,
    /// Collections that somebody has deleted on every instance, behind the proxy's back.
    vanished: Vanished,
    /// Collections that one instance alone has.
    homes: Homes,
    /// Entries by which the trash is emptied.
    purges: BTreeSet<EntryId>,
    sendings: u64,
}

impl Oracle {
    /// A judge who has seen nothing yet.
    pub fn new(seed: u64, instances: usize, level: Level) -> Self {
        Self {
            level,
            copies: BTreeMap::new(),
            violation: None,
            seed,
            instances,
            requests: 0,
            log: BTreeMap::new(),
            places: BTreeMap::new(),
            keys: BTreeMap::new(),
            cursors: BTreeMap::new(),
            trimmed: BTreeMap::new(),
            seen: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            distrusted: BTreeSet::new(),
            healing: BTreeSet::new(),
            made: BTreeSet::new(),
            altered: BTreeSet::new(),
            remade: BTreeSet::new(),
            out: InstanceIx::all(instances).collect(),
            wiped: BTreeSet::new(),
            past: BTreeSet::new(),
            held: BTreeSet::new(),
            markers: BTreeMap::new(),
            gone: BTreeSet::new(),
            acknowledged: Vec::new(),
            known: Vec::new(),
            letters: BTreeSet::new(),
            tampered: BTreeSet::new(),
            vanished: Vanished::default(),
            homes: Homes::default(),
            purges: BTreeSet::new(),
            sendings: 0,
        }
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn has_old_servers(&self) -> bool {
        InstanceIx::all(self.instances).any(|instance| is_old(self.seed, instance))
    }

    /// A number for a request.
    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// The last entry of a lane.
    pub fn head(&self, lane: LaneId) -> Position {
        let count = self.log.get(&lane).map_or(0, Vec::len);
        Position(u64::try_from(count).expect("a count"))
    }

    /// The collections that clients have been told of.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// The entry at a place in the log.
    pub fn entry_at(&self, (lane, position): (LaneId, Position)) -> Option<EntryId> {
        self.noted(lane, position).map(|noted| noted.entry.id)
    }

    /// When an entry was appended.
    pub fn appended_at(&self, (lane, position): (LaneId, Position)) -> u64 {
        self.noted(lane, position).map_or(0, |noted| noted.at)
    }

    /// Whether an instance has carried an entry out.
    pub fn is_done_somewhere(&self, lane: LaneId, position: Position) -> bool {
        self.noted(lane, position)
            .is_some_and(|noted| noted.executed != 0)
    }

    pub(super) fn noted(&self, lane: LaneId, position: Position) -> Option<&Noted> {
        self.log.get(&lane)?.get(index(position)?)
    }

    fn noted_mut(&mut self, lane: LaneId, position: Position) -> Option<&mut Noted> {
        self.log.get_mut(&lane)?.get_mut(index(position)?)
    }

    fn cursor(&self, lane: LaneId, instance: InstanceIx) -> Position {
        self.cursors
            .get(&(lane, instance))
            .copied()
            .unwrap_or_default()
    }

    fn is_gone(&self, lane: LaneId) -> bool {
        matches!(lane, LaneId::Collection(collection) if self.gone.contains(&collection))
    }

    fn is_quarantined(&self, lane: LaneId, instance: InstanceIx) -> bool {
        let is_quarantined = match lane {
            LaneId::Schema => false,
            LaneId::Collection(collection) => self.quarantined.contains(&(collection, instance)),
        };
        is_quarantined || self.out.contains(&instance)
    }

    /// The collection that an instance has lost by no fault of the proxy.
    pub fn tampered(&mut self, instance: InstanceIx, (_, database, name): (&str, &str, &str)) {
        self.tampered
            .insert((instance, database.to_owned(), name.to_owned()));
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        let count: usize = self.log.values().map(Vec::len).sum();
        u64::try_from(count).expect("a count")
    }

    /// How often entries were sent.
    pub fn sendings(&self) -> u64 {
        self.sendings
    }

    /// Whether the first so many instances are in service.
    pub fn all_serve(&self, count: usize) -> bool {
        InstanceIx::all(count).all(|instance| !self.out.contains(&instance))
    }

    /// Whether somebody should compare all copies before the end.
    pub fn must_compare(&self) -> bool {
        self.is_altered() || !self.tampered.is_empty() || self.has_vanished()
    }

    /// The copies that are known to differ from others.
    pub fn distrusted(&self) -> Vec<(CollectionId, InstanceIx)> {
        let lives = |(id, _): &&(CollectionId, InstanceIx)| !self.gone.contains(id);
        self.distrusted.iter().filter(lives).copied().collect()
    }

    /// The collections that live.
    pub fn living(&self) -> Vec<CollectionId> {
        let lanes = self.made.iter().copied();
        lanes.filter(|id| !self.gone.contains(id)).collect()
    }

    /// A read is sent to an instance by the newest proxy.
    pub fn reading(&mut self, collection: CollectionId, instance: InstanceIx) {
        let copy = (collection, instance);
        let is_bad = self.quarantined.contains(&copy) || self.distrusted.contains(&copy);
        if is_bad && !self.healing.contains(&copy) && !self.gone.contains(&collection) {
            let who = instance.0;
            self.violate(format!(
                "I16: {collection} is read on {who}, which is not trusted with it"
            ));
        }
    }

    /// An instance has lost all its data.
    pub fn wiped(&mut self, instance: InstanceIx) {
        self.wiped.insert(instance);
        self.lose_homes_of(instance);
        for noted in self.log.values_mut().flatten() {
            noted.lost |= noted.executed & bit(instance);
        }
    }

    /// Whether an instance has lost its data and was not taken into service again.
    pub fn is_wiped(&self, instance: InstanceIx) -> bool {
        self.wiped.contains(&instance)
    }

    /// Whether an instance may lose its data: another one has, or will be sent, everything.
    pub fn may_lose(&self, instance: InstanceIx) -> bool {
        let is_sound = |other: InstanceIx| {
            let has_lost = self
                .tampered
                .iter()
                .any(|(tampered, ..)| *tampered == other);
            let lacks = self
                .quarantined
                .iter()
                .any(|(_, lacking)| *lacking == other);
            let is_out = self.out.contains(&other) || self.wiped.contains(&other);
            !has_lost && !lacks && !is_out
        };
        let mut others = InstanceIx::all(self.instances).filter(|other| *other != instance);
        let is_lost = self.out.contains(&instance) || self.wiped.contains(&instance);
        let may = !self.is_altered() && !self.is_vanishing() && !is_lost;
        may && others.any(is_sound) && self.has_more_than_homes(instance)
    }

    /// Whether every instance has everything, so that one of them may lose something.
    pub fn is_whole(&self) -> bool {
        let has_gaps = self.is_altered()
            || self.is_vanishing()
            || !self.out.is_empty()
            || !self.wiped.is_empty()
            || !self.quarantined.is_empty()
            || self.homes().next().is_some();
        !has_gaps && self.tampered.is_empty() && self.owed().is_none()
    }

    /// What is still owed, if anything is.
    pub fn owed(&self) -> Option<String> {
        self.log.iter().find_map(|(lane, entries)| {
            if self.is_gone(*lane) {
                return None;
            }
            entries.iter().zip(1..).find_map(|(noted, at)| {
                let position = Position(at);
                if noted.verdict == Verdict::Open {
                    return Some(format!("{lane} {at} is open"));
                }
                let missing = InstanceIx::all(self.instances).find(|instance| {
                    noted.verdict.binds()
                        && !self.is_quarantined(*lane, *instance)
                        && self.cursor(*lane, *instance) < position
                });
                missing.map(|instance| format!("{lane} {at} is owed to {}", instance.0))
            })
        })
    }
}

fn index(position: Position) -> Option<usize> {
    usize::try_from(position.0.checked_sub(1)?).ok()
}

fn bit(instance: InstanceIx) -> u16 {
    1 << instance.0
}

/// Whether an entry is about a collection that an instance need not have.
fn may_have_nothing_to_do(verb: &Verb) -> bool {
    !matches!(verb, Verb::Record { .. }) && verb.subject().is_some()
}
