//! How far each instance is in a lane, as far as readers care.

use smallvec::SmallVec;

use crate::ids::{InstanceIx, Position};

/// A lane's state for readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last entry whose client has been told, or may have been told, that it was done.
    pub acknowledged: Position,
    /// What each instance has applied.
    pub applied: SmallVec<[Position; 2]>,
}

impl Progress {
    /// Whether an instance has every acknowledged write.
    pub fn is_current(&self, instance: InstanceIx) -> bool {
        self.applied
            .get(instance.at())
            .is_some_and(|applied| *applied >= self.acknowledged)
    }
}
