//! Collections whose writes are not logged: one instance alone has their records.

use super::*;
use crate::{engine::LocalSubmission, local::LocalWrite};

fn local(world: &mut World, collection: CollectionId) -> LocalWrite {
    world.tickets += 1;
    let entry = world.entry(None, add(collection));
    let permit = Permit::for_test(entry, Level::One, false);
    let view = world.engine.view();
    permit
        .locally(&Guard::new(["global"]), &view)
        .expect("it is about records, and not protected")
}

impl World {
    /// A client wants a write done that policy keeps out of the log.
    fn submit_locally(&mut self, collection: CollectionId) -> u64 {
        let write = local(self, collection);
        self.step(Event::SubmittedLocally(Box::new(LocalSubmission {
            ticket: Ticket(self.tickets),
            write,
            answer_by: self.now + Duration::from_secs(10),
        })));
        self.tickets
    }

    fn end_local(&mut self, ticket: u64, sending: Sending) {
        let ticket = Ticket(ticket);
        let at = self.sent_locally.iter().position(|sent| sent.0 == ticket);
        self.sent_locally.remove(at.expect("it was sent"));
        self.step(Event::DoneLocally { ticket, sending });
    }

    /// The tickets of the writes on their way to this instance as a home.
    fn at_home(&self, home: InstanceIx) -> Vec<u64> {
        let sent = self.sent_locally.iter();
        sent.filter(|sent| sent.1 == home)
            .map(|sent| sent.0.0)
            .collect()
    }
}

fn answered(status: u16) -> Sending {
    Sending::Answered(Reply::json(status, "{}"))
}

fn homed(world: &World, collection: CollectionId) -> Option<InstanceIx> {
    world.engine.view().catalog.get(collection).unwrap().home
}

/// A collection that has its home on the first instance, and a record there that is not logged.
fn with_home(world: &mut World) -> CollectionId {
    let c = world.collection(1, "abc");
    let ticket = world.submit_locally(c);
    assert_eq!(homed(world, c), Some(A));
    world.end_local(ticket, answered(201));
    assert_eq!(world.answers[&ticket], 201);
    c
}

/// A collection gets its home when everything that was logged of it is done and recorded, there and on the
/// others in service: so that nothing is sent again over a write that the log does not know, and nothing
/// that is logged is lost with the home.
#[test]
fn a_home_is_given_when_the_lane_is_at_rest() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let before = world.submit(add(c), Level::One);
    let write = world.submit_locally(c);
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.at_home(A), Vec::<u64>::new());
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&before], 201);
    assert_eq!(homed(&world, c), None);
    world.reply("B POST add", 201);
    assert_eq!(homed(&world, c), Some(A));
    assert_eq!(world.eligible(c), [true, false]);
    assert_eq!(world.at_home(A), [write]);
    world.end_local(write, answered(201));
    assert_eq!(world.answers[&write], 201);
}

/// Nothing is sent to a home before it is durable that it is one; as long as the store is down the write
/// is refused, and nothing was done.
#[test]
fn nothing_is_sent_to_a_home_that_is_not_recorded() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.confirms = false;
    let first = world.submit_locally(c);
    assert_eq!(world.at_home(A), Vec::<u64>::new());
    assert!(!world.answers.contains_key(&first));
    world.step(Event::StoreIs { up: false });
    assert_eq!(world.answers[&first], 503);
    let second = world.submit_locally(c);
    assert_eq!(world.answers[&second], 503);
    assert_eq!(world.at_home(A), Vec::<u64>::new());
    world.step(Event::StoreIs { up: true });
    let third = world.submit_locally(c);
    assert_eq!(world.at_home(A), Vec::<u64>::new());
    world.confirms = true;
    world.confirm();
    assert_eq!(world.at_home(A), [third]);
}

/// A write that waits for its home is refused when its time is over.
#[test]
fn a_write_does_not_wait_for_its_home_for_ever() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.confirms = false;
    let ticket = world.submit_locally(c);
    world.both_live_for(10_100);
    assert_eq!(world.answers[&ticket], 503);
    assert_eq!(world.at_home(A), Vec::<u64>::new());
}

/// Nothing of it is compared, and its copies elsewhere do not keep an instance from answering lists.
#[test]
fn what_has_a_home_is_not_compared() {
    let mut world = World::new();
    let c = with_home(&mut world);
    let view = world.engine.view();
    let answers = [A, B].map(|i| view.is_eligible(i, Scope::Schema));
    assert_eq!(answers, [true, true]);
    world.step(Event::Wanted(Task::Verify(c)));
    assert!(!world.compares(c));
    world.pass(3_600_000);
    assert!(!world.compares(c), "not in the background either");
}

/// A write that is to be replicated brings a collection back: it waits until nothing that is not logged
/// is under way, is then logged, and the other copies are made anew from the home's.
#[test]
fn a_replicated_write_brings_a_collection_back() {
    let mut world = World::new();
    let c = with_home(&mut world);
    let local = world.submit_locally(c);
    let replicated = world.submit(add(c), Level::One);
    assert_eq!(homed(&world, c), Some(A), "a write is under way there");
    assert_eq!(world.lines(), Vec::<&str>::new());
    // What policy would keep out of the log meanwhile waits behind it, and is logged.
    let late = world.submit_locally(c);
    assert_eq!(world.at_home(A), [local]);
    world.end_local(local, answered(201));
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.eligible(c), [true, false]);
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    world.reply("A POST add", 201);
    assert_eq!(
        (world.answers[&replicated], world.answers[&late]),
        (201, 201)
    );
    let again = world.submit_locally(c);
    assert_eq!(homed(&world, c), None, "its copies are being made");
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&again], 201);
    let jobs = world.engine.report().jobs;
    let rebuild = Task::Rebuild(c, B);
    assert!(jobs.iter().any(|job| job.task == rebuild), "{jobs:?}");
}

