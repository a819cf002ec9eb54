//! Collections with a home (I25): what is carried out there and is not in the log, in its order. Between
//! two entries of a collection's lane there may be such writes.

use std::collections::{BTreeMap, BTreeSet};

use achromat_core::{
    ids::{CollectionId, EntryId, InstanceIx, LaneId},
    log::RecordAct,
    reply::Reply,
};
use bytes::Bytes;

use super::Oracle;
use crate::{
    clients::Operation,
    marks::Mark,
    wire::{Request, Sender},
};

/// A place among the states of a collection: behind an entry of its lane, and behind so many writes that
/// are not logged since then.
pub(super) type Place = (usize, usize);

/// A write that is not logged, as a home has carried it out.
#[derive(Clone, Debug)]
pub(super) struct LocalNoted {
    entry: EntryId,
    pub(super) act: RecordAct,
    pub(super) body: Bytes,
    /// The last entry of the lane then.
    pub(super) after: usize,
    /// Time at which the home carried it out.
    pub(super) at: u64,
    pub(super) status: u16,
    /// Time at which its client was told that it is done.
    acknowledged: Option<u64>,
    /// The home that has carried it out, by number.
    pub(super) stay: u32,
    /// True when it was lost with its home.
    pub(super) is_lost: bool,
}

/// A time that a collection has its home on an instance.
#[derive(Clone, Copy, Debug)]
struct Stay {
    home: InstanceIx,
    number: u32,
}

/// All homes.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// Those that there are, as far as that is durable.
    now: BTreeMap<CollectionId, Stay>,
    /// Those that there were last, as long as no other instance has what they alone had.
    last: BTreeMap<CollectionId, Stay>,
    /// Collections of which something was lost with a home.
    lost: BTreeSet<CollectionId>,
    /// Number of writes so far.
    count: u32,
    /// Writes that were carried out at homes.
    writes: BTreeMap<CollectionId, Vec<LocalNoted>>,
}

impl Homes {
    /// Writes that were carried out at the homes of a collection.
    pub(super) fn of(&self, collection: CollectionId) -> &[LocalNoted] {
        self.writes.get(&collection).map_or(&[], Vec::as_slice)
    }

    fn find(&self, (collection, entry): (CollectionId, EntryId)) -> Option<&LocalNoted> {
        self.of(collection)
            .iter()
            .find(|noted| noted.entry == entry)
    }
}

impl Oracle {
    /// The collections that live and have a home.
    pub fn homes(&self) -> impl Iterator<Item = (CollectionId, InstanceIx)> {
        let all = self.homes.now.iter();
        all.filter(|(id, _)| !self.gone.contains(id))
            .map(|(id, stay)| (*id, stay.home))
    }

    /// Whether all that is logged of the collections that have their home on an instance is elsewhere too:
    /// with its disk no more is lost than what it was to have alone.
    pub(super) fn has_more_than_homes(&self, instance: InstanceIx) -> bool {
        let mut last = self.homes.last.iter();
        if last.any(|(id, stay)| stay.home == instance && !self.gone.contains(id)) {
            return false;
        }
        let mut theirs = self.homes().filter(|(_, home)| *home == instance);
        theirs.all(|(id, _)| {
            let lane = LaneId::Collection(id);
            let mut others = InstanceIx::all(self.instances).filter(|other| *other != instance);
            others.any(|other| {
                let skipped =
                    self.first_skipped(lane, self.cursor(lane, other), self.head(lane).next());
                let has_copy = self.copies.contains_key(&(id, other));
                has_copy && skipped.is_none() && !self.is_quarantined(lane, other)
            })
        })
    }

    pub(super) fn home_of(&self, collection: CollectionId) -> Option<InstanceIx> {
        self.homes.now.get(&collection).map(|stay| stay.home)
    }

