//! Requests that come again under their key: they wait for the first one's entry.
//!
//! The store alone knows which keys there are. Whoever finds a key there joins its entry here; the
//! loser of two first requests at once learns it from the store instead of a position. When the
//! entry has left its lane, the store has its outcome or will have it, and is asked again. When the
//! store has the entry and the lane does not have it yet, the repeat waits before the lane.

use super::{Appending, Effect, Engine, Gate};
use crate::{
    durable::Write,
    ids::{CollectionId, LaneId, Position, Ticket},
    key::{KeyOutcome, KeyRecord, Keyed, Settled},
    lane::Client,
    limits::KEYS_FORGET_INTERVAL,
    log::{Level, Logged, Verdict},
    time::Instant,
};

/// A client that repeats a request under its key.
#[derive(Clone, Debug)]
pub struct Join {
    /// The client.
    pub ticket: Ticket,
    /// Record that the store keeps under the key.
    pub record: KeyRecord,
    /// Number of instances that must have done the write before the client is answered.
    pub level: Level,
    /// Deadline of the client's answer.
    pub answer_by: Instant,
}

impl Engine {
    /// Answers a repeat. A write that was done is told through its lane, as at the first time: then reads
    /// come after it, and its level is kept. Everything else is told from the record.
    pub(super) fn joined(&mut self, join: Join) {
        if let Some(gate) = self.gate_to_wait_at(&join.record) {
            gate.joins.push(join);
            return;
        }
        let Join { ticket, record, .. } = join;
        let client = Client {
            ticket,
            level: join.level,
            answer_by: join.answer_by + self.time_for(record.lane, 0),
            executor: None,
        };
        let reply = record.outcome.as_ref().map(KeyOutcome::reply);
        let lane = self.lane_mut(record.lane).filter(|lane| {
            let verdict = lane.slot(record.position).map(|slot| slot.verdict);
            match verdict {
                Some(Verdict::Accepted | Verdict::Found) => true,
                Some(_) => reply.is_none(),
                None => false,
            }
        });
        match (lane, reply) {
            (Some(lane), reply) => {
                lane.joined(record.position, client, reply);
                self.advance(record.lane);
            }
            (None, Some(reply)) => self.answer(ticket, reply),
            (None, None) => self.effects.push(Effect::AskAgain { ticket }),
        }
    }

    /// The gate before which a repeat waits: its entry is in the store, and the lane will have it when
    /// the appends that are under way have ended. Were the repeat sent to ask the store again, it could
    /// be told that the store is away, and nobody would know that its client waits for an outcome.
    fn gate_to_wait_at(&mut self, record: &KeyRecord) -> Option<&mut Gate> {
        let head = self.lane(record.lane)?.head();
        let gate = self.gates.get_mut(&record.lane)?;
        (record.position > head && gate.appending > 0).then_some(gate)
    }

    /// An append has ended: repeats that waited for it join its entry, or go on waiting.
    pub(super) fn join_those_that_wait(&mut self, lane: LaneId) {
        let gate = self.gates.get_mut(&lane);
        let joins = gate.map(|gate| std::mem::take(&mut gate.joins));
        for join in joins.into_iter().flatten() {
            self.joined(join);
        }
    }

    /// The store knew the key of an append already, and has appended nothing.
    pub(super) fn append_known(&mut self, ticket: Ticket) {
        if let Some(Appending { entry, .. }) = self.take_appending(ticket) {
            self.append_ended(entry.verb.lane());
        }
        self.effects.push(Effect::AskAgain { ticket });
    }

    /// An entry came into the log after its collection was deleted. The store is asked what its
    /// client is told, so that this is durable first.
    pub(super) fn void_keyed(
        &mut self,
        collection: CollectionId,
        position: Position,
        Keyed { key, .. }: Keyed,
        ticket: Ticket,
    ) {
        self.close_void(collection, position, key);
        self.effects.push(Effect::AskAgain { ticket });
    }

    /// Voids a restored entry with a key in the same way: the proxy had stopped before the verdict was
    /// recorded.
    pub(super) fn void_restored(&mut self, entry: Logged) {
        if let (LaneId::Collection(collection), Some(key)) = (entry.lane, entry.key) {
            self.close_void(collection, entry.position, key);
        }
    }

    fn close_void(&mut self, collection: CollectionId, position: Position, key: crate::ids::Key) {
        let outcome = KeyOutcome::void(collection);
        self.effects.push(Effect::Write(Write::Close {
            lane: LaneId::Collection(collection),
            position,
            verdict: Verdict::Void,
            reason: "its collection was deleted before it was logged".to_owned(),
            settled: Some(Box::new(Settled { key, outcome })),
            is_letter: false,
        }));
    }

    pub(super) fn forget_keys(&mut self) {
        if self.forget_keys_at <= self.now {
            self.forget_keys_at = self.now + KEYS_FORGET_INTERVAL;
            let kept = self.settings.keys_kept;
            let kept_max = self.settings.keys_max;
            self.effects.push(Effect::ForgetKeys { kept, kept_max });
        }
    }
}
