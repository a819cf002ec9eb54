//! The odds by which a seed becomes a history. A seed is another history in another mix, so a mix that
//! has found something stays as it is.

use super::random::Random;

/// The odds of histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mix {
    /// Every client asks for everything, and policy replicates and deletes everything.
    Even,
    /// Most histories have a theme, and policy decides in some of them.
    #[default]
    Themed,
    /// The same, with followers that carry reads out.
    Fleet,
}

/// Subject of most requests of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Everything.
    Everything,
    /// The records of one collection: several clients read and write them without a pause, so that reads
    /// meet writes that nobody has decided yet.
    Registers,
    /// Records of few collections, most of them written: queues, merged writes, and much that is owed.
    Writers,
    /// Collections that are made, renamed and deleted under the same few names.
    Names,
}

/// Decisions of policy in a history, beside those that it always takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// Of writes of records, how many in a thousand policy keeps out of the log while it does so at all.
    pub local: u32,
    /// Odds that policy begins or ends to keep writes out of the log.
    pub swaps: u32,
    /// Of deletions of collections, how many in a thousand go to the trash.
    pub trash: u32,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Even, Self::Themed, Self::Fleet];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Themed => "themed",
            Self::Fleet => "fleet",
        }
    }

    /// The theme of a seed's history.
    pub(super) fn theme(self, seed: u64) -> Theme {
        match self {
            Self::Even => Theme::Everything,
            Self::Themed | Self::Fleet => *Random::of(seed, "theme").pick(&[
                Theme::Everything,
                Theme::Everything,
                Theme::Everything,
                Theme::Registers,
                Theme::Writers,
                Theme::Names,
            ]),
        }
    }

    /// How many histories in a thousand have something in them: first in an even mix, then in one with
    /// themes, where it shall be met more often.
    pub(super) fn share(self, even: u32, themed: u32) -> u32 {
        match self {
            Self::Even => even,
            Self::Themed | Self::Fleet => themed,
        }
    }

    /// How many writes of records in a thousand are heavy; one of these numbers for each history.
    pub(super) fn heavy(self) -> &'static [u32] {
        match self {
            Self::Even => &[0, 0, 0, 0, 0, 0, 0, 60],
            Self::Themed | Self::Fleet => &[0, 0, 0, 60],
        }
    }

    /// The odds of a seed's history.
    pub(super) fn odds(self, seed: u64) -> Odds {
        if self == Self::Even {
            return Odds::default();
        }
        let mut random = Random::of(seed, "policy odds");
        Odds {
            local: *random.pick(&[0, 0, 500, 1_000]),
            swaps: u32::try_from(random.between(1, 5)).expect("a count"),
            trash: *random.pick(&[0, 0, 500, 1_000]),
        }
    }
}
