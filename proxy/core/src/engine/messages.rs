//! Events that the engine is told of, and effects that it wants carried out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Join, LocalSubmission, Question, Submission, TroubleReport};
use crate::{
    abilities::Abilities,
    catalog::Marker,
    durable::Write,
    health::{Probe, Sign, Standing, Transition},
    ids::{Attempt, CollectionId, InstanceId, InstanceIx, JobId, LaneId, Position, Ticket},
    jobs::Task,
    log::Entry,
    outcome::Sending,
    reply::Reply,
    resolve::Unresolved,
    route::Method,
    weight::Vitals,
};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A client wants a write done.
    Submitted(Box<Submission>),
    /// A client wants a write done that policy keeps out of the log.
    SubmittedLocally(Box<LocalSubmission>),
    /// A sending to a collection's home has ended.
    DoneLocally {
        /// The client that it is for.
        ticket: Ticket,
        /// Result of the sending.
        sending: Sending,
    },
    /// The policy that says which writes are logged has changed: each collection that has a home comes
    /// back into replication.
    PolicyChanged,
    /// The store has made an entry durable.
    Appended {
        /// The client that it is for.
        ticket: Ticket,
        /// The place that the store gave it.
        position: Position,
    },
    /// The store knew the key of an entry, and has appended nothing.
    AppendKnown {
        /// The client that it is for.
        ticket: Ticket,
    },
    /// A client repeats a request under a key that the store knows.
    Joined(Box<Join>),
    /// The store has not made an entry durable, and never will.
    AppendFailed {
        /// The client that it is for.
        ticket: Ticket,
        /// Reply to the client.
        reply: Reply,
    },
    /// An instance has answered a question on which a submission waits, or has failed to.
    Resolved {
        /// The client that waits.
        ticket: Ticket,
        /// The instance.
        instance: InstanceIx,
        /// The body that is logged instead of the client's.
        found: Result<Bytes, Unresolved>,
    },
    /// A sending has ended.
    Answered {
        /// Its lane.
        lane: LaneId,
        /// The instance.
        instance: InstanceIx,
        /// Number of the sending.
        attempt: Attempt,
        /// Number of entries that were sent: more than one where [`Effect::Send`] says that they may go
        /// together.
        count: usize,
        /// Result of the sending.
        sending: Sending,
    },
    /// The store has recorded that an instance has applied an entry.
    Recorded {
        /// The lane.
        lane: LaneId,
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
    },
    /// The store has recorded a verdict that does not come from an instance.
    Closed {
        /// The lane.
        lane: LaneId,
        /// The entry.
        position: Position,
    },
    /// An instance's answer to what a job asked.
    Told {
        /// The job.
        job: JobId,
        /// Result of the sending.
        sending: Sending,
    },
    /// The store has made durable what a job has made true.
    Settled {
        /// The job.
        job: JobId,
    },
    /// An operator wants something done.
    Wanted(Task),
    /// An operator says which copy of a collection is right: the others are made equal to it.
    Repair {
        /// The collection.
        collection: CollectionId,
        /// The instance whose copy is right.
        source: InstanceIx,
    },
    /// A read was told that an instance does not have a collection.
    Missed {
        /// The instance.
        instance: InstanceIx,
        /// The collection's UUID there.
        id: InstanceId,
    },
    /// A request met a sign of trouble.
    Noticed {
        /// The instance.
        instance: InstanceIx,
        /// Sign of trouble that the request met.
        sign: Sign,
    },
    /// A probe has ended.
    Probed {
        /// The instance.
        instance: InstanceIx,
        /// Result of the probe.
        probe: Probe,
        /// Abilities of the instance, if they were asked for and answered.
        abilities: Option<Abilities>,
        /// Other signs of life that the instance has shown.
        vitals: Vitals,
    },
    /// An operator has said how an instance is to be held.
    Forced {
        /// The instance.
        instance: InstanceIx,
        /// Standing that the operator has set.
        standing: Standing,
        /// Time for which that standing holds.
        span: Duration,
    },
    /// The store takes writes, or does not.
    StoreIs {
        /// True when the store takes writes.
        up: bool,
    },
    /// An operator has seen the troubles that are settled.
    ClearTroubles,
    /// Time has passed.
    Tick,
}

