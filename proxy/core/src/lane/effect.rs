//! What comes out of a lane.

use crate::{
    ids::{Attempt, InstanceIx, Position, Ticket},
    key::Settled,
    log::Verdict,
    reply::Reply,
    time::Instant,
};

/// What a lane wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an entry to an instance.
    Send {
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// The last entry that may go with it in one request: the same one for most.
        last: Position,
        /// To be named in the answer.
        attempt: Attempt,
        /// Whether only the id of the collection that it made is asked for.
        look_up: bool,
        /// Whether it replicates what is decided, and so is one of the few.
        replicates: bool,
    },
    /// Nobody waits for an entry any more, and its body is still in memory: it may stay there for a while.
    Keep {
        /// The entry.
        position: Position,
        /// The size of its body.
        bytes: usize,
    },
    /// Make durable that an instance has applied an entry.
    Record {
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// The entry's verdict, when that is not recorded yet.
        verdict: Option<Verdict>,
        /// What is to be remembered under the entry's key, when it has one and the verdict is new.
        settled: Option<Box<Settled>>,
        /// Why it becomes a letter, when the verdict is new and a refusal that comes too late.
        letter: Option<String>,
    },
    /// Make a verdict durable that no instance stands for.
    Close {
        /// The entry.
        position: Position,
        /// The verdict.
        verdict: Verdict,
        /// Why, for the operator.
        reason: String,
        /// What is to be remembered under the entry's key, when it has one.
        settled: Option<Box<Settled>>,
        /// Whether it becomes a letter: its client may believe that it was done, or will be.
        is_letter: bool,
        /// Whether an instance may have done it all the same.
        may_be_done: bool,
    },
    /// Answer a client.
    Answer {
        /// The client.
        ticket: Ticket,
        /// What it is told.
        reply: Reply,
    },
    /// The store will know what a client is told under its key.
    AskAgain {
        /// The client.
        ticket: Ticket,
    },
    /// An instance did otherwise than the one that decided the entry: it is not the same any more.
    Disagrees {
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// What it did, for the operator.
        reason: String,
    },
    /// An instance says that it does not have the lane's collection.
    Missing,
    /// An instance failed an entry.
    Trouble {
        /// The instance.
        instance: InstanceIx,
        /// The entry.
        position: Position,
        /// Failures in a row.
        tries: u32,
        /// What it did, for the operator.
        reason: String,
    },
    /// An instance has been silent for the hedge delay.
    Silence {
        /// The instance.
        instance: InstanceIx,
    },
    /// An instance has as many replicating requests as it may: advance this lane when its turn comes.
    AwaitTurn {
        /// The instance.
        instance: InstanceIx,
    },
    /// Advance this lane at this time at the latest.
    Wake {
        /// The time.
        at: Instant,
    },
}
