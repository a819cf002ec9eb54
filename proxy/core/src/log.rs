//! Entries of the log: what they say, and what became of them.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{CollectionId, DatabaseId, EntryId, Key, LaneId, Position},
    key::Keyed,
    route::Action,
    time::WallTime,
};

/// Action of a record write, named by the same words as in Chroma's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are what they say")]
pub enum RecordAct {
    Add,
    Update,
    Upsert,
    Delete,
}

/// Action of an entry. Names are those of the request; collections are named by id, so that a rename
/// between the request and its turn changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are what they say")]
pub enum Verb {
    Record {
        collection: CollectionId,
        act: RecordAct,
    },
    CreateTenant {
        name: Option<Arc<str>>,
    },
    UpdateTenant {
        tenant: Arc<str>,
    },
    CreateDatabase {
        tenant: Arc<str>,
        name: Option<Arc<str>>,
        /// The id that it gets when it is made.
        id: DatabaseId,
    },
    DeleteDatabase {
        tenant: Arc<str>,
        database: Arc<str>,
    },
    CreateCollection {
        tenant: Arc<str>,
        database: Arc<str>,
        name: Option<Arc<str>>,
        /// The id that it gets when it is made.
        id: CollectionId,
    },
    ModifyCollection {
        collection: CollectionId,
        new_name: Option<Arc<str>>,
    },
    DeleteCollection {
        collection: CollectionId,
    },
    /// A fork, which a single node answers with 501; logged all the same, in case one day it does not.
    Fork {
        collection: CollectionId,
    },
    AttachFunction {
        collection: CollectionId,
    },
    DetachFunction {
        collection: CollectionId,
        function: Arc<str>,
    },
    Reset,
}

impl Verb {
    /// The request of Chroma's that carries it out.
    pub fn action(&self) -> Action {
        match self {
            Self::Record { act, .. } => match act {
                RecordAct::Add => Action::Add,
                RecordAct::Update => Action::Update,
                RecordAct::Upsert => Action::Upsert,
                RecordAct::Delete => Action::DeleteRecords,
            },
            Self::CreateTenant { .. } => Action::CreateTenant,
            Self::UpdateTenant { .. } => Action::UpdateTenant,
            Self::CreateDatabase { .. } => Action::CreateDatabase,
            Self::DeleteDatabase { .. } => Action::DeleteDatabase,
            Self::CreateCollection { .. } => Action::CreateCollection,
            Self::ModifyCollection { .. } => Action::UpdateCollection,
            Self::DeleteCollection { .. } => Action::DeleteCollection,
            Self::Fork { .. } => Action::Fork,
            Self::AttachFunction { .. } => Action::AttachFunction,
            Self::DetachFunction { .. } => Action::DetachFunction,
            Self::Reset => Action::Reset,
        }
    }

    /// The lane that the entry belongs to.
    pub fn lane(&self) -> LaneId {
        match self {
            Self::Record { collection, .. } => LaneId::Collection(*collection),
            _ => LaneId::Schema,
        }
    }

    /// The one collection that must exist for the entry to mean anything.
    pub fn subject(&self) -> Option<CollectionId> {
        match self {
            Self::Record { collection, .. }
            | Self::ModifyCollection { collection, .. }
            | Self::DeleteCollection { collection }
            | Self::Fork { collection }
            | Self::AttachFunction { collection }
            | Self::DetachFunction { collection, .. } => Some(*collection),
            _ => None,
        }
    }

    /// The name that a collection has when the entry is done.
    pub fn new_name(&self) -> Option<&str> {
        match self {
            Self::CreateCollection { name, .. } => name.as_deref(),
            Self::ModifyCollection { new_name, .. } => new_name.as_deref(),
            _ => None,
        }
    }

    /// The one collection that the entry is about, be it that it makes it.
    pub fn subject_or_made(&self) -> Option<CollectionId> {
        match self {
            Self::CreateCollection { id, .. } => Some(*id),
            _ => self.subject(),
        }
    }
}

/// One write, before it has a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its own name.
    pub id: EntryId,
    /// Time at which the entry was logged, for people.
    pub logged_at: WallTime,
    /// Action of the entry.
    pub verb: Verb,
    /// The `Content-Type` that the client sent.
    pub content_type: Option<Arc<str>>,
    /// The body that the client sent, byte for byte.
    pub body: Bytes,
    /// The key under which the client may repeat it.
    pub key: Option<Keyed>,
    /// The letter that it takes up again: it is gone when this entry is in the log.
    pub retries: Option<EntryId>,
}

/// A dead letter: a write that came to nothing after its client had reason to believe that it would
/// be done. It is kept until an operator has it done after all, or dismisses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The entry that it was.
    pub id: EntryId,
    /// The entry's lane.
    pub lane: LaneId,
    /// The entry's place there.
    pub position: Position,
    /// Time at which the entry was logged.
    pub logged_at: WallTime,
    /// Action that the entry was to carry out.
    pub verb: Verb,
    /// The `Content-Type` of its body.
    pub content_type: Option<Arc<str>>,
    /// Reason why the write came to nothing, for the operator.
    pub reason: String,
    /// Bytes of its body.
    pub body_bytes: u64,
}

/// Result of an entry, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nobody has carried it out yet, as far as is known.
    #[default]
    Open,
    /// An instance has carried it out; every other one must.
    Accepted,
    /// A create that found the collection there: done, and nothing is left for anybody to do.
    Found,
    /// Chroma refused it. Where the refusal may have left a trace (a refused add can set a
    /// collection's dimension), the others are made to refuse it as well.
    Refused {
        /// True when the other instances must refuse it as well.
        trace: bool,
    },
    /// Given up: it was never sent, or every instance kept failing it.
    Abandoned,
    /// Its collection was deleted before its turn came.
    Void,
}

impl Verdict {
    /// Returns true when the entry must be sent to instances that have not had it.
    pub fn binds(self) -> bool {
        matches!(self, Self::Accepted | Self::Refused { trace: true })
    }

    /// Returns true when instances pass over the entry.
    pub fn is_passed_over(self) -> bool {
        matches!(
            self,
            Self::Found | Self::Refused { trace: false } | Self::Abandoned | Self::Void
        )
    }
}

/// Number of instances that must have carried a write out before its client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// None: it is in the log. For record writes alone; what makes something waits for the first.
    Logged,
    /// The first.
    One,
    /// More than half of those in service.
    Majority,
    /// Every one that is in service and not catching up.
    All,
}

impl Level {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logged => "logged",
            Self::One => "one",
            Self::Majority => "majority",
            Self::All => "all",
        }
    }
}

/// An entry as it stands in the log; the body is read from the store when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its lane.
    pub lane: LaneId,
    /// Its place there.
    pub position: Position,
    /// Its own name.
    pub id: EntryId,
    /// Time at which the entry was logged.
    pub logged_at: WallTime,
    /// Action of the entry.
    pub verb: Verb,
    /// The `Content-Type` of its body.
    pub content_type: Option<Arc<str>>,
    /// Size of its body in bytes.
    pub bytes: usize,
    /// Verdict of the entry, as far as it is recorded.
    pub verdict: Verdict,
    /// Its key, while it is open.
    pub key: Option<Key>,
}
