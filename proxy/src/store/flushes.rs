//! Counts the log's flushes, and the writes that each made durable.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use achromat_core::durable::Write;

/// Counters of one writer.
#[derive(Debug, Default)]
pub struct Flushes {
    groups: AtomicU64,
    entries: AtomicU64,
    others: AtomicU64,
    micros: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushFigures {
    /// Groups that were committed, each with one flush.
    pub flushes: u64,
    /// Clients' entries in them.
    pub entries: u64,
    /// Other writes in them: cursors, verdicts, the results of jobs.
    pub others: u64,
    /// Duration of all flushes together.
    pub took: Duration,
}

impl Flushes {
    pub(super) fn flushed(&self, group: &[Write], took: Duration) {
        let is_entry = |write: &&Write| matches!(write, Write::Append(_));
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let entries = group.iter().filter(is_entry).count();
        self.groups.fetch_add(1, Relaxed);
        self.entries.fetch_add(number(entries), Relaxed);
        let others = group.len().saturating_sub(entries);
        self.others.fetch_add(number(others), Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// The counters now.
    pub fn figures(&self) -> FlushFigures {
        FlushFigures {
            flushes: self.groups.load(Relaxed),
            entries: self.entries.load(Relaxed),
            others: self.others.load(Relaxed),
            took: Duration::from_micros(self.micros.load(Relaxed)),
        }
    }
}
