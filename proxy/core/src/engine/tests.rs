//! The engine's rules, one by one, against two scripted instances and a store that always works.
//! Every order of events is the simulator's business.

mod heavy;
mod homes;
mod keys;
mod lacking;
mod letters;
mod logged;
mod markers;
mod placing;
mod questions;
mod settling;
mod suspicion;
mod trash;
mod turns;
mod versions;
mod visibility;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::{
    abilities::Abilities,
    catalog::{Change, Prefer},
    durable::{Appended, Ledger, Write},
    guard::Guard,
    health::Probe,
    ids::{DatabaseId, EntryId, InstanceId},
    jobs::Task,
    key::Keyed,
    log::{Level, RecordAct, Verb, Verdict},
    outcome::Sending,
    planted::Planted,
    reply::Reply,
    resolve::Unresolved,
    view::Scope,
    weight::Vitals,
    write::Permit,
};

const A: InstanceIx = InstanceIx(0);
const B: InstanceIx = InstanceIx(1);

const SETTINGS: Settings = Settings {
    instances: 2,
    lanes: Rules {
        hedge: Duration::from_millis(150),
        settle: Duration::from_secs(30),
        all_wait: Duration::from_secs(2),
        planted: Planted::NONE,
    },
    replication_max: 2,
    kept_bytes_max: 4096,
    health: HealthRules {
        interval: Duration::from_secs(1),
        silent_max: 2,
    },
    keys_kept: Duration::from_secs(3600),
    keys_max: 1000,
    pace: Pace {
        records_per_s: 1_000_000,
        batch_bytes_max: crate::limits::COPY_BATCH_BYTES_MAX,
    },
    verify_interval: Duration::from_hours(1),
    token_interval: Duration::from_hours(1),
};

/// Both instances are known, and hold what they should.
fn known_instances() -> Vec<Change> {
    let known = [A, B].map(|instance| Change::Instance {
        instance,
        record: crate::catalog::InstanceRecord {
            marker: Some(markers::first(instance)),
            quarantine: None,
        },
    });
    known.into()
}

fn marked() -> Catalog {
    let mut catalog = Catalog::default();
    for change in known_instances() {
        catalog.apply(&change);
    }
    catalog
}

/// A sending that waits for its answer.
#[derive(Debug, Clone)]
struct Sent {
    lane: LaneId,
    instance: InstanceIx,
    attempt: Attempt,
    line: String,
}

