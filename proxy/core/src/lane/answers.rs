//! Answers to the clients of a lane: their time and their content.

use super::{Client, Context, Effect, Flight, Lane, Peer, Phase, Slot, bit};
use crate::{
    health::Standing,
    ids::{InstanceIx, LaneId, Position},
    key::{KeyOutcome, KeyState, Settled},
    limits::{ALL_LEVEL_LAG_MAX, FAILED_ATTEMPTS_BEFORE_ANSWER},
    log::{Level, Verb, Verdict},
    outcome::Failure,
    reply::{self, Reply},
};

/// Decision about a client that waits.
enum Word {
    Nothing,
    Answer(Reply),
    /// Ask the store again: the answer under the entry's key is known once it is stored.
    AskAgain,
    /// The entry was never sent: close it, and answer when that is durable.
    GiveUp,
}

impl Lane {
    pub(super) fn answer_clients(&mut self, context: &mut Context<'_>) {
        let waiting: Vec<_> = self
            .clients
            .iter()
            .map(|((position, _), client)| (*position, *client))
            .collect();
        for (position, client) in waiting {
            let Some(slot) = self.slot(position) else {
                continue;
            };
            match self.word(slot, position, client, context) {
                Word::Nothing => {}
                Word::Answer(reply) => self.answer(position, client, reply, context),
                Word::AskAgain => {
                    let ticket = client.ticket;
                    self.clients.remove(&(position, ticket));
                    context.effects.push(Effect::AskAgain { ticket });
                }
                Word::GiveUp => {
                    let reason = "no instance took it before its client's deadline".to_owned();
                    self.close(position, Verdict::Abandoned, reason, context);
                }
            }
        }
    }

    fn answer(
        &mut self,
        position: Position,
        client: Client,
        reply: Reply,
        context: &mut Context<'_>,
    ) {
        let verdict = self.slot_mut(position).map(|slot| {
            slot.is_late |= slot.verdict == Verdict::Open;
            slot.is_told();
            slot.verdict
        });
        let is_done = matches!(verdict, Some(Verdict::Accepted | Verdict::Found))
            || (client.level == Level::Logged && reply.is_success());
        assert!(
            !reply.is_success() || is_done,
            "I03: success means that it was done, or is in the log where that is enough"
        );
        self.clients.remove(&(position, client.ticket));
        if is_done {
            self.acknowledged = self.acknowledged.max(position);
        }
        self.keep_body(position, context);
        context.effects.push(Effect::Answer {
            ticket: client.ticket,
            reply,
        });
    }

    /// Nobody waits for an entry any more: its body stays only for instances that will ask for it soon.
    fn keep_body(&mut self, position: Position, context: &mut Context<'_>) {
        let mut peers = context.peers.iter();
        if peers.any(|peer| peer.standing == Standing::Down) {
            self.drop_body(position);
        }
        let body = self.slot(position).and_then(|slot| slot.body.as_ref());
        if let Some(bytes) = body
            .map(bytes::Bytes::len)
            .filter(|_| !self.is_awaited(position))
        {
            context.effects.push(Effect::Keep { position, bytes });
        }
    }

    fn word(
        &self,
        slot: &Slot,
        position: Position,
        client: Client,
        context: &mut Context<'_>,
    ) -> Word {
        match slot.verdict {
            Verdict::Accepted | Verdict::Found => {
                self.word_if_accepted(slot, position, client, context)
            }
            // I04: a refusal is durable before it is told, or a restart could turn it round.
            Verdict::Refused { .. } if slot.verdict_is_recorded => Word::Answer(
                slot.reply()
                    .cloned()
                    .unwrap_or_else(|| outcome_unknown(slot)),
            ),
            Verdict::Abandoned if slot.verdict_is_recorded => {
                let reply = slot.reply().cloned();
                Word::Answer(reply.unwrap_or_else(|| closing_reply(slot)))
            }
            Verdict::Void if self.is_in_flight(position) => Word::Nothing,
            Verdict::Void if slot.key.is_some() => Word::AskAgain,
            Verdict::Void => Word::Answer(void_reply(slot)),
            Verdict::Refused { .. } | Verdict::Abandoned => Word::Nothing,
            Verdict::Open => self.word_if_open(slot, position, client, context),
        }
    }

