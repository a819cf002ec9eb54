//! I15: one key is one entry is one effect, whoever asks, however often, whatever is killed.

use super::*;
use crate::{
    ids::Key,
    key::{Fingerprint, KeyRecord},
};

fn k() -> Key {
    Key::parse(b"k").unwrap()
}

impl World {
    /// A first request under the key `k`.
    fn first(&mut self, verb: Verb, level: Level) -> u64 {
        let keyed = Keyed {
            key: k(),
            fingerprint: Fingerprint([7; 32]),
        };
        self.submit_under(Some(keyed), verb, level)
    }

    /// A first request whose append is committed, and the event that will confirm that.
    fn first_in_the_store_only(&mut self, verb: Verb) -> (u64, Event) {
        self.tickets += 1;
        let keyed = Keyed {
            key: k(),
            fingerprint: Fingerprint([7; 32]),
        };
        let submission = Submission {
            ticket: Ticket(self.tickets),
            permit: Permit::for_test(self.entry(Some(keyed), verb), Level::One, false),
            answer_by: self.now + Duration::from_secs(60),
        };
        let submitted = Event::Submitted(Box::new(submission));
        self.engine.step(submitted, self.now);
        let mut confirmed = None;
        for effect in self.engine.effects() {
            let Effect::Append { ticket, entry } = effect else {
                self.carry_out(effect);
                continue;
            };
            let appended = self.ledger.write(&Write::Append(entry)).unwrap();
            let Appended::At(position) = appended else {
                panic!("the key is known");
            };
            confirmed = Some(Event::Appended { ticket, position });
        }
        (self.tickets, confirmed.unwrap())
    }

    fn record(&self) -> KeyRecord {
        self.ledger.key(&k()).unwrap()
    }

    /// A repeat, as the shell makes it of what it finds in the store.
    fn repeat(&mut self, level: Level) -> u64 {
        self.tickets += 1;
        self.step(Event::Joined(Box::new(Join {
            ticket: Ticket(self.tickets),
            record: self.record(),
            level,
            answer_by: self.now + Duration::from_secs(10),
        })));
        self.tickets
    }

    fn restart(&mut self) {
        self.taken_over();
        self.unconfirmed.clear();
        self.both_answer();
    }

    fn told(&self, ticket: u64) -> Option<u16> {
        self.answers.get(&ticket).copied()
    }
}

/// A repeat of what is under way waits for it, and nothing is sent twice.
#[test]
fn a_repeat_joins_what_is_open() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.first(add(c), Level::One);
    let second = world.repeat(Level::One);
    let third = world.repeat(Level::All);
    assert_eq!(world.record().state(), "attempting");
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.lines(), ["B POST add"]);
    assert_eq!(
        (world.told(first), world.told(second)),
        (Some(201), Some(201))
    );
    assert_eq!(world.told(third), None, "it waits for its level");
    world.reply("B POST add", 201);
    assert_eq!(world.told(third), Some(201));
    assert_eq!(world.record().state(), "completed");
}

/// An answer under a key is durable before it is told: a restart could otherwise do the write again and
/// tell something else.
#[test]
fn what_is_told_under_a_key_is_durable_first() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.confirms = false;
    let ticket = world.first(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.told(ticket), None);
    world.confirm();
    assert_eq!(world.told(ticket), Some(201));
    assert_eq!(world.record().outcome.unwrap().status, 201);
}

/// Of two first requests at once the store takes one, and the other is sent to ask the store.
#[test]
fn two_first_requests_are_one_entry() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let winner = world.first(add(c), Level::One);
    let loser = world.first(add(c), Level::One);
    assert_eq!(world.asked_again, [loser]);
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.told(winner), Some(201));
    let again = world.repeat(Level::One);
    assert_eq!(world.told(again), Some(201));
    world.reply("B POST add", 201);
    assert_eq!(world.engine.report().pending, 0);
    assert_eq!(world.engine.report().waiting, 0, "the loser holds no gate");
}

/// A repeat that finds its entry in the store before the lane has it waits for the lane: it is answered
/// like the first one, and is not sent to a store that may be away by then.
#[test]
fn a_repeat_waits_for_an_append_that_is_not_confirmed_yet() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let (first, confirmed) = world.first_in_the_store_only(add(c));
    let second = world.repeat(Level::One);
    assert!(world.asked_again.is_empty());
    world.step(confirmed);
    world.reply("A POST add", 409);
    assert_eq!(
        (world.told(first), world.told(second)),
        (Some(409), Some(409))
    );
    assert!(world.asked_again.is_empty());
    assert_eq!(world.engine.report().waiting, 0, "nobody holds the gate");
}

/// Such a repeat may be told that nobody knows the outcome: a refusal that comes later is a letter.
#[test]
fn a_refusal_is_a_letter_when_a_repeat_was_told_that_nobody_knows() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let (first, confirmed) = world.first_in_the_store_only(add(c));
    let second = world.repeat(Level::One);
    world.step(confirmed);
    world.pass(10_000);
    assert_eq!((world.told(first), world.told(second)), (None, Some(504)));
    world.reply("A POST add", 422);
    assert_eq!(world.told(first), Some(422));
    assert_eq!(world.ledger.letters().count(), 1);
}