struct World {
    engine: Engine,
    now: Instant,
    ledger: Ledger,
    sent: Vec<Sent>,
    /// Writes that are not logged, on their way to a home.
    sent_locally: Vec<(Ticket, InstanceIx)>,
    answers: BTreeMap<u64, u16>,
    /// True when records are confirmed at once.
    confirms: bool,
    unconfirmed: Vec<(Write, Option<Event>)>,
    /// Clients for which the store is to be asked again.
    asked_again: Vec<u64>,
    closed: Vec<Verdict>,
    tickets: u64,
    questioned: Vec<InstanceIx>,
    /// The instances that are being probed.
    probed: BTreeSet<InstanceIx>,
    /// The job that has asked something else than a marker last.
    asked_by: Option<JobId>,
    /// The last request of that job and its instance, as in [`Self::lines`].
    asked_line: String,
    markers: markers::Markers,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            engine: Engine::restore(
                SETTINGS,
                Snapshot {
                    catalog: marked(),
                    ..Snapshot::default()
                },
                Instant(0),
            ),
            now: Instant(0),
            ledger: Ledger::default(),
            asked_again: Vec::new(),
            sent: Vec::new(),
            sent_locally: Vec::new(),
            answers: BTreeMap::new(),
            confirms: true,
            unconfirmed: Vec::new(),
            closed: Vec::new(),
            tickets: 0,
            questioned: Vec::new(),
            probed: BTreeSet::new(),
            asked_by: None,
            asked_line: String::new(),
            markers: markers::Markers::default(),
        };
        world.ledger.write(&Write::Change(known_instances()));
        world.both_answer();
        // What a proxy before may have had jobs do has settled, and the markers are renewed.
        world.both_live_for(1_500);
        world
    }

    fn probe(&mut self, instance: InstanceIx, probe: Probe) {
        let (abilities, vitals) = (Some(Abilities::NEWEST), Vitals::default());
        self.step(Event::Probed {
            instance,
            probe,
            abilities,
            vitals,
        });
    }

    fn both_answer(&mut self) {
        for instance in [A, B] {
            self.probe(instance, Probe::Answered);
        }
    }

    /// Time passes in which these instances answer their probes at once.
    fn live_for(&mut self, instances: &[InstanceIx], ms: u64) {
        for _ in 0..ms / 100 {
            self.pass(100);
            for instance in instances {
                if self.probed.remove(instance) {
                    self.probe(*instance, Probe::Answered);
                }
            }
        }
    }

    fn both_live_for(&mut self, ms: u64) {
        self.live_for(&[A, B], ms);
    }

    /// Both instances live on, and close the connection on whatever they are sent of this, until nothing
    /// of it is sent for a second; returns how often.
    fn break_both(&mut self, what: &str) -> usize {
        let lines = [format!("A {what}"), format!("B {what}")];
        let (mut closed, mut quiet) = (0, 0);
        while quiet < 10 {
            quiet += 1;
            for line in &lines {
                if self.lines().contains(&line.as_str()) {
                    self.end(line, Sending::Closed { reused: false });
                    (closed, quiet) = (closed + 1, 0);
                }
            }
            self.both_live_for(100);
        }
        closed
    }

    /// An instance has lost its copy of a collection.
    fn lose(&mut self, collection: CollectionId, instance: InstanceIx) {
        self.engine.change(vec![Change::Lost {
            collection,
            instance,
            reason: "it is missing there".into(),
        }]);
    }

    fn step(&mut self, event: Event) {
        self.engine.step(event, self.now);
        self.carry_out_all();
    }

    fn carry_out_all(&mut self) {
        loop {
            let effects = self.engine.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append { ticket, entry } => {
                let event = match self.ledger.write(&Write::Append(entry)).unwrap() {
                    Appended::At(position) => Event::Appended { ticket, position },
                    Appended::Known => Event::AppendKnown { ticket },
                };
                self.engine.step(event, self.now);
            }
            Effect::Write(write) | Effect::WriteWithNext(write) => self.write(write),
            Effect::AskAgain { ticket } => self.asked_again.push(ticket.0),
            Effect::Send {
                lane,
                instance,
                attempt,
                wire,
                ..
            } => {
                let line = line(instance, &wire);
                self.sent.push(Sent {
                    lane,
                    instance,
                    attempt,
                    line,
                });
            }
            Effect::SendLocally {
                ticket, instance, ..
            } => self.sent_locally.push((ticket, instance)),
            Effect::Probe { instance, .. } => {
                self.probed.insert(instance);
            }
            Effect::Resolve { instance, .. } => self.questioned.push(instance),
            Effect::Ask {
                job,
                instance,
                wire,
                ..
            } => match self.markers.answer(instance, &wire) {
                Some(sending) => self.engine.step(Event::Told { job, sending }, self.now),
                None => (self.asked_by, self.asked_line) = (Some(job), line(instance, &wire)),
            },
            Effect::Answer { ticket, reply } => {
                assert!(self.answers.insert(ticket.0, reply.status).is_none());
            }
            _ => {}
        }
    }

    /// Returns true when a collection's copies are being compared, or will be.
    fn compares(&self, collection: CollectionId) -> bool {
        let jobs = self.engine.report().jobs;
        jobs.iter().any(|job| job.task == Task::Verify(collection))
    }

    /// Instances that have been asked a question since the last call.
    fn questioned(&mut self) -> Vec<InstanceIx> {
        std::mem::take(&mut self.questioned)
    }

    fn write(&mut self, write: Write) {
        let event = match &write {
            Write::Record {
                lane,
                instance,
                position,
                ..
            } => Some(Event::Recorded {
                lane: *lane,
                instance: *instance,
                position: *position,
            }),
            Write::Close {
                lane,
                position,
                verdict,
                ..
            } => {
                self.closed.push(*verdict);
                Some(Event::Closed {
                    lane: *lane,
                    position: *position,
                })
            }
            Write::Settle { job, .. } => Some(Event::Settled { job: *job }),
            _ => None,
        };
        if self.confirms {
            self.made_durable(&write, event);
        } else {
            self.unconfirmed.push((write, event));
        }
    }

    fn made_durable(&mut self, write: &Write, event: Option<Event>) {
        self.ledger.write(write);
        if let Some(event) = event {
            self.engine.step(event, self.now);
        }
    }

    fn confirm(&mut self) {
        for (write, event) in std::mem::take(&mut self.unconfirmed) {
            self.made_durable(&write, event);
        }
        self.carry_out_all();
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.step(Event::Tick);
    }

    fn submit(&mut self, verb: Verb, level: Level) -> u64 {
        self.submit_under(None, verb, level)
    }

    fn entry(&self, key: Option<Keyed>, verb: Verb) -> Entry {
        Entry {
            id: EntryId(Uuid::from_u128(u128::from(self.tickets))),
            logged_at: WallTime(0),
            verb,
            content_type: None,
            body: Bytes::from_static(b"{}"),
            key,
            retries: None,
        }
    }

    fn submit_under(&mut self, key: Option<Keyed>, verb: Verb, level: Level) -> u64 {
        self.tickets += 1;
        let entry = self.entry(key, verb);
        self.submit_entry(entry, level)
    }

    /// Takes up a letter.
    fn submit_again(&mut self, letter: EntryId, verb: Verb) -> u64 {
        self.tickets += 1;
        let entry = Entry {
            retries: Some(letter),
            ..self.entry(None, verb)
        };
        self.submit_entry(entry, Level::One)
    }

    fn submit_entry(&mut self, entry: Entry, level: Level) -> u64 {
        self.step(Event::Submitted(Box::new(Submission {
            ticket: Ticket(self.tickets),
            permit: Permit::for_test(entry, level, false),
            answer_by: self.now + Duration::from_secs(10),
        })));
        self.tickets
    }

    /// A delete that must be resolved first.
    fn submit_delete(&mut self, ticket: Ticket, collection: CollectionId) {
        let entry = Entry {
            id: EntryId(Uuid::from_u128(u128::from(ticket.0))),
            logged_at: WallTime(0),
            verb: Verb::Record {
                collection,
                act: RecordAct::Delete,
            },
            content_type: None,
            body: Bytes::from_static(b"{\"limit\":1}"),
            key: None,
            retries: None,
        };
        self.step(Event::Submitted(Box::new(Submission {
            ticket,
            permit: Permit::for_test(entry, Level::One, true),
            answer_by: self.now + Duration::from_secs(10),
        })));
    }

    /// Requests under way, as lines such as `A POST add`.
    fn lines(&self) -> Vec<&str> {
        self.sent.iter().map(|sent| sent.line.as_str()).collect()
    }

    fn end(&mut self, line: &str, sending: Sending) {
        let at = self.lines().iter().position(|sent| *sent == line);
        let Some(at) = at else {
            panic!("{line} is not among {:?}", self.lines());
        };
        let Sent {
            lane,
            instance,
            attempt,
            ..
        } = self.sent.remove(at);
        self.step(Event::Answered {
            lane,
            instance,
            attempt,
            count: 1,
            sending,
        });
    }

    fn reply(&mut self, line: &str, status: u16) {
        self.end(line, Sending::Answered(Reply::json(status, "{}")));
    }

    /// A collection that both instances have, with ids that tell them apart.
    fn collection(&mut self, number: u128, name: &str) -> CollectionId {
        let id = CollectionId(Uuid::from_u128(number));
        let ticket = self.submit(create(id, name), Level::All);
        for (instance, uuid) in [("A", number + 0xa00), ("B", number + 0xb00)] {
            self.made(instance, uuid, name);
        }
        assert_eq!(self.answers[&ticket], 200);
        id
    }

    fn made(&mut self, instance: &str, uuid: u128, name: &str) {
        let reply = Reply::json(200, described(uuid, name));
        self.end(
            &format!("{instance} POST collections"),
            Sending::Answered(reply),
        );
    }

    /// Answers what a job has asked last.
    fn tell(&mut self, status: u16, body: impl Into<Bytes>) {
        let job = self.asked_by.take().expect("it has asked");
        let sending = Sending::Answered(Reply::json(status, body));
        self.step(Event::Told { job, sending });
    }

    fn eligible(&self, id: CollectionId) -> Vec<bool> {
        let view = self.engine.view();
        let collection = view.catalog.get(id).unwrap();
        [A, B]
            .map(|i| view.is_eligible(i, Scope::Collection(collection)))
            .into()
    }
}

