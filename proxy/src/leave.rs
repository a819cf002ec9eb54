//! Leave to send, which ends with the lease.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use achromat_core::time::Instant;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// Leave to send writes to instances, and to answer reads, up to a time.
#[derive(Clone, Debug)]
pub struct Leave(Arc<State>);

#[derive(Debug)]
struct State {
    /// In microseconds of [`now`], or one of the values below.
    until: AtomicU64,
    is_blind: AtomicBool,
    changes: Notify,
}

/// The leave has ended, and is not extended any more.
const ENDED: u64 = 0;

/// There was no leave yet.
const NONE: u64 = 1;

/// The leave has no end.
const ALWAYS: u64 = u64::MAX;

/// Knowledge of a proxy about its leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has leave.
    Valid,
    /// Its time is over, and the answer of the database to the next question will tell if it is extended.
    Lapsed,
    /// Its time is over, and the database was asked since then and does not answer.
    Blind,
    /// It has ended for good: another proxy leads.
    Ended,
}

impl Leave {
    /// Leave without an end: nobody else writes.
    pub fn always() -> Self {
        Self::until(ALWAYS)
    }

    /// Leave that has to be extended first.
    pub fn none() -> Self {
        Self::until(NONE)
    }

    fn until(until: u64) -> Self {
        Self(Arc::new(State {
            until: AtomicU64::new(until),
            is_blind: AtomicBool::new(false),
            changes: Notify::new(),
        }))
    }

    /// Extends the leave, unless it has ended.
    pub fn extend(&self, until: Instant) {
        let extended = |now: u64| (now != ENDED).then(|| now.max(until.0));
        // Nothing is lost with the result: it says what was there before.
        let _before = self.0.until.fetch_update(SeqCst, SeqCst, extended);
        self.0.is_blind.store(false, SeqCst);
        self.0.changes.notify_waiters();
    }

    /// Ends the leave, for good.
    pub fn end(&self) {
        self.0.until.store(ENDED, SeqCst);
        self.0.changes.notify_waiters();
    }

    /// The database was asked after the end of the leave, and did not answer.
    pub fn tell_blindness(&self) {
        self.0.is_blind.store(true, SeqCst);
        self.0.changes.notify_waiters();
    }

    /// Returns true when something may be sent.
    pub fn is_valid(&self) -> bool {
        self.standing() == Standing::Valid
    }

    /// The end of the leave, when it is not over yet.
    pub fn end_ahead(&self) -> Option<Instant> {
        let until = self.0.until.load(SeqCst);
        (now().0 < until).then_some(Instant(until))
    }

    fn standing(&self) -> Standing {
        match self.0.until.load(SeqCst) {
            ALWAYS => Standing::Valid,
            ENDED => Standing::Ended,
            until if now().0 < until => Standing::Valid,
            _ if self.0.is_blind.load(SeqCst) => Standing::Blind,
            _ => Standing::Lapsed,
        }
    }

    /// The standing once it is known: never [`Standing::Lapsed`]. A process that goes on after it was frozen
    /// may have lost its lease without having heard of it.
    pub async fn settled(&self) -> Standing {
        loop {
            let mut change = std::pin::pin!(self.0.changes.notified());
            // From here on no change is missed.
            change.as_mut().enable();
            match self.standing() {
                Standing::Lapsed => change.await,
                known => return known,
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{task::yield_now, time::timeout};

    use super::*;

    fn past() -> Instant {
        Instant(now().0 - 1)
    }

    fn future() -> Instant {
        now() + Duration::from_mins(1)
    }

    /// A leave whose time is over is settled by what the database says next, and by nothing before.
    #[tokio::test]
    async fn a_lapsed_leave_is_settled_by_the_next_answer() {
        type Told = fn(&Leave);
        let cases: [(Told, Standing); 3] = [
            (|leave| leave.extend(future()), Standing::Valid),
            (|leave| leave.tell_blindness(), Standing::Blind),
            (|leave| leave.end(), Standing::Ended),
        ];
        for (told, standing) in cases {
            let leave = Leave::none();
            leave.extend(past());
            let waiting = tokio::spawn({
                let leave = leave.clone();
                async move { leave.settled().await }
            });
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(!waiting.is_finished(), "{standing:?}");
            told(&leave);
            let settled = timeout(Duration::from_secs(5), waiting).await;
            assert_eq!(settled.unwrap().unwrap(), standing);
        }
    }

    /// Blindness ends with the next answer, and an ended leave is never extended.
    #[tokio::test]
    async fn what_has_ended_stays_so() {
        let leave = Leave::none();
        leave.tell_blindness();
        assert_eq!(leave.settled().await, Standing::Blind);
        assert!(leave.end_ahead().is_none());
        leave.extend(future());
        assert_eq!(leave.settled().await, Standing::Valid);
        assert!(leave.end_ahead().is_some());
        leave.end();
        leave.extend(future());
        assert_eq!(leave.settled().await, Standing::Ended);
        assert_eq!(Leave::always().settled().await, Standing::Valid);
    }
}
