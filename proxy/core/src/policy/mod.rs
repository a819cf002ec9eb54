//! Answers that policies may give, and what Achromat does when they give none.
//!
//! A plugin's answer is judged here: what names no instance, or says too much, is no answer. For
//! each slot there is a safe one, which holds when a plugin has none.

mod order;
mod sizes;
mod trial;
mod versions;
mod words;

use std::time::Duration;

use smallvec::SmallVec;

use crate::{
    ids::InstanceIx,
    limits::INSTANCES_MAX,
    log::Level,
    reply::{self, Reply},
};

pub use self::{
    order::{lag_entries, plan_preferred},
    sizes::Sizes,
    trial::{Rules, Share, Subject, Tally, Trial, TrialKind, Verdict, is_in_share},
    versions::{
        Decider, Digest, KeptSwap, KeptVersion, NewSwap, NewVersion, Origin, STEPS_BACK_MAX,
        SWAPS_MAX, Shelf, ShelfWrite, SwapSeq, VERSIONS_MAX, VersionId, WrongDigest,
    },
};

/// Bytes of a message to a client.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// Longest time for which anything stays in the trash.
pub const TRASH_MAX: Duration = Duration::from_hours(365 * 24);

/// Kind of decision that a plugin takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Destinations of requests.
    Routing,
    /// Choice of the writes that are logged, and the time of their answers.
    WalEligibility,
    /// Permission to destroy something.
    CleanupGuard,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routing, Self::WalEligibility, Self::CleanupGuard];

    /// The name of its world in `wit/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::WalEligibility => "wal-eligibility",
            Self::CleanupGuard => "cleanup-guard",
        }
    }

    /// The name of its section in the configuration, below `policy`.
    pub fn section(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::WalEligibility => "wal",
            Self::CleanupGuard => "guard",
        }
    }

    /// The slot that a name means: that of its world, or of its section.
    pub fn parse(name: &str) -> Option<Self> {
        let is_meant = |slot: &Self| slot.as_str() == name || slot.section() == name;
        Self::ALL.into_iter().find(is_meant)
    }
}

/// Reason why an answer makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// It names an instance that there is not.
    #[error("it names the instance {0}, and there are {1}")]
    NoSuchInstance(u8, usize),
    /// It names an instance twice.
    #[error("it names the instance {0} twice")]
    Twice(u8),
    /// It names more instances than there can be.
    #[error("its order has {0} instances, and may have {max}", max = INSTANCES_MAX)]
    TooMany(u8),
    /// It leaves no instance to ask.
    #[error("its order is empty and lets no other instance be asked")]
    NowhereToGo,
    /// Its message is empty, or too long.
    #[error("its message has {0} bytes, and not 1 to {MESSAGE_BYTES_MAX}")]
    Message(usize),
    /// Its time is none, or too long.
    #[error("its {0} s in the trash are not 1 to 31536000")]
    Trash(u32),
}

/// A refusal in a plugin's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    message: String,
    retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal whose message is for a client.
    pub fn new(status: u16, message: String, retry_after_s: Option<u32>) -> Result<Self, Nonsense> {
        Ok(Self {
            status,
            message: checked(message)?,
            retry_after_s,
        })
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The words for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Seconds after which the client may ask again, as far as the plugin says it.
    pub fn retry_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }

    /// Reply to the client.
    pub fn reply(&self) -> Reply {
        let answer = match self.status {
            403 => reply::denied(&self.message),
            413 => Reply::error(413, "PayloadTooLarge", &self.message),
            429 => Reply::error(429, "RateLimitError", &self.message),
            503 => reply::unavailable(&self.message, 1),
            status => Reply::error(status, "InvalidArgumentError", &self.message),
        };
        Reply {
            retry_after_s: self.retry_after_s.or(answer.retry_after_s),
            ..answer
        }
    }
}

fn checked(message: String) -> Result<String, Nonsense> {
    if (1..=MESSAGE_BYTES_MAX).contains(&message.len()) {
        Ok(message)
    } else {
        Err(Nonsense::Message(message.len()))
    }
}

/// Instances that a policy wants to be asked first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// Each at most once; every one of them is there.
    pub first: SmallVec<[InstanceIx; 4]>,
    /// True when the other instances are asked after these.
    pub then_others: bool,
    /// True when one of these may answer that does not have every acknowledged write.
    pub allow_stale: bool,
}

