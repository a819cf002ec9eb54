//! A count of those that wait for something, which is true also when one of them is given up.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Number of those that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// One that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Waiters);

impl Waiters {
    /// Counts one more.
    pub(crate) fn begin(&self) -> Waiting<'_> {
        self.0.fetch_add(1, SeqCst);
        Waiting(self)
    }

    /// True while at least one waits.
    pub(crate) fn is_any(&self) -> bool {
        self.0.load(SeqCst) > 0
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}
