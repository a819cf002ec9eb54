//! Rule 16: an instance that works on a heavy body is busy and not down, and the body is not sent
//! anywhere else as long as it may still be carried out.

use super::*;
use crate::weight::{Vitals, heavy_time, silence_max};

const HEAVY: usize = 8 * 1024 * 1024;

impl World {
    fn submit_heavy(&mut self, collection: CollectionId) -> u64 {
        self.tickets += 1;
        let entry = Entry {
            body: Bytes::from(vec![b' '; HEAVY]),
            ..self.entry(None, add(collection))
        };
        self.submit_entry(entry, Level::One)
    }

    /// Time passes in which A works on a heavy body and answers no probe, and B answers at once.
    fn a_is_busy_for(&mut self, seconds: u64) {
        let vitals = Vitals {
            answered_ago: None,
            heavy_bytes: HEAVY,
        };
        for _ in 0..seconds {
            self.live_for(&[B], 1_000);
            if self.probed.remove(&A) {
                let (instance, probe) = (A, Probe::Silent);
                self.step(Event::Probed {
                    instance,
                    probe,
                    abilities: None,
                    vitals,
                });
            }
        }
    }
}

/// A heavy write goes to one instance alone for as long as it may take, although that instance answers
/// no probe meanwhile; a light write to another collection goes to the other one after the hedge delay.
#[test]
fn a_heavy_write_is_not_hedged_while_its_instance_is_busy() {
    let mut world = World::new();
    let (heavy, light) = (world.collection(1, "abc"), world.collection(2, "def"));
    let ticket = world.submit_heavy(heavy);
    assert!(silence_max(HEAVY).as_secs() > 20);
    world.a_is_busy_for(20);
    assert_eq!(world.lines(), ["A POST add"]);
    assert_eq!(world.engine.view().standing(A), Standing::Suspect);
    world.submit(add(light), Level::One);
    assert_eq!(
        world.lines(),
        ["A POST add", "B POST add"],
        "the other is used first"
    );
    world.reply("B POST add", 201);
    world.a_is_busy_for(5);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201, "however long it took");
}

/// After the time that a heavy body may take, the instance that has it counts as down, and the other one is
/// sent the write at once.
#[test]
fn a_heavy_write_moves_on_when_its_instance_is_silent_for_too_long() {
    let mut world = World::new();
    let heavy = world.collection(1, "abc");
    let ticket = world.submit_heavy(heavy);
    let bound = silence_max(HEAVY).as_secs();
    world.a_is_busy_for(bound - 2);
    assert_eq!(world.lines(), ["A POST add"]);
    world.a_is_busy_for(6);
    assert_eq!(world.lines(), ["A POST add", "B POST add"]);
    world.reply("B POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}

/// An instance that is stopped is not waited for: the write goes to the other one as soon as that is known.
#[test]
fn a_heavy_write_leaves_a_dead_instance_at_once() {
    let mut world = World::new();
    let heavy = world.collection(1, "abc");
    world.submit_heavy(heavy);
    world.pass(150);
    world.probe(A, Probe::Refused);
    assert_eq!(world.lines(), ["A POST add", "B POST add"]);
}

/// Clients wait longer for a heavy write, and for those before theirs.
#[test]
fn deadlines_grow_with_the_bytes_that_are_waited_for() {
    let mut world = World::new();
    let heavy = world.collection(1, "abc");
    let first = world.submit_heavy(heavy);
    let second = world.submit(add(heavy), Level::One);
    let until = heavy_time(HEAVY) + Duration::from_secs(9);
    world.both_live_for(u64::try_from(until.as_millis()).unwrap());
    assert!(!world.answers.contains_key(&first));
    assert!(!world.answers.contains_key(&second));
    world.both_live_for(1_500);
    assert_eq!([world.answers[&first], world.answers[&second]], [504, 504]);
}

/// A write is not sent by the next proxy while the one that the last proxy had sent may still be carried
/// out, and that takes longer for a heavy body.
#[test]
fn a_heavy_write_of_a_dead_proxy_is_waited_for() {
    let mut world = World::new();
    let heavy = world.collection(1, "abc");
    world.submit_heavy(heavy);
    world.taken_over();
    world.both_answer();
    let time = heavy_time(HEAVY);
    world.both_live_for(u64::try_from(time.as_millis()).unwrap());
    assert!(world.lines().is_empty(), "{:?}", world.lines());
    world.both_live_for(3_000);
    assert_eq!(world.lines(), ["A POST add"]);
}

/// A batch that is too large is asked for again with fewer records. One record that is too large alone
/// ends the comparison with a reason that names it, and it is not begun again soon.
#[test]
fn a_record_that_is_too_large_alone_ends_a_comparison() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    let task = Task::Verify(collection);
    world.step(Event::Wanted(task.clone()));
    let mut gets = 0;
    while let Some(job) = world.asked_by.take() {
        let uuid = if world.asked_line.starts_with('A') {
            0xa01
        } else {
            0xb01
        };
        gets += usize::from(world.asked_line.ends_with("get"));
        let sending = match gets {
            0 => Sending::Answered(Reply::json(200, described(uuid, "abc"))),
            1 | 2 => Sending::Answered(Reply::json(200, r#"{"ids":["a","b"]}"#)),
            _ => Sending::TooLarge,
        };
        world.step(Event::Told { job, sending });
    }
    assert_eq!(gets, 4, "two lists, two records at once, and one of them");
    let found = world.engine.report().found;
    let finding = found.into_iter().find(|found| found.task == task);
    let Some(crate::jobs::Finding::Refused(reason)) = finding.map(|found| found.finding) else {
        panic!("it has ended");
    };
    assert!(reason.contains("\"a\" has more than"), "{reason}");
    world.both_live_for(60_000);
    assert_eq!(world.asked_by, None);
}
