//! Copies that a job places in a lane: what they are sent, and what older sendings still say.

use super::*;

fn missing() -> Sending {
    let body = r#"{"error":"NotFoundError","message":"no"}"#;
    Sending::Answered(Reply::json(404, body))
}

impl World {
    /// Answers the job's questions about a collection that A has made anew and B lacks.
    fn tell_that_only_a_has_it(&mut self) {
        for _ in 0..2 {
            assert_eq!(self.asked_line, "A GET count");
            self.tell(200, "0");
            assert_eq!(self.asked_line, "B GET count");
            self.tell(404, r#"{"error":"NotFoundError","message":"no"}"#);
        }
    }

    /// A client makes a collection that both instances have lost; A makes it anew.
    fn make_anew_on_a(&mut self) {
        self.submit(create(CollectionId(Uuid::from_u128(2)), "abc"), Level::One);
        self.made("A", 0xa02, "abc");
    }
}

/// I07: a copy that a job has placed in its lane is sent nothing before that is durable: the next proxy would
/// not know that it stands there.
#[test]
fn a_placed_copy_is_sent_nothing_before_its_cursor_is_recorded() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.make_anew_on_a();
    let ticket = world.submit(add(c), Level::One);
    world.end("B POST add", missing());
    world.confirms = false;
    world.tell_that_only_a_has_it();
    world.both_live_for(1_000);
    assert!(!world.lines().contains(&"A POST add"), "{:?}", world.sent);
    world.confirm();
    world.confirms = true;
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}

/// A sending from before a job has placed the copy behind its entry ends without a word, and the copy is sent
/// what comes after.
#[test]
fn an_answer_from_before_a_copy_was_placed_says_nothing() {
    let mut world = World::new();
    let c = world.collection(1, "abc");
    world.submit(add(c), Level::One);
    world.pass(200);
    world.reply("B POST add", 201);
    world.both_answer();
    world.make_anew_on_a();
    world.tell_that_only_a_has_it();
    let ticket = world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    world.both_live_for(500);
    world.reply("A POST add", 201);
    assert_eq!(world.answers[&ticket], 201);
}
