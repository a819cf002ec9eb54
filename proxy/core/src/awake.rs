//! Time that an instance has shown itself to be awake: the clock by which old requests settle.
//!
//! A frozen server carries nothing out, so by a wall clock a request that it holds may be carried
//! out at any time. This clock runs only between the answer to one probe and the sending of the
//! next one that is answered. A freeze that falls wholly between the two is not seen; so what a
//! probe shows counts only when the one after it is answered too, by when the server has had a
//! whole interval to do what it held.

use std::time::Duration;

use crate::time::Instant;

/// The clock of one instance. It never goes back, and begins at nothing when the proxy starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Awake {
    shown: Duration,
    /// Time that the last answered probe shows, until the next answer confirms it.
    unconfirmed: Duration,
    answered_at: Option<Instant>,
}

impl Awake {
    /// Least time that the instance has been awake.
    pub fn shown(&self) -> Duration {
        self.shown
    }

    /// Most time that the instance may have been awake since the clock began: a request that is sent now
    /// comes after this time.
    pub fn at_most(&self, now: Instant) -> Duration {
        let since = self.answered_at.map_or(Duration::ZERO, |at| now.since(at));
        self.shown + self.unconfirmed + since
    }

    /// A probe that was sent at one time was answered at another.
    pub fn answered(&mut self, sent_at: Instant, now: Instant) {
        self.shown += self.unconfirmed;
        self.unconfirmed = self
            .answered_at
            .map_or(Duration::ZERO, |answered_at| sent_at.since(answered_at));
        self.answered_at = Some(now);
    }

    /// A probe was not answered.
    pub fn missed(&mut self) {
        (self.unconfirmed, self.answered_at) = (Duration::ZERO, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    /// Probes as (sent, answered), and what is shown after each, in milliseconds.
    fn shown(probes: &[(u64, Option<u64>)]) -> Vec<u128> {
        let mut awake = Awake::default();
        let mut probed = |(sent, answered): &(u64, Option<u64>)| {
            match answered {
                Some(answered) => awake.answered(at(*sent), at(*answered)),
                None => awake.missed(),
            }
            awake.shown().as_millis()
        };
        probes.iter().map(&mut probed).collect()
    }

    #[test]
    fn only_what_two_probes_enclose_counts_once_a_third_is_answered() {
        let probes = [
            (0, Some(5)),
            (1005, Some(1010)),
            (2010, Some(2900)),
            (3900, Some(3905)),
        ];
        assert_eq!(shown(&probes), [0, 0, 1000, 2000]);
    }

    #[test]
    fn silence_takes_back_what_is_not_confirmed() {
        let probes = [
            (0, Some(5)),
            (1005, Some(1010)),
            (2010, None),
            (9000, Some(9005)),
        ];
        assert_eq!(shown(&probes), [0, 0, 0, 0]);
    }

    /// A request that is asked to wait for more than `at_most` waits for time that comes after it.
    #[test]
    fn nothing_that_lies_before_counts() {
        let mut awake = Awake::default();
        for second in 0..3 {
            awake.answered(at(second * 1000), at(second * 1000));
        }
        assert_eq!(awake.shown(), Duration::from_secs(1));
        assert_eq!(awake.at_most(at(2700)), Duration::from_millis(2700));
    }
}