/// An instance's answer to the question about a delete.
fn answered(ticket: Ticket, instance: InstanceIx, found: Result<Bytes, Unresolved>) -> Event {
    Event::Resolved {
        ticket,
        instance,
        found,
    }
}

fn create(id: CollectionId, name: &str) -> Verb {
    Verb::CreateCollection {
        tenant: "t".into(),
        database: "d".into(),
        name: Some(name.into()),
        id,
    }
}

fn add(collection: CollectionId) -> Verb {
    Verb::Record {
        collection,
        act: RecordAct::Add,
    }
}

/// The executor first, the others at once after it; the client is answered by the first success;
/// a read goes only where the write is.
#[test]
fn the_executor_first_then_the_others() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
    assert_eq!(world.lines(), ["B POST add"]);
    assert_eq!(world.eligible(c), [true, false]);
    world.reply("B POST add", 201);
    assert_eq!(world.eligible(c), [true, true]);
    assert_eq!(world.engine.report().pending, 0);
}

/// I07: the next entry of a lane is not sent before the record of the last one is durable.
#[test]
fn nothing_is_sent_before_the_last_is_recorded() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.confirms = false;
    let first = world.submit(add(c), Level::One);
    let second = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(
        world.answers[&first], 201,
        "success is told before it is recorded"
    );
    assert_eq!(world.lines(), ["B POST add"], "but the second waits");
    world.confirm();
    assert_eq!(world.lines(), ["B POST add", "A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&second], 201);
}

/// I04: a refusal is told only when it is durable, and nothing is sent on.
#[test]
fn a_refusal_is_durable_before_it_is_told() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.confirms = false;
    let ticket = world.submit(add(c), Level::One);
    world.reply("A POST add", 422);
    assert!(!world.answers.contains_key(&ticket));
    world.confirm();
    assert_eq!(world.answers[&ticket], 422);
    assert!(world.lines().is_empty());
    assert_eq!(world.eligible(c), [true, true]);
}

