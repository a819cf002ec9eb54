//! Places that a run must have come to, or it has not tried what it says that it tries.

use super::faults::names;

names! {
    /// A place in the code, or a turn of events, that is seen from outside.
    Mark,
    HedgeSent => "a write was sent to a second instance beside the first",
    ReadHedged => "a read was sent to a second instance beside the first",
    Merged => "several writes became one request",
    Split => "a request of several writes failed, and each was sent alone",
    ReadMovedOn => "a read went on to another instance",
    ReadWaited => "a read waited for an instance and was served",
    ReadHeld => "an answer was held until the writes that it may show were decided",
    FollowerRead => "a follower carried a read out",
    FollowerGave => "a follower gave an answer that the leader had confirmed",
    FollowerReadAgain => "the leader did not confirm what a follower had read, and it was read again",
    ReadAgain => "an answer was thrown away, and the read was carried out again",
    LateLanding => "a write was carried out after its sender had given up",
    OrphanLanding => "a write was carried out after its proxy had died",
    Settled => "an instance was left alone until a request had settled",
    Restarted => "an instance restarted before a request had settled",
    StaleRetry => "a request was repeated on another connection",
    AppendUnknownDone => "an append of unknown outcome was found",
    AppendUnknownNot => "an append of unknown outcome was not found",
    AppendFailed => "an append failed",
    VoidInFlight => "a collection was deleted while a write to it was under way",
    LookUp => "the id of a collection was looked up after a 409",
    TraceReplayed => "a refusal with a trace was repeated on another instance",
    Quarantined => "a copy was quarantined",
    Abandoned => "an entry was given up",
    Withdrawn => "an entry was withdrawn",
    Found => "a create found the collection there",
    Deposed => "a commit was refused because its proxy was deposed",
    CrashBeforeSend => "a proxy died between an append and its sending",
    CrashBeforeRecord => "a proxy died between an answer and its record",
    CommitSurvived => "a commit came through although its proxy died",
    Trimmed => "the log was trimmed",
    Forgotten => "a deleted collection was forgotten",
    BodyFromLog => "a body was read from the log",
    Resolved => "a delete with a limit was resolved",
    GuardDenied => "the guard denied a request",
    LevelNotReached => "a level was not reached in time",
    OutcomeUnknown => "a client was told that the outcome is unknown",
    NoAnswer => "a client was told that there was no answer",
    RenameRefused => "a rename onto an existing name was refused",
    Recreated => "a name was deleted and made again",
    KeyJoined => "a write under a known key waited for the first one",
    KeyTold => "a write under a known key was told what became of the first one",
    KeySurvived => "a write was repeated under its key after its proxy had died",
    KeyReused => "another write was refused under a known key",
    KeyRace => "the store knew a key that it was to append under",
    Heavy => "a heavy write was carried out",
    TooLarge => "an answer to a job was too large, and was asked for in parts",
    JobFailed => "a job failed",
    Healed => "a copy was used again",
    Distrusted => "copies were found to differ",
    Repaired => "an operator said which of two copies is right",
    Restored => "an instance was taken into service",
    PastHeld => "an instance was held because its data was from the past",
    LegalMissing => "a request was answered 404 for something that was never there",
    Positional => "a positional body was refused",
    Logged => "a client was told that its write is logged, and no more was known",
    LetterRetried => "an operator had a letter written again",
    LetterDismissed => "an operator dismissed a letter",
    Local => "policy kept a write out of the log",
    LocalDone => "a home did a write that is not logged",
    Homed => "a collection got a home",
    CameBack => "a collection with a home came back into replication",
    HomeLost => "a home was lost",
    Trashed => "a collection went to the trash",
    TrashRestored => "a collection came back from the trash",
    TrashPurged => "a collection was deleted in the trash when its time was over",
}

impl Mark {
    /// Returns true for a place that only histories with followers come to.
    pub(super) fn is_of_followers(self) -> bool {
        matches!(
            self,
            Self::FollowerRead | Self::FollowerGave | Self::FollowerReadAgain
        )
    }
}
