//! The leader's view, told to the proxies that follow, and their copies of it.
//!
//! A follower asks, and gets what has changed since it asked last. The answer is the view of a moment after the
//! question: that is all that a follower relies on.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Difference;
use crate::{
    ids::{Epoch, InstanceIx},
    planted::{Bug, Planted},
    time::Instant,
    view::View,
};

/// Path of the question. No client reaches it: it is answered when a follower vouches that it asks itself.
pub const VIEW_PATH: &str = "/fleet/view";

/// Number of the answer's form. A follower that does not know it passes reads on.
const FORM: u32 = 1;

/// Time after which a follower that does not ask any more is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The question of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The follower, by the id of its process.
    pub proxy: Uuid,
    /// Number of the last answer that it has taken in; 0 for none.
    pub since: u64,
    /// Number of reads that it has carried out itself so far.
    pub reads: u64,
    /// The instances that were silent for it since its last question, a bit for each place.
    pub silent: u16,
}

/// The answer to a follower.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    form: u32,
    /// Number of this answer.
    number: u64,
    epoch: u64,
    reserve: Reserve,
    /// True when the steps lead from an empty view, and not from that of the last answer.
    is_whole: bool,
    view: Difference,
}

/// Reasons for the leader to have every read itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// A plugin decides where reads go, and runs at the leader.
    pub is_routed: bool,
    /// Clients need tokens there. A follower that has none is not to let everybody in.
    pub needs_token: bool,
    /// Reads are counted in quotas there.
    pub has_quotas: bool,
}

/// A follower, as far as its leader knows it.
#[derive(Debug)]
struct Known {
    number: u64,
    view: View,
    reads: u64,
    asked_at: Instant,
}

/// The leader's knowledge of its followers. A view costs nothing to keep: it shares its parts with the present one.
#[derive(Debug)]
pub struct Teller {
    epoch: Epoch,
    followers: BTreeMap<Uuid, Known>,
    planted: Planted,
}

/// The leader's view at some moment, as a follower has it.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The leader, by the id of its process, and its epoch.
    leader: (Uuid, Epoch),
    number: u64,
    /// Circumstances under which the follower carries out no read.
    pub reserve: Reserve,
    /// The view.
    pub view: View,
}

/// The reason why an answer can't be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellingError {
    /// It is of another version of Achromat.
    #[error("the leader's answer has the form {0}, which this version does not know")]
    Form(u32),
    /// The last one was missed.
    #[error("the leader's answer does not follow the last one")]
    Missed,
}

impl Question {
    /// The target of the request.
    pub fn target(&self) -> String {
        let Self {
            proxy,
            since,
            reads,
            silent,
        } = self;
        format!("{VIEW_PATH}?proxy={proxy}&since={since}&reads={reads}&silent={silent}")
    }

    /// The question of a path and its query; `None` when it is another one.
    pub fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        if path != VIEW_PATH {
            return None;
        }
        let value = |name: &str| {
            let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        Some(Self {
            proxy: value("proxy")?.parse().ok()?,
            since: value("since")?.parse().ok()?,
            reads: value("reads")?.parse().ok()?,
            silent: value("silent")?.parse().ok()?,
        })
    }

    /// Adds an instance to those that are silent.
    pub fn add_silent(silent: u16, instance: InstanceIx) -> u16 {
        silent | bit(instance)
    }

    /// The instances that were silent, of so many.
    pub fn silent(&self, count: usize) -> impl Iterator<Item = InstanceIx> + use<> {
        let silent = self.silent;
        InstanceIx::all(count).filter(move |instance| silent & bit(*instance) != 0)
    }
}

fn bit(instance: InstanceIx) -> u16 {
    let bit = 1_u16.checked_shl(instance.0.into());
    bit.unwrap_or_default()
}

impl Teller {
    /// The teller of a proxy that leads from this epoch on.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            followers: BTreeMap::new(),
            planted: Planted::NONE,
        }
    }

    /// The same with a bug, for the simulator.
    #[must_use]
    pub fn with(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// The answer to a question that came before `view` was published, or at the same time.
    pub fn answer(
        &mut self,
        question: Question,
        view: &View,
        reserve: Reserve,
        now: Instant,
    ) -> Told {
        self.followers
            .retain(|_, known| now.since(known.asked_at) < FORGOTTEN_AFTER);
        let number = question.since + 1;
        let known = Known {
            number,
            view: view.clone(),
            reads: question.reads,
            asked_at: now,
        };
        let before = self.followers.insert(question.proxy, known);
        let is_last =
            |known: &Known| known.number == question.since || self.planted.is(Bug::LosesDifference);
        let (is_whole, view) = match before.filter(is_last) {
            Some(last) => (false, Difference::between(&last.view, view)),
            None => (true, Difference::between(&View::default(), view)),
        };
        Told {
            form: FORM,
            number,
            epoch: self.epoch.0,
            reserve,
            is_whole,
            view,
        }
    }

    /// The number of reads that a follower has carried out itself, when it has asked lately.
    pub fn reads_of(&self, proxy: Uuid) -> Option<u64> {
        self.followers.get(&proxy).map(|known| known.reads)
    }
}

