//! Connections that instances closed on an entry, or on a question about one: poison is told from them (rule
//! 15 of the design).

use smallvec::SmallVec;

use crate::{ids::InstanceIx, time::Instant};

/// Closings of one instance.
#[derive(Clone, Copy, Debug)]
struct OfInstance {
    instance: InstanceIx,
    count: u32,
    last_at: Instant,
}

/// Closings of all instances. Most entries have none, which takes one word.
#[derive(Debug, Default)]
pub(crate) struct Closings(Option<Box<SmallVec<[OfInstance; 2]>>>);

impl Closings {
    /// An instance closed the connection.
    pub(crate) fn note(&mut self, instance: InstanceIx, now: Instant) {
        let all = self.0.get_or_insert_default();
        match all.iter_mut().find(|known| known.instance == instance) {
            Some(known) => (known.count, known.last_at) = (known.count.saturating_add(1), now),
            None => all.push(OfInstance {
                instance,
                count: 1,
                last_at: now,
            }),
        }
    }

    fn all(&self) -> impl Iterator<Item = &OfInstance> {
        self.0.iter().flat_map(|all| all.iter())
    }

    /// Number of instances that closed a connection.
    pub(crate) fn instances(&self) -> usize {
        self.all().count()
    }

    /// Returns true when this instance closed a connection.
    pub(super) fn has(&self, instance: InstanceIx) -> bool {
        self.all().any(|known| known.instance == instance)
    }

    /// The number of closings of all those instances.
    pub(crate) fn total(&self) -> u32 {
        self.all()
            .fold(0, |sum, known| sum.saturating_add(known.count))
    }

    /// The instances, each with the time of its last closing.
    pub(super) fn last(&self) -> impl Iterator<Item = (InstanceIx, Instant)> {
        self.all().map(|known| (known.instance, known.last_at))
    }
}