/// A write that its home never answered may still be carried out there: nothing is logged before that is
/// over.
#[test]
fn what_a_home_never_answered_is_waited_for() {
    let mut world = World::new();
    let c = with_home(&mut world);
    let silent = world.submit_locally(c);
    world.end_local(silent, Sending::Silent);
    assert_eq!(world.answers[&silent], 504);
    let replicated = world.submit(add(c), Level::One);
    world.both_live_for(29_900);
    assert_eq!(homed(&world, c), Some(A));
    assert_eq!(world.answers[&replicated], 503, "it waited for its time");
    world.both_live_for(3_500);
    assert_eq!(homed(&world, c), None);
    let later = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&later], 201);
}

/// A change of the policy brings every collection back without any write.
#[test]
fn a_changed_policy_brings_collections_back() {
    let mut world = World::new();
    let c = with_home(&mut world);
    world.step(Event::PolicyChanged);
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.eligible(c), [true, false]);
    let jobs = world.engine.report().jobs;
    let rebuild = Task::Rebuild(c, B);
    assert!(jobs.iter().any(|job| job.task == rebuild), "{jobs:?}");
}

/// Without its home a collection is not written, logged or not, and comes back with its records when its
/// home does.
#[test]
fn without_its_home_nothing_is_written() {
    let mut world = World::new();
    let c = with_home(&mut world);
    world.probe(A, Probe::Refused);
    let local = world.submit_locally(c);
    let replicated = world.submit(add(c), Level::One);
    assert_eq!(
        (world.answers[&local], world.answers[&replicated]),
        (503, 503)
    );
    world.step(Event::PolicyChanged);
    assert_eq!(homed(&world, c), Some(A));
    world.probe(A, Probe::Answered);
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.eligible(c), [true, false]);
}

/// Writes that only the home's copy had are lost with it, and the other copies count again.
#[test]
fn a_home_may_be_lost() {
    let mut world = World::new();
    let c = with_home(&mut world);
    world.lose(c, A);
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.eligible(c), [false, true]);
}

/// An operator who says which copy is right gives it to all again, once no write is under way that the
/// log does not know.
#[test]
fn an_operator_takes_a_home_away() {
    for source in [A, B] {
        let mut world = World::new();
        let c = with_home(&mut world);
        let local = world.submit_locally(c);
        world.step(Event::Repair {
            collection: c,
            source,
        });
        assert_eq!(homed(&world, c), Some(A));
        world.end_local(local, answered(201));
        assert_eq!(homed(&world, c), None);
        assert_eq!(world.eligible(c), [source == A, source == B]);
        let ticket = world.submit(add(c), Level::One);
        world.reply(["A POST add", "B POST add"][source.at()], 201);
        assert_eq!(world.answers[&ticket], 201);
    }
}

/// Writes to protected collections, and writes that are not about records, are never kept out of the log.
#[test]
fn not_everything_may_have_a_home() {
    let mut world = World::new();
    let c = world.collection(1, "global");
    let view = world.engine.view();
    let guard = Guard::new(["global"]);
    for verb in [
        add(c),
        create(c, "x"),
        Verb::DeleteCollection { collection: c },
    ] {
        let permit = Permit::for_test(world.entry(None, verb), Level::One, false);
        assert!(permit.locally(&guard, &view).is_err());
    }
    // An instance without a sound copy is no home.
    world.engine.change(vec![Change::Quarantined {
        collection: c,
        instance: B,
        reason: "broken".into(),
    }]);
    world.step(Event::Wanted(Task::Home(c, B)));
    assert_eq!(homed(&world, c), None);
}

impl World {
    /// The proxy dies and starts again, with what the store holds; both instances are there.
    fn start_again(&mut self) {
        let catalog = self.engine.view().catalog;
        let snapshot = Snapshot {
            catalog,
            ..Snapshot::default()
        };
        self.engine = Engine::restore(SETTINGS, snapshot, self.now);
        self.probe(A, Probe::Answered);
        self.probe(B, Probe::Answered);
    }
}

/// Policy may have changed right before the proxy died, or while none ran: a collection that has its home
/// from before comes back by itself, unless policy soon keeps another write of it out of the log.
#[test]
fn a_home_from_before_the_start_must_be_confirmed() {
    for is_confirmed in [false, true] {
        let mut world = World::new();
        let c = with_home(&mut world);
        world.start_again();
        if is_confirmed {
            let ticket = world.submit_locally(c);
            world.end_local(ticket, answered(201));
        }
        world.both_live_for(29_000);
        assert_eq!(homed(&world, c), Some(A));
        world.both_live_for(2_000);
        assert_eq!(homed(&world, c), is_confirmed.then_some(A));
    }
}

/// A write that was kept out of the log by a policy that decides no more is logged, and moves nothing.
#[test]
fn what_an_older_policy_has_judged_is_logged() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let write = local(&mut world, c);
    world.step(Event::PolicyChanged);
    world.step(Event::SubmittedLocally(Box::new(LocalSubmission {
        ticket: Ticket(world.tickets),
        write,
        answer_by: world.now + Duration::from_secs(10),
    })));
    assert_eq!(homed(&world, c), None);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A home that policy wanted before it changed is not given afterwards; the write that waited for it is
/// logged.
#[test]
fn a_changed_policy_gives_no_home_any_more() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let before = world.submit(add(c), Level::One);
    let waits = world.submit_locally(c);
    world.step(Event::PolicyChanged);
    for _ in 0..2 {
        world.reply("A POST add", 201);
    }
    assert_eq!(homed(&world, c), None);
    assert_eq!((world.answers[&before], world.answers[&waits]), (201, 201));
}
