//! Questions to instances, before a delete is logged.

use super::*;
use crate::limits::POISON_CLOSINGS_MIN;

/// A question that outlasts its client's deadline holds nothing up: the client and those behind it
/// are answered in time, and an answer that comes later does nothing.
#[test]
fn a_late_answer_to_a_question_does_nothing() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = Ticket(100);
    world.submit_delete(ticket, c);
    let behind = world.submit(add(c), Level::One);
    world.pass(10_000);
    assert_eq!((world.answers[&100], world.answers[&behind]), (503, 503));
    let found = Ok(Bytes::from_static(b"{\"ids\":[\"x\"]}"));
    world.step(answered(ticket, A, found));
    assert!(world.lines().is_empty());
}

/// An instance that fails a question, or is silent, is not the last word while another one is sound.
#[test]
fn a_question_goes_on_to_the_next_instance() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = Ticket(100);
    world.submit_delete(ticket, c);
    assert_eq!(world.questioned(), [A]);
    let found = Err(Unresolved::of(&Sending::NotSent("refused".to_owned())));
    world.step(answered(ticket, A, found));
    assert_eq!(world.questioned(), [B]);
    let found = Ok(Bytes::from_static(b"{\"ids\":[\"x\"]}"));
    world.step(answered(ticket, A, found));
    assert_eq!(world.lines(), ["A POST delete"]);

    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit_delete(ticket, c);
    assert_eq!(world.questioned(), [A]);
    world.pass(1_000);
    assert_eq!(world.questioned(), [B], "A is silent");
    let found = || Ok(Bytes::from_static(b"{\"ids\":[\"x\"]}"));
    world.step(answered(ticket, A, found()));
    world.step(answered(ticket, A, found()));
    assert_eq!(world.lines(), ["A POST delete"], "once");
}

/// A question that makes Chroma close the connection goes to two instances at most.
#[test]
fn a_question_that_breaks_two_instances_is_refused() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    let ticket = Ticket(100);
    world.submit_delete(ticket, c);
    for instance in [A, B] {
        assert_eq!(world.questioned(), [instance]);
        world.step(answered(ticket, instance, Err(Unresolved::Closed)));
    }
    assert_eq!(world.answers[&100], 502);
    assert!(world.lines().is_empty());
}

/// An instance that alone can be asked, and closes its connections, does not speak for the one that lags, and
/// is not asked for ever.
#[test]
fn one_that_closes_connections_is_no_second_one() {
    for catches_up in [true, false] {
        let mut world = World::new();
        let c = world.collection(1, "abc");
        let ticket = Ticket(100);
        world.submit(add(c), Level::One);
        world.reply("A POST add", 201);
        world.submit_delete(ticket, c);
        let mut closings = 0;
        for _ in 0..if catches_up { 3 } else { 20 } {
            for instance in world.questioned() {
                assert_eq!(instance, A);
                closings += 1;
                world.step(answered(ticket, A, Err(Unresolved::Closed)));
            }
            world.pass(100);
        }
        if catches_up {
            world.reply("B POST add", 201);
            world.pass(200);
            assert!(world.questioned().contains(&B));
        } else {
            assert_eq!((closings, world.answers[&100]), (POISON_CLOSINGS_MIN, 502));
        }
    }
}

/// A delete whose question was put before a job began to watch its lane may touch records that it does
/// not name: the job is told so, and begins again.
#[test]
fn a_question_from_before_a_job_does_not_name_records() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    let ticket = Ticket(100);
    world.submit_delete(ticket, collection);
    world.step(Event::Repair {
        collection,
        source: A,
    });
    for uuid in [0xa01, 0xb01, 0xa01] {
        world.tell(200, described(uuid, "abc"));
    }
    let found = Ok(Bytes::from_static(br#"{"where":{"g":2}}"#));
    world.step(answered(ticket, A, found));
    world.reply("A POST delete", 200);
    for _ in 0..2 {
        world.tell(200, r#"{"ids":[]}"#);
    }
    let jobs = world.engine.report().jobs;
    let (tries, why) = &jobs[0].failed;
    assert_eq!((*tries, why.contains("did not name")), (1, true), "{why}");
}