/// A refusal that may have set the dimension is repeated on the others, and must be repeated there.
#[test]
fn a_refusal_with_a_trace_is_sent_on() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    world.reply("A POST add", 400);
    assert_eq!(world.answers[&ticket], 400);
    world.reply("B POST add", 201);
    assert_eq!(world.eligible(c), [true, false], "B took what was refused");
}

/// A silent executor is left behind after the hedge delay; its own sending stays the only one.
#[test]
fn a_silent_executor_is_hedged() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    world.pass(149);
    assert_eq!(world.lines(), ["A POST add"]);
    world.pass(1);
    assert_eq!(world.lines(), ["A POST add", "B POST add"]);
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
    let next = world.submit(add(c), Level::One);
    assert_eq!(
        world.lines(),
        ["A POST add", "B POST add"],
        "the next goes to B at once"
    );
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&next], 201);
    world.pass(20_000);
    assert_eq!(
        world.lines(),
        ["A POST add"],
        "A is sent nothing more while it is silent"
    );
    world.reply("A POST add", 201);
    world.reply("A POST add", 201);
    assert_eq!(world.eligible(c), [true, true]);
}

/// A write that ended in silence may still be carried out: its instance is left alone until the write has
/// settled there, or the instance was seen to restart.
#[test]
fn an_unknown_outcome_settles_before_it_is_sent_again() {
    for restarts in [false, true] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        world.submit(add(c), Level::One);
        world.pass(150);
        world.reply("B POST add", 201);
        world.end("A POST add", Sending::Silent);
        world.pass(5_000);
        assert!(world.lines().is_empty());
        if restarts {
            world.probe(A, Probe::Refused);
            world.probe(A, Probe::Answered);
        } else {
            world.probe(A, Probe::Answered);
            world.live_for(&[A], 33_000);
        }
        assert_eq!(world.lines(), ["A POST add"]);
        world.reply("A POST add", 201);
        assert_eq!(world.eligible(c), [true, true]);
    }
}

/// A server that freezes while it counts as up shows nothing more, however long it takes until a probe
/// finds it so: what it holds may be carried out when it thaws.
#[test]
fn a_freeze_that_nobody_has_seen_settles_nothing() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.pass(150);
    world.reply("B POST add", 201);
    world.taken_over();
    world.both_answer();
    world.live_for(&[A, B], 900);
    assert!(world.lines().is_empty());
    world.live_for(&[B], 60_000);
    assert!(
        world.lines().is_empty(),
        "the probe that is under way is not answered"
    );
    world.live_for(&[A, B], 100);
    assert!(world.lines().is_empty(), "A may just be carrying it out");
    world.live_for(&[A, B], 1_500);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A write that was refused elsewhere may still land where its first sending ended in silence: nothing
/// later goes there before that sending has settled.
#[test]
fn what_is_passed_over_settles_as_well() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let refused = world.submit(add(c), Level::One);
    world.pass(150);
    world.reply("B POST add", 422);
    assert_eq!(world.answers[&refused], 422);
    world.end("A POST add", Sending::Silent);
    world.probe(A, Probe::Answered);
    world.submit(add(c), Level::One);
    world.reply("B POST add", 201);
    assert!(world.lines().is_empty());
    world.live_for(&[A], 33_000);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A frozen server carries out what it holds only when it thaws: the time that it was frozen does
/// not count.
#[test]
fn an_instance_that_says_nothing_settles_nothing() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.pass(150);
    world.reply("B POST add", 201);
    world.probe(A, Probe::Silent);
    world.end("A POST add", Sending::Silent);
    world.pass(60_000);
    assert!(world.lines().is_empty(), "A is not up");
    world.probe(A, Probe::Answered);
    world.live_for(&[A], 29_900);
    assert!(world.lines().is_empty(), "A may just be carrying it out");
    world.live_for(&[A], 3_000);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A dead executor costs nothing but its refusal; what it missed is applied in order.
#[test]
fn a_dead_instance_catches_up_in_order() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.submit(add(c), Level::One);
    world.end("A POST add", Sending::NotSent("refused".into()));
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&first], 201);
    world.probe(A, Probe::Refused);
    for act in [RecordAct::Upsert, RecordAct::Update, RecordAct::Delete] {
        world.submit(Verb::Record { collection: c, act }, Level::One);
        let line = world.lines()[0].to_owned();
        world.reply(&line, 200);
    }
    assert!(world.lines().is_empty());
    world.probe(A, Probe::Answered);
    for tail in ["add", "upsert", "update", "delete"] {
        assert_eq!(world.eligible(c), [false, true]);
        assert_eq!(world.lines(), [format!("A POST {tail}")]);
        world.reply(&format!("A POST {tail}"), 200);
    }
    assert_eq!(world.eligible(c), [true, true]);
}

