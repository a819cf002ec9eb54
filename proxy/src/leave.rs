//! Leave to send, which ends with the lease.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use achromat_core::time::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Leave to send writes to instances, up to a time: in microseconds of [`now`], or one of the values below.
#[derive(Clone, Debug)]
pub struct Leave(Arc<AtomicU64>);

/// The leave has ended, and is not extended any more.
const ENDED: u64 = 0;

/// There was no leave yet.
const NONE: u64 = 1;

/// The leave has no end.
const ALWAYS: u64 = u64::MAX;

impl Leave {
    /// Leave without an end: nobody else writes.
    pub fn always() -> Self {
        Self(Arc::new(AtomicU64::new(ALWAYS)))
    }

    /// Leave that has to be extended first.
    pub fn none() -> Self {
        Self(Arc::new(AtomicU64::new(NONE)))
    }

    /// Extends the leave, unless it has ended.
    pub fn extend(&self, until: Instant) {
        let extended = |now: u64| (now != ENDED).then(|| now.max(until.0));
        // Nothing is lost with the result: it says what was there before.
        let _before = self.0.fetch_update(SeqCst, SeqCst, extended);
    }

    /// Ends the leave, for good.
    pub fn end(&self) {
        self.0.store(ENDED, SeqCst);
    }

    /// Returns true when something may be sent.
    pub fn is_valid(&self) -> bool {
        match self.0.load(SeqCst) {
            ALWAYS => true,
            until => now().0 < until,
        }
    }
}

/// Now, on a clock that goes on while the machine is suspended.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    );
    Instant(seconds * 1_000_000 + nanos / 1000)
}
