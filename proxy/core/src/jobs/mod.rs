//! Work that goes on beside the lanes: making a copy of a collection anew, comparing copies, taking
//! an instance back into service.
//!
//! A job asks one thing after the other, so it is written as an `async fn`: a state machine that the
//! compiler makes. There is no runtime: the engine polls a job when what it waits for has come, and
//! carries out what it asks for next as effects. Dropping a job ends it.

pub mod adopt;
pub(crate) mod batch;
pub(crate) mod chroma;
pub mod copy;
pub(crate) mod discover;
pub(crate) mod home;
mod listing;
pub(crate) mod locate;
pub mod mapping;
pub(crate) mod mark;
mod naming;
mod recipe;
pub(crate) mod restore;
pub mod verify;

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use smallvec::SmallVec;

use crate::{
    abilities::{Abilities, AllAbilities},
    catalog::{Catalog, Change},
    engine::Wire,
    ids::{CollectionId, InstanceIx, LaneId, Position},
    limits::{HOLD_MAX, INSTANCE_HOLD_MAX, REPLY_BYTES_MAX},
    outcome::{Failure, Sending},
    reply::Reply,
    time::Instant,
};

/// Instances that a job has to do with.
pub(crate) type Places = SmallVec<[InstanceIx; 2]>;

/// Position of an instance in a lane.
pub(crate) type Cursor = (LaneId, InstanceIx, Position);

/// Work that a job does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Takes over what an instance already holds that is met for the first time.
    Adopt(InstanceIx),
    /// Takes an instance back into service that has lost its data, or was away for too long.
    Restore(InstanceIx),
    /// Renews the token of an instance's marker; makes the marker again after a reset.
    Mark(InstanceIx),
    /// Makes an instance's copy of a collection equal to a healthy one.
    Rebuild(CollectionId, InstanceIx),
    /// Compares a collection's copies.
    Verify(CollectionId),
    /// Makes a collection known under the UUIDs that an operator gives.
    Map(mapping::Mapping),
    /// Has one instance alone get the writes of a collection, and be read.
    Home(CollectionId, InstanceIx),
    /// Makes a collection unknown; its copies stay where they are.
    Unmap(CollectionId),
    /// Finds out which instances still have a collection.
    Locate(CollectionId),
    /// Takes over what instances hold of a tenant that nobody knows.
    Discover(Arc<str>),
}

impl Task {
    pub(crate) fn collection(&self) -> Option<CollectionId> {
        match self {
            Self::Rebuild(id, _) | Self::Verify(id) | Self::Home(id, _) | Self::Locate(id) => {
                Some(*id)
            }
            Self::Adopt(_)
            | Self::Restore(_)
            | Self::Mark(_)
            | Self::Map(_)
            | Self::Unmap(_)
            | Self::Discover(_) => None,
        }
    }

    /// The instance whose marker it writes.
    pub(crate) fn marks(&self) -> Option<InstanceIx> {
        match self {
            Self::Adopt(instance) | Self::Restore(instance) | Self::Mark(instance) => {
                Some(*instance)
            }
            Self::Rebuild(..)
            | Self::Verify(_)
            | Self::Home(..)
            | Self::Map(_)
            | Self::Unmap(_)
            | Self::Locate(_)
            | Self::Discover(_) => None,
        }
    }

    /// Returns true when the task takes over, or puts in order, what an instance holds, so that what another
    /// task has read there would not be true any more.
    fn takes_over(&self) -> bool {
        matches!(self, Self::Adopt(_) | Self::Restore(_) | Self::Discover(_))
    }

    /// Returns true when the task takes a few requests only, so that it need not wait for long tasks.
    pub(crate) fn is_small(&self) -> bool {
        matches!(
            self,
            Self::Mark(_) | Self::Home(..) | Self::Locate(_) | Self::Discover(_)
        )
    }

    /// Returns true when operators are told what the task has found, even when that is nothing.
    pub(crate) fn is_for_operators(&self) -> bool {
        !matches!(self, Self::Mark(_) | Self::Locate(_) | Self::Discover(_))
    }