/// A write that nobody took before its deadline is withdrawn for ever, and then refused.
#[test]
fn what_was_never_sent_is_withdrawn() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    world.end("A POST add", Sending::NotSent("refused".into()));
    world.end("B POST add", Sending::NotSent("refused".into()));
    for instance in [A, B] {
        world.probe(instance, Probe::Refused);
    }
    world.pass(10_000);
    assert_eq!(world.answers[&ticket], 503);
    assert_eq!(world.closed, [Verdict::Abandoned]);
    let refused = world.submit(add(c), Level::One);
    assert_eq!(world.answers[&refused], 503);
    for instance in [A, B] {
        world.probe(instance, Probe::Answered);
    }
    assert!(world.lines().is_empty(), "nothing of it is sent later");
}

/// A write that may have been done is called unknown, and is carried out all the same.
#[test]
fn the_unknown_is_called_unknown() {
    let mut world = World::new();
    world.probe(B, Probe::Refused);
    let c = CollectionId(Uuid::from_u128(1));
    world.submit(create(c, "abc"), Level::All);
    world.made("A", 0xa01, "abc");
    let ticket = world.submit(add(c), Level::One);
    world.pass(10_000);
    assert_eq!(world.answers[&ticket], 504);
    world.reply("A POST add", 201);
    assert_eq!(world.eligible(c), [true, false]);
}

/// A write for which instances were too busy is not refused: it is open, and carried out later.
#[test]
fn too_busy_is_not_refused() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    for _ in 0..2 {
        world.reply("A POST add", 429);
        world.reply("B POST add", 429);
        world.pass(100);
    }
    assert_eq!(world.answers[&ticket], 504);
    world.pass(1_000);
    assert!(world.lines().contains(&"A POST add"));
}

/// A write that destroys everything is judged by what is there in its turn: a protected collection that was
/// asked for before it is not destroyed.
#[test]
fn the_guard_is_asked_again_in_turn() {
    let mut world = World::new();
    let id = CollectionId(Uuid::from_u128(1));
    let made = world.submit(create(id, "global"), Level::One);
    let gone = Verb::DeleteDatabase {
        tenant: "t".into(),
        database: "d".into(),
    };
    world.tickets += 1;
    let ticket = Ticket(world.tickets);
    let mut permit = Permit::for_test(world.entry(None, gone), Level::One, false);
    permit.guard = Some(Guard::new(["global"]));
    let answer_by = world.now + Duration::from_secs(10);
    world.step(Event::Submitted(Box::new(Submission {
        ticket,
        permit,
        answer_by,
    })));
    assert_eq!(world.lines(), ["A POST collections"], "it waits");
    world.made("A", 0xa01, "global");
    assert_eq!(world.answers[&made], 200);
    assert_eq!(world.answers[&ticket.0], 403);
}

/// An instance that lacks a collection does not hold up the schema lane, nor is it asked again and
/// again: the others decide, its copy is quarantined, and it goes on with what comes next.
#[test]
fn a_missing_collection_holds_nothing_up() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let modify = Verb::ModifyCollection {
        collection: c,
        new_name: None,
    };
    let ticket = world.submit(modify, Level::One);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 404);
    assert_eq!(
        world.lines(),
        ["B PUT 00000000-0000-0000-0000-000000000b01"]
    );
    world.reply("B PUT 00000000-0000-0000-0000-000000000b01", 200);
    assert_eq!(world.answers[&ticket], 200);
    assert_eq!(world.eligible(c), [false, true]);
    assert!(world.lines().is_empty(), "A is not asked again at once");
    world.pass(1_000);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 404);
    assert!(world.lines().is_empty());
    let owed = world.engine.report().instances.into_iter().map(|i| i.owed);
    assert_eq!(owed.sum::<u64>(), 0);
}

/// A change of collections is durable before its client is told: after a restart the catalog has it.
#[test]
fn a_collection_is_durable_before_it_is_told() {
    let mut world = World::new();
    world.confirms = false;
    let id = CollectionId(Uuid::from_u128(1));
    let ticket = world.submit(create(id, "abc"), Level::One);
    world.made("A", 0xa01, "abc");
    assert!(!world.answers.contains_key(&ticket));
    world.confirm();
    assert_eq!(world.answers[&ticket], 200);
}

/// A write that breaks the handler of two instances is answered 502.
#[test]
fn a_poisonous_write_ends_after_two_instances() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    assert_eq!(world.break_both("POST add"), 6);
    assert_eq!(world.answers[&ticket], 502);
    let standings = world.engine.view().standings;
    assert!(standings.iter().all(|standing| *standing == Standing::Up));
}

