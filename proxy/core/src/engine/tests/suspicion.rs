//! Missing collections, poisonous writes, and what they must not take with them.

use super::*;
use crate::resolve::Unresolved;

const CLOSED: Sending = Sending::Closed { reused: false };

fn missing() -> (u16, &'static str) {
    (404, r#"{"error":"NotFoundError","message":"no"}"#)
}

impl World {
    fn id_on(&self, collection: CollectionId, instance: InstanceIx) -> InstanceId {
        let catalog = self.engine.view().catalog;
        catalog.get(collection).unwrap().on(instance).unwrap()
    }

    /// A read was answered 404 by an instance.
    fn miss(&mut self, collection: CollectionId, instance: InstanceIx) {
        let id = self.id_on(collection, instance);
        self.step(Event::Missed { instance, id });
    }

    /// Answers what the job asks, for as long as it asks, in this order of instances.
    fn tell_counts(&mut self, counts: &[(&str, (u16, &'static str))]) {
        for (instance, (status, body)) in counts {
            assert_eq!(self.asked_line, format!("{instance} GET count"));
            self.tell(*status, *body);
        }
    }

    fn can_list(&self) -> Vec<bool> {
        let view = self.engine.view();
        let (tenant, database) = ("t", "d");
        let scope = Scope::List { tenant, database };
        [A, B].map(|i| view.is_eligible(i, scope)).into()
    }
}

/// A 404 that the instance does not confirm when it is asked about the collection changes nothing.
#[test]
fn a_suspicion_alone_takes_no_copy_out() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.miss(c, A);
    assert_eq!(world.eligible(c), [true, true]);
    world.tell_counts(&[("A", (200, "0")), ("B", (200, "0"))]);
    assert_eq!(world.eligible(c), [true, true]);
    assert!(world.engine.report().jobs.is_empty());
    world.asked_line.clear();
    world.miss(c, B);
    assert_eq!(world.asked_line, "", "it was asked a moment ago");
}

/// A server without the route, which answers with an empty body, has not said that the collection is
/// missing.
#[test]
fn an_empty_404_is_no_evidence() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.miss(c, A);
    world.tell_counts(&[("A", (404, "")), ("B", (404, ""))]);
    assert_eq!(world.eligible(c), [true, true]);
}

/// A copy that is confirmed to be missing is made anew, while lists are answered by the other instance.
#[test]
fn a_confirmed_loss_is_made_anew() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.miss(c, A);
    let both = [("A", missing()), ("B", (200, "0"))];
    world.tell_counts(&both);
    world.tell_counts(&both);
    assert_eq!(world.eligible(c), [false, true]);
    assert_eq!(world.can_list(), [false, true]);
    let view = world.engine.view();
    assert!(
        [A, B]
            .map(|i| view.is_eligible(i, Scope::Schema))
            .iter()
            .all(|is| *is)
    );
    let jobs = world.engine.report().jobs;
    assert!(
        jobs.iter().any(|job| job.task == Task::Rebuild(c, A)),
        "{jobs:?}"
    );
    let shortage = world.engine.report().shortage;
    assert_eq!((shortage.without_copy, shortage.with_one_copy), (0, 1));
}

/// A collection that no instance has any more is gone, and a write that waits for it is told so.
#[test]
fn a_collection_that_nobody_has_is_gone() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    let (status, body) = missing();
    world.end("A POST add", Sending::Answered(Reply::json(status, body)));
    let both = [("A", missing()), ("B", missing())];
    world.tell_counts(&both);
    world.end("B POST add", Sending::Answered(Reply::json(status, body)));
    world.tell_counts(&both);
    assert_eq!(world.answers[&ticket], 404);
    assert!(world.engine.view().catalog.get(c).is_none());
    let report = world.engine.report();
    assert_eq!((report.pending, report.failing_entries), (0, 0));
    let again = CollectionId(Uuid::from_u128(2));
    let ticket = world.submit(create(again, "abc"), Level::One);
    world.made("A", 0xa02, "abc");
    assert_eq!(world.answers[&ticket], 200);
}

/// A collection that was deleted everywhere behind our back and made again by a client on one instance
/// is what that instance has now.
#[test]
fn a_collection_made_again_is_made_on_all() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(create(CollectionId(Uuid::from_u128(2)), "abc"), Level::One);
    world.made("A", 0xa02, "abc");
    assert_eq!(world.answers[&ticket], 200);
    let both = [("A", (200, "0")), ("B", missing())];
    world.tell_counts(&both);
    world.tell_counts(&both);
    assert_eq!(world.eligible(c), [true, false]);
    let ticket = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}

