//! Visibility of a write to readers, from its sending to its end, and the number of instances that the
//! levels ask for.

use super::*;
use crate::read::{Baseline, Exposure, Release, Watched};

impl World {
    /// An answer of an instance to a read of records, as if its first byte had come now.
    fn read(&self, collection: CollectionId, instance: InstanceIx) -> Exposure {
        let view = self.engine.view();
        let known = view.catalog.get(collection).expect("it lives");
        let watched = Watched::new(crate::route::Action::Get, Some(known), instance);
        let baseline = Baseline::new(&view, Some(collection));
        Exposure::new(&view, instance, watched, baseline)
    }

    fn release(&self, answer: Exposure) -> Release {
        answer.release(&self.engine.view())
    }
}

/// An answer of the executor is held while a write is under way there. When it is done the answer may be
/// given, and nobody reads an instance any more that does not have it, even before the client is told.
#[test]
fn a_write_under_way_holds_answers_of_its_executor() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::All);
    let [at_a, at_b] = [A, B].map(|instance| world.read(c, instance));
    assert_eq!(world.release(at_a), Release::Hold);
    assert_eq!(world.release(at_b), Release::Give);
    assert_eq!(world.eligible(c), [true, true]);
    world.reply("A POST add", 201);
    assert_eq!(world.answers.get(&ticket), None, "B does not have it yet");
    assert_eq!(world.release(at_a), Release::Give);
    assert_eq!(world.eligible(c), [true, false]);
    assert_eq!(
        world.release(world.read(c, B)),
        Release::Give,
        "it was sent what is decided"
    );
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
    assert_eq!(world.eligible(c), [true, true]);
}

/// A write that never went out holds no answers back; one that may have been done holds those of its
/// instance until another instance has done it.
#[test]
fn an_unknown_outcome_holds_answers_until_it_is_known() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    let before = world.read(c, A);
    world.end("A POST add", Sending::NotSent("no room".into()));
    assert_eq!(world.release(before), Release::Give);
    assert_eq!(world.lines(), ["B POST add"]);
    world.end("B POST add", Sending::Silent);
    let at_b = world.read(c, B);
    assert_eq!(world.release(at_b), Release::Hold);
    world.both_live_for(3_000);
    assert_eq!(world.release(at_b), Release::Hold);
    world.reply("A POST add", 201);
    assert_eq!(world.release(at_b), Release::Give);
    assert_eq!(world.eligible(c), [true, false]);
}

/// A write that nobody can do is given up; an answer that may show it is not given.
#[test]
fn a_write_that_is_given_up_takes_answers_with_it() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    let answer = world.read(c, A);
    for _ in 0..2_000 {
        if world.closed.contains(&Verdict::Abandoned) {
            break;
        }
        for line in ["A POST add", "B POST add"] {
            if world.lines().contains(&line) {
                world.reply(line, 500);
            }
        }
        world.both_live_for(100);
    }
    assert_eq!(world.closed, [Verdict::Abandoned]);
    assert_eq!(world.release(answer), Release::ReadAgain);
}

/// Case 22: a majority is more than half of the instances in service, as the contract says, so that a
/// write goes through while one of two is down; with both in service both must have done it.
#[test]
fn a_majority_is_of_those_in_service() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let both = world.submit(add(c), Level::Majority);
    world.reply("A POST add", 201);
    assert_eq!(
        world.answers.get(&both),
        None,
        "one of two is not more than half"
    );
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&both], 201);
    world.probe(B, Probe::Refused);
    let alone = world.submit(add(c), Level::Majority);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&alone], 201, "B is not in service");
}

/// A write that waits for another instance is answered when that instance dies under way.
#[test]
fn a_majority_does_not_wait_for_an_instance_that_dies() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = world.submit(add(c), Level::Majority);
    world.reply("A POST add", 201);
    assert_eq!(world.answers.get(&ticket), None);
    world.probe(B, Probe::Refused);
    assert_eq!(world.answers[&ticket], 201);
}
