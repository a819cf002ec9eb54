//! Questions to instances, on which a write waits before it is logged.
//!
//! An instance that has everything is asked; when it fails or is silent for the hedge delay, the
//! next one is asked as well, and the first answer that settles the question holds. Questions change
//! nothing, so they are asked until the client is to be answered.

use std::time::Duration;

use bytes::Bytes;

use super::{Effect, Engine};
use crate::{
    health::Standing,
    ids::{InstanceId, InstanceIx, LaneId, Ticket},
    lane::Closings,
    limits::{CLOSED_INSTANCES_MAX, POISON_CLOSINGS_MIN},
    reply::{self, Reply},
    resolve::Unresolved,
    time::Instant,
};

/// Pause before an instance is asked again, or looked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Question to an instance before a delete is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The collection's tenant.
    pub tenant: std::sync::Arc<str>,
    /// The collection's database.
    pub database: std::sync::Arc<str>,
    /// The collection's name.
    pub name: std::sync::Arc<str>,
    /// The collection's UUID on the instance that is asked.
    pub id: InstanceId,
    /// The delete's body.
    pub body: Bytes,
    /// True when the delete must name its records even if it has no limit.
    pub needs_ids: bool,
}

/// The questions about one submission.
#[derive(Debug)]
pub(super) struct Resolving {
    ticket: Ticket,
    /// The instances that have been asked in this round, a bit for each.
    asked: u16,
    /// Questions that are not answered.
    under_way: u32,
    /// True when every question was for ids: a job may have begun to want them since the first question.
    asks_for_ids: bool,
    /// Connections that instances closed on a question.
    closings: Closings,
    /// Time at which the next instance is asked.
    pub(super) next_at: Instant,
    /// Reply to the client when its time is over.
    last: Option<Reply>,
}

impl Engine {
    /// Asks an instance for what the next submission must know, once the lane is at rest.
    pub(super) fn begin_resolving(&mut self, lane: LaneId) {
        let Some(gate) = self.gates.get_mut(&lane).filter(|gate| gate.appending == 0) else {
            return;
        };
        let Some(next) = gate.waiting.front() else {
            return;
        };
        let ticket = next.ticket;
        let Some(instance) = self.rested_instance(lane, 0) else {
            return;
        };
        if let Some(gate) = self.gates.get_mut(&lane) {
            gate.resolving = Some(Resolving {
                ticket,
                asked: 0,
                under_way: 0,
                asks_for_ids: true,
                closings: Closings::default(),
                next_at: self.now,
                last: None,
            });
            self.resolving.insert(ticket, lane);
            self.ask_instance(lane, instance);
        }
    }

    /// Asks the next instance when those before it have failed, or have been silent for too long.
    pub(super) fn go_on_resolving(&mut self, lane: LaneId) {
        let now = self.now;
        let resolving = self.gates.get(&lane).and_then(|g| g.resolving.as_ref());
        let Some(asked) = resolving.filter(|r| r.next_at <= now).map(|r| r.asked) else {
            return;
        };
        if let Some(instance) = self.rested_instance(lane, asked) {
            self.ask_instance(lane, instance);
        } else if let Some(gate) = self.gates.get_mut(&lane)
            && let Some(resolving) = &mut gate.resolving
        {
            if resolving.under_way == 0 {
                resolving.asked = 0;
            }
            resolving.next_at = now + PAUSE;
        }
    }

    fn ask_instance(&mut self, lane: LaneId, instance: InstanceIx) {
        let Some(question) = self.question(lane, instance) else {
            self.refuse_unknown(lane);
            return;
        };
        let next_at = self.now + self.settings.lanes.hedge;
        let gate = self.gates.get_mut(&lane);
        let Some(resolving) = gate.and_then(|gate| gate.resolving.as_mut()) else {
            return;
        };
        resolving.asked |= 1 << instance.0;
        resolving.under_way += 1;
        resolving.asks_for_ids &= question.needs_ids;
        resolving.next_at = next_at;
        self.effects.push(Effect::Resolve {
            ticket: resolving.ticket,
            instance,
            question,
        });
    }

    fn question(&self, lane: LaneId, instance: InstanceIx) -> Option<Question> {
        let next = self.gates.get(&lane)?.waiting.front()?;
        let collection = self.catalog.get(next.permit.entry.verb.subject()?)?;
        Some(Question {
            tenant: collection.tenant.clone(),
            database: collection.database.clone(),
            name: collection.name.clone(),
            id: collection.on(instance)?,
            body: next.permit.entry.body.clone(),
            needs_ids: next.permit.needs_ids,
        })
    }

