//! An instance that has lost something decides nothing about it.

use super::*;
use crate::jobs::locate::MADE_EMPTY;

fn rename(collection: CollectionId, name: &str) -> Verb {
    Verb::ModifyCollection {
        collection,
        new_name: Some(name.into()),
    }
}

/// An instance that was taken back without a collection can't say whether the collection may be
/// changed or deleted, nor whether its name is free: that waits for one that has it.
#[test]
fn who_lacks_a_collection_does_not_decide_about_it() {
    type Of = fn(CollectionId, &str) -> Verb;
    let verbs: [(Of, &str); 3] = [
        (rename, "A PUT 00000000-0000-0000-0000-000000000a01"),
        (
            |collection, _| Verb::DeleteCollection { collection },
            "A DELETE abc",
        ),
        (
            |_, name| create(CollectionId(Uuid::from_u128(9)), name),
            "A POST collections",
        ),
    ];
    for (verb, line) in verbs {
        let mut world = World::new();
        let collection = world.collection(1, "abc");
        world.probe(A, Probe::Refused);
        world.lose(collection, B);
        world.submit(verb(collection, "abc"), Level::One);
        world.pass(1_000);
        assert!(world.lines().is_empty(), "B lacks it");
        world.probe(A, Probe::Answered);
        assert_eq!(world.lines(), [line]);
    }
}

/// A copy that was made and is not known goes when its collection loses the name that it was made under:
/// somebody else may take that name.
#[test]
fn what_is_left_over_goes_with_its_name() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.engine.change(vec![Change::Unsure {
        collection,
        instance: B,
        name: "abc".into(),
    }]);
    world.submit(rename(collection, "xyz"), Level::One);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 200);
    assert_eq!(world.lines(), ["B DELETE abc"]);
    world.reply("B DELETE abc", 404);
    let other = CollectionId(Uuid::from_u128(2));
    let ticket = world.submit(create(other, "abc"), Level::All);
    world.made("A", 0xa02, "abc");
    world.made("B", 0xb02, "abc");
    assert_eq!(world.answers[&ticket], 200);
    world.submit(rename(collection, "uvw"), Level::One);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 200);
    assert!(world.lines().is_empty(), "the name is another one's now");
}

/// A collection that an ended job may still make is not deleted before it can't be made any more.
#[test]
fn what_may_still_be_made_is_not_deleted_too_early() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    while world.asked_line != "B POST collections" {
        let (status, body) = match world.asked_line.get(..3) {
            Some("A G") => (200, described(0xa01, "abc")),
            Some("B P") => (409, "{}".to_owned()),
            _ => (404, "{}".to_owned()),
        };
        world.tell(status, body);
    }
    world.pass(6_000);
    world.submit(Verb::DeleteCollection { collection }, Level::One);
    world.reply("A DELETE abc", 200);
    world.pass(1_000);
    assert!(world.lines().is_empty(), "B may be making it");
    world.tell(200, "{}");
    world.pass(1_000);
    assert_eq!(world.lines(), ["B DELETE abc"]);
}

/// An entry that one instance keeps failing and the other can't decide about is given up. That holds
/// although the other was silent on it before it lost the collection: that sending has settled.
#[test]
fn who_lacks_a_collection_holds_nothing_up() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.probe(A, Probe::Refused);
    world.submit(Verb::DeleteCollection { collection }, Level::One);
    world.end("B DELETE abc", Sending::Silent);
    world.probe(B, Probe::Answered);
    world.lose(collection, B);
    world.probe(A, Probe::Answered);
    for _ in 0..300 {
        world.both_live_for(1_000);
        if world.lines().contains(&"A DELETE abc") {
            world.reply("A DELETE abc", 500);
        }
    }
    let ticket = world.submit(create(CollectionId(Uuid::from_u128(9)), "xyz"), Level::One);
    // B's copy is being made anew, and the writes of collections wait for that for a moment.
    world.both_live_for(6_000);
    world.made("A", 0xa09, "xyz");
    assert_eq!(world.answers[&ticket], 200);
}

/// A change that one instance may have carried out is not refused because another one, which is the last that
/// is held to have the collection, lacks it: done on the first alone, it would be no change to anybody else.
#[test]
fn a_change_that_may_be_done_is_not_refused_by_who_lacks_the_collection() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    let ticket = world.submit(rename(collection, "xyz"), Level::One);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 500);
    world.probe(A, Probe::Refused);
    world.reply("B PUT 00000000-0000-0000-0000-000000000b01", 404);
    assert!(!world.answers.contains_key(&ticket), "A may have done it");
    world.probe(A, Probe::Answered);
    world.both_live_for(200);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 200);
    assert_eq!(world.answers[&ticket], 200);
    let catalog = world.engine.view().catalog;
    assert_eq!(catalog.get(collection).unwrap().name.as_ref(), "xyz");
}

