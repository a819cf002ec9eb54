//! Writes on their way into the log.
//!
//! Most go straight to the store. A write that must be resolved first (a delete with a limit, a
//! delete in a protected collection) closes its lane's *gate*: it waits until the lane is at rest,
//! an instance that has everything is asked, and only then are it and those behind it logged. So
//! what was found out is still true at the entry's place in the log.

use std::{collections::VecDeque, time::Duration};

use super::{Appending, Effect, Engine, Join, resolving::Resolving};
use crate::{
    durable::Write,
    ids::{InstanceIx, LaneId, Position, Ticket},
    key::Keyed,
    lane::{Client, Lane},
    limits::{HEAVY_TIME_MAX, LANE_OPEN_MAX},
    log::{Entry, Level},
    planted::Bug,
    reply::{self, Reply},
    time::Instant,
    weight::{heavy_time, is_heavy},
    write::Permit,
};

/// A write that a client wants done, and that may be done.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The client.
    pub ticket: Ticket,
    /// Permit of the write that shall be logged.
    pub permit: Permit,
    /// Deadline of the client's answer.
    pub answer_by: Instant,
}

/// Writes that wait before a lane.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) waiting: VecDeque<Submission>,
    /// Number of the lane's entries that are on their way into the store.
    pub(super) appending: usize,
    /// The questions about the first of those that wait.
    pub(super) resolving: Option<Resolving>,
    /// A job lets nothing through.
    pub(super) held: bool,
    /// Repeats of requests whose entries are among those that are on their way into the store.
    pub(super) joins: Vec<Join>,
}

impl Gate {
    fn is_idle(&self) -> bool {
        let is_empty = self.waiting.is_empty() && self.joins.is_empty();
        is_empty && self.has_nothing_under_way() && !self.held
    }

    pub(super) fn has_nothing_under_way(&self) -> bool {
        self.appending == 0 && self.resolving.is_none()
    }

    fn wants_in(&self) -> bool {
        !self.waiting.is_empty() && self.resolving.is_none()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Time at which the gate needs attention: an answer is due, or a question is to be asked again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let answers = self.waiting.iter().map(|waiting| waiting.answer_by);
        let question = self.resolving.as_ref().map(|resolving| resolving.next_at);
        answers.chain(question).min()
    }
}

impl Engine {
    pub(super) fn submitted(&mut self, mut submission: Submission) {
        if let Err(reply) = self.admit(&submission) {
            self.answer(submission.ticket, reply);
            return;
        }
        let lane = submission.permit.entry.verb.lane();
        let bytes = submission.permit.entry.body.len();
        submission.answer_by = submission.answer_by + self.time_for(lane, bytes);
        if self.is_all_down() {
            submission.permit.level = Level::Logged;
        }
        if self.is_watched(lane) {
            submission.permit.name_ids();
        }
        self.gates
            .entry(lane)
            .or_default()
            .waiting
            .push_back(submission);
        self.pass_gate(lane);
        self.wake_for_gate(lane);
    }

    /// Time that a client waits beyond its deadline because its own body is heavy, or one before it in
    /// the lane.
    pub(super) fn time_for(&self, lane: LaneId, bytes: usize) -> Duration {
        let ahead = self.lane(lane).map_or(0, Lane::open_heavy_bytes);
        let ahead = ahead.saturating_add(self.appending_heavy_bytes);
        let time = heavy_time(ahead).saturating_add(heavy_time(bytes));
        time.min(HEAVY_TIME_MAX)
    }

    /// Has writes that wait name the records that they touch.
    pub(super) fn resolve_what_waits(&mut self, lane: LaneId) {
        if let Some(gate) = self.gates.get_mut(&lane) {
            for waiting in &mut gate.waiting {
                waiting.permit.name_ids();
            }
        }
    }

    /// Refuses a write that may not enter at all. Nothing has happened to a write that is refused here.
    fn admit(&self, submission: &Submission) -> Result<(), Reply> {
        if !self.store_is_up {
            let message = "The log can't be written at the moment; nothing was done";
            return Err(reply::unavailable(message, 1));
        }
        if self.is_all_down() && !submission.permit.accepts_in_log() {
            let message = "No instance is in service; nothing was done";
            return Err(reply::unavailable(message, 1));
        }
        let id = submission.permit.entry.verb.lane();
        self.admit_to_home(id)?;
        let open = self.lane(id).map_or(0, Lane::open);
        let gate = self.gates.get(&id);
        let queued = gate.map_or(0, |gate| gate.waiting.len() + gate.appending);
        if open + queued >= LANE_OPEN_MAX {
            let message = "Too many writes wait for this collection; nothing was done";
            return Err(reply::unavailable(message, 1));
        }
        Ok(())
    }

    /// Returns true when all instances are out of service. One that is probed again because it could not be
    /// reached does not count as out of service: it may be back in a moment.
    fn is_all_down(&self) -> bool {
        InstanceIx::all(self.instances.len())
            .zip(&self.instances)
            .all(|(instance, state)| self.catalog.is_out(instance) || state.health.is_down())
    }

