//! The checker finds planted violations.

use super::*;

fn operation(client: usize, act: Act, begun: u64, ended: u64) -> Operation {
    Operation {
        register: 0,
        client,
        act,
        begun,
        ended: Some(ended),
    }
}

fn unknown(client: usize, act: Act, begun: u64) -> Operation {
    let ended = None;
    Operation {
        ended,
        ..operation(client, act, begun, 0)
    }
}

const NOTHING: Act = Act::Read(None);

fn read(value: u64) -> Act {
    Act::Read(Some(value))
}

#[track_caller]
fn is_right(history: &[Operation]) {
    let found = check(history);
    assert!(found.is_empty(), "{}", found[0]);
}

/// The violation is at the last operation of the history.
#[track_caller]
fn breaks_at_last(history: &[Operation]) {
    let found = check(history);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(Some(&found[0].operation), history.last());
}

/// A value that was seen, and later an older one: what the checker is for.
#[test]
fn an_older_value_after_a_newer_one_is_found() {
    let old = operation(0, Act::Write(1), 0, 10);
    let under_way = operation(0, Act::Write(2), 20, 60);
    let seen = operation(1, read(2), 25, 30);
    breaks_at_last(&[old, under_way, seen, operation(2, read(1), 35, 40)]);
    // While both reads overlap, each of them may be the first.
    is_right(&[old, under_way, seen, operation(2, read(1), 28, 40)]);
}

/// An acknowledged write is read by whoever begins later, and nothing is read before it was written.
#[test]
fn a_read_is_not_stale_and_not_early() {
    let write = operation(0, Act::Write(1), 0, 10);
    breaks_at_last(&[write, operation(1, NOTHING, 11, 12)]);
    is_right(&[write, operation(1, NOTHING, 9, 12)]);
    let found = check(&[
        operation(1, read(7), 0, 5),
        operation(0, Act::Write(7), 6, 9),
    ]);
    assert_eq!(found[0].operation.act, read(7));
    breaks_at_last(&[write, operation(1, read(99), 11, 12)]);
}

/// What was deleted does not come back, and deletes are not unique: each read of nothing is explained by
/// whichever delete fits.
#[test]
fn deletes_are_told_apart_by_time() {
    let history = [
        operation(0, Act::Write(1), 0, 10),
        operation(1, Act::Delete, 5, 100),
        operation(2, NOTHING, 20, 30),
        operation(0, Act::Write(2), 40, 50),
        operation(2, read(2), 51, 55),
        operation(0, Act::Delete, 60, 70),
        operation(2, NOTHING, 80, 90),
    ];
    is_right(&history);
    let resurrected = operation(2, read(2), 101, 110);
    breaks_at_last(&[history.as_slice(), &[resurrected]].concat());
    let without_second: Vec<_> = history.iter().filter(|o| o.begun != 60).copied().collect();
    breaks_at_last(&without_second);
}

/// A write of unknown outcome may have happened at any time since, or never; but once only, and when it
/// was read it had happened.
#[test]
fn unknown_outcomes_may_be_either() {
    let base = operation(0, Act::Write(1), 0, 10);
    let lost = unknown(1, Act::Write(2), 20);
    is_right(&[base, lost, operation(2, read(1), 30, 40)]);
    is_right(&[base, lost, operation(2, read(2), 30, 40)]);
    is_right(&[
        base,
        lost,
        operation(2, read(1), 30, 40),
        operation(2, read(2), 50, 60),
    ]);
    let overwritten = operation(0, Act::Write(3), 70, 80);
    breaks_at_last(&[
        base,
        lost,
        operation(2, read(2), 50, 60),
        overwritten,
        operation(2, read(2), 90, 95),
    ]);
    let deleted = unknown(1, Act::Delete, 20);
    let gone = operation(2, NOTHING, 30, 40);
    is_right(&[base, deleted, gone]);
    is_right(&[
        base,
        deleted,
        operation(2, read(1), 30, 40),
        operation(2, NOTHING, 50, 60),
    ]);
    breaks_at_last(&[
        base,
        deleted,
        gone,
        operation(0, Act::Write(3), 50, 60),
        operation(2, NOTHING, 70, 80),
    ]);
}

/// Many clients at once on a register that is one: nothing is found, and one planted stale read is.
#[test]
fn a_planted_violation_is_found_among_many_operations() {
    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        // Each client's operation takes effect at a moment of its own within its span.
        let mut effects: Vec<(u64, Operation)> = Vec::new();
        for client in 0..6 {
            let mut now = random.random_range(0..50);
            for number in 0..300 {
                let (moment, end) = (now + random.random_range(1..40), now + 41);
                let act = match random.random_range(0..10) {
                    0..4 => Act::Write(client * 1000 + number),
                    4 => Act::Delete,
                    _ => NOTHING,
                };
                let at = usize::try_from(client).expect("a number");
                effects.push((moment * 10 + client, operation(at, act, now * 10, end * 10)));
                now = end + random.random_range(1..20);
            }
        }
        effects.sort_by_key(|(moment, _)| *moment);
        let (mut value, mut history) = (None, Vec::new());
        for (_, mut operation) in effects {
            match &mut operation.act {
                Act::Write(written) => value = Some(*written),
                Act::Delete => value = None,
                Act::Read(found) => *found = value,
            }
            history.push(operation);
        }
        is_right(&history);
        // The first value is long overwritten.
        let written = history.iter().find(|o| matches!(o.act, Act::Write(_)));
        let Some(Act::Write(first)) = written.map(|o| o.act) else {
            panic!("something is written")
        };
        let reads = history.iter().rposition(|o| matches!(o.act, Act::Read(_)));
        history[reads.expect("a read")].act = read(first);
        assert_eq!(check(&history).len(), 1, "seed {seed}");
    }
}