/// The same while the first one is silent: it does the change when it goes on.
#[test]
fn a_change_on_its_way_is_not_refused_by_who_lacks_the_collection() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    let ticket = world.submit(rename(collection, "xyz"), Level::One);
    world.pass(150);
    world.probe(A, Probe::Refused);
    world.reply("B PUT 00000000-0000-0000-0000-000000000b01", 404);
    assert!(!world.answers.contains_key(&ticket), "A may do it yet");
    world.probe(A, Probe::Answered);
    world.reply("A PUT 00000000-0000-0000-0000-000000000a01", 200);
    assert_eq!(world.answers[&ticket], 200);
    let catalog = world.engine.view().catalog;
    assert_eq!(catalog.get(collection).unwrap().name.as_ref(), "xyz");
}

/// A collection that has another one's name on one instance is not taken for that one.
#[test]
fn a_copy_with_another_name_is_not_taken_for_another_collection() {
    let mut world = World::new();
    let abc = world.collection(1, "abc");
    let xyz = CollectionId(Uuid::from_u128(2));
    let ticket = world.submit(create(xyz, "xyz"), Level::One);
    world.made("A", 0xa02, "xyz");
    assert_eq!(world.answers[&ticket], 200);
    world.made("B", 0xb01, "xyz");
    let catalog = world.engine.view().catalog;
    let copies = [abc, xyz].map(|id| catalog.get(id).unwrap().on(B));
    let known = InstanceId(Uuid::from_u128(0xb01));
    assert_eq!(copies, [Some(known), None]);
}

/// A copy whose name was changed by an entry that came to nothing gets its name back, and the other copy is
/// made anew of it.
#[test]
fn a_copy_with_another_name_gets_its_own_back() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    assert_eq!(world.asked_line, "A GET abc");
    world.tell(404, "{}");
    let copy = "00000000-0000-0000-0000-000000000a01";
    assert_eq!(world.asked_line, format!("A GET {copy}"));
    world.tell(200, described(0xa01, "xyz"));
    assert_eq!(world.asked_line, format!("A PUT {copy}"));
    world.tell(200, "{}");
    assert_eq!(world.asked_line, "B GET abc");
}

/// A rename onto the name of another collection is refused by the catalog: an instance that has lost
/// the other one would do it, and then the two could not be told apart.
#[test]
fn a_taken_name_is_not_asked_for() {
    let mut world = World::new();
    world.collection(1, "abc");
    let other = world.collection(2, "xyz");
    let ticket = world.submit(rename(other, "abc"), Level::One);
    assert_eq!(world.answers[&ticket], 500);
    assert!(world.lines().is_empty());
    let ticket = world.submit(rename(other, "xyz"), Level::One);
    assert_eq!(world.lines().len(), 1, "its own name is free");
    assert_eq!(world.answers.get(&ticket), None);
}

/// A healthy instance that was too busy to answer has not said that it has nothing: nothing is deleted on
/// the instance that is restored.
#[test]
fn who_is_too_busy_has_not_said_that_there_is_nothing() {
    let mut world = World::new();
    world.pass(1_000);
    world.probe(B, Probe::Lost);
    world.pass(1_000);
    let job = world.asked_by.expect("B is being restored");
    let told = |status| Event::Told {
        job,
        sending: Sending::Answered(Reply::json(status, "[]")),
    };
    let goes_on = |world: &World| world.engine.report().jobs[0].stage.is_some();
    world.step(told(409));
    assert!(
        goes_on(&world),
        "the tenant is there; A's databases are asked for"
    );
    world.step(told(429));
    assert!(!goes_on(&world), "it is begun again later");
}