    /// Returns true when the two tasks may not go on at once.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.collection(), other.collection());
        if self.is_small() || other.is_small() {
            let marks_the_same = self.marks().is_some() && self.marks() == other.marks();
            let both_take_over = self.takes_over() && other.takes_over();
            return both_take_over || marks_the_same || ours.is_some() && ours == theirs;
        }
        ours.is_none() || theirs.is_none() || ours == theirs
    }

    /// Longest time that writes may wait for the task.
    pub(crate) fn hold_max(&self) -> Duration {
        match self {
            Self::Adopt(_) | Self::Restore(_) => INSTANCE_HOLD_MAX,
            Self::Rebuild(..)
            | Self::Verify(_)
            | Self::Mark(_)
            | Self::Home(..)
            | Self::Map(_)
            | Self::Unmap(_)
            | Self::Locate(_)
            | Self::Discover(_) => HOLD_MAX,
        }
    }
}

/// Progress of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Current step, in words for people.
    pub doing: &'static str,
    /// Records looked at so far.
    pub records: u64,
    /// Records to be looked at, as far as is known.
    pub records_total: u64,
    /// Bytes that were written to an instance.
    pub bytes: u64,
}

/// Result of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Finding {
    /// Nothing to tell.
    #[default]
    Done,
    /// Comparison of the copies.
    Compared(verify::Comparison),
    /// Collections that were taken over.
    Adopted(adopt::Adopted),
    /// The task can't be done, for this reason.
    Refused(String),
}

/// Reason why a job has ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) reason: String,
    /// True when the next attempt would end in the same way, because of what an instance holds.
    pub(crate) is_lasting: bool,
    /// True when instances lack the collection, so that all of them are to be asked about it.
    pub(crate) is_suspicion: bool,
}

impl Stopped {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_lasting: false,
            is_suspicion: false,
        }
    }

    /// Instances lack the collection.
    pub(crate) fn lacking(reason: impl Into<String>) -> Self {
        Self {
            is_suspicion: true,
            ..Self::because(reason)
        }
    }

    /// A reason that does not pass by itself.
    pub(crate) fn lasting(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_lasting: true,
            is_suspicion: false,
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::because(failure.reason())
    }
}

/// Request of a job to the engine.
#[derive(Debug)]
pub(crate) enum Demand {
    /// Send this to an instance and tell the outcome. The answer may have so many bytes.
    Ask(InstanceIx, Wire, usize),
    /// Let no further write into a lane, and say when everything before is decided, and is recorded
    /// for these instances.
    Hold(LaneId, Places),
    /// Let writes into the lane again.
    Release(LaneId),
    /// Collect the ids of the records that writes touch from now on.
    Watch(LaneId),
    /// Say when these instances have everything that stands in a lane now.
    Reach(LaneId, Places),
    /// Say up to where the entries of a lane are decided, now.
    Decided(LaneId),
    /// Make this durable.
    Settle(Vec<Cursor>, Vec<Change>),
    /// Let some time pass.
    Pause(Duration),
}

/// Answer of the engine to a job's demand.
#[derive(Debug)]
pub(crate) enum Grant {
    /// It is done.
    Done,
    /// Outcome of a sending.
    Told(Sending),
    /// The last position of the lane.
    Head(Position),
}

/// The records that writes have touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) ids: BTreeSet<String>,
    /// A write has touched records of which only an instance can say which they are.
    pub(crate) unknown: bool,
}

#[derive(Debug, Default)]
struct Desk {
    demand: Option<Demand>,
    grant: Option<Grant>,
    touched: Touched,
    catalog: Catalog,
    abilities: AllAbilities,
    now: Instant,
    stage: Stage,
}

/// Meeting point of a job and the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Port(Arc<Mutex<Desk>>);

impl Port {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing is left half done on it by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The job's side.

    async fn demand(&self, demand: Demand) -> Option<Grant> {
        self.desk().demand = Some(demand);
        let grant = std::future::poll_fn(|_| match self.desk().grant.take() {
            Some(grant) => Poll::Ready(grant),
            None => Poll::Pending,
        });
        Some(grant.await)
    }

    /// Asks an instance. What says that it was not looked at, or failed, is no answer.
    pub(crate) async fn ask(&self, instance: InstanceIx, wire: Wire) -> Result<Reply, Stopped> {
        let reply = self.ask_at_most(instance, wire, REPLY_BYTES_MAX).await?;
        reply.ok_or_else(|| Failure::TooLarge.into())
    }