    /// I25: a collection gets a home when all that is logged of it is done there.
    pub(super) fn homed(
        &mut self,
        collection: CollectionId,
        home: Option<InstanceIx>,
        marks: &mut Vec<Mark>,
    ) {
        let Some(home) = home else {
            if let Some(stay) = self.homes.now.remove(&collection) {
                self.homes.last.insert(collection, stay);
                marks.push(Mark::CameBack);
            }
            return;
        };
        marks.push(Mark::Homed);
        let lane = LaneId::Collection(collection);
        let is_open = self.decided(lane) < self.head(lane);
        let first = self.first_skipped(lane, self.cursor(lane, home), self.head(lane).next());
        if (is_open || first.is_some()) && !self.gone.contains(&collection) {
            let who = home.0;
            self.violate(format!(
                "I25: {collection} has its home on {who}, which has not done all that is logged"
            ));
        }
        if self.wiped.contains(&home) {
            self.homes.lost.insert(collection);
        }
        self.homes.count += 1;
        let number = self.homes.count;
        self.homes.now.insert(collection, Stay { home, number });
    }

    /// Another instance has all that a home alone had.
    pub(super) fn shared(&mut self, collection: CollectionId, instance: InstanceIx) {
        let stay = self.homes.last.get(&collection);
        if stay.is_some_and(|stay| stay.home != instance) {
            self.homes.last.remove(&collection);
        }
    }

    /// What an instance alone has is lost with its disk.
    pub(super) fn lose_homes_of(&mut self, instance: InstanceIx) {
        let homes = self.homes.now.iter().chain(&self.homes.last);
        let lost = homes.filter(|(id, stay)| stay.home == instance && !self.gone.contains(id));
        let lost: Vec<_> = lost.map(|(id, stay)| (*id, *stay)).collect();
        for (collection, stay) in lost {
            self.lose(collection, stay);
        }
    }

    /// Returns whether a client knew of something that is lost.
    fn lose(&mut self, collection: CollectionId, stay: Stay) -> bool {
        self.homes.lost.insert(collection);
        let writes = self.homes.writes.entry(collection).or_default();
        let mut was_known = false;
        for noted in writes.iter_mut().filter(|noted| noted.stay == stay.number) {
            noted.is_lost = true;
            was_known |= noted.acknowledged.is_some();
        }
        was_known
    }

    /// I25: the copy of a home is given up only when nothing is lost with it, or its instance has lost it.
    pub(super) fn may_lose_home(
        &mut self,
        (collection, instance): (CollectionId, InstanceIx),
        marks: &mut Vec<Mark>,
    ) {
        let stay = self.homes.now.get(&collection).copied();
        let Some(stay) = stay.filter(|stay| stay.home == instance) else {
            return;
        };
        marks.push(Mark::HomeLost);
        self.homes.now.remove(&collection);
        let was_known = self.lose(collection, stay);
        let is_lost = self.wiped.contains(&instance) || !self.tampered.is_empty();
        if was_known && !is_lost && !self.gone.contains(&collection) {
            let who = instance.0;
            self.violate(format!(
                "I25: {collection} has its home on {who}, which is given up with all that it alone has"
            ));
        }
    }

    /// I25: nothing is logged of a collection while it has a home.
    pub(super) fn check_not_local(&mut self, lane: LaneId) {
        let LaneId::Collection(collection) = lane else {
            return;
        };
        if let Some(home) = self.home_of(collection).map(|home| home.0)
            && !self.gone.contains(&collection)
        {
            self.violate(format!(
                "I25: a write of {collection} is logged while {home} alone has it"
            ));
        }
    }

    fn index_of_head(&self, collection: CollectionId) -> usize {
        let head = self.head(LaneId::Collection(collection));
        usize::try_from(head.0).expect("a position")
    }

    /// I25: a write that is not logged is sent when it is durable that its instance is the home.
    pub fn sending_locally(&mut self, collection: CollectionId, instance: InstanceIx) {
        if self.home_of(collection) != Some(instance) && !self.gone.contains(&collection) {
            let (who, home) = (instance.0, self.home_of(collection));
            self.violate(format!(
                "I25: a write of {collection} is sent to {who} alone before that is its home: {home:?}"
            ));
        }
    }

