//! A request of a lane to an instance, from its sending until what came of it is durable.

use crate::{
    ids::{Attempt, Position},
    time::Instant,
};

/// Request that is under way to an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) position: Position,
    /// The last entry that goes with it, as far as is known.
    pub(super) last: Position,
    pub(super) attempt: Attempt,
    pub(super) sent_at: Instant,
    pub(super) phase: Phase,
    pub(super) look_up: bool,
    pub(super) replicates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Sent,
    /// Sent, and silent for so long that it was told.
    Silent,
    /// Answered, and being made durable.
    Recording,
}

impl Flight {
    pub(super) fn carries(&self, position: Position) -> bool {
        (self.position..=self.last).contains(&position)
    }
}

/// A sending whose answer the lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The entry.
    pub position: Position,
    /// The last one that may have gone with it.
    pub last: Position,
    /// True when only an id was asked for.
    pub look_up: bool,
    /// True when the request replicates decided entries.
    pub replicates: bool,
}

impl Awaited {
    /// Fewer entries may have been sent than could have been.
    pub(crate) fn end_after(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        self.last = self
            .last
            .min(Position(self.position.0.saturating_add(count - 1)));
    }
}
