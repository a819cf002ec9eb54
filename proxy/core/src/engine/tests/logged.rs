//! How writes are answered, who carries them out first, and who may tell of them.

use super::*;

/// The client is answered before any instance has the write; nobody reads past it meanwhile.
#[test]
fn being_in_the_log_may_be_enough() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::Logged);
    assert_eq!(world.answers[&ticket], 201);
    assert_eq!(world.lines(), ["A POST add"]);
    assert_eq!(world.eligible(c), [false, false]);
    world.reply("A POST add", 201);
    assert_eq!(world.eligible(c), [true, false]);
}

/// While no instance is in service a write is accepted where that is allowed, and refused elsewhere;
/// what is refused by Chroma later is a letter.
#[test]
fn a_write_may_be_accepted_while_all_are_down() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    for instance in [A, B] {
        world.probe(instance, Probe::Refused);
    }
    let refused = world.submit(add(c), Level::One);
    assert_eq!(world.answers[&refused], 503);
    let accepted = [(); 2].map(|()| world.submit(add(c), Level::Logged));
    assert!(accepted.iter().all(|ticket| world.answers[ticket] == 201));
    let schema = world.submit(
        create(CollectionId(Uuid::from_u128(2)), "def"),
        Level::Logged,
    );
    assert_eq!(
        world.answers[&schema], 503,
        "its answer carries what is made"
    );
    for instance in [A, B] {
        world.probe(instance, Probe::Answered);
    }
    world.reply("A POST add", 422);
    world.reply("A POST add", 201);
    world.reply("B POST add", 201);
    assert_eq!(world.eligible(c), [true, true]);
    assert_eq!(world.ledger.letters().count(), 1);
}

/// A policy may say who carries a write out first; an instance that is worse off is not it.
#[test]
fn a_write_goes_first_where_a_policy_says() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let submit = |world: &mut World| {
        world.tickets += 1;
        let entry = world.entry(None, add(c));
        let permit = Permit::for_test(entry, Level::One, false).first_on(B);
        world.step(Event::Submitted(Box::new(Submission {
            ticket: Ticket(world.tickets),
            permit,
            answer_by: world.now + Duration::from_secs(10),
        })));
    };
    submit(&mut world);
    assert_eq!(world.lines(), ["B POST add"]);
    world.reply("B POST add", 201);
    world.reply("A POST add", 201);
    world.probe(B, Probe::Refused);
    submit(&mut world);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// What a collection is like includes what its records have brought (a dimension, keys), so who lags
/// behind with them does not describe it.
#[test]
fn a_description_waits_for_records() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let describers = |world: &World| {
        let view = world.engine.view();
        let collection = Arc::clone(view.catalog.get(c).unwrap());
        [A, B].map(|instance| view.is_eligible(instance, Scope::Description(&collection)))
    };
    assert_eq!(describers(&world), [true, true]);
    world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert_eq!(describers(&world), [true, false]);
    world.reply("B POST add", 201);
    assert_eq!(describers(&world), [true, true]);
}