    /// A request is carried out: one that is not logged only while its instance is the home. Its body is as it
    /// can be carried out elsewhere.
    pub fn executed_locally(&mut self, request: &Request, body: Bytes, reply: &Reply, now: u64) {
        let Sender::Local {
            collection, entry, ..
        } = request.sender
        else {
            return;
        };
        // An instance without the collection has carried nothing out.
        if reply.status == 404 {
            return;
        }
        let (who, home) = (request.instance.0, self.home_of(collection));
        if home != Some(request.instance) && !self.gone.contains(&collection) {
            self.violate(format!(
                "I25: a write of {collection} that is not logged is carried out on {who}, and its home is {home:?}"
            ));
        }
        if self.homes.find((collection, entry)).is_some() {
            self.violate(format!(
                "I25: {entry:?} is not logged, and is carried out twice"
            ));
        }
        let change = (act_of(&request.target), body);
        self.note_local((collection, entry), change, (now, reply.status));
    }

    /// A home has carried out what is not logged.
    pub(super) fn note_local(
        &mut self,
        (collection, entry): (CollectionId, EntryId),
        (act, body): (RecordAct, Bytes),
        (at, status): (u64, u16),
    ) {
        let noted = LocalNoted {
            entry,
            act,
            body,
            after: self.index_of_head(collection),
            at,
            status,
            acknowledged: None,
            stay: self
                .homes
                .now
                .get(&collection)
                .map_or(0, |stay| stay.number),
            is_lost: false,
        };
        self.homes.writes.entry(collection).or_default().push(noted);
    }

    /// Returns true when a home has done the write of an operation that is not logged.
    pub(super) fn is_done_locally(&self, operation: &Operation) -> bool {
        let noted = operation.local.and_then(|local| self.homes.find(local));
        noted.is_some_and(|noted| noted.status < 300)
    }

    /// What a client was told of a write that is not logged, against what its home has done.
    pub(super) fn judge_local(&self, operation: &Operation) -> Result<(), String> {
        let (Some(local), Some(reply)) = (operation.local, &operation.reply) else {
            return Ok(());
        };
        let noted = self.homes.find(local);
        let is_logged = self.places.contains_key(&local.1);
        if noted.is_some() && is_logged {
            return Err(format!("I25: {:?} is in the log and was not", local.1));
        }
        let is_right = match reply.status {
            _ if is_logged => true,
            200..=299 => noted.is_some_and(|noted| noted.status < 300),
            503 if super::watch::is_ours(reply) => noted.is_none(),
            400..=499 => noted.is_none_or(|noted| noted.status >= 300),
            _ => true,
        };
        if is_right {
            return Ok(());
        }
        let (target, status) = (&operation.draft.target, reply.status);
        let done = noted.map(|noted| noted.status);
        Err(format!(
            "{target} was answered {status}, and its home has answered {done:?}"
        ))
    }

    /// The client of a write that is not logged hears.
    pub(super) fn acknowledge_locally(&mut self, operation: &Operation, at: u64) {
        let Some((collection, entry)) = operation.local else {
            return;
        };
        let writes = self.homes.writes.get_mut(&collection);
        let noted = writes.and_then(|all| all.iter_mut().find(|noted| noted.entry == entry));
        if let Some(noted) = noted {
            noted.acknowledged = Some(at);
        }
    }

    /// The last state of a collection that a client knew of before a moment by a write that is not logged.
    pub(super) fn acknowledged_locally(&self, collection: CollectionId, moment: u64) -> Place {
        let numbered = numbered(self.homes.of(collection));
        let known = numbered.filter(|(_, noted)| {
            !noted.is_lost && noted.acknowledged.is_some_and(|at| at <= moment)
        });
        known.map(|(place, _)| place).max().unwrap_or_default()
    }

    /// Returns true when something may have been lost with a home of a collection.
    pub(super) fn has_lost_home(&self, collection: CollectionId) -> bool {
        self.homes.lost.contains(&collection)
    }
}

/// Writes that are not logged, with their places.
pub(super) fn numbered(writes: &[LocalNoted]) -> impl Iterator<Item = (Place, &LocalNoted)> {
    writes.iter().scan((0, 0), |last, noted| {
        let number = if last.0 == noted.after { last.1 + 1 } else { 1 };
        *last = (noted.after, number);
        Some((*last, noted))
    })
}

fn act_of(target: &str) -> RecordAct {
    match target.rsplit('/').next().unwrap_or_default() {
        "add" => RecordAct::Add,
        "update" => RecordAct::Update,
        "upsert" => RecordAct::Upsert,
        _ => RecordAct::Delete,
    }
}
