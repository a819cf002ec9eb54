//! Collections with a home: the instance that alone gets their writes, which are not logged.
//!
//! A collection gets a home when policy keeps a write of it out of the log, and comes back into
//! replication when policy wants one replicated, or has changed: the home's records are then the ones
//! that count, and the other copies are made anew. While that goes on its writes are logged, whatever
//! policy says, so that a policy that says now this and now that makes a collection move no more often
//! than its copies can be made.
//!
//! Policy may have changed unseen: while no proxy ran, or right before one died. So a collection that has
//! its home from before the start keeps it only when policy soon keeps a write of it out of the log again;
//! and a write that an older policy has kept out of it is logged.
//!
//! Nothing is sent to a home before it is durable that it is one, and nothing is logged while a
//! write that is not may still be carried out there (I25).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Effect, Engine, Submission};
use crate::{
    catalog::{Change, Collection},
    health::Standing,
    ids::{CollectionId, InstanceIx, JobId, LaneId, Ticket},
    jobs::{Finding, Task},
    limits::{HOME_UNUSED_MAX, LANE_OPEN_MAX},
    local::{self, LocalWrite},
    outcome::Sending,
    planted::Bug,
    reply::{self, Reply},
    time::Instant,
};

/// A write that policy keeps out of the log.
#[derive(Clone, Debug)]
pub struct LocalSubmission {
    /// The client.
    pub ticket: Ticket,
    /// Write that shall be done.
    pub write: LocalWrite,
    /// Deadline of the client's answer, as long as nothing was sent.
    pub answer_by: Instant,
}

/// State of all work on homes: unlogged writes, and collections that get or lose their home.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// Writes that wait for their collection to have a home, or to have none.
    waiting: BTreeMap<CollectionId, VecDeque<LocalSubmission>>,
    /// Writes on their way to a home.
    sent: BTreeMap<Ticket, (CollectionId, InstanceIx)>,
    /// Homes that are not durable yet, by the job that has given them.
    unrecorded: BTreeMap<JobId, CollectionId>,
    /// Collections that are to come back into replication, and whose copy counts then: the home's, unless
    /// an operator has said otherwise.
    leaving: BTreeMap<CollectionId, Option<InstanceIx>>,
    /// Collections that could not get a home.
    refused: BTreeSet<CollectionId>,
    /// Collections that had their home before the start, and no write since that policy keeps out of the
    /// log; and when they are to come back into replication.
    doubtful: BTreeMap<CollectionId, Instant>,
    /// Number of times that policy has changed since the start.
    policy: u64,
}

impl Homes {
    /// Time at which the first waiting client must be answered, or the first doubtful home ends.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let waiting = self.waiting.values().flatten();
        let answers = waiting.map(|waiting| waiting.answer_by);
        answers.chain(self.doubtful.values().copied()).min()
    }

    /// Number of times that policy has changed since the start.
    pub(super) fn policy(&self) -> u64 {
        self.policy
    }
}

/// Place to which the unlogged writes of a collection go now.
enum Place {
    /// To its home.
    Home(InstanceIx),
    /// Into the log.
    Log,
    /// Nowhere yet.
    Soon,
    /// Nowhere.
    Nowhere(Reply),
}

impl Engine {
    pub(super) fn submitted_locally(&mut self, submission: LocalSubmission) {
        let LocalSubmission { ticket, write, .. } = &submission;
        if write.policy() != self.homes.policy {
            self.log_all([submission]);
            return;
        }
        let id = write.collection();
        self.homes.doubtful.remove(&id);
        let waiting = self.homes.waiting.entry(id).or_default();
        if waiting.len() >= LANE_OPEN_MAX {
            let message = "Too many writes wait for this collection; nothing was done";
            self.answer(*ticket, reply::unavailable(message, 1));
            return;
        }
        waiting.push_back(submission);
    }

    /// A home has done a write, or has not. What it never answered may still be carried out there.
    pub(super) fn done_locally(&mut self, ticket: Ticket, sending: Sending) {
        let Some((_, home)) = self.homes.sent.remove(&ticket) else {
            return;
        };
        if sending == Sending::Silent {
            self.settle_jobs(home);
        }
        self.answer(ticket, local::told(sending));
    }

    /// Policy has changed: every collection that has a home comes back into replication, and none gets one
    /// because of what policy said before.
    pub(super) fn end_homes(&mut self) {
        if self.plants(Bug::StaysHome) {
            return;
        }
        self.homes.policy += 1;
        self.has_news = true;
        // No write is refused because policy has changed.
        for waiting in std::mem::take(&mut self.homes.waiting).into_values() {
            self.log_all(waiting);
        }
        self.end_home_jobs();
        let homed = self.catalog.collections().filter(|c| c.home.is_some());
        for id in homed.map(|c| c.id) {
            self.homes.leaving.entry(id).or_default();
        }
    }

