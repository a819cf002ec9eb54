//! Answers that may show an undecided write are held.

use std::sync::Arc;

use super::*;
use crate::{
    catalog::{Catalog, Change},
    health::Standing,
    limits::READ_AGAIN_MAX,
    read::{Dispatch, ReadFailure, ReadStep, Strategy, Tried, native_order},
    view::Scope,
};

const A: InstanceIx = InstanceIx(0);
const B: InstanceIx = InstanceIx(1);

/// Two instances that have a collection each under an id of its own.
struct World {
    view: View,
    collection: Arc<Collection>,
}

fn made(number: u128) -> Arc<Collection> {
    Arc::new(Collection::sample(number, "docs", [10, 20]))
}

impl World {
    fn new() -> Self {
        let (mut catalog, collection) = (Catalog::default(), made(1));
        catalog.apply(&Change::Made(Arc::clone(&collection)));
        let view = View {
            catalog,
            standings: [Standing::Up, Standing::Up].into(),
            ..View::default()
        };
        let mut world = Self { view, collection };
        world.records(0, 0, [0, 0], [0, 0]);
        world
    }

    fn records(&mut self, acknowledged: u64, undone: u64, applied: [u64; 2], sent: [u64; 2]) {
        let progress = Progress {
            acknowledged: Position(acknowledged),
            decided: Position(acknowledged.max(undone)),
            undone: Position(undone),
            applied: applied.map(Position).into_iter().collect(),
            sent: sent.map(Position).into_iter().collect(),
        };
        self.view.lanes.insert(self.collection.id, progress);
    }

    fn read(&self, instance: InstanceIx) -> Exposure {
        let watched = Watched::new(Action::Get, Some(&self.collection), instance);
        let baseline = Baseline::new(&self.view, Some(self.collection.id));
        Exposure::new(&self.view, instance, watched, baseline)
    }
}

/// While an entry is under way at an instance, its answers are held and those of the other are given; when
/// the entry is decided the held ones may be given.
#[test]
fn an_answer_is_held_until_what_it_may_show_is_decided() {
    let mut world = World::new();
    world.records(3, 0, [3, 3], [4, 3]);
    let at_executor = world.read(A);
    assert_eq!(at_executor.release(&world.view), Release::Hold);
    assert_eq!(world.read(B).release(&world.view), Release::Give);
    world.records(4, 0, [4, 3], [5, 4]);
    assert_eq!(
        at_executor.release(&world.view),
        Release::Give,
        "5 was sent later"
    );
    assert_eq!(world.read(A).release(&world.view), Release::Hold);
    assert_eq!(
        world.read(B).release(&world.view),
        Release::Give,
        "4 is decided"
    );
}

/// Fewer entries than could have gone in one request are waited for as soon as that is known.
#[test]
fn only_what_was_sent_is_waited_for() {
    let mut world = World::new();
    world.records(3, 0, [3, 3], [9, 3]);
    let answer = world.read(A);
    assert_eq!(answer.release(&world.view), Release::Hold);
    world.records(4, 0, [4, 3], [4, 3]);
    assert_eq!(answer.release(&world.view), Release::Give);
}

/// An answer that may show a write which was given up is not given: later reads may not find that write.
#[test]
fn what_may_show_a_lost_write_is_read_again() {
    let mut world = World::new();
    world.records(3, 0, [3, 3], [4, 3]);
    let answer = world.read(A);
    world.records(3, 4, [3, 3], [4, 3]);
    assert_eq!(answer.release(&world.view), Release::ReadAgain);
    assert_eq!(
        world.read(A).release(&world.view),
        Release::Give,
        "it began later"
    );
}

/// A copy that went out of service while it was read may have shown anything.
#[test]
fn an_answer_of_a_copy_out_of_service_is_thrown_away() {
    let mut world = World::new();
    let answer = world.read(A);
    assert_eq!(answer.release(&world.view), Release::Give);
    world.view.catalog.apply(&Change::Quarantined {
        collection: world.collection.id,
        instance: A,
        reason: "it is missing there".into(),
    });
    assert_eq!(answer.release(&world.view), Release::ReadAgain);
    let answer = world.read(B);
    world.view.catalog = Catalog::default();
    assert_eq!(
        answer.release(&world.view),
        Release::ReadAgain,
        "it was deleted"
    );
}

