//! The age of a fleet's database, by which one that has gone back is recognised.
//!
//! A standby that is promoted without the last commits, or an old copy in the place of the database, has a lower age
//! than one that a proxy has seen. Nothing is decided by its log then until an operator accepts it as it is.
//!
//! Renewals of the lease do not count: a standby that lacks nothing else lacks nothing of the log.

use std::fmt;

use crate::ids::Epoch;

/// The age of a database. Each number only rises, as long as the first stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// The number of times that an operator has accepted the database although it had gone back.
    pub accepted: u64,
    /// The epoch of its last owner.
    pub epoch: Epoch,
    /// The number of groups of writes that owners have committed.
    pub commits: u64,
}

/// A database that has gone back: its age, and the one that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The age that was seen before.
    pub seen: Age,
    /// The age now.
    pub found: Age,
}

impl Age {
    /// Returns true when a database of this age lacks something that one of age `seen` had.
    pub fn is_behind(self, seen: Self) -> bool {
        self.accepted < seen.accepted
            || (self.accepted == seen.accepted
                && (self.epoch < seen.epoch || self.commits < seen.commits))
    }

    /// Takes in an age that was seen too, maybe earlier than this one.
    pub fn learn(&mut self, seen: Self) {
        if seen.accepted > self.accepted {
            *self = seen;
        } else if seen.accepted == self.accepted {
            self.epoch = self.epoch.max(seen.epoch);
            self.commits = self.commits.max(seen.commits);
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen, found } = self;
        let (commits, epoch) = (found.commits, found.epoch);
        write!(
            f,
            "the database has gone back: it has {commits} commits in epoch {epoch}, and {} in epoch {} were seen, so that acknowledged writes may be lost; put the right database in its place, or say `achromat fleet accept-database`",
            seen.commits, seen.epoch,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(accepted: u64, epoch: u64, commits: u64) -> Age {
        Age {
            accepted,
            epoch: Epoch(epoch),
            commits,
        }
    }

    /// A database that lacks a commit or an owner has gone back, and one that was accepted has not.
    #[test]
    fn a_lower_age_is_behind() {
        let seen = age(1, 5, 100);
        for (found, is_behind) in [
            (seen, false),
            (age(1, 5, 101), false),
            (age(1, 6, 100), false),
            (age(1, 5, 99), true),
            (age(1, 4, 100), true),
            // Another proxy has taken the old copy, and has written to it.
            (age(1, 6, 99), true),
            (age(0, 9, 900), true),
            (age(2, 1, 1), false),
        ] {
            assert_eq!(found.is_behind(seen), is_behind, "{found:?}");
        }
    }

    /// Answers may come in another order than they were given in.
    #[test]
    fn the_highest_age_stays() {
        let mut known = Age::default();
        for (seen, then) in [
            (age(0, 2, 7), age(0, 2, 7)),
            (age(0, 1, 9), age(0, 2, 9)),
            (age(0, 2, 8), age(0, 2, 9)),
            (age(1, 3, 2), age(1, 3, 2)),
            (age(0, 2, 9), age(1, 3, 2)),
        ] {
            known.learn(seen);
            assert_eq!(known, then, "{seen:?}");
        }
    }

    #[test]
    fn a_loss_says_what_to_do() {
        let loss = Loss {
            seen: age(0, 3, 12),
            found: age(0, 2, 7),
        };
        let words = loss.to_string();
        assert!(words.contains("it has 7 commits in epoch 2, and 12 in epoch 3 were seen"));
        assert!(words.contains("accept-database"));
    }
}
