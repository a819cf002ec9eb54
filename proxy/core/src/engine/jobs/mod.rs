//! The jobs: which are due, and when they begin.

mod ends;
mod making;
mod waits;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Engine, Settings, suspicion::Located};
use crate::{
    catalog::{Catalog, Change, Collection, Marker},
    health::Standing,
    ids::{CollectionId, InstanceIx, JobId, LaneId, Position},
    jobs::{
        Cursor, Finding, Grant, Job, Places, Stage, Stopped, Task, adopt::NOT_COMPARED,
        copy::BEING_REPAIRED,
    },
    limits::{DISCOVERIES_MAX, JOBS_MAX},
    time::Instant,
};

/// Event that a job waits for.
#[derive(Debug)]
enum Wait {
    Told,
    Rest(LaneId, Places),
    Reach(LaneId, Places, Position),
    Settled,
    Until(Instant),
}

struct Running {
    job: Job,
    wait: Wait,
    /// Time at which the job is ended if it still waits then.
    until: Option<Instant>,
    /// The instance that it has asked and that has not answered yet.
    asks: Option<InstanceIx>,
    holds: Option<(LaneId, Instant)>,
    watches: Option<LaneId>,
    since: Instant,
}

struct Retry {
    tries: u32,
    at: Instant,
    reason: String,
}

/// A job for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// Task of the job.
    pub task: Task,
    /// Stage that the job has reached; none when it waits to be begun again.
    pub stage: Option<Stage>,
    /// Time at which the job was begun, or will be begun again.
    pub at: Instant,
    /// Number of times that the job has failed, and the reason of the last failure.
    pub failed: (u32, String),
}

/// Finding of a job that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Findings are numbered, from 1.
    pub number: u64,
    /// Task of the job.
    pub task: Task,
    /// Time at which the job ended.
    pub at: Instant,
    /// Finding of the job.
    pub finding: Finding,
}

/// All jobs.
#[derive(Default)]
pub(super) struct Jobs {
    running: BTreeMap<JobId, Running>,
    /// Jobs that were ended while an instance had not answered them.
    unanswered: BTreeMap<JobId, InstanceIx>,
    /// Cursors that jobs have set, as long as they are not durable.
    placed: BTreeMap<JobId, Vec<Cursor>>,
    retries: BTreeMap<Task, Retry>,
    /// Tasks that were asked for, by an operator, a client or the engine itself.
    asked: VecDeque<Task>,
    found: VecDeque<Found>,
    found_count: u64,
    given: u64,
    verified: Option<CollectionId>,
    verify_at: Instant,
    pub(super) located: Located,
}

impl Jobs {
    /// The first comparison is due one interval after the start.
    pub(super) fn begin(&mut self, now: Instant, settings: &Settings) {
        self.verify_at = now + settings.verify_interval;
    }

    fn is_running(&self, task: &Task) -> bool {
        self.running
            .values()
            .any(|running| running.job.task == *task)
    }

    /// Returns true when a task goes on, or is to be begun.
    pub(super) fn is_planned(&self, task: &Task, now: Instant) -> bool {
        let waits = self.retries.get(task).is_some_and(|retry| retry.at > now);
        waits || self.is_running(task) || self.asked.contains(task)
    }

    /// Returns true when a collection is being given a home.
    pub(super) fn gives_home(&self, id: CollectionId) -> bool {
        let gives = |task: &Task| matches!(task, Task::Home(homed, _) if *homed == id);
        let mut running = self.running.values();
        running.any(|running| gives(&running.job.task)) || self.asked.iter().any(gives)
    }

    /// Returns true when no more jobs that take long are begun.
    fn is_full(&self) -> bool {
        let all = self.running.values();
        all.filter(|running| !running.job.task.is_small()).count() >= JOBS_MAX
    }

    fn watcher(&self, lane: LaneId) -> Option<&Running> {
        let mut all = self.running.values();
        all.find(|running| running.watches == Some(lane))
    }