/// With one server nobody else answers the next read: nothing is held.
#[test]
fn a_single_instance_holds_nothing() {
    let mut world = World::new();
    world.records(3, 0, [3, 3], [4, 3]);
    let answer = world.read(A);
    world.view.standings = [Standing::Up].into();
    assert_eq!(answer.release(&world.view), Release::Give);
}

/// A change of one collection holds lists, and descriptions of that one alone.
#[test]
fn a_change_of_a_collection_holds_what_shows_it() {
    let mut world = World::new();
    let another = CollectionId(uuid::Uuid::from_u128(77));
    world.view.schema = Progress {
        decided: Position(3),
        applied: [Position(3), Position(3)].into_iter().collect(),
        sent: [Position(4), Position(3)].into_iter().collect(),
        ..Progress::default()
    };
    let id = world.collection.id;
    let asked = |view: &View, watched| {
        let exposure = Exposure::new(view, A, watched, Baseline::new(view, None));
        exposure.release(view)
    };
    let copy = world.collection.on(A);
    let cases = [
        (Some(another), Watched::List, Release::Hold),
        (Some(another), Watched::Places, Release::Give),
        (Some(another), Watched::Description(id, copy), Release::Give),
        (Some(another), Watched::Records(id, copy), Release::Give),
        (Some(id), Watched::Description(id, copy), Release::Hold),
        (None, Watched::Description(id, copy), Release::Hold),
        (None, Watched::Places, Release::Hold),
        (None, Watched::Nothing, Release::Give),
    ];
    for (subject, watched, release) in cases {
        world.view.changing = [(Position(4), subject)].into_iter().collect();
        assert_eq!(
            asked(&world.view, watched),
            release,
            "{subject:?} {watched:?}"
        );
    }
}

/// A held answer is no silence; one that is thrown away leaves its instance to be asked again, so often and
/// no more; and one whose hold was too long says why there is no answer.
#[test]
fn held_and_outdated_answers_are_told_apart_from_failures() {
    let mut read = Dispatch::default();
    assert_eq!(read.go(&[A, B]), ReadStep::Try(A));
    read.hold(A);
    assert_eq!(read.tell_silence(), Tried::default());
    assert!(read.may_hedge());
    for _ in 0..READ_AGAIN_MAX {
        assert_eq!(read.failed(A, ReadFailure::Outdated), ReadStep::Exhausted);
        assert!(!read.tried().contains(A));
        assert_eq!(read.go(&[A, B]), ReadStep::Try(A));
    }
    assert_eq!(read.failed(A, ReadFailure::Outdated), ReadStep::Exhausted);
    assert!(read.tried().contains(A));
    assert_eq!(read.go(&[B]), ReadStep::Try(B));
    assert_eq!(read.failed(B, ReadFailure::Undecided), ReadStep::Exhausted);
    let reply = read.give_up(2);
    assert_eq!(reply.status, 503);
    assert!(String::from_utf8_lossy(&reply.body).contains("outcome is not known yet"));
}

/// A read goes first where its answer can be given at once, unless it is for the primary alone.
#[test]
fn a_read_prefers_an_instance_without_undecided_entries() {
    let mut world = World::new();
    world.records(3, 0, [3, 3], [4, 3]);
    let first = |strategy, turn| {
        let scope = Scope::Collection(&world.collection);
        native_order(&world.view, scope, strategy, turn)[0]
    };
    for turn in 0..4 {
        assert_eq!(first(Strategy::RoundRobin, turn), B);
        assert_eq!(first(Strategy::ReadReplica { ratio: 0.0 }, turn), B);
        assert_eq!(first(Strategy::PrimaryOnly, turn), A);
    }
}
