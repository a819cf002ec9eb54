//! How many requests an instance has at once: a slow one holds up those who wait for it, and nobody
//! else.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds for each instance.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients' reads at once; one more goes to another instance.
    pub reads_max: usize,
    /// Writes, and requests of jobs, at once; one more waits, and its body stays in the log.
    pub writes_max: usize,
}

/// What is free at one instance: a bulkhead (Nygard, Release It!, 2007).
pub(super) struct Bulkhead {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

/// Leave to send an instance one request; it is given back when this is dropped.
#[derive(Debug)]
pub struct Passage {
    _permit: OwnedSemaphorePermit,
}

impl Bulkhead {
    pub(super) fn new(bounds: Bounds) -> Self {
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self {
            reads: semaphore(bounds.reads_max),
            writes: semaphore(bounds.writes_max),
        }
    }

    /// For a read, when there is one now.
    pub(super) fn for_read(&self) -> Option<Passage> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().ok()?;
        Some(Passage { _permit: permit })
    }

    /// For a write, as soon as there is one, first come first served.
    pub(super) async fn for_write(&self) -> Option<Passage> {
        let permit = Arc::clone(&self.writes).acquire_owned().await.ok()?;
        Some(Passage { _permit: permit })
    }
}