    /// Time at which one of the jobs next has something to do.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let running = self.running.values().flat_map(|running| {
            let pause = match running.wait {
                Wait::Until(at) => Some(at),
                _ => None,
            };
            let hold = running.holds.map(|(_, until)| until);
            [pause, running.until, hold]
        });
        running.flatten().min()
    }
}

impl Engine {
    /// Begins what is due. Failures are tried again later and later.
    pub(super) fn schedule(&mut self) {
        let catalog = &self.catalog;
        self.jobs
            .retries
            .retain(|task, _| is_to_be_done(catalog, task));
        let mut due = self.due();
        while let Some(task) = due.pop_front() {
            if self.jobs.is_full() && !task.is_small() {
                // A small one behind it does not wait for it.
                continue;
            }
            let waits = self
                .jobs
                .retries
                .get(&task)
                .is_some_and(|r| r.at > self.now);
            let excluded = self
                .jobs
                .running
                .values()
                .any(|r| r.job.task.excludes(&task));
            if !waits && !excluded {
                self.begin(task);
            }
        }
    }

    /// All that should be done, the most urgent first.
    fn due(&self) -> VecDeque<Task> {
        let up = |instance: &InstanceIx| self.is_reachable(*instance) && self.is_quiet(*instance);
        let all = || InstanceIx::all(self.instances.len()).filter(up);
        let mut due = VecDeque::new();
        for instance in all() {
            let record = self.catalog.instance(instance);
            if record.marker.is_none() && !self.awaits_an_earlier(instance) {
                due.push_back(Task::Adopt(instance));
            } else if record.marker.is_some() && record.quarantine.is_some() {
                due.push_back(Task::Restore(instance));
            } else if record
                .marker
                .is_some_and(|marker| self.is_to_be_marked(instance, marker))
            {
                due.push_back(Task::Mark(instance));
            }
        }
        // A copy is made anew only of one that is there.
        let locates = |task: &&Task| matches!(task, Task::Locate(_));
        due.extend(self.jobs.asked.iter().filter(locates).cloned());
        for instance in all().filter(|instance| !self.catalog.is_out(*instance)) {
            let unserved = self.catalog.unserved(instance);
            due.extend(unserved.filter_map(|id| self.task_for(id, instance)));
        }
        due.extend(self.jobs.asked.iter().cloned());
        due.extend(self.failed_comparisons());
        due.extend(self.background());
        due
    }

    /// Returns true when an instance needs a marker, or another token.
    fn is_to_be_marked(&self, instance: InstanceIx, marker: Marker) -> bool {
        let state = self.instances.get(instance.at());
        marker.is_to_be_made() || state.is_some_and(|state| state.mark_at <= self.now)
    }

    /// Comparisons that have failed and could be made now, whoever wanted them.
    fn failed_comparisons(&self) -> impl Iterator<Item = Task> {
        let can_be_made = |task: &&Task| match task {
            Task::Verify(id) => {
                let collection = self.catalog.get(*id);
                collection.is_some_and(|c| c.home.is_none() && self.holders(c).len() > 1)
            }
            _ => false,
        };
        self.jobs.retries.keys().filter(can_be_made).cloned()
    }

    /// Returns true when an earlier instance is unknown as well, and may be reached any moment: the data of
    /// the first unknown instance is what counts.
    fn awaits_an_earlier(&self, instance: InstanceIx) -> bool {
        InstanceIx::all(instance.at())
            .zip(&self.instances)
            .any(|(earlier, state)| {
                self.catalog.instance(earlier).marker.is_none()
                    && state.health.standing() != Standing::Down
            })
    }