    /// Has collections that have their home from before the start come back into replication, unless
    /// policy shows that it still keeps their writes out of the log.
    pub(super) fn doubt_homes(&mut self) {
        let until = self.now + HOME_UNUSED_MAX;
        let homed = self.catalog.collections().filter(|c| c.home.is_some());
        self.homes.doubtful = homed.map(|c| (c.id, until)).collect();
    }

    fn end_doubtful_homes(&mut self) {
        let now = self.now;
        let is_over = |until: &Instant| *until <= now;
        if !self.homes.doubtful.values().any(is_over) {
            return;
        }
        let homes = &mut self.homes;
        for (id, _) in homes.doubtful.extract_if(.., |_, until| is_over(until)) {
            homes.leaving.entry(id).or_default();
        }
    }

    /// Returns true when the writes of a lane that are to be logged must wait because its collection has a
    /// home. From now on the collection is to have none.
    pub(super) fn leaves_home(&mut self, lane: LaneId) -> bool {
        let LaneId::Collection(id) = lane else {
            return false;
        };
        let has_home = self.home_of(id).is_some();
        if has_home {
            self.homes.leaving.entry(id).or_default();
        }
        has_home
    }

    /// An operator has said which copy of a collection is right. Returns whether that must wait because
    /// the collection has a home.
    pub(super) fn repair_leaves_home(&mut self, id: CollectionId, source: InstanceIx) -> bool {
        let has_home = self.home_of(id).is_some();
        if has_home {
            self.homes.leaving.insert(id, Some(source));
        }
        has_home
    }

    /// Refuses a write that is to be logged when its collection has a home that is out of service: the
    /// records that count are nowhere else.
    pub(super) fn admit_to_home(&self, lane: LaneId) -> Result<(), Reply> {
        let LaneId::Collection(id) = lane else {
            return Ok(());
        };
        let homed = self.catalog.get(id).filter(|c| c.home.is_some());
        let is_away = homed.is_some_and(|c| !c.home.is_some_and(|home| self.serves(home, c)));
        if is_away {
            Err(local::nobody())
        } else {
            Ok(())
        }
    }

    pub(super) fn home_of(&self, id: CollectionId) -> Option<InstanceIx> {
        self.catalog.get(id).and_then(|collection| collection.home)
    }

    /// A job makes changes durable: a home among them is none before that.
    pub(super) fn homes_settling(&mut self, job: JobId, changes: &[Change]) {
        for change in changes {
            if let Change::Homed {
                collection,
                home: Some(_),
            } = change
            {
                self.homes.unrecorded.insert(job, *collection);
            }
        }
    }

    pub(super) fn homes_settled(&mut self, job: JobId) {
        self.homes.unrecorded.remove(&job);
    }

    /// A job has ended: whoever waits for the home that it could not give is told so.
    pub(super) fn home_found(&mut self, task: &Task, finding: &Finding) {
        if let (Task::Home(id, _), Finding::Refused(_)) = (task, finding) {
            self.homes.refused.insert(*id);
        }
    }

    /// Goes on wherever something waits; returns whether anything went on.
    pub(super) fn move_homes(&mut self) -> bool {
        self.end_doubtful_homes();
        let homes = &self.homes;
        if homes.leaving.is_empty() && homes.waiting.is_empty() && homes.refused.is_empty() {
            return false;
        }
        let mut has_moved = false;
        for (id, source) in self.homes.leaving.clone() {
            has_moved |= self.bring_back(id, source);
        }
        for id in std::mem::take(&mut self.homes.refused) {
            let message = "No instance could be made the one that has this collection's records; nothing was done";
            has_moved |= self.refuse_waiting(id, &reply::unavailable(message, 1));
        }
        let waiting: Vec<CollectionId> = self.homes.waiting.keys().copied().collect();
        for id in waiting {
            has_moved |= self.serve_waiting(id);
        }
        has_moved
    }

    fn serve_waiting(&mut self, id: CollectionId) -> bool {
        match self.place_for(id) {
            Place::Home(home) => self.send_waiting(id, home),
            Place::Log => {
                let waiting = self.homes.waiting.remove(&id).unwrap_or_default();
                self.log_all(waiting);
                true
            }
            Place::Soon => self.expire_waiting(id),
            Place::Nowhere(reply) => self.refuse_waiting(id, &reply),
        }
    }

    /// Has writes logged after all.
    fn log_all(&mut self, writes: impl IntoIterator<Item = LocalSubmission>) {
        for LocalSubmission {
            ticket,
            write,
            answer_by,
        } in writes
        {
            self.submitted(Submission {
                ticket,
                permit: write.into_permit(),
                answer_by,
            });
        }
    }

