//! Bounds the requests that an instance has at once: a slow instance holds up the requests that
//! wait for it, and no others.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::waiting::Waiters;

/// Bounds for each instance.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients' reads at once; one more goes to another instance. As many large answers are on their way to
    /// clients at once; one more waits.
    pub reads_max: usize,
    /// Writes, and requests of jobs, at once; one more waits, and its body stays in the log.
    pub writes_max: usize,
    /// Bytes of bodies on their way at once.
    pub bodies_bytes_max: usize,
}

/// Longest wait of a large answer for its way to its client to begin.
const FLOW_WAIT: Duration = Duration::from_secs(2);

/// The unit in which bytes are counted.
const UNIT_BYTES: usize = 64 * 1024;

/// Free places at one instance: a bulkhead (Nygard, Release It!, 2007).
pub(super) struct Bulkhead {
    reads: Arc<Semaphore>,
    flows: Arc<Flows>,
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    units: u32,
}

/// Leave to send an instance one request; it is given back when this is dropped.
#[derive(Debug)]
pub struct Passage {
    _permit: OwnedSemaphorePermit,
    flows: Arc<Flows>,
}

impl Passage {
    /// Leave to pass on the answer, in the place of the leave to ask: the instance has done its work. None when
    /// as many answers as may be are on their way, and none of them ends in time.
    pub(super) async fn flow(self) -> Option<Flow> {
        let flows = Arc::clone(&self.flows);
        drop(self);
        flows.enter().await
    }
}

/// Large answers of an instance on their way to clients.
#[derive(Debug)]
struct Flows {
    places: Arc<Semaphore>,
    /// Answers that wait for a place.
    waiters: Waiters,
}

/// Leave to pass on a large answer; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Flow {
    flows: Arc<Flows>,
    _permit: OwnedSemaphorePermit,
}

impl Flow {
    /// True when another answer waits for a place.
    pub(super) fn is_wanted(&self) -> bool {
        self.flows.waiters.is_any()
    }
}

impl Flows {
    /// Leave for one more answer, within a while.
    async fn enter(self: &Arc<Self>) -> Option<Flow> {
        let waiting = self.waiters.begin();
        let place = timeout(FLOW_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        drop(waiting);
        Some(Flow {
            flows: Arc::clone(self),
            _permit: place.ok()?.ok()?,
        })
    }
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
            flows: Arc::new(Flows {
                places: semaphore(bounds.reads_max),
                waiters: Waiters::default(),
            }),
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
        Some(self.passage(permit))
    }

    /// For a write, as soon as there is one, first come first served.
    pub(super) async fn for_write(&self) -> Option<Passage> {
        let permit = Arc::clone(&self.writes).acquire_owned().await.ok()?;
        Some(self.passage(permit))
    }

    fn passage(&self, permit: OwnedSemaphorePermit) -> Passage {
        Passage {
            _permit: permit,
            flows: Arc::clone(&self.flows),
        }
    }
}
