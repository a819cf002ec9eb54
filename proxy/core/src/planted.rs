//! Bugs that are planted on purpose, so that the simulator can show that it finds them.
//!
//! Without the feature `planted` there are none, and asking for one costs nothing.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A write is acknowledged before it is in the log.
    AcknowledgesBeforeAppend,
    /// The next entry is sent before the last one is recorded.
    TwoUnrecorded,
    /// An entry that fails again and again is skipped.
    SkipsFailing,
    /// An entry that ended in silence is held not to have happened.
    ForgetsUnknown,
    /// An entry that ended in silence is sent again at once.
    DoesNotSettle,
    /// A collection of a name that was deleted gets the old id.
    RecreatesOldIdentity,
    /// A read may go to an instance that lags.
    ServesLagging,
    /// A client is given an answer that may show a write whose outcome nobody knows yet.
    ShowsUndecided,
    /// The log is trimmed up to its end.
    TrimsTooFar,
    /// Writes of one record become one request, whatever each does.
    MergesDependent,
    /// A copy is used again without the records that were touched last.
    RebuildsWithoutLastStep,
    /// A heavy body goes to a second instance after the hedge delay.
    HedgesHeavy,
    /// An instance that answers no probe while it works on a heavy body is down.
    BusyIsDown,
    /// A 404 to a change of what is attached to a collection says that the collection is missing.
    AnyMissingIsLoss,
    /// A write that is refused after its client was told that it is logged is no letter.
    LosesLetters,
    /// A collection that no instance has any more is still held to be there.
    NeverGone,
    /// A write that is not logged is sent to its collection's home before it is durable that it is one.
    SendsBeforeHome,
    /// A collection with a home stays there when policy changes.
    StaysHome,
    /// A collection leaves its home while a write that is not logged may still be carried out there.
    LeavesHomeEarly,
    /// Entries that a collection's lane still owes become void when the collection goes to the trash.
    TrashVoids,
    /// A follower gives what it has read by an old view, without asking the leader.
    BelievesOldView,
    /// A follower takes what the leader confirms for true although the catalog has changed meanwhile.
    OverlooksRevision,
    /// A leader tells a follower that has missed an answer only what has changed since.
    LosesDifference,
}

/// The bug that is planted, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted(#[cfg(feature = "planted")] Option<Bug>);

impl Planted {
    /// None, as in production.
    pub const NONE: Self = Self(
        #[cfg(feature = "planted")]
        None,
    );

    /// This one.
    #[cfg(feature = "planted")]
    pub fn bug(bug: Bug) -> Self {
        Self(Some(bug))
    }

    /// Returns true when this bug is planted.
    #[cfg(feature = "planted")]
    pub fn is(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    /// Returns false: without the feature no bug is planted.
    #[cfg(not(feature = "planted"))]
    pub fn is(self, _bug: Bug) -> bool {
        false
    }
}
