//! The lanes that replicate to one instance take turns.

use super::*;

const LANES: u128 = 5;

/// As many collections, each with so many records that `b` is owed: it did not answer, and does again.
fn owed(world: &mut World, records: usize) -> Vec<CollectionId> {
    let all = (1..=LANES).map(|number| world.collection(number, &format!("c{number}")));
    let all: Vec<_> = all.collect();
    world.probe(B, Probe::Silent);
    world.probe(B, Probe::Silent);
    for collection in &all {
        for _ in 0..records {
            world.submit(add(*collection), Level::One);
            world.reply("A POST add", 201);
        }
    }
    assert!(world.lines().is_empty(), "it is down");
    world.probe(B, Probe::Answered);
    all
}

/// The lanes of what is under way, in the order in which it was sent.
fn under_way(world: &World) -> Vec<LaneId> {
    world.sent.iter().map(|sent| sent.lane).collect()
}

/// Never more than so many requests at once; and no lane has its second before all have had their
/// first, however much the others have to send.
#[test]
fn lanes_take_turns() {
    let mut world = World::new();
    let all = owed(&mut world, 3);
    let mut seen = Vec::new();
    for _ in 0..3 * LANES {
        let lanes = under_way(&world);
        assert!(lanes.len() <= SETTINGS.replication_max, "{lanes:?}");
        seen.push(lanes[0]);
        world.reply("B POST add", 201);
    }
    let turns: Vec<_> = all.iter().copied().map(LaneId::Collection).collect();
    assert_eq!(seen, turns.repeat(3));
    assert_eq!(world.engine.report().pending, 0);
}

/// A lane that has nothing to send any more when its turn comes leaves the turn to the next lane.
#[test]
fn a_turn_that_is_not_used_goes_on() {
    let mut world = World::new();
    let all = owed(&mut world, 1);
    for collection in &all[2..4] {
        world.engine.change(vec![Change::Quarantined {
            collection: *collection,
            instance: B,
            reason: "by the test".into(),
        }]);
    }
    world.reply("B POST add", 201);
    assert_eq!(
        under_way(&world),
        [all[1], all[4]].map(LaneId::Collection),
        "the fifth, while the third and the fourth may not"
    );
}

/// Whole lanes wait for changes of collections: those do not wait for records.
#[test]
fn a_change_of_collections_goes_first() {
    let mut world = World::new();
    owed(&mut world, 3);
    let made = CollectionId(Uuid::from_u128(99));
    world.submit(create(made, "made"), Level::One);
    world.made("A", 0xa99, "made");
    world.reply("B POST add", 201);
    assert_eq!(under_way(&world).last(), Some(&LaneId::Schema));
}
