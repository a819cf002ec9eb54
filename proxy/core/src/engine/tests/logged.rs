//! Answers to writes, the instances that carry them out first or may tell of them, and the time that their
//! bodies stay in memory.

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

/// A description of a collection includes what its records have brought (a dimension, keys), so an instance
/// that lags behind with them does not describe it.
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

impl World {
    /// Of the entries of a lane up to this one, those whose bodies are in memory.
    fn in_memory(&self, collection: CollectionId, last: u64) -> Vec<u64> {
        let lane = self.engine.lane(LaneId::Collection(collection)).unwrap();
        let is_held = |at: &u64| lane.slot(Position(*at)).is_some_and(|s| s.body.is_some());
        (1..=last).filter(is_held).collect()
    }
}

/// The bodies of what nobody waits for any more have bounded room together, and the oldest go first; as
/// long as a client waits for one it stays.
#[test]
fn bodies_that_nobody_waits_for_have_bounded_room() {
    let mut world = World::new();
    let (one, two) = (world.collection(1, "abc"), world.collection(2, "abd"));
    world.submit(add(two), Level::All);
    world.reply("A POST add", 201);
    for _ in 0..40 {
        world.submit(add(one), Level::One);
        world.reply("A POST add", 201);
    }
    // 128 bytes for each entry, and 2 for its body.
    let room = u64::try_from(SETTINGS.kept_bytes_max / 130).unwrap();
    let kept: Vec<_> = (41 - room..=40).collect();
    assert_eq!(world.in_memory(one, 40), kept);
    assert_eq!(world.in_memory(two, 1), [1], "its client waits");
}

/// A write that was accepted while no instance is there is in the log, and not in memory.
#[test]
fn what_nobody_can_do_yet_is_not_in_memory() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.probe(A, Probe::Refused);
    world.probe(B, Probe::Refused);
    let ticket = world.submit(add(c), Level::Logged);
    assert_eq!(world.answers[&ticket], 201);
    assert_eq!(world.in_memory(c, 1), Vec::<u64>::new());
    world.both_answer();
    world.reply("A POST add", 201);
    world.reply("B POST add", 201);
    assert_eq!(world.engine.report().pending, 0);
}
