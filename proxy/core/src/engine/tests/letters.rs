//! Writes that come to nothing too late for their clients.

use super::*;

/// A write that is refused in time becomes no letter; one that is refused after its client was told that it
/// would be carried out is kept.
#[test]
fn a_late_refusal_is_a_letter() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.reply("A POST add", 422);
    assert_eq!(world.ledger.letters().count(), 0);
    let ticket = world.submit(add(c), Level::One);
    world.pass(10_000);
    assert_eq!(world.answers[&ticket], 504);
    world.reply("A POST add", 422);
    let letters: Vec<_> = world.ledger.letters().cloned().collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].position, Position(2));
    assert!(letters[0].reason.starts_with("answered 422"), "{letters:?}");
}

/// A letter that is taken up again is gone when it is done, and a letter again when it is not.
#[test]
fn a_letter_is_in_the_log_or_kept() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.pass(10_000);
    world.reply("A POST add", 422);
    let first = world.ledger.letters().next().unwrap().id;
    let refused = world.submit_again(first, add(c));
    assert_eq!(world.ledger.letters().count(), 0);
    world.reply("A POST add", 422);
    assert_eq!(world.answers[&refused], 422);
    let second = world.ledger.letters().next().unwrap().id;
    assert_ne!(first, second);
    let done = world.submit_again(second, add(c));
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&done], 201);
    assert_eq!(world.ledger.letters().count(), 0);
    let too_late = world.submit_again(second, add(c));
    assert!(world.asked_again.contains(&too_late), "it is gone");
}
