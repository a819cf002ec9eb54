//! Progress of each instance in a lane, as far as readers care.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::ids::{InstanceIx, Position};

/// A lane's state for readers. It is published before anything that it calls sent is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last entry that somebody may know to be done: its client, because it was told so, or a
    /// reader, because an instance has done it.
    pub acknowledged: Position,
    /// All entries up to this one are decided.
    pub decided: Position,
    /// The last entry that was given up although an instance may have done it.
    pub undone: Position,
    /// The last entry that each instance has applied.
    pub applied: SmallVec<[Position; 2]>,
    /// The last entry that each instance may have been sent.
    pub sent: SmallVec<[Position; 2]>,
}

impl Progress {
    /// Returns true when an instance has every acknowledged write.
    pub fn is_current(&self, instance: InstanceIx) -> bool {
        self.applied
            .get(instance.at())
            .is_some_and(|applied| *applied >= self.acknowledged)
    }

    /// The last entry that an instance has applied.
    pub fn applied_by(&self, instance: InstanceIx) -> Position {
        let applied = self.applied.get(instance.at()).copied();
        applied.unwrap_or_default()
    }

    /// The last entry that an answer of an instance may show.
    pub fn sent_to(&self, instance: InstanceIx) -> Position {
        let sent = self.sent.get(instance.at()).copied();
        sent.unwrap_or_default()
    }

    /// Returns true when an instance may be doing an entry that is not decided yet.
    pub fn is_unsettled_on(&self, instance: InstanceIx) -> bool {
        self.sent_to(instance) > self.decided
    }
}
