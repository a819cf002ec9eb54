//! Bounds the requests that an instance has at once: a slow instance holds up the requests that
//! wait for it, and no others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds for each instance.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients' reads at once; one more goes to another instance.
    pub reads_max: usize,
    /// Writes, and requests of jobs, at once; one more waits, and its body stays in the log.
    pub writes_max: usize,
    /// Bytes of bodies on their way at once.
    pub bodies_bytes_max: usize,
}

/// The unit in which bytes are counted.
const UNIT_BYTES: usize = 64 * 1024;

/// Free places at one instance: a bulkhead (Nygard, Release It!, 2007).
pub(super) struct Bulkhead {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    units: u32,
}

/// Leave to send an instance one request; it is given back when this is dropped.
#[derive(Debug)]
pub struct Passage {
    _permit: OwnedSemaphorePermit,
}

/// Leave to hold a body on its way to an instance; it is given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Bulkhead {
    pub(super) fn new(bounds: Bounds) -> Self {
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let units = bounds.bodies_bytes_max.div_ceil(UNIT_BYTES).max(1);
        Self {
            reads: semaphore(bounds.reads_max),
            writes: semaphore(bounds.writes_max),
            bytes: semaphore(units),
            units: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// For a body of so many bytes, as soon as there is room, first come first served; one that is
    /// larger than all the room there is goes alone.
    pub(super) async fn room(&self, bytes: usize) -> Option<Room> {
        let all = Arc::clone(&self.bytes);
        let permit = all.acquire_many_owned(self.units_of(bytes)).await.ok()?;
        Some(Room { _permit: permit })
    }

    /// The same, if there is room now.
    pub(super) fn room_now(&self, bytes: usize) -> Option<Room> {
        let all = Arc::clone(&self.bytes);
        let permit = all.try_acquire_many_owned(self.units_of(bytes)).ok()?;
        Some(Room { _permit: permit })
    }

    /// For how many bytes there is room.
    pub(super) fn room_left(&self) -> usize {
        self.bytes.available_permits() * UNIT_BYTES
    }

    fn units_of(&self, bytes: usize) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        units.min(self.units)
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