impl Preference {
    /// A preference among `count` instances.
    pub fn new(
        first: &[u8],
        then_others: bool,
        allow_stale: bool,
        count: usize,
    ) -> Result<Self, Nonsense> {
        let mut seen = 0_u16;
        for index in first {
            let place = usize::from(*index);
            let bit = 1_u16.checked_shl(u32::from(*index)).unwrap_or(0);
            if place >= count || bit == 0 {
                return Err(Nonsense::NoSuchInstance(*index, count));
            }
            if seen & bit != 0 {
                return Err(Nonsense::Twice(*index));
            }
            seen |= bit;
        }
        if first.is_empty() && !then_others {
            return Err(Nonsense::NowhereToGo);
        }
        Ok(Self {
            first: first.iter().map(|index| InstanceIx(*index)).collect(),
            then_others,
            allow_stale,
        })
    }
}

/// Destination of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The native strategy decides. The safe answer.
    Native,
    /// To these first.
    Prefer(Preference),
    /// Nowhere.
    Refuse(Refusal),
}

/// Fate of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It is logged, and all instances do it. With neither of these it is the safe answer.
    Replicate {
        /// `None`: as configured.
        level: Option<Level>,
        /// True when the write is accepted while no instance is in service.
        accept_when_down: bool,
    },
    /// One instance does it, and nobody else ever hears of it.
    LocalOnly,
    /// It is not done.
    Refuse(Refusal),
}

impl Eligibility {
    /// As configured.
    pub const SAFE: Self = Self::Replicate {
        level: None,
        accept_when_down: false,
    };

    /// Returns true when a collection's records stay in their place if this answer holds instead of the
    /// active policy's: both keep the write out of the log, or neither does.
    pub fn keeps_place(&self, active: &Self) -> bool {
        (*self == Self::LocalOnly) == (*active == Self::LocalOnly)
    }
}

/// Permission to destroy something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Yes, as far as the policy is concerned.
    Allow,
    /// No, for this reason.
    Deny(String),
    /// Yes, in a way that can be undone for this long.
    Trash(Duration),
}

impl Permission {
    /// A denial whose reason is for a client.
    pub fn deny(reason: String) -> Result<Self, Nonsense> {
        Ok(Self::Deny(checked(reason)?))
    }

    /// Something that can be undone for so many seconds.
    pub fn trash(seconds: u32) -> Result<Self, Nonsense> {
        let time = Duration::from_secs(u64::from(seconds));
        if time.is_zero() || time > TRASH_MAX {
            return Err(Nonsense::Trash(seconds));
        }
        Ok(Self::Trash(time))
    }

    /// The safe answer.
    pub fn safe() -> Self {
        let reason = "the clean-up guard's plugin has no answer, and without one nothing is \
                      destroyed; Achromat's status says what is wrong with it";
        Self::Deny(reason.to_owned())
    }

    /// Reply to the client of a denial.
    pub fn refusal(&self) -> Option<Reply> {
        match self {
            Self::Deny(reason) => Some(reply::denied(reason)),
            Self::Allow | Self::Trash(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order names instances that are there, each once, and leaves somewhere to go.
    #[test]
    fn orders_are_judged() {
        let order = |first: &[u8], then_others| Preference::new(first, then_others, false, 3);
        assert!(order(&[2, 0, 1], false).is_ok());
        assert!(order(&[], true).is_ok());
        assert_eq!(order(&[], false), Err(Nonsense::NowhereToGo));
        assert_eq!(order(&[3], true), Err(Nonsense::NoSuchInstance(3, 3)));
        assert_eq!(order(&[255], true), Err(Nonsense::NoSuchInstance(255, 3)));
        assert_eq!(order(&[1, 1], true), Err(Nonsense::Twice(1)));
        let beyond = Preference::new(&[16], true, false, 17);
        assert_eq!(beyond, Err(Nonsense::NoSuchInstance(16, 17)));
    }

    /// Messages are for people, and times within reason.
    #[test]
    fn words_and_times_are_judged() {
        let refuse = |length: usize| Refusal::new(403, "x".repeat(length), None);
        assert_eq!(refuse(0), Err(Nonsense::Message(0)));
        assert_eq!(refuse(1025), Err(Nonsense::Message(1025)));
        let refusal = Refusal::new(503, "later".to_owned(), Some(7))
            .unwrap()
            .reply();
        assert_eq!((refusal.status, refusal.retry_after_s), (503, Some(7)));
        assert_eq!(Permission::trash(0), Err(Nonsense::Trash(0)));
        assert!(Permission::trash(31_536_000).is_ok());
        assert_eq!(
            Permission::trash(31_536_001),
            Err(Nonsense::Trash(31_536_001))
        );
        assert_eq!(Permission::safe().refusal().unwrap().status, 403);
        assert_eq!(Permission::Allow.refusal(), None);
    }
}