/// Request to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The method.
    pub method: Method,
    /// The canonical target.
    pub target: String,
    /// The body.
    pub body: Payload,
    /// The `Content-Type` of the body.
    pub content_type: Option<Arc<str>>,
}

/// Body of a request to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is none.
    None,
    /// The entry's.
    Entry {
        /// The body, when it is in memory; otherwise the store has it.
        body: Option<Bytes>,
        /// True when `get_or_create` must be taken out of the body.
        must_create: bool,
        /// True when embeddings must be arrays.
        as_arrays: bool,
    },
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make an entry durable, then say [`Event::Appended`] or [`Event::AppendKnown`].
    Append {
        /// The client that it is for.
        ticket: Ticket,
        /// The entry.
        entry: Entry,
    },
    /// Ask an instance, then say [`Event::Resolved`].
    Resolve {
        /// The client that waits.
        ticket: Ticket,
        /// The instance, which has every entry of the lane.
        instance: InstanceIx,
        /// Question to the instance.
        question: Question,
    },
    /// Send an entry to an instance, then say [`Event::Answered`].
    Send {
        /// The lane.
        lane: LaneId,
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// To be named in the answer.
        attempt: Attempt,
        /// Request to the instance.
        wire: Wire,
        /// The bodies of the entries behind it, as far as they are in memory: as many of them as can be
        /// [merged](crate::merge::Merging) with it may go in the same request.
        more: Vec<Option<Bytes>>,
    },
    /// Send a write that is not logged to its collection's home, once, then say [`Event::DoneLocally`].
    SendLocally {
        /// The client that it is for.
        ticket: Ticket,
        /// The home.
        instance: InstanceIx,
        /// Request to the home.
        wire: Wire,
    },
    /// Send this for a job, then say [`Event::Told`].
    Ask {
        /// The job.
        job: JobId,
        /// The instance.
        instance: InstanceIx,
        /// Request to the instance.
        wire: Wire,
        /// Bytes that the answer may have; a larger one is not taken in.
        reply_bytes_max: usize,
    },
    /// Make this durable, then say [`Event::Recorded`] of a record, [`Event::Closed`] of a close,
    /// [`Event::Settled`] of what a job has made true.
    Write(Write),
    /// The same, but nobody waits for it: it may go with whatever is made durable next.
    WriteWithNext(Write),
    /// Answer a client.
    Answer {
        /// The client.
        ticket: Ticket,
        /// Reply to the client.
        reply: Reply,
    },
    /// Ask the store for the client's key: the answer for the client stands there, or will.
    AskAgain {
        /// The client.
        ticket: Ticket,
    },
    /// Have the store forget the keys that were logged longer ago than this, and the oldest beyond a number,
    /// if they are settled.
    ForgetKeys {
        /// The time.
        kept: Duration,
        /// The number.
        kept_max: u64,
    },
    /// Ask an instance for its marker, or for its heartbeat when it has none yet, and say
    /// [`Event::Probed`].
    Probe {
        /// The instance.
        instance: InstanceIx,
        /// Its marker.
        marker: Option<Marker>,
        /// True when the instance, if it answers, is asked for its abilities as well.
        meets: bool,
    },
    /// Tell the operator that a job has failed and will be tried again.
    JobFailed {
        /// The job.
        task: Task,
        /// Number of times that the job has failed.
        tries: u32,
        /// Reason of the last failure.
        reason: String,
    },
    /// Tell the operator that an instance's standing has changed.
    Tell {
        /// The instance.
        instance: InstanceIx,
        /// The change.
        transition: Transition,
    },
    /// Tell the operator of trouble.
    Warn(TroubleReport),
}
