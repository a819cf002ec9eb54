//! Events that are due in a world, in the order of its moment and, at one moment, in the order in which it was put
//! down.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::world::Happening;

/// Something that is due. The heap moves it often, so it is small.
#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    happening: Box<Happening>,
}

impl Due {
    fn key(&self) -> (u64, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// All that is due.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    due: BinaryHeap<Reverse<Due>>,
    count: u64,
}

impl Agenda {
    /// Puts something down for a moment.
    pub(super) fn put(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.due.push(Reverse(Due {
            at,
            number: self.count,
            happening: Box::new(happening),
        }));
    }

    /// The event that is due next, with its moment.
    pub(super) fn next(&mut self) -> Option<(u64, Happening)> {
        let Reverse(due) = self.due.pop()?;
        Some((due.at, *due.happening))
    }

    /// Strikes everything out.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }
}
