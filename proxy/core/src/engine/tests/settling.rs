//! Rule 5: what may still be carried out is waited for, whoever sent it, and whatever has become of
//! its entry.

use super::*;

impl World {
    /// Another proxy takes over, and has not seen the instances yet.
    pub(super) fn taken_over(&mut self) {
        let mut snapshot = self.ledger.snapshot(2);
        for instance in [A, B] {
            let record = marked().instance(instance);
            snapshot
                .catalog
                .apply(&Change::Instance { instance, record });
        }
        self.engine = Engine::restore(SETTINGS, snapshot, self.now);
        self.sent.clear();
        self.probed.clear();
    }

    /// B is silent for so long that it is down, and answers then.
    fn b_is_silent_for(&mut self, ms: u64) {
        for probe in [Probe::Silent, Probe::Silent] {
            self.probe(B, probe);
        }
        self.pass(ms);
        self.probe(B, Probe::Answered);
    }

    /// A collection in whose lane A has refused the only entry, and B may have been sent it.
    fn refused_by_one(&mut self) -> CollectionId {
        let c = self.collection(1, "abc");
        self.submit(add(c), Level::One);
        self.pass(150);
        assert_eq!(self.lines(), ["A POST add", "B POST add"]);
        self.reply("A POST add", 422);
        c
    }

    /// Position of B in a lane, as the next proxy will find it.
    fn cursor_of_b(&self, id: CollectionId) -> Position {
        let lanes = self.ledger.snapshot(2).lanes;
        let mut lane = lanes.iter().filter(|l| l.id == LaneId::Collection(id));
        lane.next().unwrap().cursors[1].unwrap_or_default()
    }
}

/// An instance to which nothing is owed is waited for as well, and used again afterwards.
#[test]
fn what_is_passed_over_at_the_start_settles_and_is_over() {
    let mut world = World::new();
    let c = world.refused_by_one();
    world.taken_over();
    world.probe(A, Probe::Answered);
    world.probe(B, Probe::Answered);
    world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert!(world.lines().is_empty(), "B may be carrying something out");
    world.both_live_for(1_500);
    assert_eq!(world.lines(), ["B POST add"]);
}

/// As long as it may be carried out the log shows it: a third proxy waits for it too.
#[test]
fn what_is_passed_over_is_not_trimmed_before_it_has_settled() {
    let mut world = World::new();
    let c = world.refused_by_one();
    world.taken_over();
    world.live_for(&[A], 2_000);
    assert_eq!(world.cursor_of_b(c), Position(0));
    world.taken_over();
    world.both_answer();
    world.submit(add(c), Level::One);
    world.reply("A POST add", 201);
    assert!(world.lines().is_empty());
    world.both_live_for(1_500);
    world.reply("B POST add", 201);
    world.pass(1_000);
    assert_eq!(world.cursor_of_b(c), Position(2));
}

/// A copy is not made anew while an old sending may still reach it, although its lane owes it
/// nothing: the time in which its instance is silent does not count.
#[test]
fn a_quarantined_copy_settles_before_it_is_rebuilt() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.submit(add(collection), Level::One);
    world.reply("A POST add", 201);
    let source = A;
    world.step(Event::Repair { collection, source });
    world.end("B POST add", Sending::Silent);
    world.b_is_silent_for(40_000);
    let is_rebuilt = |world: &World| !world.engine.report().jobs.is_empty();
    assert!(!is_rebuilt(&world), "B may just be carrying it out");
    world.both_live_for(29_900);
    assert!(!is_rebuilt(&world));
    world.both_live_for(3_000);
    assert!(is_rebuilt(&world));
}

/// A copy that a job of the proxy before was making is not touched before that job's requests can't
/// be carried out any more: one of them may delete it.
#[test]
fn what_a_job_has_sent_settles_as_well() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    let is_rebuilt = |world: &World| !world.engine.report().jobs.is_empty();
    assert!(is_rebuilt(&world));
    world.taken_over();
    world.both_answer();
    world.both_live_for(1_000);
    assert!(!is_rebuilt(&world));
    world.both_live_for(500);
    assert!(is_rebuilt(&world));
}

/// A job's request is waited for when the job is ended before the answer: the request may be carried out
/// until its sender gives up, and from when its instance answers until it has settled.
#[test]
fn what_an_ended_job_has_sent_is_waited_for() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.pass(1_000);
    let task = Task::Rebuild(collection, B);
    let goes_on = |world: &World| {
        let jobs = world.engine.report().jobs;
        let job = jobs.into_iter().find(|job| job.task == task);
        job.is_some_and(|job| job.stage.is_some())
    };
    let ask_b = |world: &mut World| {
        while !world.asked_line.starts_with('B') {
            world.tell(200, described(0xa01, "abc"));
        }
        world.asked_by.take().expect("it has asked")
    };
    let ends_unanswered = |world: &mut World| {
        let job = ask_b(world);
        world.both_live_for(50_000);
        assert!(
            !goes_on(world),
            "its time is over, and B may be busy with it"
        );
        job
    };
    let job = ends_unanswered(&mut world);
    let sending = Sending::Answered(Reply::json(404, "{}"));
    world.step(Event::Told { job, sending });
    assert!(goes_on(&world));

    let job = ends_unanswered(&mut world);
    let sending = Sending::Silent;
    world.step(Event::Told { job, sending });
    world.b_is_silent_for(40_000);
    world.both_live_for(29_900);
    assert!(!goes_on(&world), "B may just be carrying it out");
    world.both_live_for(3_500);
    assert!(goes_on(&world));
}

/// An instance that is sent nothing any more settles like the others: a hopeless write is given up
/// although its copy is quarantined, which could not be made anew before.
#[test]
fn a_quarantined_copy_does_not_keep_a_hopeless_write_open() {
    let mut world = World::new();
    let collection = world.collection(1, "abc");
    world.lose(collection, B);
    world.submit(add(collection), Level::One);
    world.taken_over();
    world.both_answer();
    for _ in 0..200 {
        world.both_live_for(1_000);
        if world.lines().contains(&"A POST add") {
            world.reply("A POST add", 500);
        }
    }
    assert_eq!(world.closed, [Verdict::Abandoned]);
}
