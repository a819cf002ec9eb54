//! Collections whose writes are not logged: one instance alone has their records.

use super::*;
use crate::local::{LocalWrite, Whereto};

fn local(world: &mut World, collection: CollectionId) -> LocalWrite {
    world.tickets += 1;
    let entry = world.entry(None, add(collection));
    let permit = Permit::for_test(entry, Level::One, false);
    let catalog = world.engine.view().catalog;
    permit
        .locally(&Guard::new(["global"]), &catalog)
        .expect("it is about records, and not protected")
}

fn homed(world: &mut World, collection: CollectionId) -> Option<InstanceIx> {
    world.engine.view().catalog.get(collection).unwrap().home
}

/// A collection gets its home when everything that was logged of it is done there and recorded: so
/// that nothing is sent again over a write that the log does not know.
#[test]
fn a_home_is_given_when_the_lane_is_at_rest() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let before = world.submit(add(c), Level::One);
    let write = local(&mut world, c);
    let view = world.engine.view();
    assert!(
        matches!(write.whereto(&view), Whereto::Needs(id, A) if id == c),
        "{:?}",
        write.whereto(&view)
    );
    world.step(Event::Wanted(Task::Home(c, A)));
    let behind = world.submit(add(c), Level::One);
    assert_eq!(homed(&mut world, c), None);
    assert_eq!(world.lines(), ["A POST add"]);
    world.reply("A POST add", 201);
    assert_eq!(homed(&mut world, c), Some(A));
    assert_eq!(world.answers[&before], 201);
    assert_eq!(
        world.answers[&behind], 409,
        "it waited, and is not replicated"
    );
    assert_eq!(world.eligible(c), [true, false]);
    // What the other instance is owed it still gets.
    world.reply("B POST add", 201);
    assert_eq!(world.eligible(c), [true, false]);
    match write.whereto(&world.engine.view()) {
        Whereto::Home(A, wire) => assert!(wire.target.contains("a01"), "{wire:?}"),
        other => panic!("{other:?}"),
    }
}

/// Nothing of it is logged any more, and nothing of it is compared; its copies elsewhere do not keep
/// an instance from answering lists.
#[test]
fn what_has_a_home_is_not_logged() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.step(Event::Wanted(Task::Home(c, B)));
    let refused = world.submit(add(c), Level::One);
    assert_eq!(world.answers[&refused], 409);
    world.submit_delete(Ticket(99), c);
    assert_eq!(world.answers[&99], 409);
    assert_eq!(world.lines(), Vec::<&str>::new());
    let view = world.engine.view();
    assert!(
        [A, B]
            .map(|i| view.is_eligible(i, Scope::Schema))
            .iter()
            .all(|is| *is)
    );
    world.step(Event::Wanted(Task::Verify(c)));
    assert!(!world.compares(c));
    world.pass(3_600_000);
    assert!(!world.compares(c), "not in the background either");
}

/// Without its home it goes nowhere; what was lost with the home's copy is lost, and the others' count
/// again.
#[test]
fn a_home_may_be_lost() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.step(Event::Wanted(Task::Home(c, A)));
    let write = local(&mut world, c);
    world.probe(A, Probe::Refused);
    assert!(matches!(
        write.whereto(&world.engine.view()),
        Whereto::Nowhere(reply) if reply.status == 503
    ));
    world.probe(A, Probe::Answered);
    world.engine.change(vec![Change::Lost {
        collection: c,
        instance: A,
        reason: "its disk is gone".into(),
    }]);
    assert_eq!(homed(&mut world, c), None);
    assert_eq!(world.eligible(c), [false, true]);
}

/// An operator who says which copy is right gives it to all again.
#[test]
fn an_operator_takes_a_home_away() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.step(Event::Wanted(Task::Home(c, A)));
    world.step(Event::Repair {
        collection: c,
        source: A,
    });
    assert_eq!(homed(&mut world, c), None);
    assert_eq!(world.eligible(c), [true, false]);
    let ticket = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}

/// What is protected, and what is not about records, is never kept out of the log.
#[test]
fn not_everything_may_have_a_home() {
    let mut world = World::new();
    let c = world.collection(1, "global");
    let catalog = world.engine.view().catalog;
    let guard = Guard::new(["global"]);
    for verb in [
        add(c),
        create(c, "x"),
        Verb::DeleteCollection { collection: c },
    ] {
        let permit = Permit::for_test(world.entry(None, verb), Level::One, false);
        assert!(permit.locally(&guard, &catalog).is_err());
    }
    // An instance without a sound copy is no home.
    world.engine.change(vec![Change::Quarantined {
        collection: c,
        instance: B,
        reason: "broken".into(),
    }]);
    world.step(Event::Wanted(Task::Home(c, B)));
    assert_eq!(homed(&mut world, c), None);
}