/// A create that was sent to two instances, and has made a collection anew on both that had lost it, has made
/// both copies of that collection.
#[test]
fn a_collection_made_again_on_two_has_both_copies() {
    for renames in [false, true] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        let ticket = world.submit(create(CollectionId(Uuid::from_u128(2)), "abc"), Level::One);
        world.pass(200);
        world.made("B", 0xb02, "abc");
        assert_eq!(world.answers[&ticket], 200);
        if renames {
            world.engine.change(vec![Change::Renamed {
                collection: c,
                name: "xyz".into(),
            }]);
        }
        world.made("A", 0xa02, "abc");
        let copies = [A, B].map(|instance| world.id_on(c, instance));
        let made = [0xa02, 0xb02].map(|id| InstanceId(Uuid::from_u128(id)));
        assert_eq!(copies, made, "renamed: {renames}");
    }
}

/// A change of a collection that its only instance in service lacks is refused, and holds nothing up.
#[test]
fn the_last_copy_is_not_taken_out_by_a_change_of_it() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.probe(B, Probe::Refused);
    world.lose(c, B);
    let modify = Verb::ModifyCollection {
        collection: c,
        new_name: None,
    };
    let ticket = world.submit(modify, Level::One);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 404);
    assert_eq!(world.answers[&ticket], 404);
    assert_eq!(world.eligible(c), [true, false]);
    let other = CollectionId(Uuid::from_u128(2));
    let ticket = world.submit(create(other, "xyz"), Level::One);
    world.made("A", 0xa02, "xyz");
    assert_eq!(world.answers[&ticket], 200);
}

/// A create that breaks two instances, which live on, is given up as soon as that is known: its client
/// is told 502, and the next create goes on at once.
#[test]
fn a_poisonous_create_holds_nothing_up() {
    let mut world = World::new();
    let poison = CollectionId(Uuid::from_u128(1));
    let next = CollectionId(Uuid::from_u128(2));
    let ticket = world.submit(create(poison, "abc"), Level::One);
    let waiting = world.submit(create(next, "xyz"), Level::One);
    for line in ["A POST collections", "B POST collections"] {
        world.end(line, CLOSED);
    }
    assert!(world.lines().is_empty(), "probes come first");
    let next_line = ["A POST collections", "B POST collections"];
    for _ in 0..30 {
        world.both_live_for(100);
        for line in next_line {
            if world.closed.is_empty() && world.lines().contains(&line) {
                world.end(line, CLOSED);
            }
        }
    }
    assert_eq!(world.answers[&ticket], 502);
    assert_eq!(world.closed, [Verdict::Abandoned]);
    assert_eq!(world.ledger.letters().count(), 0, "its client knows");
    world.made("A", 0xa02, "xyz");
    assert_eq!(world.answers[&waiting], 200);
}

/// A write on which a server died is not given up: it is tried again when the server is back.
#[test]
fn a_server_that_died_is_no_sign_of_poison() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::One);
    for (line, instance) in [("A POST add", A), ("B POST add", B)] {
        world.end(line, CLOSED);
        world.probe(instance, Probe::Refused);
    }
    assert_eq!(world.answers[&ticket], 502);
    assert!(world.closed.is_empty());
    world.pass(1_000);
    world.both_answer();
    world.reply("A POST add", 201);
    world.reply("B POST add", 201);
    assert_eq!(world.engine.report().pending, 0);
}

/// A create that was done although its connections were reset is no poison: it is looked up.
#[test]
fn a_lost_answer_is_no_sign_of_poison() {
    let mut world = World::new();
    let c = CollectionId(Uuid::from_u128(1));
    let ticket = world.submit(create(c, "abc"), Level::One);
    for line in ["A POST collections", "B POST collections"] {
        world.end(line, CLOSED);
    }
    world.both_live_for(500);
    world.reply("A POST collections", 409);
    let reply = Reply::json(200, described(0xa01, "abc"));
    world.end("A GET abc", Sending::Answered(reply));
    assert_eq!(world.answers[&ticket], 200);
}

/// The only instance in service shows poison by living on several times.
#[test]
fn the_last_instance_shows_poison_alone() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.probe(B, Probe::Refused);
    let ticket = world.submit(add(c), Level::One);
    for _ in 0..6 {
        assert!(world.closed.is_empty());
        world.end("A POST add", CLOSED);
        world.live_for(&[A], 2_000);
    }
    assert_eq!(world.answers[&ticket], 502);
    assert_eq!(world.closed, [Verdict::Abandoned]);
}

/// The records of a collection that is deleted are no trouble to an instance that had deleted it before.
#[test]
fn what_a_deleted_collection_still_owed_is_no_trouble() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    world.submit(Verb::DeleteCollection { collection: c }, Level::One);
    world.reply("A DELETE abc", 200);
    world.reply("B DELETE abc", 200);
    world.reply("B POST add", 404);
    let report = world.engine.report();
    assert_eq!((report.trouble_count, report.failing_entries), (0, 0));
    assert_eq!(report.pending, 0);
}

