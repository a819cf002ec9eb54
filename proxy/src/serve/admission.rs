//! Bounds of the requests, and of the bytes of bodies, that are served at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use achromat_core::reply::{self, Reply};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    places::{Place, Places},
    quota::Client,
    wire::Patience,
};
use crate::waiting::Waiters;

/// Bounds of what is served.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are being served, and of the answers that are held.
    pub bodies_bytes_max: usize,
    /// Requests that are served at once.
    pub requests_max: usize,
    /// Requests that wait to be served.
    pub queue_max: usize,
    /// Time that a request waits to be served.
    pub queue_wait: Duration,
}

/// Body memory is counted in units of this many bytes.
const MEMORY_UNIT_BYTES: usize = 1024;

/// Memory that is taken; it is given back when this is dropped.
pub(super) type Memory = OwnedSemaphorePermit;

/// Lets requests in.
pub(super) struct Admission {
    limits: Limits,
    patience: Patience,
    places: Arc<Places>,
    memory: Arc<Semaphore>,
    memory_units: u32,
    /// Requests and answers that wait for memory.
    memory_wanted: Waiters,
    tracker: Tracker,
}

impl Admission {
    pub(super) fn new(limits: Limits, patience: Patience) -> Self {
        let units = units(limits.bodies_bytes_max.max(limits.body_bytes_max));
        Self {
            limits,
            patience,
            places: Places::new(limits.requests_max, limits.queue_max),
            memory: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX))),
            memory_units: units,
            memory_wanted: Waiters::default(),
            tracker: Tracker::default(),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn tracker(&self) -> Tracker {
        self.tracker.clone()
    }

    /// A place among the requests that are served; it is free again when it is dropped. The client is asked
    /// for when there is none, since clients take turns then.
    pub(super) async fn enter(&self, client: impl FnOnce() -> Client) -> Result<Place, Reply> {
        if let Some(place) = self.places.now() {
            return Ok(place);
        }
        let full = || busy("too many requests wait already");
        let mut waiting = self.places.wait(client()).map_err(|_| full())?;
        match tokio::time::timeout(self.limits.queue_wait, waiting.turn()).await {
            Ok(Some(place)) => Ok(place),
            Ok(None) => Err(full()),
            Err(_) => Err(busy("no place became free in time")),
        }
    }

    /// Limits of the time that a client may take to send a request.
    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Has memory for so many bytes of a body, in addition to what is held for its first ones.
    pub(super) async fn hold(&self, held: &mut Option<Memory>, bytes: usize) -> Result<(), Reply> {
        let units = units(bytes).min(self.memory_units);
        let there = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = units.saturating_sub(u32::try_from(there).unwrap_or(u32::MAX));
        if lacking == 0 {
            return Ok(());
        }
        let more = self.take(lacking).await?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    /// Memory for a body, or for an answer; one that is larger than all there is takes all of it.
    pub(super) async fn memory(&self, bytes: usize) -> Result<Memory, Reply> {
        self.take(units(bytes).min(self.memory_units)).await
    }

    /// Memory for an answer, if there is some now.
    pub(super) fn memory_now(&self, bytes: usize) -> Option<Memory> {
        let units = units(bytes).min(self.memory_units);
        Arc::clone(&self.memory).try_acquire_many_owned(units).ok()
    }

    /// True when somebody waits for memory.
    pub(super) fn is_memory_wanted(&self) -> bool {
        self.memory_wanted.is_any()
    }

    async fn take(&self, units: u32) -> Result<Memory, Reply> {
        let _waiting = self.memory_wanted.begin();
        let memory = Arc::clone(&self.memory).acquire_many_owned(units);
        match tokio::time::timeout(self.limits.queue_wait, memory).await {
            Ok(Ok(memory)) => Ok(memory),
            _ => Err(busy(
                "the bodies of other requests take all the memory there is for them",
            )),
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(MEMORY_UNIT_BYTES)).unwrap_or(u32::MAX)
}

fn busy(why: &str) -> Reply {
    reply::unavailable(
        &format!("Achromat is at its limits ({why}); nothing was done"),
        1,
    )
}

/// Counts the requests that have begun and not ended.
#[derive(Clone, Default)]
pub(super) struct Tracker(Arc<Counted>);

#[derive(Default)]
struct Counted {
    requests: AtomicUsize,
    /// Told when there is none any more.
    idle: Notify,
}

impl Tracker {
    pub(super) fn begin(&self) -> Tracked {
        self.0.requests.fetch_add(1, SeqCst);
        Tracked(self.clone())
    }

    fn count(&self) -> usize {
        self.0.requests.load(SeqCst)
    }

    /// Waits until there is none; returns how many there still are at the deadline.
    pub(super) async fn drain(&self, deadline: Duration) -> usize {
        match tokio::time::timeout(deadline, self.idle()).await {
            Ok(()) => 0,
            Err(_) => self.count(),
        }
    }

    async fn idle(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A request that has begun.
pub(super) struct Tracked(Tracker);

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.0.0.requests.fetch_sub(1, SeqCst) == 1 {
            self.0.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use achromat_core::head::HeadLimits;

    use super::*;

    const LIMITS: Limits = Limits {
        body_bytes_max: 4096,
        bodies_bytes_max: 8192,
        requests_max: 1,
        queue_max: 1,
        queue_wait: Duration::from_millis(20),
    };

    const PATIENCE: Patience = Patience {
        head: HeadLimits {
            bytes_max: 1024,
            fields_max: 10,
        },
        head_deadline: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        grace: Duration::from_secs(1),
        rate_min: 1024,
    };

    /// Past the places one waits, past the queue nobody does; both are told to come again.
    #[tokio::test]
    async fn past_the_limits_there_is_an_honest_503() {
        let admission = Arc::new(Admission::new(LIMITS, PATIENCE));
        let client = || Client(1);
        let place = admission.enter(client).await.unwrap();
        let waits = {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.enter(client).await.map(drop) })
        };
        while admission.places.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter(client).await.unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s), (503, Some(1)));
        assert_eq!(waits.await.unwrap().unwrap_err().status, 503);
        drop(place);
        assert!(admission.enter(client).await.is_ok());
        assert_eq!(admission.places.waiting(), 0);
    }

    /// Bodies take memory until they are served.
    #[tokio::test]
    async fn bodies_share_their_memory() {
        let admission = Admission::new(LIMITS, PATIENCE);
        let held = admission.memory(8000).await.unwrap();
        assert_eq!(admission.memory(4000).await.unwrap_err().status, 503);
        drop(held);
        assert!(admission.memory(4000).await.is_ok());
        let mut held = None;
        for bytes in [1, 1000, 5000, 3000] {
            admission.hold(&mut held, bytes).await.unwrap();
        }
        assert_eq!(held.map(|held| held.num_permits()), Some(5));
    }
}