    fn refuse_unknown(&mut self, lane: LaneId) {
        let next = self
            .gates
            .get_mut(&lane)
            .and_then(|gate| gate.waiting.pop_front());
        if let (Some(next), LaneId::Collection(collection)) = (next, lane) {
            self.end_resolving(lane, next.ticket);
            let reply = reply::no_such_collection_id(&collection.to_string());
            self.answer(next.ticket, reply);
        }
    }

    /// An instance in service that has every entry of a lane in which nothing is undecided, and that
    /// was not asked yet.
    fn rested_instance(&self, id: LaneId, asked: u16) -> Option<InstanceIx> {
        let at_rest = |instance: &InstanceIx| match self.lane(id) {
            None => true,
            Some(lane) => lane.open() == 0 && lane.owed_to(*instance) == 0,
        };
        let peers = self.peers(id);
        let is_usable = |instance: &InstanceIx| {
            peers.get(instance.at()).is_some_and(|peer| {
                peer.standing != Standing::Down && peer.is_ready && !peer.is_quarantined
            })
        };
        let is_new = |instance: &InstanceIx| asked & (1 << instance.0) == 0;
        InstanceIx::all(self.instances.len())
            .filter(|instance| is_new(instance) && is_usable(instance) && at_rest(instance))
            .min_by_key(|instance| peers.get(instance.at()).map(|peer| peer.standing))
    }

    /// An instance has answered, or has failed to.
    pub(super) fn resolved(
        &mut self,
        ticket: Ticket,
        instance: InstanceIx,
        found: Result<Bytes, Unresolved>,
    ) {
        let Some(lane) = self.resolving.get(&ticket).copied() else {
            return;
        };
        match found {
            Ok(body) => self.log_resolved(lane, ticket, body),
            Err(Unresolved::Refused(reply)) => self.refuse_resolved(lane, ticket, reply),
            Err(Unresolved::Closed) => self.question_closed(lane, ticket, instance),
            Err(Unresolved::Unanswered(reply)) => self.ask_another(lane, Some(reply)),
            Err(Unresolved::Missing(reply)) => {
                if let LaneId::Collection(id) = lane {
                    self.suspect(id);
                }
                self.ask_another(lane, Some(reply));
            }
        }
        self.pass_gate(lane);
        self.wake_for_gate(lane);
    }

    fn log_resolved(&mut self, lane: LaneId, ticket: Ticket, body: Bytes) {
        let gate = self.gates.get(&lane);
        let resolving = gate.and_then(|gate| gate.resolving.as_ref());
        let names_ids = resolving.is_some_and(|resolving| resolving.asks_for_ids);
        self.end_resolving(lane, ticket);
        if let Some(gate) = self.gates.get_mut(&lane)
            && let Some(mut submission) = gate.waiting.pop_front()
        {
            gate.appending += 1;
            submission.permit.entry.body = body;
            submission.permit.needs_ids = names_ids;
            self.append(submission);
        }
    }

    fn refuse_resolved(&mut self, lane: LaneId, ticket: Ticket, reply: Reply) {
        self.end_resolving(lane, ticket);
        if let Some(gate) = self.gates.get_mut(&lane) {
            gate.waiting.pop_front();
        }
        self.answer(ticket, reply);
    }

    /// Some requests make Chroma close the connection: what two instances closed on goes to no third, and
    /// what one alone closes on is asked as often as an entry is sent.
    fn question_closed(&mut self, lane: LaneId, ticket: Ticket, instance: InstanceIx) {
        let now = self.now;
        let gate = self.gates.get_mut(&lane);
        let Some(resolving) = gate.and_then(|gate| gate.resolving.as_mut()) else {
            return;
        };
        let closings = &mut resolving.closings;
        closings.note(instance, now);
        let count = closings.instances();
        if count >= usize::from(CLOSED_INSTANCES_MAX) || closings.total() >= POISON_CLOSINGS_MIN {
            let reply = reply::no_answer(&format!("{count} instance(s)"));
            self.refuse_resolved(lane, ticket, reply);
        } else {
            self.ask_another(lane, None);
        }
    }

    fn ask_another(&mut self, lane: LaneId, last: Option<Reply>) {
        let now = self.now;
        let gate = self.gates.get_mut(&lane);
        if let Some(resolving) = gate.and_then(|gate| gate.resolving.as_mut()) {
            resolving.under_way = resolving.under_way.saturating_sub(1);
            resolving.next_at = now;
            resolving.last = last.or(resolving.last.take());
        }
    }

    /// Whatever is still answered to the questions about a submission is of no use. Gives what was
    /// answered last.
    pub(super) fn end_resolving(&mut self, lane: LaneId, ticket: Ticket) -> Option<Reply> {
        self.resolving.remove(&ticket)?;
        self.gates.get_mut(&lane)?.resolving.take()?.last
    }
}