impl Copy {
    /// The copy after an answer of a leader, by the id of its process.
    pub fn take_in(before: Option<&Self>, leader: Uuid, told: Told) -> Result<Self, TellingError> {
        if told.form != FORM {
            return Err(TellingError::Form(told.form));
        }
        let leader = (leader, Epoch(told.epoch));
        let view = if told.is_whole {
            told.view.applied_to(&View::default())
        } else {
            let is_last =
                |before: &&Self| before.leader == leader && before.number + 1 == told.number;
            let before = before.filter(is_last).ok_or(TellingError::Missed)?;
            told.view.applied_to(&before.view)
        };
        Ok(Self {
            leader,
            number: told.number,
            reserve: told.reserve,
            view,
        })
    }

    /// Number of the answer that made it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// True when a leader, by the id of its process, has told it.
    pub fn is_of(&self, leader: Uuid) -> bool {
        self.leader.0 == leader
    }

    /// True when one leader has told both, so that they can be compared.
    pub fn is_of_same_leader(&self, other: &Self) -> bool {
        self.leader == other.leader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: Uuid = Uuid::from_u128(1);

    fn question(since: u64) -> Question {
        Question {
            proxy: Uuid::from_u128(7),
            since,
            reads: 3,
            silent: 2,
        }
    }

    /// A question is read as it is written, and nothing else is one.
    #[test]
    fn questions_are_read_as_written() {
        let target = question(5).target();
        let (path, query) = target.split_once('?').unwrap();
        assert_eq!(Question::parse(path, Some(query)), Some(question(5)));
        let silent: Vec<_> = question(5).silent(3).collect();
        assert_eq!(silent, [InstanceIx(1)]);
        assert_eq!(Question::parse(path, None), None);
        assert_eq!(
            Question::parse(path, Some("proxy=x&since=1&reads=2&silent=0")),
            None
        );
        assert_eq!(Question::parse("/fleet", Some(query)), None);
    }

    /// A follower that has missed an answer gets the whole, and so does one that was silent for long.
    #[test]
    fn what_was_missed_is_told_as_a_whole() {
        let (mut teller, view) = (Teller::new(Epoch(1)), View::default());
        let mut ask = |since, at_s: u64| {
            let now = Instant(at_s * 1_000_000);
            teller
                .answer(question(since), &view, Reserve::default(), now)
                .is_whole
        };
        assert!(ask(0, 0));
        assert!(!ask(1, 1));
        assert!(ask(1, 2), "the second answer was lost");
        assert!(!ask(2, 3));
        assert!(ask(3, 40));
        assert_eq!(teller.reads_of(question(0).proxy), Some(3));
        assert_eq!(teller.reads_of(Uuid::nil()), None);
    }

    /// A difference is taken in after the answer that it follows, of the same leader, and never otherwise.
    #[test]
    fn a_difference_follows_the_last_answer() {
        let mut tellers = [Epoch(1), Epoch(2)].map(Teller::new);
        let mut ask = |teller: usize, since| {
            tellers[teller].answer(
                question(since),
                &View::default(),
                Reserve::default(),
                Instant(0),
            )
        };
        let first = Copy::take_in(None, LEADER, ask(0, 0)).unwrap();
        let second = ask(0, 1);
        let missed = |before: Option<&Copy>, told: Told| {
            Copy::take_in(before, LEADER, told).unwrap_err() == TellingError::Missed
        };
        assert!(missed(None, second));
        let second = Copy::take_in(Some(&first), LEADER, ask(0, 1));
        assert!(second.unwrap().is_of_same_leader(&first), "told as a whole");
        let other = Copy::take_in(None, LEADER, ask(1, 0)).unwrap();
        assert!(!other.is_of_same_leader(&first));
        assert!(missed(Some(&first), ask(1, 1)));
        let strange = Told {
            form: 9,
            ..ask(0, 0)
        };
        let refused = Copy::take_in(None, LEADER, strange);
        assert_eq!(refused.unwrap_err(), TellingError::Form(9));
    }
}
