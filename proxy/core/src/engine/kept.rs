//! Bodies that nobody waits for any more: they stay in memory for the instances that are a moment
//! behind, within bounds, and are loaded from the log for those that are further behind.

use std::collections::VecDeque;

use crate::ids::{LaneId, Position};

/// Bytes that an entry costs beside its body: they are counted with the body, so that the queue is bounded
/// too.
const ENTRY_BYTES: usize = 128;

/// The bodies that are kept, oldest first. One that was freed meanwhile counts until its turn comes.
#[derive(Debug)]
pub(super) struct Kept {
    bytes_max: usize,
    bytes: usize,
    bodies: VecDeque<(LaneId, Position, usize)>,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            bodies: VecDeque::new(),
        }
    }

    /// Takes in the body of an entry, of so many bytes.
    pub(super) fn add(&mut self, lane: LaneId, position: Position, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        self.bytes += bytes;
        self.bodies.push_back((lane, position, bytes));
    }

    /// Takes out the oldest body while the kept ones have too many bytes; `None` once they have not.
    pub(super) fn next_to_go(&mut self) -> Option<(LaneId, Position)> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let (lane, position, bytes) = self.bodies.pop_front()?;
        self.bytes -= bytes;
        Some((lane, position))
    }
}