/// A server error moves the write on; when all fail it, the client gets the error, and when it
/// keeps failing it is given up and told.
#[test]
fn a_hopeless_write_does_not_block_its_lane_for_ever() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    for _ in 0..2 {
        assert!(!world.answers.contains_key(&ticket), "a second time may do");
        world.reply("A POST add", 500);
        world.reply("B POST add", 500);
        world.pass(100);
    }
    assert_eq!(world.answers[&ticket], 500);
    for _ in 0..200 {
        world.pass(1000);
        for line in ["A POST add", "B POST add"] {
            if world.lines().contains(&line) {
                world.reply(line, 500);
            }
        }
    }
    assert_eq!(world.closed, [Verdict::Abandoned]);
    assert_eq!(world.ledger.letters().count(), 1, "it may be done later");
    assert!(world.compares(c), "one of them may have done it");
    assert!(
        world
            .engine
            .report()
            .troubles
            .iter()
            .any(|t| t.trouble.reason.contains("given up"))
    );
    assert_eq!(world.engine.report().pending, 0);
    let next = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&next], 201, "the lane goes on");
}

/// The pause before a failing write is tried again ends early when its instance was away, and not when
/// that was only slow to answer something else.
#[test]
fn who_was_only_slow_is_tried_no_sooner() {
    for (sign, is_tried) in [(Sign::Silent, false), (Sign::Refused, true)] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        world.submit(add(c), Level::One);
        world.reply("A POST add", 201);
        world.reply("B POST add", 500);
        world.step(Event::Noticed { instance: B, sign });
        assert_ne!(world.engine.view().standings[1], Standing::Up);
        world.probe(B, Probe::Answered);
        assert_eq!(world.lines().contains(&"B POST add"), is_tried, "{sign:?}");
        world.pass(100);
        assert_eq!(world.lines(), ["B POST add"]);
    }
}

/// A write that this proxy may not send now says nothing of the instance: it stays up, and the write is tried
/// again after its pause.
#[test]
fn a_withheld_write_is_no_sign_against_its_instance() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    world.end("A POST add", Sending::Withheld("no leave"));
    world.end("B POST add", Sending::Withheld("no leave"));
    assert_eq!(world.engine.view().standings[..], [Standing::Up; 2]);
    assert_eq!(world.lines(), [""; 0], "it is not sent again at once");
    world.pass(100);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}

/// A collection made while an instance was away is made there when it returns; one that was made
/// and deleted leaves nothing.
#[test]
fn schema_changes_are_caught_up_in_order() {
    let mut world = World::new();
    world.probe(B, Probe::Refused);
    let (one, two) = (
        CollectionId(Uuid::from_u128(1)),
        CollectionId(Uuid::from_u128(2)),
    );
    world.submit(create(one, "abc"), Level::All);
    world.made("A", 0xa01, "abc");
    world.submit(add(one), Level::One);
    world.reply("A POST add", 201);
    world.submit(Verb::DeleteCollection { collection: one }, Level::All);
    world.reply("A DELETE abc", 200);
    world.submit(create(two, "abc"), Level::All);
    world.made("A", 0xa02, "abc");
    world.probe(B, Probe::Answered);
    world.made("B", 0xb01, "abc");
    assert_eq!(
        world.lines(),
        ["B DELETE abc"],
        "the records of what is gone are not sent"
    );
    world.reply("B DELETE abc", 200);
    world.made("B", 0xb02, "abc");
    let view = world.engine.view();
    let found = view.catalog.resolve("t", "d", "abc", Prefer::Name).unwrap();
    assert_eq!(
        (found.id, found.on(B).unwrap().0),
        (two, Uuid::from_u128(0xb02))
    );
    assert_eq!(world.engine.report().pending, 0);
}

/// A rename that an instance missed is applied there before the delete that goes by the new name.
#[test]
fn a_rename_comes_before_the_delete_that_follows_it() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.probe(B, Probe::Refused);
    let rename = Verb::ModifyCollection {
        collection: c,
        new_name: Some("xyz".into()),
    };
    world.submit(rename, Level::All);
    world.reply(&format!("A PUT {}", Uuid::from_u128(0xa01)), 200);
    world.submit(Verb::DeleteCollection { collection: c }, Level::All);
    world.reply("A DELETE xyz", 200);
    world.probe(B, Probe::Answered);
    world.reply(&format!("B PUT {}", Uuid::from_u128(0xb01)), 200);
    world.reply("B DELETE xyz", 200);
    assert_eq!(world.engine.report().pending, 0);
}

/// Of two deletes of one collection the second finds it gone, as with Chroma.
#[test]
fn the_second_delete_is_a_404() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let first = world.submit(Verb::DeleteCollection { collection: c }, Level::All);
    let second = world.submit(Verb::DeleteCollection { collection: c }, Level::All);
    let pending = world.submit(add(c), Level::One);
    world.reply("A DELETE abc", 200);
    world.reply("B DELETE abc", 200);
    assert_eq!(world.answers[&first], 200);
    assert_eq!(world.answers[&second], 404);
    world.reply("A POST add", 404);
    assert_eq!(world.answers[&pending], 404);
    assert!(world.engine.view().catalog.is_empty());
}