    /// The same; none when the answer has more bytes than it may have.
    pub(crate) async fn ask_at_most(
        &self,
        instance: InstanceIx,
        wire: Wire,
        bytes_max: usize,
    ) -> Result<Option<Reply>, Stopped> {
        let demand = Demand::Ask(instance, wire, bytes_max);
        let Some(Grant::Told(sending)) = self.demand(demand).await else {
            return Err(Stopped::because("the answer did not come"));
        };
        match sending {
            Sending::Answered(reply) if reply.is_answer() => Ok(Some(reply)),
            Sending::TooLarge => Ok(None),
            Sending::Answered(reply) => Err(Failure::ServerError(reply).into()),
            Sending::NotSent(why) => Err(Failure::NotSent(why).into()),
            Sending::Withheld(why) => Err(Failure::Withheld(why).into()),
            Sending::Closed { reused } => Err(Failure::Closed { reused }.into()),
            Sending::Silent => Err(Failure::Silent.into()),
        }
    }

    pub(crate) async fn hold(&self, lane: LaneId, on: &[InstanceIx]) -> Position {
        self.head(Demand::Hold(lane, on.into())).await
    }

    pub(crate) async fn reach(&self, lane: LaneId, on: &[InstanceIx]) -> Position {
        self.head(Demand::Reach(lane, on.into())).await
    }

    pub(crate) async fn decided(&self, lane: LaneId) -> Position {
        self.head(Demand::Decided(lane)).await
    }

    async fn head(&self, demand: Demand) -> Position {
        match self.demand(demand).await {
            Some(Grant::Head(head)) => head,
            _ => Position::default(),
        }
    }

    pub(crate) async fn release(&self, lane: LaneId) {
        self.demand(Demand::Release(lane)).await;
    }

    pub(crate) async fn watch(&self, lane: LaneId) {
        self.desk().touched = Touched::default();
        self.demand(Demand::Watch(lane)).await;
    }

    pub(crate) async fn settle(&self, cursors: Vec<Cursor>, changes: Vec<Change>) {
        self.demand(Demand::Settle(cursors, changes)).await;
    }

    pub(crate) async fn pause(&self, span: Duration) {
        if span > Duration::ZERO {
            self.demand(Demand::Pause(span)).await;
        }
    }

    /// Takes the records that writes have touched since the last call.
    pub(crate) fn touched(&self) -> Touched {
        std::mem::take(&mut self.desk().touched)
    }

    pub(crate) fn touched_count(&self) -> usize {
        self.desk().touched.ids.len()
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.desk().catalog.clone()
    }

    pub(crate) fn abilities(&self, instance: InstanceIx) -> Abilities {
        self.desk().abilities.of(instance)
    }

    pub(crate) fn stage(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.desk().stage);
    }

    // The engine's side.

    fn show(&self, catalog: Catalog, abilities: AllAbilities, now: Instant) {
        let mut desk = self.desk();
        desk.catalog = catalog;
        desk.abilities = abilities;
        desk.now = now;
    }

    fn take_demand(&self) -> Option<Demand> {
        self.desk().demand.take()
    }

    fn grant(&self, grant: Grant) {
        self.desk().grant = Some(grant);
    }
}

/// A job's own part: what it does, one thing after the other.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Finding, Stopped>> + Send>>;

/// A job under way.
pub(crate) struct Job {
    pub(crate) task: Task,
    /// The instances that it has to do with.
    pub(crate) places: Places,
    port: Port,
    work: Work,
}

/// State of a job after it was polled.
pub(crate) enum Polled {
    /// It asks for something.
    Demands(Demand),
    /// It has ended.
    Ended(Result<Finding, Stopped>),
}

impl Job {
    pub(crate) fn new(task: Task, places: Places, work: impl FnOnce(Port) -> Work) -> Self {
        let port = Port::default();
        Self {
            task,
            places,
            work: work(port.clone()),
            port,
        }
    }

    /// Lets the job go on until it asks for something.
    pub(crate) fn poll(
        &mut self,
        catalog: Catalog,
        abilities: AllAbilities,
        now: Instant,
    ) -> Polled {
        self.port.show(catalog, abilities, now);
        let mut context = Context::from_waker(Waker::noop());
        match self.work.as_mut().poll(&mut context) {
            Poll::Ready(result) => Polled::Ended(result),
            Poll::Pending => match self.port.take_demand() {
                Some(demand) => Polled::Demands(demand),
                None => Polled::Ended(Err(Stopped::because("it waits for nothing"))),
            },
        }
    }

    pub(crate) fn grant(&self, grant: Grant) {
        self.port.grant(grant);
    }

    pub(crate) fn touch(&self, ids: Option<Vec<String>>) {
        let mut desk = self.port.desk();
        match ids {
            Some(ids) => desk.touched.ids.extend(ids),
            None => desk.touched.unknown = true,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.port.desk().stage.clone()
    }
}
