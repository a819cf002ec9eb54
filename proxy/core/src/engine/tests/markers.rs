//! The markers of instances, as the tests' world answers for them, and what comes of their tokens.

use super::*;
use crate::{
    catalog::Marker,
    engine::{Payload, Wire},
    ids::Token,
    marker::OWN,
    route::Method,
};

/// Contents of the markers, as instances would answer.
#[derive(Debug, Default)]
pub(super) struct Markers {
    tokens: [u64; 2],
    /// Number of times that each instance's marker was made anew.
    made: [u128; 2],
    /// Tokens are written, but that is not answered.
    is_silent: bool,
}

/// An instance's marker in the beginning.
pub(super) fn first(instance: InstanceIx) -> Marker {
    Marker {
        id: marker_id(instance, 0),
        token: Token(0),
    }
}

fn marker_id(instance: InstanceIx, made: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(
        0xff00 + 0x10 * made + u128::from(instance.0),
    ))
}

impl Markers {
    /// Result of a job's request about a marker; `None` for any other request.
    pub(super) fn answer(&mut self, instance: InstanceIx, wire: &Wire) -> Option<Sending> {
        let body = match &wire.body {
            Payload::Entry { body, .. } => body.clone().unwrap_or_default(),
            Payload::None => Bytes::new(),
        };
        let text = String::from_utf8(body.to_vec()).unwrap();
        if !wire.target.contains(OWN) && !text.contains(OWN) {
            return None;
        }
        let (token, made) = (
            &mut self.tokens[instance.at()],
            &mut self.made[instance.at()],
        );
        if wire.method == Method::Put {
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            *token = body["new_metadata"]["token"].as_u64().unwrap();
            if self.is_silent {
                return Some(Sending::Silent);
            }
        } else if wire.target.ends_with("/collections") {
            *made += 1;
        }
        let id = marker_id(instance, *made);
        let body = format!(r#"{{"id":"{id}","metadata":{{"token":{token}}}}}"#);
        Some(Sending::Answered(Reply::json(200, body)))
    }
}

/// Token of an instance that a restart would know.
fn durable(world: &World, instance: InstanceIx) -> u64 {
    let marker = world.ledger.snapshot(2).catalog.instance(instance).marker;
    marker.unwrap().token.0
}

fn is_held(world: &World, instance: InstanceIx) -> bool {
    let record = world.engine.catalog.instance(instance);
    record.quarantine.is_some()
}

/// A token is renewed at the start, at each return, and at each interval; and is durable.
#[test]
fn tokens_rise_at_each_return_and_interval() {
    let mut world = World::new();
    assert_eq!(world.markers.tokens, [1, 1]);
    world.probe(B, Probe::Refused);
    world.probe(B, Probe::Answered);
    assert_eq!(world.markers.tokens, [1, 2]);
    for probe in [Probe::Silent, Probe::Answered] {
        world.probe(B, probe);
    }
    assert_eq!(world.markers.tokens, [1, 2], "it was never out of service");
    world.pass(3_600_000);
    assert_eq!(world.markers.tokens, [2, 3]);
    assert_eq!([A, B].map(|instance| durable(&world, instance)), [2, 3]);
}

/// An instance whose data is from the past is held before it is up again, and is not read.
#[test]
fn data_from_the_past_is_held() {
    let mut world = World::new();
    let id = world.collection(1, "abc");
    world.pass(1_000);
    world.probe(B, Probe::Refused);
    world.pass(1_000);
    world.probe(B, Probe::Past);
    assert!(is_held(&world, B));
    assert_eq!(world.eligible(id), [true, false]);
    world.submit(add(id), Level::One);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A token that is from the past rises only when it is durable that its instance is held: the next
/// proxy would take the data for the present's.
#[test]
fn what_is_held_is_durable_before_its_token_rises() {
    let mut world = World::new();
    world.probe(B, Probe::Refused);
    world.confirms = false;
    world.probe(B, Probe::Past);
    world.pass(1_000);
    assert_eq!(world.asked_by, None, "nothing is done there yet");
    world.confirm();
    assert!(world.asked_by.is_some());
}

/// A job goes on with no instance that went out of service: it may come back with other data.
#[test]
fn a_job_ends_with_an_instance_that_it_needs() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.step(Event::Wanted(Task::Verify(collection)));
    let job = world.asked_by.take().unwrap();
    let id = Uuid::from_u128(0xa01);
    let described = |metadata: &str| {
        let body = format!(r#"{{"id":"{id}","name":"abc","metadata":{metadata}}}"#);
        Sending::Answered(Reply::json(200, body))
    };
    let sending = described("null");
    world.step(Event::Told { job, sending });
    assert_eq!(world.asked_by.take(), Some(job), "now B is asked");
    world.probe(A, Probe::Refused);
    world.probe(A, Probe::Past);
    assert_ne!(world.asked_by.take(), Some(job), "A is made whole first");
    let sending = described(r#"{"new":1}"#);
    world.step(Event::Told { job, sending });
    assert_eq!(world.asked_by, None, "A says nothing that counts");
    assert!(world.compares(collection), "it will be begun again");
}

/// A token of which it is not known whether it was written is not known, and the next try writes the
/// same one; so it is after a restart.
#[test]
fn a_token_that_was_cut_off_is_written_again() {
    let mut world = World::new();
    world.markers.is_silent = true;
    world.pass(3_600_000);
    assert_eq!(world.markers.tokens, [2, 2]);
    assert_eq!([A, B].map(|instance| durable(&world, instance)), [1, 1]);
    world.markers.is_silent = false;
    // The first sending was lost after all.
    world.markers.tokens = [1, 2];
    world.both_live_for(33_000);
    assert_eq!(world.markers.tokens, [2, 3]);
    assert_eq!([A, B].map(|instance| durable(&world, instance)), [2, 3]);

    world.markers.tokens = [3, 4];
    let snapshot = world.ledger.snapshot(2);
    world.engine = Engine::restore(SETTINGS, snapshot, world.now);
    for instance in [A, B] {
        world.probe(instance, Probe::Answered);
        assert!(!is_held(&world, instance), "it shows more than is known");
    }
    world.both_live_for(1_500);
    assert_eq!([A, B].map(|instance| durable(&world, instance)), [4, 5]);
}

/// No token is written over one from the past, so that the next probe finds that.
#[test]
fn a_token_from_the_past_is_not_covered_up() {
    let mut world = World::new();
    world.pass(3_600_000);
    world.markers.tokens = [2, 1];
    world.pass(3_600_000);
    assert_eq!(world.markers.tokens, [3, 1]);
    assert_eq!(durable(&world, B), 2);
}

/// A probe says nothing when it asked for a marker that a reset has taken away since.
#[test]
fn a_probe_for_an_old_marker_says_nothing() {
    let mut world = World::new();
    world.pass(1_000);
    world.submit(Verb::Reset, Level::All);
    world.reply("A POST reset", 200);
    world.reply("B POST reset", 200);
    world.pass(1);
    assert_eq!(
        world.engine.catalog.instance(B).marker.unwrap().token,
        Token(2)
    );
    world.probe(B, Probe::Lost);
    assert!(!is_held(&world, B));
    world.pass(1_000);
    world.probe(B, Probe::Lost);
    assert!(is_held(&world, B), "the new marker was asked for");
}