    /// Lets through what may pass: everything up to the first that must be resolved.
    pub(super) fn pass_gate(&mut self, lane: LaneId) {
        self.expire(lane);
        self.go_on_resolving(lane);
        if self.gates.get(&lane).is_some_and(Gate::wants_in) && self.leaves_home(lane) {
            return;
        }
        while let Some(gate) = self.gates.get_mut(&lane)
            && gate.resolving.is_none()
            && !gate.held
            && let Some(next) = gate.waiting.front()
        {
            if next.permit.must_resolve {
                self.begin_resolving(lane);
                break;
            }
            if next.permit.is_judged_again() && !self.may_ask_guard(lane) {
                break;
            }
            self.let_next_in(lane);
        }
        if self.gates.get(&lane).is_some_and(Gate::is_idle) {
            self.gates.remove(&lane);
        }
    }

    /// Returns true when everything before the next write is decided, so that it is known what the write
    /// destroys.
    fn may_ask_guard(&self, lane: LaneId) -> bool {
        let is_alone = self.gates.get(&lane).is_none_or(|gate| gate.appending == 0);
        is_alone && self.lane(lane).is_none_or(|lane| lane.open() == 0)
    }

    fn let_next_in(&mut self, lane: LaneId) {
        let Some(gate) = self.gates.get_mut(&lane) else {
            return;
        };
        let Some(next) = gate.waiting.pop_front() else {
            return;
        };
        let given = next.permit.is_still_given(&self.catalog);
        match given {
            Ok(()) => {
                gate.appending += 1;
                self.append(next);
            }
            Err(reply) => self.answer(next.ticket, reply),
        }
    }

    fn expire(&mut self, lane: LaneId) {
        let now = self.now;
        let Some(gate) = self.gates.get_mut(&lane) else {
            return;
        };
        let is_over = |submission: &Submission| submission.answer_by <= now;
        if !gate.waiting.iter().any(is_over) {
            return;
        }
        let (over, waiting): (VecDeque<_>, _) = gate.waiting.drain(..).partition(is_over);
        gate.waiting = waiting;
        for submission in over {
            let ticket = submission.ticket;
            let reply = self.end_resolving(lane, ticket).unwrap_or_else(|| {
                let message = "The write waited too long for those before it; nothing was done";
                reply::unavailable(message, 1)
            });
            self.answer(ticket, reply);
        }
    }

    pub(super) fn append(&mut self, submission: Submission) {
        let Submission {
            ticket,
            permit:
                Permit {
                    entry,
                    level,
                    needs_ids,
                    executor,
                    ..
                },
            answer_by,
        } = submission;
        let client = Client {
            ticket,
            level,
            answer_by,
            executor,
        };
        if let LaneId::Collection(id) = entry.verb.lane() {
            let is_homed = self.home_of(id).is_some();
            assert!(
                !is_homed,
                "I25: a write of a collection with a home is not logged"
            );
        }
        if self.plants(Bug::AcknowledgesBeforeAppend) {
            self.answer(ticket, Reply::json(200, "{}"));
        }
        self.effects.push(Effect::Append {
            ticket,
            entry: entry.clone(),
        });
        self.appending_heavy_bytes += heavy_bytes(&entry);
        let appending = Appending {
            entry,
            client,
            names_ids: needs_ids,
        };
        self.appending.insert(ticket, appending);
    }

    /// An entry has reached the store, or never will.
    pub(super) fn take_appending(&mut self, ticket: Ticket) -> Option<Appending> {
        let appending = self.appending.remove(&ticket)?;
        let bytes = heavy_bytes(&appending.entry);
        self.appending_heavy_bytes = self.appending_heavy_bytes.saturating_sub(bytes);
        Some(appending)
    }

    pub(super) fn appended(&mut self, ticket: Ticket, position: Position) {
        let Some(Appending {
            entry,
            client,
            names_ids,
        }) = self.take_appending(ticket)
        else {
            return;
        };
        self.touched(&entry, names_ids);
        let (id, now) = (entry.verb.lane(), self.now);
        match self.lane_mut(id).filter(|lane| !lane.is_void()) {
            Some(lane) => {
                lane.appended(entry, position, client, now);
                self.advance(id);
            }
            None => self.void_append(id, ticket, position, entry.key),
        }
        self.append_ended(id);
    }

    /// The collection was deleted while the entry was on its way into the store.
    fn void_append(&mut self, id: LaneId, ticket: Ticket, position: Position, key: Option<Keyed>) {
        match (id, key) {
            (LaneId::Schema, _) => {}
            (LaneId::Collection(collection), Some(keyed)) => {
                self.void_keyed(collection, position, keyed, ticket);
            }
            (LaneId::Collection(collection), None) => {
                let reply = reply::no_such_collection_id(&collection.to_string());
                self.answer(ticket, reply);
            }
        }
        self.effects.push(Effect::Write(Write::Trim {
            lane: id,
            through: position,
            instances: Vec::new(),
        }));
    }

    pub(super) fn append_failed(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(Appending { entry, .. }) = self.take_appending(ticket) {
            self.append_ended(entry.verb.lane());
        }
        self.answer(ticket, reply);
    }

    pub(super) fn append_ended(&mut self, lane: LaneId) {
        if let Some(gate) = self.gates.get_mut(&lane) {
            gate.appending = gate.appending.saturating_sub(1);
        }
        self.join_those_that_wait(lane);
        self.pass_gate(lane);
    }

    pub(super) fn answer(&mut self, ticket: Ticket, reply: Reply) {
        self.effects.push(Effect::Answer { ticket, reply });
    }
}

fn heavy_bytes(entry: &Entry) -> usize {
    let bytes = entry.body.len();
    if is_heavy(bytes) { bytes } else { 0 }
}