/// A trouble that is settled is told as such, and goes when an operator has seen it.
#[test]
fn troubles_that_are_settled_are_told_apart() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.reply("A POST add", 500);
    let standing = |world: &World| -> Vec<bool> {
        let troubles = world.engine.report().troubles;
        troubles.iter().map(|known| known.is_standing).collect()
    };
    assert_eq!(standing(&world), [true]);
    world.step(Event::ClearTroubles);
    assert_eq!(standing(&world), [true], "it still stands");
    world.reply("B POST add", 201);
    world.pass(1_000);
    world.reply("A POST add", 201);
    assert_eq!(standing(&world), [false]);
    world.step(Event::ClearTroubles);
    assert_eq!(standing(&world), Vec::<bool>::new());
}

/// A 404 for a function that is not there is an answer to its client: no copy goes out of service, and
/// the instances are asked about the collection.
#[test]
fn a_missing_function_takes_no_copy_out() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let detach = Verb::DetachFunction {
        collection: c,
        function: "nope".into(),
    };
    let ticket = world.submit(detach, Level::One);
    world.reply("A POST detach", 404);
    assert_eq!(world.answers[&ticket], 404);
    assert_eq!(world.eligible(c), [true, true]);
    world.tell_counts(&[("A", (200, "0")), ("B", (200, "0"))]);
    assert_eq!(world.eligible(c), [true, true]);
}

/// A comparison that finds a collection on neither instance has them asked about it, and it is gone.
#[test]
fn a_comparison_of_what_nobody_has_ends_it() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.step(Event::Wanted(Task::Verify(c)));
    let (a, b) = (
        "A GET 00000000-0000-0000-0000-000000000a01",
        "B GET 00000000-0000-0000-0000-000000000b01",
    );
    for line in ["A GET abc", "B GET abc", "A GET abc", a, "B GET abc", b] {
        assert_eq!(world.asked_line, line);
        world.tell(missing().0, missing().1);
    }
    for instance in ["A", "B", "A", "B"] {
        assert_eq!(world.asked_line, format!("{instance} GET count"));
        world.tell(missing().0, missing().1);
    }
    assert!(world.engine.view().catalog.get(c).is_none());
    assert!(world.engine.report().jobs.is_empty());
}

/// A copy that is to be made anew of one that is missing takes that one not out of service: it may be the
/// last, and the instances are asked.
#[test]
fn a_source_that_is_missing_ends_a_collection_that_nobody_has() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.lose(c, B);
    world.step(Event::Tick);
    assert_eq!(world.asked_line, "A GET abc");
    world.tell(missing().0, missing().1);
    assert_eq!(
        world.asked_line,
        "A GET 00000000-0000-0000-0000-000000000a01"
    );
    world.tell(missing().0, missing().1);
    assert_eq!(world.asked_line, "A GET count");
    world.tell(missing().0, missing().1);
    world.tell(missing().0, missing().1);
    assert!(world.engine.view().catalog.get(c).is_none());
}

/// A restart while no instance has a collection forgets none of its open writes: they wait for one that
/// has it, or for its end.
#[test]
fn a_restart_keeps_what_is_open_of_a_collection_that_nobody_has() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.lose(c, A);
    world.lose(c, B);
    world.step(Event::Tick);
    world.engine = Engine::restore(SETTINGS, world.ledger.snapshot(2), world.now);
    let lane = world.engine.lane(LaneId::Collection(c)).unwrap();
    assert_eq!((lane.decided(), lane.head()), (Position(0), Position(1)));
}

/// A question about a delete that is answered 404 has the instances asked about the collection.
#[test]
fn a_question_that_is_answered_404_is_looked_into() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = Ticket(100);
    world.submit_delete(ticket, c);
    world.asked_line.clear();
    let found = Err(Unresolved::Missing(Reply::json(503, "{}")));
    world.step(answered(ticket, A, found));
    assert_eq!(world.asked_line, "A GET count");
}

/// A collection without a sound copy about which nothing can be decided is looked for again later, and not
/// again and again in one moment.
#[test]
fn what_can_not_be_decided_is_looked_for_later() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let broken = |instance| Change::Quarantined {
        collection: c,
        instance,
        reason: "broken".into(),
    };
    world.engine.change([A, B].map(broken).into());
    world.pass(1);
    let both = [("A", (200, "0")), ("B", (200, "0"))];
    world.tell_counts(&both);
    world.tell_counts(&both);
    assert_eq!(world.asked_by, None, "{}", world.asked_line);
    world.both_live_for(2_000);
    assert!(world.asked_by.is_some());
}