    pub(super) fn is_in_flight(&self, position: Position) -> bool {
        self.flights_of(position)
            .any(|(_, flight)| flight.phase != Phase::Recording)
    }

    /// Returns true when an entry is on its way to an instance, or may have been carried out there without our
    /// knowing.
    pub(crate) fn may_be_done_on(&self, instance: InstanceIx, position: Position) -> bool {
        let slot = self.slot(position);
        let is_on_its_way =
            |(other, flight): (_, Flight)| other == instance && flight.phase != Phase::Recording;
        slot.is_some_and(|slot| slot.may_be_done_on(instance))
            || self.flights_of(position).any(is_on_its_way)
    }

    fn word_if_accepted(
        &self,
        slot: &Slot,
        position: Position,
        client: Client,
        context: &mut Context<'_>,
    ) -> Word {
        let done = self
            .tracks
            .iter()
            .filter(|track| track.applied >= position)
            .count();
        let is_enough = match client.level {
            Level::Logged | Level::One => true,
            Level::Majority | Level::All => {
                let until = slot.since + context.rules.all_wait;
                let has_waited = context.now >= until;
                let awaited = self
                    .instances()
                    .filter(|i| self.is_awaited_on(*i, position, context));
                let awaited = awaited.count();
                let is_reached = awaited == 0 || client.level == Level::Majority && done > awaited;
                if !is_reached && !has_waited {
                    context.effects.push(Effect::Wake { at: until });
                }
                is_reached || has_waited
            }
        };
        // I15: what is told under a key is what a repeat is told, so it is durable first. So is what
        // a schema entry changes in the catalog: after a restart nobody misses what they were told.
        let may_tell =
            slot.verdict_is_recorded || (slot.key.is_none() && self.id != LaneId::Schema);
        match slot.reply() {
            Some(reply) if is_enough && may_tell => Word::Answer(reply.clone()),
            _ if context.now >= client.answer_by && !may_tell => Word::Answer(
                reply::outcome_unknown("it was done, but that could not be recorded in time"),
            ),
            _ if context.now >= client.answer_by => Word::Answer(reply::level_not_reached(done)),
            _ => {
                context.effects.push(Effect::Wake {
                    at: client.answer_by,
                });
                Word::Nothing
            }
        }
    }

    /// Returns true when an instance that has not done an entry counts for the levels `all` and `majority`:
    /// one that is up and follows closely. The log keeps the write, so nobody waits for an instance that is
    /// away.
    fn is_awaited_on(
        &self,
        instance: InstanceIx,
        position: Position,
        context: &Context<'_>,
    ) -> bool {
        let (Some(track), Some(peer)) = (self.track(instance), context.peers.get(instance.at()))
        else {
            return false;
        };
        peer.standing == Standing::Up
            && !peer.is_quarantined
            && track.applied < position
            && track.trouble.is_none()
            && position.since(track.applied) <= ALL_LEVEL_LAG_MAX
    }

    fn word_if_open(
        &self,
        slot: &Slot,
        position: Position,
        client: Client,
        context: &mut Context<'_>,
    ) -> Word {
        if client.level == Level::Logged
            && let Verb::Record { act, .. } = slot.verb
        {
            return Word::Answer(reply::logged(act));
        }
        if self.has_failed_everywhere(slot, position, context) {
            return Word::Answer(failure_reply(slot));
        }
        if context.now < client.answer_by {
            context.effects.push(Effect::Wake {
                at: client.answer_by,
            });
            return Word::Nothing;
        }
        if slot.maybe_on != 0 || self.is_in_flight(position) {
            Word::Answer(outcome_unknown(slot))
        } else {
            Word::GiveUp
        }
    }

