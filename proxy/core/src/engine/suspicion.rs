//! Suspicions that an instance lacks a collection, and what they lead to.
//!
//! A suspicion changes nothing by itself (rules 12 and 13 of the design): it has a job ask the
//! instances about the collection.

use std::collections::BTreeMap;

use super::Engine;
use crate::{
    catalog::Change,
    health::Standing,
    ids::{CollectionId, InstanceId, InstanceIx, LaneId, Position},
    jobs::{Task, locate::MADE_EMPTY},
    limits::LOCATE_INTERVAL,
    log::{Verb, Verdict},
    outcome::{Failure, Outcome},
    planted::Bug,
    reply::{self, Reply},
    time::Instant,
};

/// Time of the last search for each collection, for as long as the collection is not looked for again.
#[derive(Debug, Default)]
pub(super) struct Located(BTreeMap<CollectionId, Instant>);

impl Located {
    /// Notes that a collection was looked for.
    pub(super) fn note(&mut self, id: CollectionId, now: Instant) {
        self.0.insert(id, now);
    }

    /// Returns true when a collection was looked for a moment ago: the findings still hold.
    pub(super) fn was_just(&self, id: CollectionId, now: Instant) -> bool {
        let at = self.0.get(&id);
        at.is_some_and(|at| *at + LOCATE_INTERVAL > now)
    }

    fn is_recent(&mut self, id: CollectionId, now: Instant) -> bool {
        self.0.retain(|_, at| *at + LOCATE_INTERVAL > now);
        self.0.contains_key(&id)
    }
}

impl Engine {
    /// A read was answered 404 by an instance that should have the collection.
    pub(super) fn missed(&mut self, instance: InstanceIx, id: InstanceId) {
        let found = self.catalog.of_instance_id(id);
        let found = found.filter(|collection| collection.on(instance) == Some(id));
        if let Some(collection) = found.map(|collection| collection.id) {
            self.suspect(collection);
        }
    }

    /// Has the instances asked whether they have a collection, unless that was just done.
    pub(super) fn suspect(&mut self, id: CollectionId) {
        let now = self.now;
        if self.catalog.get(id).is_some() && !self.jobs.is_awaited(&Task::Locate(id), now) {
            self.ask_for(Task::Locate(id));
        }
    }

    /// A 404 to a change of a function may be about the function or about the collection: its client is
    /// answered, and the instances are asked about the collection itself.
    pub(super) fn weigh_not_found(&mut self, verb: &Verb, outcome: Outcome) -> Outcome {
        let is_vague = matches!(
            verb,
            Verb::AttachFunction { .. } | Verb::DetachFunction { .. }
        );
        let is_not_found = |reply: &Reply| reply.status == 404 && !reply.body.is_empty();
        match (outcome, verb.subject()) {
            (Outcome::Refused { reply, .. }, Some(_))
                if is_vague && is_not_found(&reply) && self.plants(Bug::AnyMissingIsLoss) =>
            {
                Outcome::Missing(reply)
            }
            (Outcome::Refused { reply, trace }, Some(id)) if is_vague && is_not_found(&reply) => {
                self.suspect(id);
                Outcome::Refused { reply, trace }
            }
            (outcome, _) => outcome,
        }
    }

    /// I27: an answer in the schema lane that a collection is missing takes the copy out of service
    /// only while another sound copy is there. Otherwise it refuses the entry, so that the lane goes
    /// on, and the instances are asked who has the collection. An entry that another instance may have
    /// carried out waits for that one: refused, it would be done there and nowhere else.
    pub(super) fn spare_last_copy(
        &mut self,
        (lane, position): (LaneId, Position),
        instance: InstanceIx,
        verb: &Verb,
        outcome: Outcome,
    ) -> Outcome {
        let Outcome::Missing(reply) = outcome else {
            return outcome;
        };
        let subject = verb.subject().filter(|_| lane == LaneId::Schema);
        let Some(collection) = subject.and_then(|id| self.catalog.get(id)).cloned() else {
            return Outcome::Missing(reply);
        };
        if let Some(lane) = self.lane_mut(lane) {
            lane.lacks(instance, position);
        }
        let lane = self.lane(lane);
        let slot = lane.and_then(|lane| lane.slot(position));
        let has_it = |other: &InstanceIx| {
            *other != instance
                && collection.on(*other).is_some()
                && slot.is_none_or(|slot| !slot.is_lacked_by(*other))
        };
        let others = || InstanceIx::all(self.instances.len()).filter(has_it);
        if others().any(|i| collection.is_sound_on(i) && self.standing(i) != Standing::Down) {
            return Outcome::Missing(reply);
        }
        let open = lane.filter(|_| slot.is_some_and(|slot| slot.verdict == Verdict::Open));
        let may_be_done =
            open.is_some_and(|lane| others().any(|i| lane.may_be_done_on(i, position)));
        self.suspect(collection.id);
        if may_be_done {
            let why = "another instance, which may have done it, has the collection";
            return Outcome::Failed(Failure::Withheld(why));
        }
        let is_elsewhere = collection
            .copies
            .iter()
            .filter(|copy| copy.is_served())
            .count()
            > 1;
        let reply = if is_elsewhere {
            let message =
                "The instance that has this collection is not in service; nothing was done";
            reply::unavailable(message, 1)
        } else {
            reply
        };
        let trace = false;
        Outcome::Refused { reply, trace }
    }

    /// A copy that was made empty says that the older one is gone there; the others may be too.
    pub(super) fn follow_quarantine(&mut self, change: &Change) {
        if let Change::Quarantined {
            collection, reason, ..
        } = change
            && reason.as_ref() == MADE_EMPTY
        {
            self.suspect(*collection);
        }
    }
}

impl super::jobs::Jobs {
    /// Returns true when a task goes on, waits to be begun, or ended a moment ago.
    fn is_awaited(&mut self, task: &Task, now: Instant) -> bool {
        let is_recent = task
            .collection()
            .is_some_and(|id| self.located.is_recent(id, now));
        is_recent || self.is_planned(task, now)
    }
}
