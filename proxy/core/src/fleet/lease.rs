//! The lease of a fleet's leader: of proxies that share one database, one runs the engine at a time.
//!
//! It is a row of the database: who holds it, and how often it was renewed. No clock is compared with
//! another one: the holder counts its lease from before it asked for it, and the others take the lease when
//! they have seen it unchanged for as long, each by its own clock.

use std::time::Duration;

use crate::{ids::Epoch, time::Instant};

/// Time for which the lease holds after it was asked for: a dead leader costs clients a little more, and a
/// database that stalls for longer costs the leader its lease when another proxy can take it.
pub const LEASE: Duration = Duration::from_millis(1500);

/// Part of that in which the holder sends nothing more: clocks run at different rates, and what was sent at
/// the end is on its way.
pub const LEASE_MARGIN: Duration = Duration::from_millis(300);

/// Time from one renewal to the next.
pub const RENEWAL_INTERVAL: Duration = Duration::from_millis(400);

/// Time from one look at another proxy's lease to the next.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// State of the lease as it stands in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// The epoch of the last owner.
    pub epoch: Epoch,
    /// The number of renewals by any holder.
    pub renewals: u64,
    /// True when a proxy holds it, or died with it.
    pub is_held: bool,
}

/// Observations of the lease by a proxy that does not lead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    unchanged: Option<(LeaseState, Instant)>,
}

impl Watch {
    /// Takes in the lease as it was seen just now; returns true when it may be taken.
    pub fn may_take(&mut self, seen: LeaseState, now: Instant) -> bool {
        if !seen.is_held {
            return true;
        }
        match self.unchanged {
            Some((last, since)) if last == seen => now.since(since) >= LEASE,
            _ => {
                self.unchanged = Some((seen, now));
                false
            }
        }
    }

    /// The database did not answer. Its holder may not have reached it either, and gets the time of a whole lease
    /// to renew it once there is an answer again.
    pub fn lose_sight(&mut self) {
        self.unchanged = None;
    }
}

/// Time up to which a holder may send, who asked for the lease at a time and has got it.
pub fn valid_until(asked_at: Instant) -> Instant {
    asked_at + LEASE.saturating_sub(LEASE_MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn held(epoch: u64, renewals: u64) -> LeaseState {
        LeaseState {
            epoch: Epoch(epoch),
            renewals,
            is_held: true,
        }
    }

    /// A lease that is renewed is never taken; one that is not is taken when its holder has stopped sending.
    #[test]
    fn a_lease_is_taken_when_its_time_is_over() {
        let mut watch = Watch::default();
        for renewal in 0..20 {
            assert!(!watch.may_take(held(1, renewal), at(renewal * 400)));
        }
        let seen_last = 19 * 400;
        assert!(!watch.may_take(held(1, 19), at(seen_last + 1499)));
        assert!(watch.may_take(held(1, 19), at(seen_last + 1500)));
        // The renewal was asked for before it was seen.
        assert!(valid_until(at(seen_last)) < at(seen_last + 1500));
    }

    /// The holder has the first turn after an outage of the database.
    #[test]
    fn a_lease_is_not_taken_right_after_an_outage() {
        let mut watch = Watch::default();
        assert!(!watch.may_take(held(1, 7), at(0)));
        watch.lose_sight();
        assert!(!watch.may_take(held(1, 7), at(4000)));
        assert!(!watch.may_take(held(1, 7), at(5499)));
        assert!(watch.may_take(held(1, 7), at(5500)));
    }

    /// One that was given back is taken at once, and another one's is waited for anew.
    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut watch = Watch::default();
        let free = LeaseState {
            is_held: false,
            ..held(1, 3)
        };
        assert!(!watch.may_take(held(1, 3), at(0)));
        assert!(watch.may_take(free, at(10)));
        assert!(!watch.may_take(held(2, 4), at(2500)));
        assert!(!watch.may_take(held(2, 4), at(3999)));
    }
}
