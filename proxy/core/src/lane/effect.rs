//! Effects of a lane.

use crate::{
    ids::{Attempt, InstanceIx, Position, Ticket},
    key::Settled,
    log::Verdict,
    reply::Reply,
    time::Instant,
};

/// One effect that a lane wants carried out.
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
        /// True when the request only asks for the id of the collection that the entry made.
        look_up: bool,
        /// True when the request replicates a decided entry: an instance has only a few such requests at
        /// once.
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
        /// Outcome to remember under the entry's key, when the entry has a key and the verdict is new.
        settled: Option<Box<Settled>>,
        /// Reason for making the entry a letter, when the verdict is new and a refusal that comes too late.
        letter: Option<String>,
    },
    /// Make a verdict durable that does not come from an instance.
    Close {
        /// The entry.
        position: Position,
        /// The verdict.
        verdict: Verdict,
        /// Reason of the verdict, for the operator.
        reason: String,
        /// Outcome to remember under the entry's key, when it has one.
        settled: Option<Box<Settled>>,
        /// True when the entry becomes a letter: its client may believe that it was done, or will be.
        is_letter: bool,
        /// True when an instance may have done the entry all the same.
        may_be_done: bool,
    },
    /// Answer a client.
    Answer {
        /// The client.
        ticket: Ticket,
        /// Reply to the client.
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
        /// The instance's answer or failure, in words for the operator.
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
        /// The instance's failure, in words for the operator.
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