/// A comparison that failed is made again, although nobody asked for it; and is forgotten with its
/// collection.
#[test]
fn a_failed_comparison_is_made_again_while_its_collection_lives() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.pass(3_600_000);
    let is_going_on = |world: &World| {
        let jobs = world.engine.report().jobs;
        jobs.iter()
            .map(|job| job.stage.is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(is_going_on(&world), [true]);
    let fails = |world: &mut World| {
        let job = world.asked_by.take().expect("it has asked");
        let sending = Sending::Closed { reused: false };
        world.step(Event::Told { job, sending });
    };
    fails(&mut world);
    assert_eq!(is_going_on(&world), [false]);
    world.pass(1_000);
    assert_eq!(is_going_on(&world), [true]);
    fails(&mut world);
    world.submit(Verb::DeleteCollection { collection }, Level::All);
    world.reply("A DELETE abc", 200);
    world.reply("B DELETE abc", 200);
    world.pass(1);
    assert!(is_going_on(&world).is_empty());
}

/// A copy that has a dimension where the right one has none is made anew: no record changes that.
#[test]
fn a_dimension_can_not_be_taken_away() {
    for (dimension, next) in [("null", 'A'), ("2", 'B')] {
        let mut world = World::new();
        let collection = world.collection(1, "abc");
        let source = A;
        world.step(Event::Repair { collection, source });
        for (uuid, dimension) in [(0xa01, "null"), (0xb01, dimension)] {
            let id = Uuid::from_u128(uuid);
            let body = format!(r#"{{"id":"{id}","name":"abc","dimension":{dimension}}}"#);
            world.tell(200, body);
        }
        assert!(world.asked_line.starts_with(next), "{dimension}");
    }
}

/// A job that was ended right behind its last step is not shown as one that failed.
#[test]
fn a_job_that_is_done_is_not_begun_again() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    world.probe(B, Probe::Refused);
    assert_eq!(world.engine.report().jobs.len(), 1, "it waits for B");
    let id = InstanceId(Uuid::from_u128(0xb02));
    let (copied, healed) = (
        Change::Copied {
            collection,
            instance: B,
            id,
        },
        Change::Healed {
            collection,
            instance: B,
        },
    );
    world.engine.change(vec![copied, healed]);
    world.probe(B, Probe::Answered);
    assert!(world.engine.report().jobs.is_empty());
}

/// A comparison is begun again when an operator has said which copy is right: its findings would only stand
/// in the way.
#[test]
fn a_repair_overtakes_a_comparison() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.pass(1_000);
    world.step(Event::Wanted(Task::Verify(collection)));
    let source = A;
    world.step(Event::Repair { collection, source });
    let jobs = world.engine.report().jobs;
    let tasks: Vec<_> = jobs.iter().map(|j| (&j.task, j.stage.is_some())).collect();
    let rebuilds = Task::Rebuild(collection, B);
    assert_eq!(
        tasks,
        [(&rebuilds, true), (&Task::Verify(collection), false)]
    );
}

/// A copy of which nothing is known may be there all the same: a dead proxy's job had it made. So a
/// delete goes there as well.
#[test]
fn a_copy_that_may_have_been_made_is_deleted_too() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.submit(Verb::DeleteCollection { collection }, Level::One);
    world.reply("A DELETE abc", 200);
    assert_eq!(world.lines(), ["B DELETE abc"]);
    world.reply("B DELETE abc", 404);
    assert_eq!(world.engine.report().pending, 0);
}

/// A copy that a create has made empty stays one when the proxy is started again, however far the log has
/// been trimmed since: that it is empty says what becomes of a collection that is nowhere else.
#[test]
fn a_start_keeps_the_reason_of_a_quarantine() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.engine.change(vec![Change::Quarantined {
        collection: c,
        instance: B,
        reason: MADE_EMPTY.into(),
    }]);
    let snapshot = Snapshot {
        catalog: world.engine.view().catalog,
        lanes: vec![RestoredLane {
            id: LaneId::Collection(c),
            head: Position(6),
            trimmed: Position(6),
            cursors: vec![Some(Position(6)), None],
        }],
        ..Snapshot::default()
    };
    world.engine = Engine::restore(SETTINGS, snapshot, world.now);
    let catalog = world.engine.view().catalog;
    let reasons = catalog.get(c).unwrap().copies.iter();
    let reasons: Vec<_> = reasons.map(|copy| copy.quarantine.as_deref()).collect();
    assert_eq!(reasons, [None, Some(MADE_EMPTY)]);
}

/// A copy's records are changed only when it is durable that it is not used: a proxy that was started then
/// would take it for a sound one.
#[test]
fn a_copy_is_out_of_use_before_it_is_changed() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.confirms = false;
    let source = A;
    world.step(Event::Repair { collection, source });
    for uuid in [0xa01, 0xb01] {
        world.tell(200, described(uuid, "abc"));
    }
    world.pass(1_000);
    assert_eq!(world.asked_by, None, "{}", world.asked_line);
    world.confirms = true;
    world.confirm();
    assert!(world.asked_by.is_some());
}