/// A repeat whose entry no append of this proxy brings is sent to ask the store.
#[test]
fn a_repeat_of_what_is_not_appended_here_asks_the_store() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let (first, _) = world.first_in_the_store_only(add(c));
    let second = world.repeat(Level::One);
    let ticket = Ticket(first);
    world.step(Event::AppendKnown { ticket });
    assert_eq!(world.asked_again, [second, first]);
}

/// A repeat of what nobody was told of is an acknowledgement like any other: reads come after it, as
/// they do since an instance has done it, when a reader may have seen it.
#[test]
fn a_repeat_acknowledges() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.first(add(c), Level::One);
    world.pass(10_000);
    assert_eq!(world.told(first), Some(504));
    world.reply("A POST add", 201);
    assert_eq!(world.record().state(), "recovered");
    assert_eq!(world.eligible(c), [true, false]);
    let again = world.repeat(Level::One);
    assert_eq!(world.told(again), Some(201));
    assert_eq!(world.eligible(c), [true, false]);
}

/// An entry that all instances have done has left its lane, and its answer comes from the store.
#[test]
fn a_repeat_outlives_its_entry() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.first(add(c), Level::One);
    world.reply("A POST add", 201);
    world.reply("B POST add", 201);
    world.pass(2_000);
    let again = world.repeat(Level::All);
    assert_eq!(world.told(again), Some(201));
    assert!(world.lines().is_empty());
}

/// A refusal is told again in the same words, and nobody is asked.
#[test]
fn a_refusal_is_told_again() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.first(add(c), Level::One);
    world.reply("A POST add", 422);
    let again = world.repeat(Level::One);
    assert_eq!(
        (world.told(first), world.told(again)),
        (Some(422), Some(422))
    );
    assert!(world.lines().is_empty());
    assert_eq!(world.record().state(), "failed");
}

/// After a restart what was open is carried out and joined, and is called recovered.
#[test]
fn a_restart_recovers_what_was_open() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.first(add(c), Level::One);
    world.restart();
    let again = world.repeat(Level::One);
    assert_eq!(world.told(again), None);
    world.both_live_for(1_500);
    world.reply("A POST add", 201);
    assert_eq!(world.told(again), Some(201));
    assert_eq!(world.record().state(), "recovered");
}

/// After a restart what was done is told again in the first words, also while an instance lacks it.
#[test]
fn a_restart_forgets_no_outcome() {
    for (status, state) in [(201, "completed"), (422, "failed")] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        world.first(add(c), Level::One);
        world.reply("A POST add", status);
        world.restart();
        let again = world.repeat(Level::One);
        assert_eq!(world.told(again), Some(status));
        assert_eq!(world.record().state(), state);
    }
}

/// A withdrawn write did nothing: the same request may be made again under its key.
#[test]
fn what_was_withdrawn_may_be_done_anew() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.first(add(c), Level::One);
    world.end("A POST add", Sending::NotSent("refused".into()));
    world.end("B POST add", Sending::NotSent("refused".into()));
    for instance in [A, B] {
        world.probe(instance, Probe::Refused);
    }
    world.pass(10_000);
    assert_eq!(world.told(first), Some(503));
    assert_eq!(world.record().state(), "abandoned");
    assert!(world.record().yields_to(Fingerprint([7; 32])));
    for instance in [A, B] {
        world.probe(instance, Probe::Answered);
    }
    let again = world.first(add(c), Level::One);
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.told(again), Some(201));
}

/// A write that its collection's deletion has overtaken is a 404 under its key, told when that is durable.
#[test]
fn a_deleted_collection_voids_its_keys() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.first(add(c), Level::One);
    world.submit(Verb::DeleteCollection { collection: c }, Level::All);
    world.confirms = false;
    world.reply("A DELETE abc", 200);
    world.reply("A POST add", 404);
    assert_eq!(world.asked_again, [2], "the store will know");
    let early = world.repeat(Level::One);
    assert_eq!(world.asked_again, [2, early], "but does not yet");
    world.confirm();
    let late = world.repeat(Level::One);
    assert_eq!((world.told(2), world.told(late)), (None, Some(404)));
    assert_eq!(world.record().state(), "failed");
}

/// An entry that comes into the log after its collection was deleted is a 404 as well, even if the
/// proxy stops before that is recorded.
#[test]
fn an_entry_behind_its_collections_end_is_void() {
    for stops in [false, true] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        world.submit(Verb::DeleteCollection { collection: c }, Level::All);
        world.reply("A DELETE abc", 200);
        if stops {
            world.confirms = false;
        }
        let ticket = world.first(add(c), Level::One);
        assert_eq!(world.asked_again, [ticket]);
        if stops {
            assert_eq!(world.record().state(), "attempting");
            world.confirms = true;
            world.restart();
        }
        assert_eq!(world.record().outcome.unwrap().status, 404);
    }
}

/// Keys are forgotten once a minute, and the oldest age is the configured one.
#[test]
fn keys_are_forgotten_now_and_then() {
    let mut engine = Engine::restore(SETTINGS, Snapshot::default(), Instant(0));
    let mut forgotten = 0;
    for second in 0..=180 {
        engine.step(Event::Tick, Instant(second * 1_000_000));
        let forget = |effect: &&Effect| {
            **effect
                == Effect::ForgetKeys {
                    kept: SETTINGS.keys_kept,
                    kept_max: SETTINGS.keys_max,
                }
        };
        forgotten += engine.effects().iter().filter(forget).count();
    }
    assert_eq!(forgotten, 4);
}
