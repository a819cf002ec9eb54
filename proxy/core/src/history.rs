//! Records of what clients wrote and of what operators changed, for those who ask later. No contents of
//! requests stand in them.

use crate::{route::Action, time::WallTime};

/// A write of a client's, after its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRecord {
    /// Time when it came.
    pub begun_at: WallTime,
    /// Time to its answer, in milliseconds.
    pub took_ms: u64,
    /// The name of its token; empty without one.
    pub who: String,
    /// The address that it came from.
    pub client: String,
    /// Name of its action, by [`Action::as_str`].
    pub action: String,
    /// The tenant in its path.
    pub tenant: String,
    /// The database in its path.
    pub database: String,
    /// The collection's name, or what its path says when there is no such collection.
    pub collection: String,
    /// The HTTP status of its answer.
    pub status: u16,
    /// The key under which it may be repeated; empty without one.
    pub key: String,
}

/// Outcome of a write, by the status of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteOutcome {
    /// It was done.
    Completed,
    /// It was refused, and nothing was done.
    Refused,
    /// It was not done in time, or it is not known whether it was.
    Failed,
}

impl WriteOutcome {
    /// By the status of an answer.
    pub fn of(status: u16) -> Self {
        match status {
            0..400 => Self::Completed,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// The statuses of such answers: the least, and the first beyond them.
    pub fn statuses(self) -> (u16, u16) {
        match self {
            Self::Completed => (0, 400),
            Self::Refused => (400, 500),
            Self::Failed => (500, u16::MAX),
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        let mut all = [Self::Completed, Self::Refused, Self::Failed].into_iter();
        all.find(|outcome| outcome.as_str() == word)
    }
}

/// Kinds of audited events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKind {
    /// A changing call of the operator's interface.
    Change,
    /// A client's request that destroys more than records.
    Destruction,
    /// A request that was turned away for its token.
    Denial,
}

impl AuditKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Change, Self::Destruction, Self::Denial];

    /// The word for it in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Destruction => "destruction",
            Self::Denial => "denial",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An audited event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Time of the event.
    pub at: WallTime,
    /// Kind of event.
    pub kind: AuditKind,
    /// The name of the token; empty without one.
    pub who: String,
    /// The address that the request came from.
    pub client: String,
    /// Method and path.
    pub what: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Content of the call, or the reason for denying it.
    pub detail: String,
}

/// The part of the recent writes that is asked for: the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritesAsked {
    /// Records with smaller numbers alone.
    pub before: u64,
    /// Number of records, at most.
    pub limit: u32,
    /// Of this collection alone.
    pub collection: Option<String>,
    /// Of this token alone.
    pub who: Option<String>,
    /// With this outcome alone.
    pub outcome: Option<WriteOutcome>,
}

/// The part of the audited events that is asked for: the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAsked {
    /// Records with smaller numbers alone.
    pub before: u64,
    /// Number of records, at most.
    pub limit: u32,
    /// Of this kind alone.
    pub kind: Option<AuditKind>,
}

/// Bounds of the history that is kept. The oldest records go first, in small steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Writes that came before this time go.
    pub writes_since: WallTime,
    /// Number of writes that are kept.
    pub writes_max: u64,
    /// Audited events before this time go.
    pub audit_since: WallTime,
    /// Number of denials that are kept; whoever is denied makes as many as they like.
    pub denials_max: u64,
}

/// True for what an audit tells of a client: it destroys more than records.
pub fn is_audited(action: Action) -> bool {
    matches!(
        action,
        Action::Reset | Action::DeleteDatabase | Action::DeleteCollection
    )
}