    fn place_for(&mut self, id: CollectionId) -> Place {
        let Some(collection) = self.catalog.get(id).cloned() else {
            return Place::Nowhere(reply::no_such_collection_id(&id.to_string()));
        };
        let is_being_made = || collection.copies.iter().any(|c| c.quarantine.is_some());
        match collection.home {
            Some(_) if self.homes.leaving.contains_key(&id) => Place::Log,
            Some(home) if !self.serves(home, &collection) => Place::Nowhere(local::nobody()),
            Some(_) if !self.is_home_recorded(id) && !self.store_is_up => not_recorded(),
            Some(_) if !self.is_home_recorded(id) => Place::Soon,
            Some(home) => Place::Home(home),
            None if is_being_made() => Place::Log,
            None => self.ask_for_home(&collection),
        }
    }

    fn is_home_recorded(&self, id: CollectionId) -> bool {
        self.plants(Bug::SendsBeforeHome)
            || !self.homes.unrecorded.values().any(|homed| *homed == id)
    }

    fn ask_for_home(&mut self, collection: &Collection) -> Place {
        let id = collection.id;
        if self.jobs.gives_home(id) {
            return Place::Soon;
        }
        if !self.store_is_up {
            return not_recorded();
        }
        let waiting = self.homes.waiting.get(&id).and_then(VecDeque::front);
        let wished = waiting.and_then(|waiting| waiting.write.wished());
        let serves = |instance: &InstanceIx| self.serves(*instance, collection);
        let all = || InstanceIx::all(self.instances.len()).filter(serves);
        let best = || all().min_by_key(|instance| (self.standing(*instance), *instance));
        match wished.filter(serves).or_else(best) {
            Some(home) => {
                self.ask_for(Task::Home(id, home));
                Place::Soon
            }
            None => Place::Nowhere(local::nobody()),
        }
    }

    /// Returns true when an instance is in service and has every acknowledged write of a collection.
    fn serves(&self, instance: InstanceIx, collection: &Collection) -> bool {
        let progress = self.progress.get(&collection.id);
        self.standing(instance) != Standing::Down
            && collection.is_served_by(instance)
            && progress.is_none_or(|progress| progress.is_current(instance))
    }

    fn send_waiting(&mut self, id: CollectionId, home: InstanceIx) -> bool {
        let waiting = self.homes.waiting.remove(&id).unwrap_or_default();
        for LocalSubmission { ticket, write, .. } in waiting {
            let abilities = self.abilities.of(home);
            let collection = self.catalog.get(id);
            let wire = collection.and_then(|c| write.wire(c, home, abilities));
            match wire {
                Some(wire) => {
                    self.homes.sent.insert(ticket, (id, home));
                    self.effects.push(Effect::SendLocally {
                        ticket,
                        instance: home,
                        wire,
                    });
                }
                None => self.answer(ticket, local::nobody()),
            }
        }
        true
    }

    fn expire_waiting(&mut self, id: CollectionId) -> bool {
        let now = self.now;
        let Some(waiting) = self.homes.waiting.get_mut(&id) else {
            return false;
        };
        let (over, rest): (VecDeque<_>, VecDeque<_>) = waiting
            .drain(..)
            .partition(|waiting| waiting.answer_by <= now);
        if rest.is_empty() {
            self.homes.waiting.remove(&id);
        } else {
            *waiting = rest;
        }
        for submission in &over {
            let message = "The instance that is to have this collection's records alone could not be recorded in time; nothing was done";
            self.answer(submission.ticket, reply::unavailable(message, 1));
        }
        !over.is_empty()
    }

    fn refuse_waiting(&mut self, id: CollectionId, reply: &Reply) -> bool {
        let waiting = self.homes.waiting.remove(&id).unwrap_or_default();
        for submission in &waiting {
            self.answer(submission.ticket, reply.clone());
        }
        !waiting.is_empty()
    }

    /// Brings a collection back into replication, once nothing that is not logged can still be carried
    /// out at its home, and the home is in service.
    fn bring_back(&mut self, id: CollectionId, source: Option<InstanceIx>) -> bool {
        let collection = self.catalog.get(id).cloned();
        let homed = collection.and_then(|c| Some((c.home?, c)));
        let Some((home, collection)) = homed else {
            self.homes.leaving.remove(&id);
            self.pass_gate(LaneId::Collection(id));
            return true;
        };
        let is_sent = self.homes.sent.values().any(|(sent, _)| *sent == id);
        let leaves_early = self.plants(Bug::LeavesHomeEarly);
        if (is_sent && !leaves_early) || self.jobs.gives_home(id) {
            return false;
        }
        // The home's copy is made anew when another one counts, and that waits until it is quiet.
        let source = source.unwrap_or(home);
        let is_quiet = leaves_early || self.is_quiet(home);
        if source == home && !(is_quiet && self.serves(home, &collection)) {
            return false;
        }
        self.homes.leaving.remove(&id);
        self.make_equal_to(id, source);
        self.pass_gate(LaneId::Collection(id));
        true
    }
}

/// Refusal for a collection whose home could not be made durable.
fn not_recorded() -> Place {
    let message = "The log can't be written at the moment; nothing was done";
    Place::Nowhere(reply::unavailable(message, 1))
}