/// A create that is repeated because its first sending may have been carried out is refused all
/// the same when the name is an older collection's; but where that one's copy is missing, what has
/// the name is the create's own work.
#[test]
fn an_older_collection_is_not_mistaken_for_ones_own_work() {
    for (uuid, expected) in [(0xa01, 409), (0xa09, 200)] {
        let mut world = World::new();
        world.collection(1, "abc");
        let other = CollectionId(Uuid::from_u128(9));
        let ticket = world.submit(create(other, "abc"), Level::One);
        world.end("A POST collections", Sending::Closed { reused: true });
        world.reply("A POST collections", 409);
        let found = Reply::json(200, described(uuid, "abc"));
        world.end("A GET abc", Sending::Answered(found));
        assert_eq!(world.answers[&ticket], expected, "{uuid:x}");
    }
}

/// `get_or_create` of what is there is done once and changes nothing anywhere.
#[test]
fn finding_a_collection_is_not_replicated() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let other = CollectionId(Uuid::from_u128(9));
    let ticket = world.submit(create(other, "abc"), Level::All);
    world.made("A", 0xa01, "abc");
    assert_eq!(world.answers[&ticket], 200);
    assert!(world.lines().is_empty());
    assert!(world.engine.view().catalog.get(other).is_none());
    assert_eq!(world.eligible(c), [true, true]);
}

/// A create whose answer was lost may have been done: then the id is asked for.
#[test]
fn a_create_that_was_done_unseen_is_looked_up() {
    let mut world = World::new();
    let c = CollectionId(Uuid::from_u128(1));
    world.submit(create(c, "abc"), Level::All);
    world.end("A POST collections", Sending::Closed { reused: false });
    world.made("B", 0xb01, "abc");
    world.pass(1000);
    world.reply("A POST collections", 409);
    let body = format!(r#"{{"id":"{}","name":"abc"}}"#, Uuid::from_u128(0xa01));
    world.end("A GET abc", Sending::Answered(Reply::json(200, body)));
    assert_eq!(world.eligible(c), [true, true]);
}

/// Body of an instance's answer that describes a collection.
fn described(uuid: u128, name: &str) -> String {
    let id = Uuid::from_u128(uuid);
    format!(r#"{{"id":"{id}","name":"{name}"}}"#)
}

fn line(instance: InstanceIx, wire: &Wire) -> String {
    let name = ["A", "B"][instance.at()];
    let tail = wire.target.rsplit('/').next().unwrap();
    format!("{name} {} {tail}", wire.method)
}

/// A collection of the name that was left over on an instance is not taken for the new one.
#[test]
fn a_leftover_is_quarantined() {
    let mut world = World::new();
    let c = CollectionId(Uuid::from_u128(1));
    let ticket = world.submit(create(c, "abc"), Level::All);
    world.made("A", 0xa01, "abc");
    world.reply("B POST collections", 409);
    assert_eq!(world.answers[&ticket], 200);
    assert_eq!(world.eligible(c), [true, false]);
    world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert!(world.lines().is_empty());
    assert_eq!(
        world.engine.report().instances[1].quarantined_collections,
        1
    );
}

/// A delete that must be resolved waits until its lane is at rest, and holds up what is behind it.
#[test]
fn a_gate_holds_a_lane_until_it_is_at_rest() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    let resolved = Ticket(100);
    world.submit_delete(resolved, c);
    let behind = world.submit(add(c), Level::One);
    assert!(
        world.engine.resolving.is_empty(),
        "the add before it is not decided"
    );
    world.reply("A POST add", 201);
    assert!(world.engine.resolving.contains_key(&resolved));
    assert_eq!(world.lines(), ["B POST add"]);
    let found = Ok(Bytes::from_static(b"{\"ids\":[]}"));
    world.step(answered(resolved, A, found));
    assert_eq!(world.lines(), ["B POST add", "A POST delete"]);
    world.reply("A POST delete", 200);
    world.reply("A POST add", 201);
    assert_eq!((world.answers[&100], world.answers[&behind]), (200, 201));
}

/// Of two deletes that must be resolved, the second is looked into only when the first is decided:
/// otherwise each could leave something over, and both together nothing.
#[test]
fn what_is_resolved_is_resolved_one_by_one() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let [first, second] = [Ticket(100), Ticket(101)];
    world.submit_delete(first, c);
    world.submit_delete(second, c);
    let resolving = |world: &World| world.engine.resolving.keys().copied().collect::<Vec<_>>();
    assert_eq!(resolving(&world), [first]);
    let found = Ok(Bytes::from_static(b"{\"ids\":[\"x\"]}"));
    world.step(answered(first, A, found));
    assert_eq!(world.lines(), ["A POST delete"]);
    assert!(
        resolving(&world).is_empty(),
        "the first is logged, but not decided"
    );
    world.reply("A POST delete", 200);
    assert_eq!(resolving(&world), [second]);
}

