//! Turns of lanes to replicate to an instance: it gets few requests at once, and the lanes that want to
//! send more take turns.

use std::collections::{BTreeSet, VecDeque};

use crate::ids::LaneId;

/// The replicating requests of one instance.
pub(super) struct Turns {
    most: usize,
    /// Number of further requests that may be sent now.
    pub(super) free: usize,
    /// Lanes that wait for their turn, the next one first; no lane twice.
    queue: VecDeque<LaneId>,
    queued: BTreeSet<LaneId>,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            free: most,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }

    /// A lane has something to send and may not. Changes of collections go first: whole lanes wait
    /// for them.
    pub(super) fn wait(&mut self, lane: LaneId) {
        if !self.queued.insert(lane) {
            return;
        }
        match lane {
            LaneId::Schema => self.queue.push_front(lane),
            LaneId::Collection(_) => self.queue.push_back(lane),
        }
    }

    /// A request has ended.
    pub(super) fn end(&mut self) {
        self.free = (self.free + 1).min(self.most);
    }

    /// The lane whose turn it is, if it may send.
    pub(super) fn next(&mut self) -> Option<LaneId> {
        if self.free == 0 {
            return None;
        }
        let lane = self.queue.pop_front()?;
        self.queued.remove(&lane);
        Some(lane)
    }
}