    /// Returns true when no instance is left that could do better soon.
    fn has_failed_everywhere(
        &self,
        slot: &Slot,
        position: Position,
        context: &Context<'_>,
    ) -> bool {
        if slot.last_failure.is_none() || self.is_in_flight(position) {
            return false;
        }
        let in_use = || {
            context
                .peers
                .iter()
                .zip(self.instances())
                .filter(|(p, _)| !p.is_quarantined)
        };
        let has_others = in_use().any(|(peer, instance)| {
            slot.failed_on & bit(instance) == 0 && peer.standing != Standing::Down
        });
        if slot.closes_connections() {
            // Probes tell a poisonous entry, which is given up soon, from servers that died.
            let is_down = |peer: Peer| peer.standing == Standing::Down;
            return Self::all_survived(slot, context, is_down)
                && !Self::all_survived(slot, context, |_| false);
        }
        let attempts = FAILED_ATTEMPTS_BEFORE_ANSWER * slot.failed_on.count_ones();
        let is_enough = slot.failures >= attempts || in_use().next().is_none();
        !has_others && is_enough
    }
}

fn outcome_unknown(slot: &Slot) -> Reply {
    let reason = slot.last_failure.as_deref().map_or_else(
        || "no instance has answered in time".to_owned(),
        Failure::reason,
    );
    reply::outcome_unknown(&reason)
}

/// Reply to the clients of an entry that is given up.
pub(super) fn closing_reply(slot: &Slot) -> Reply {
    if slot.maybe_on == 0 {
        let message = "No instance took the write in time; it was withdrawn and nothing was done";
        reply::unavailable(message, 1)
    } else {
        failure_reply(slot)
    }
}

/// Outcome of a decided entry, to be remembered under its key.
pub(super) fn settled(slot: &Slot) -> Option<Box<Settled>> {
    let key = slot.key.clone()?;
    let state = match slot.verdict {
        Verdict::Accepted | Verdict::Found if slot.is_late => KeyState::Recovered,
        Verdict::Accepted | Verdict::Found => KeyState::Completed,
        Verdict::Refused { .. } => KeyState::Failed,
        Verdict::Abandoned if slot.maybe_on == 0 => KeyState::Withdrawn,
        Verdict::Abandoned => KeyState::Abandoned,
        // The store remembers what becomes of all keys of a lane that ends.
        Verdict::Open | Verdict::Void => return None,
    };
    let reply = slot
        .reply()
        .cloned()
        .unwrap_or_else(|| outcome_unknown(slot));
    let outcome = KeyOutcome::new(state, reply);
    Some(Box::new(Settled { key, outcome }))
}

/// Reason for making a refused entry a letter: its client was told that it would be carried out.
pub(super) fn late_refusal(slot: &Slot) -> Option<String> {
    let is_refused = matches!(slot.verdict, Verdict::Refused { .. });
    if !is_refused || !slot.is_late {
        return None;
    }
    let reply = slot.reply().cloned()?;
    Some(Failure::ServerError(reply).reason())
}

fn failure_reply(slot: &Slot) -> Reply {
    match slot.last_failure.as_deref() {
        // What an instance was too busy for is not refused: it will be carried out.
        Some(Failure::ServerError(reply)) if reply.status >= 500 => reply.clone(),
        Some(Failure::Closed { .. }) => {
            let count = slot.closings.instances();
            reply::no_answer(&format!("{count} instance(s)"))
        }
        _ => outcome_unknown(slot),
    }
}

fn void_reply(slot: &Slot) -> Reply {
    match (slot.reply(), slot.verb.subject()) {
        (Some(reply), _) => reply.clone(),
        (None, Some(collection)) => reply::no_such_collection_id(&collection.to_string()),
        (None, None) => outcome_unknown(slot),
    }
}