/// After a restart what is open in the log is carried out, and until then nobody reads past it.
#[test]
fn a_restart_goes_on_where_it_stopped() {
    let id = CollectionId(Uuid::from_u128(1));
    let mut catalog = marked();
    let copies = [0xa01, 0xb01].map(|uuid| crate::catalog::Copy {
        id: Some(InstanceId(Uuid::from_u128(uuid))),
        ..crate::catalog::Copy::default()
    });
    catalog.apply(&Change::Made(Arc::new(crate::catalog::Collection {
        id,
        tenant: "t".into(),
        database: "d".into(),
        name: "abc".into(),
        made_at: Position(1),
        gone_at: None,
        home: None,
        copies: copies.into(),
    })));
    let lane = LaneId::Collection(id);
    let entry = |position, verdict| crate::log::Logged {
        lane,
        position: Position(position),
        id: EntryId(Uuid::from_u128(position.into())),
        logged_at: WallTime(5),
        verb: add(id),
        content_type: None,
        bytes: 0,
        verdict,
        key: None,
    };
    let snapshot = Snapshot {
        catalog,
        lanes: vec![RestoredLane {
            id: lane,
            head: Position(9),
            trimmed: Position(6),
            cursors: vec![Some(Position(7)), Some(Position(6))],
        }],
        entries: vec![
            entry(7, Verdict::Accepted),
            entry(8, Verdict::Open),
            entry(9, Verdict::Refused { trace: false }),
        ],
    };
    let mut world = World::new();
    world.engine = Engine::restore(SETTINGS, snapshot, world.now);
    for instance in [A, B] {
        world.probe(instance, Probe::Answered);
    }
    assert_eq!(world.eligible(id), [false, false]);
    assert!(
        world.lines().is_empty(),
        "what the last proxy had sent may still be carried out"
    );
    world.both_live_for(1_500);
    assert_eq!(world.lines(), ["A POST add", "B POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.eligible(id), [true, false]);
    world.reply("B POST add", 201);
    world.reply("B POST add", 201);
    assert_eq!(world.eligible(id), [true, true]);
    assert_eq!(world.engine.report().pending, 0);
}

/// A sending to a copy that is quarantined meanwhile ends, although its entry is not kept for it:
/// then the copy can be made anew.
#[test]
fn a_sending_outlives_its_entry() {
    let mut world = World::new();
    let id = world.collection(1, "abc");
    world.submit(add(id), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.lines(), ["B POST add"]);
    world.step(Event::Repair {
        collection: id,
        source: A,
    });
    assert!(world.engine.report().jobs.is_empty(), "it is not quiet yet");
    world.reply("B POST add", 201);
    world.now = world.now + Duration::from_secs(1);
    world.step(Event::Tick);
    let jobs = world.engine.report().jobs;
    assert_eq!(jobs[0].task, Task::Rebuild(id, B));
}

/// Two jobs hold the schema lane at once: when the first has ended, the second still does.
#[test]
fn a_lane_is_held_until_the_last_lets_it_go() {
    let mut world = World::new();
    let both = [1, 2].map(|number| world.collection(number, &format!("abc{number}")));
    world.pass(1_000);
    for collection in both {
        let source = A;
        world.step(Event::Repair { collection, source });
    }
    let running = |world: &World| {
        let jobs = world.engine.report().jobs;
        jobs.iter().filter(|job| job.stage.is_some()).count()
    };
    assert_eq!(running(&world), 2);
    world.submit(create(CollectionId(Uuid::from_u128(3)), "abc"), Level::All);
    for (job, left) in [(JobId(3), 1), (JobId(4), 0)] {
        assert!(world.lines().is_empty(), "a job holds the lane");
        let sending = Sending::Closed { reused: false };
        world.step(Event::Told { job, sending });
        assert_eq!(running(&world), left);
    }
    assert_eq!(world.lines(), ["A POST collections"]);
}

/// A database that Achromat made has an id of Achromat's own; with it go its collections.
#[test]
fn a_database_takes_its_collections_with_it() {
    let mut world = World::new();
    let made = Verb::CreateDatabase {
        tenant: "t".into(),
        name: Some("d".into()),
        id: DatabaseId(Uuid::from_u128(77)),
    };
    world.submit(made, Level::All);
    world.reply("A POST databases", 200);
    world.reply("B POST databases", 409);
    world.collection(1, "abc");
    let view = world.engine.view();
    assert_eq!(
        view.catalog.database("t", "d").unwrap().0,
        Uuid::from_u128(77)
    );
    let gone = Verb::DeleteDatabase {
        tenant: "t".into(),
        database: "d".into(),
    };
    world.submit(gone, Level::All);
    world.reply("A DELETE d", 200);
    world.reply("B DELETE d", 404);
    let view = world.engine.view();
    assert!(view.catalog.is_empty() && view.catalog.database("t", "d").is_none());
}
