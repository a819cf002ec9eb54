//! Entries that no instance can carry out; and operators, who have the letters of what came to
//! nothing written again, or dismiss them.

use std::{collections::BTreeSet, time::Duration};

use achromat_core::{
    durable::Write,
    ids::{CollectionId, DatabaseId, EntryId, Position},
    limits::{ABANDON_AGE_MIN, BACKOFF_MAX},
    log::{Letter, Verb},
    reply::Reply,
    route::Method,
    time::WallTime,
    write::{Fresh, Permit, WriteRules, permit_again},
    writing::Order,
};
use bytes::Bytes;

use super::{
    clients::Operation,
    faults::Fault,
    marks::Mark,
    proxy::{Message, Proxy},
    requests::{About, Draft, known_database},
    wire::Sender,
    world::World,
};

/// How much later everything is at rest for entries that are given up: their age, and the longest
/// pauses of what had to wait for them.
const GIVING_UP: Duration = ABANDON_AGE_MIN.saturating_add(BACKOFF_MAX.saturating_mul(2));

/// Entries that no instance can carry out, now or later.
#[derive(Debug, Default)]
pub struct Poison {
    /// How many of the next entries will be such.
    awaited: u32,
    entries: BTreeSet<EntryId>,
}

impl World {
    /// One of the next entries shall be failed by every instance.
    pub(super) fn await_poison(&mut self) {
        self.poison.awaited += 1;
    }

    /// An entry was appended.
    pub(super) fn may_be_poison(&mut self, entry: EntryId) {
        if self.poison.awaited == 0 || self.is_healed {
            return;
        }
        self.poison.awaited -= 1;
        self.poison.entries.insert(entry);
        self.count(Fault::Poison);
        self.say(|| format!("no instance can carry {entry:?} out"));
    }

    /// Whether a request is for an entry that no instance can carry out.
    pub(super) fn is_poison(&self, request: u64) -> bool {
        let Some(Sender::Entry {
            lane,
            position,
            last,
            ..
        }) = self.requests.get(&request).map(|request| request.sender)
        else {
            return false;
        };
        let places = (position.0..=last.0).map(|at| (lane, Position(at)));
        let mut entries = places.filter_map(|place| self.oracle.entry_at(place));
        entries.any(|entry| self.poison.entries.contains(&entry))
    }

    /// How much longer it may take until everything is at rest.
    pub(super) fn patience_with_poison(&self) -> Duration {
        if self.poison.entries.is_empty() {
            Duration::ZERO
        } else {
            GIVING_UP
        }
    }

    /// Operators take up the letters that there are. Returns whether there are any.
    pub(super) fn operators_take_up_letters(&mut self) -> bool {
        let letters: Vec<Letter> = self.store.ledger.letters().cloned().collect();
        let Some((number, mut proxy)) = self.proxies.pop_last() else {
            return false;
        };
        for letter in &letters {
            self.oracle.letter(letter.id);
            self.take_up(&mut proxy, letter);
        }
        self.go_on_writing(&mut proxy);
        self.proxies.insert(number, proxy);
        !letters.is_empty()
    }

    /// A letter is written again, unless that has come to nothing before.
    fn take_up(&mut self, proxy: &mut Proxy, letter: &Letter) {
        let is_tired = self.oracle.is_retry(letter.id) || self.of_clients.chance(300);
        match self.permit_again(proxy, letter).filter(|_| !is_tired) {
            Some(permit) => {
                self.mark(Mark::LetterRetried);
                let operation = self.retry_of(letter, permit.entry().id);
                let message = Message::Submit {
                    permit: Box::new(permit),
                    operation,
                    answer_by: self.answered_by(operation),
                };
                self.put(proxy, message);
            }
            None => {
                self.mark(Mark::LetterDismissed);
                proxy.writing.take(Order::other(Write::Dismiss(letter.id)));
            }
        }
    }

    fn permit_again(&mut self, proxy: &Proxy, letter: &Letter) -> Option<Permit> {
        let (_, body) = self.store.ledger.letter(letter.id)?;
        let fresh = Fresh {
            entry: EntryId(self.of_clients.uuid()),
            collection: CollectionId(self.of_clients.uuid()),
            database: DatabaseId(self.of_clients.uuid()),
            logged_at: WallTime::default(),
        };
        let rules = WriteRules {
            catalog: &proxy.view.catalog,
            guard: &proxy.guard,
            levels: self.plan.levels,
        };
        let permitted: Result<Permit, Reply> = permit_again(rules, letter.clone(), body, fresh);
        permitted.ok()
    }

    /// The operator's write, which must be decided: nothing goes wrong any more.
    fn retry_of(&mut self, letter: &Letter, entry: EntryId) -> usize {
        let operation = self.operations.len();
        self.say(|| format!("an operator retries {:?} ({operation})", letter.id));
        self.operations.push(Operation {
            client: 0,
            draft: Draft {
                about: About::Write,
                method: Method::Post,
                target: format!("the letter of {:?}", letter.verb),
                database: database_of(&letter.verb),
                reference: String::new(),
                body: String::from_utf8_lossy(&self.body_of(letter)).into_owned(),
                key: None,
            },
            started: self.now,
            ended: None,
            reply: None,
            entry: Some(entry),
            local: None,
            is_for_trash: false,
            is_closing: true,
        });
        operation
    }

    fn body_of(&self, letter: &Letter) -> Bytes {
        let found = self.store.ledger.letter(letter.id);
        found.map(|(_, body)| body).unwrap_or_default()
    }
}

/// Where a collection is that a letter would make.
fn database_of(verb: &Verb) -> &'static str {
    match verb {
        Verb::CreateCollection { database, .. } => known_database(database),
        _ => known_database(""),
    }
}