/// A foreign collection with the name of one of ours is not its copy: nothing is made like it elsewhere.
#[test]
fn what_has_the_name_of_a_copy_is_not_copied() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    assert_eq!(world.asked_line, "A GET abc");
    world.tell(200, described(0xa99, "abc"));
    let jobs = world.engine.report().jobs;
    let rebuild = |job: &&JobReport| job.task == Task::Rebuild(collection, B);
    let failed = &jobs.iter().find(rebuild).expect("it is tried again").failed;
    let reason = "the collection is missing on its source";
    assert_eq!((failed.0, failed.1.as_str()), (1, reason));
    assert_eq!(world.asked_line, "A GET count", "it is asked who has it");
}

/// A create may find its collection on one instance while another one is silent on it, which has lost its
/// copy and makes another collection. That instance is asked what it has, before anything changes the name.
#[test]
fn a_create_that_found_its_collection_shows_what_a_silent_instance_made() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    let again = CollectionId(Uuid::from_u128(2));
    world.submit(create(again, "abc"), Level::One);
    world.pass(150);
    assert_eq!(world.lines(), ["A POST collections", "B POST collections"]);
    world.made("B", 0xb01, "abc");
    world.submit(rename(collection, "xyz"), Level::One);
    world.end("A POST collections", Sending::Silent);
    world.reply("B PUT 00000000-0000-0000-0000-000000000b01", 200);
    for _ in 0..40 {
        world.both_live_for(1_000);
    }
    assert_eq!(world.lines(), ["A POST collections"]);
    world.made("A", 0xa02, "abc");
    let copy = &world.engine.catalog.get(collection).unwrap().copies[0];
    assert_eq!(copy.id, Some(InstanceId(Uuid::from_u128(0xa02))));
    assert_eq!(copy.quarantine.as_deref(), Some(MADE_EMPTY));
    assert_eq!(
        world.lines(),
        ["A PUT 00000000-0000-0000-0000-000000000a02"]
    );
}

/// A collection was deleted on the only instance that is known to have it, and another one has something under
/// its name that is from the past: the collection is gone, and so is what was left of it.
#[test]
fn a_copy_from_the_past_does_not_keep_its_collection() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.engine.change(vec![Change::Unsure {
        collection,
        instance: B,
        name: "abc".into(),
    }]);
    let missed = Event::Missed {
        instance: A,
        id: InstanceId(Uuid::from_u128(0xa01)),
    };
    world.step(missed);
    for _ in 0..2 {
        assert_eq!(world.asked_line, "A GET count");
        world.tell(404, r#"{"error":"NotFoundError","message":"no"}"#);
    }
    assert_eq!(world.asked_line, "B GET abc");
    world.tell(200, described(0xb07, "abc"));
    assert_eq!(world.asked_line, "B DELETE abc");
    world.tell(200, "{}");
    assert!(world.engine.catalog.get(collection).is_none());
}

/// An instance may have deleted a collection, and its answer was lost. That it lacks the collection then says nothing
/// of an entry that is sent there once more: it was done before, and its client was told so.
#[test]
fn nothing_is_given_up_while_its_collection_may_be_deleted() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    let write = "A POST add";
    world.submit(add(collection), Level::One);
    world.reply(write, 500);
    world.submit(Verb::DeleteCollection { collection }, Level::One);
    world.end("A DELETE abc", Sending::Silent);
    let has = |world: &World, line: &str| world.lines().contains(&line);
    let (mut tries, mut deletes) = (0, 0);
    while deletes < 4 {
        world.live_for(&[A], 1_000);
        if has(&world, write) {
            world.reply(write, 404);
            tries += 1;
        }
        if has(&world, "A DELETE abc") {
            world.end("A DELETE abc", Sending::Silent);
            deletes += 1;
        }
    }
    assert!(tries > 6, "others are given up after six");
    assert!(world.closed.is_empty(), "{:?}", world.closed);
    while !has(&world, "A DELETE abc") {
        world.live_for(&[A], 1_000);
    }
    world.reply("A DELETE abc", 404);
    if has(&world, write) {
        world.reply(write, 404);
    }
    assert_eq!(world.engine.report().instances[0].owed, 0);
    assert_eq!(world.ledger.letters().count(), 0);
}
