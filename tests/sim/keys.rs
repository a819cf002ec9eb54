//! Writes with a key, as the shell's `serve` takes them in: the store is asked for the key first, and
//! again whenever what it knew was overtaken.

use std::time::Duration;

use achromat_core::{
    engine::Join,
    ids::{Key, LaneId, Ticket},
    key::{Fingerprint, KeyRecord, Keyed, Under},
    log::Level,
    reply::{self, Reply},
    route::Target,
    time::Instant,
};

use super::{
    marks::Mark,
    proxy::{Message, Proxy},
    world::{Happening, World},
};

/// Pause before the store is asked again: the shell's own.
const OUTCOME_PAUSE: Duration = Duration::from_millis(20);

impl World {
    /// Asks the store for the key of an operation. `refusal` is what it was refused for when it was
    /// last asked.
    pub(super) fn look_key_up(
        &mut self,
        proxy: &mut Proxy,
        operation: usize,
        pause: Duration,
        refusal: Option<Reply>,
    ) {
        proxy.keyed.insert(operation);
        let happening = Happening::Key {
            proxy: proxy.number,
            operation,
            refusal,
        };
        let latency = self.flush_latency();
        self.after(pause + latency, happening);
    }

    pub(super) fn begin_under_key(&mut self, number: u32, operation: usize) {
        if let Some(mut proxy) = self.proxies.remove(&number) {
            self.look_key_up(&mut proxy, operation, Duration::ZERO, None);
            self.proxies.insert(number, proxy);
        }
    }

    /// The store has said what it knows under the key of an operation.
    pub(super) fn key_found(&mut self, number: u32, operation: usize, refusal: Option<Reply>) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if proxy.keyed.remove(&operation) {
            self.go_on_under_key(&mut proxy, operation, refusal);
        }
        self.proxies.insert(number, proxy);
    }

    fn go_on_under_key(&mut self, proxy: &mut Proxy, operation: usize, refusal: Option<Reply>) {
        if self.store.down_until > self.now {
            let message = "The log can't be read at the moment; repeat the request under its key";
            self.answer_read(operation, reply::unavailable(message, 1));
            return;
        }
        let keyed = self.keyed(operation);
        let record = self.store.ledger.key(&keyed.key);
        let answer_by = self.answered_by(operation);
        match Under::of(record, &keyed) {
            Under::Reused(reply) => {
                self.mark(Mark::KeyReused);
                self.answer_read(operation, reply);
            }
            Under::Repeat(record) => {
                self.mark_repeat(proxy, &record);
                let place = (record.lane, record.position);
                self.operations[operation].entry = self.oracle.entry_at(place);
                self.operations[operation].is_for_trash = false;
                let message = Message::Join {
                    record: Box::new(record),
                    operation,
                };
                self.put(proxy, message);
            }
            Under::First => match (refusal, self.permit(proxy, operation)) {
                (_, Ok(permit)) => {
                    let permit = Box::new(permit.under(keyed));
                    let message = Message::Submit {
                        permit,
                        operation,
                        answer_by,
                    };
                    self.put(proxy, message);
                }
                (Some(reply), Err(_)) => self.answer_read(operation, reply),
                (None, Err(reply)) => {
                    self.look_key_up(proxy, operation, Duration::ZERO, Some(reply));
                }
            },
        }
    }

    fn mark_repeat(&mut self, proxy: &Proxy, record: &KeyRecord) {
        let is_older = self.oracle.appended_at((record.lane, record.position)) < proxy.born;
        self.mark(match record.outcome {
            None => Mark::KeyJoined,
            Some(_) => Mark::KeyTold,
        });
        if is_older {
            self.mark(Mark::KeySurvived);
        }
    }

    fn keyed(&self, operation: usize) -> Keyed {
        let draft = &self.operations[operation].draft;
        let key = draft.key.as_deref().expect("it has a key");
        let target = Target::parse(draft.target.as_bytes()).expect("a canonical target");
        let body = draft.body.as_bytes();
        Keyed {
            key: Key::parse(key.as_bytes()).expect("a key"),
            fingerprint: Fingerprint::of(draft.method.as_str(), &target, body),
        }
    }

    /// When an operation is answered at the latest.
    pub(super) fn answered_by(&self, operation: usize) -> Instant {
        Instant(self.operations[operation].started) + self.plan.write_deadline
    }

    pub(super) fn join_of(&self, ticket: Ticket, record: KeyRecord, operation: usize) -> Join {
        let level: Level = match record.lane {
            LaneId::Collection(_) => self.plan.levels.records,
            LaneId::Schema => self.plan.levels.schema,
        };
        Join {
            ticket,
            record,
            level,
            answer_by: self.answered_by(operation),
        }
    }

    /// What the engine does not know any more the store will know.
    pub(super) fn ask_again(&mut self, proxy: &mut Proxy, operation: usize) {
        let is_keyed = self.operations[operation].draft.key.is_some();
        let is_over = self.answered_by(operation) <= self.instant();
        if is_keyed && !is_over {
            self.look_key_up(proxy, operation, OUTCOME_PAUSE, None);
            return;
        }
        let why = if is_keyed {
            "it was not recorded in time"
        } else {
            "its collection was deleted meanwhile"
        };
        self.answer_read(operation, reply::outcome_unknown(why));
    }
}
