//! What an instance was asked and how it answered, counted without locks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters of one instance.
#[derive(Debug, Default)]
pub struct Figures(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    successes: AtomicU64,
    failures_in_a_row: AtomicU64,
    in_flight: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that were answered, with anything but a 5xx.
    pub successes: u64,
    /// Requests since the last that was answered so.
    pub failures_in_a_row: u64,
    /// Requests that have not ended.
    pub in_flight: u64,
}

impl Figures {
    /// A request begins; when what is returned is dropped it has ended. A probe counts only among
    /// the failures in a row.
    pub(super) fn begin(&self, is_probe: bool) -> UnderWay {
        self.0.in_flight.fetch_add(u64::from(!is_probe), Relaxed);
        UnderWay {
            counters: Arc::clone(&self.0),
            has_succeeded: false,
            is_probe,
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requests: self.0.requests.load(Relaxed),
            successes: self.0.successes.load(Relaxed),
            failures_in_a_row: self.0.failures_in_a_row.load(Relaxed),
            in_flight: self.0.in_flight.load(Relaxed),
        }
    }
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct UnderWay {
    counters: Arc<Counters>,
    has_succeeded: bool,
    is_probe: bool,
}

impl UnderWay {
    pub(super) fn answered(&mut self, status: u16) {
        self.has_succeeded = status < 500;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let counters = &self.counters;
        let counted = u64::from(!self.is_probe);
        counters.in_flight.fetch_sub(counted, Relaxed);
        counters.requests.fetch_add(counted, Relaxed);
        if self.has_succeeded {
            counters.successes.fetch_add(counted, Relaxed);
            counters.failures_in_a_row.store(0, Relaxed);
        } else {
            counters.failures_in_a_row.fetch_add(1, Relaxed);
        }
    }
}