    /// Number of pieces of work for an instance beside the entries that its lanes owe it: copies to be made
    /// or compared, or the instance itself to be taken in.
    pub(super) fn work_for(&self, instance: InstanceIx) -> u64 {
        if self.catalog.is_out(instance) {
            return 1;
        }
        let is_due = |id: &CollectionId| {
            let collection = self.catalog.get(*id);
            let collection = collection.filter(|c| c.home.is_none_or(|home| home == instance));
            let copy = collection.and_then(|c| c.copies.get(instance.at()));
            copy.is_some_and(|copy| match (&copy.quarantine, &copy.distrust) {
                (Some(_), None) => true,
                (None, Some(reason)) => reason.as_ref() == NOT_COMPARED,
                _ => false,
            })
        };
        let due = self.catalog.unserved(instance).filter(is_due).count();
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Task that makes an unused copy usable.
    fn task_for(&self, id: CollectionId, instance: InstanceIx) -> Option<Task> {
        let collection = self.catalog.get(id)?;
        let copy = collection.copies.get(instance.at())?;
        // What becomes of copies elsewhere does not matter.
        if collection.home.is_some_and(|home| home != instance) {
            return None;
        }
        match (&copy.quarantine, &copy.distrust) {
            (None, Some(reason))
                if reason.as_ref() == NOT_COMPARED && collection.home.is_none() =>
            {
                Some(Task::Verify(id))
            }
            // There is nothing to make it anew of: what has it is looked for.
            (Some(_), None) if copy.id.is_some() && !self.is_sound_anywhere(collection) => {
                // It may have nothing to conclude yet, and ends at once then.
                let was_just = self.jobs.located.was_just(id, self.now);
                (!was_just).then_some(Task::Locate(id))
            }
            (Some(_), None) => {
                let lane = self.lanes.get(&id);
                let is_quiet = lane.is_none_or(|lane| lane.is_quiet(instance));
                is_quiet.then_some(Task::Rebuild(id, instance))
            }
            _ => None,
        }
    }

    fn is_sound_anywhere(&self, collection: &Collection) -> bool {
        InstanceIx::all(self.instances.len()).any(|instance| collection.is_sound_on(instance))
    }

    /// The next collection that is compared without being asked.
    fn background(&self) -> Option<Task> {
        if self.jobs.verify_at > self.now || !self.jobs.running.is_empty() {
            return None;
        }
        let last = self.jobs.verified;
        let everywhere = |c: &&Arc<Collection>| c.home.is_none();
        let ids = || self.catalog.collections().filter(everywhere).map(|c| c.id);
        let next = ids().find(|id| Some(*id) > last).or_else(|| ids().next())?;
        Some(Task::Verify(next))
    }

    fn is_reachable(&self, instance: InstanceIx) -> bool {
        let state = self.instances.get(instance.at());
        state.is_some_and(|state| state.health.usable() == Standing::Up)
    }

    /// Returns true when nothing that a job has sent to an instance can still be carried out.
    pub(in crate::engine) fn is_quiet(&self, instance: InstanceIx) -> bool {
        let has_answered = !self
            .jobs
            .unanswered
            .values()
            .any(|asked| *asked == instance);
        let state = self.instances.get(instance.at());
        has_answered && state.is_some_and(|state| state.jobs_from <= state.health.awake().shown())
    }

    /// Begins a job, if what it needs is there. What an operator asked for is answered either way.
    fn begin(&mut self, task: Task) {
        let was_asked = self.jobs.asked.contains(&task);
        if let Task::Verify(id) = task
            && self.jobs.verify_at <= self.now
            && !was_asked
            && !self.jobs.retries.contains_key(&task)
        {
            self.jobs.verified = Some(id);
            self.jobs.verify_at = self.now + self.settings.verify_interval;
        }
        let Some(job) = self.job_for(task.clone()) else {
            if matches!(task, Task::Discover(_)) {
                self.jobs.asked.retain(|asked| *asked != task);
            } else if was_asked {
                let reason = "the instances that it needs are not in service".to_owned();
                self.found(task, Finding::Refused(reason));
            }
            return;
        };
        self.jobs.given += 1;
        let id = JobId(self.jobs.given);
        let running = Running {
            job,
            wait: Wait::Told,
            until: None,
            asks: None,
            holds: None,
            watches: None,
            since: self.now,
        };
        self.jobs.running.insert(id, running);
        self.go_on(id);
    }

    /// Lets time pass for the jobs.
    pub(super) fn tick_jobs(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        for (id, running) in &self.jobs.running {
            let hold_over = running.holds.is_some_and(|(_, until)| until <= now);
            if hold_over || running.until.is_some_and(|until| until <= now) {
                over.push(*id);
            } else if let Wait::Until(at) = running.wait
                && at <= now
            {
                running.job.grant(Grant::Done);
                self.unblocked.push_back(*id);
            }
        }
        for id in over {
            let stopped = Stopped::because("it took too long, and writes go first");
            self.end(id, Err(stopped));
        }
        self.schedule();
    }

    fn open_gate(&mut self, lane: LaneId) {
        // Two jobs may hold the schema lane at once.
        let mut holds = self.jobs.running.values().filter_map(|r| r.holds);
        let held = holds.any(|(held, _)| held == lane);
        if let Some(gate) = self.gates.get_mut(&lane) {
            gate.held = held;
        }
        self.pass_gate(lane);
        self.advance(lane);
    }

    pub(super) fn ask_for(&mut self, task: Task) {
        // A client that waits for a tenant asks again and again, and nobody waits for its end.
        let is_clients = matches!(task, Task::Discover(_));
        let is_full = is_clients && self.jobs.asked.len() >= DISCOVERIES_MAX;
        if !is_clients {
            self.jobs.retries.remove(&task);
        }
        if !is_full && !self.jobs.is_running(&task) && !self.jobs.asked.contains(&task) {
            self.jobs.asked.push_back(task);
        }
        self.schedule();
    }

    /// Has all other copies of a collection made equal to one of them. A comparison that is under way
    /// is begun again afterwards: what it would find is not true any more.
    pub(super) fn repair(&mut self, collection: CollectionId, source: InstanceIx) {
        if !self.repair_leaves_home(collection, source) {
            self.make_equal_to(collection, source);
        }
    }

    /// The same, when no write that is not logged is under way.
    pub(super) fn make_equal_to(&mut self, collection: CollectionId, source: InstanceIx) {
        let running = self.jobs.running.iter();
        let mut comparing = running.filter(|(_, r)| r.job.task == Task::Verify(collection));
        if let Some((id, _)) = comparing.next() {
            let why = Stopped::because("an operator has said which copy is right");
            self.end(*id, Err(why));
        }
        let Some(copies) = self.catalog.get(collection).map(|c| c.copies.clone()) else {
            return;
        };
        let mut changes = vec![Change::Homed {
            collection,
            home: None,
        }];
        for instance in InstanceIx::all(copies.len()) {
            changes.push(Change::Healed {
                collection,
                instance,
            });
            if instance != source {
                changes.push(Change::Quarantined {
                    collection,
                    instance,
                    reason: BEING_REPAIRED.into(),
                });
            }
        }
        self.change(changes);
        self.advance(LaneId::Collection(collection));
        self.schedule();
    }
}

/// Returns true when a task that has failed is still of use: it may have been ended right behind its last
/// step.
fn is_to_be_done(catalog: &Catalog, task: &Task) -> bool {
    match task {
        Task::Rebuild(id, instance) => {
            let copy = catalog.get(*id).and_then(|c| c.copies.get(instance.at()));
            copy.is_some_and(|copy| copy.quarantine.is_some())
        }
        Task::Restore(instance) => catalog.instance(*instance).quarantine.is_some(),
        Task::Adopt(instance) => catalog.instance(*instance).marker.is_none(),
        Task::Discover(tenant) => !catalog.knows_tenant(tenant),
        _ => task.collection().is_none_or(|id| catalog.get(id).is_some()),
    }
}
