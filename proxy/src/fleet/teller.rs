//! The leader's view, told to the proxies that follow.
//!
//! A follower asks, and gets what has changed since it asked last. The answer is the view of a moment after the
//! question: that is all that a follower relies on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use achromat_core::{fleet::Difference, view::View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

/// Path of the question. No client reaches it: it is answered when a follower vouches that it asks itself.
pub(super) const PATH: &str = "/fleet/view";

/// Number of the answer's form. A follower that does not know it passes reads on.
pub(super) const FORM: u32 = 1;

/// Time after which a follower that does not ask any more is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The question of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The follower, by the id of its process.
    pub proxy: Uuid,
    /// Number of the last answer that it has taken in; 0 for none.
    pub since: u64,
    /// Number of reads that it has carried out itself so far.
    pub reads: u64,
}

/// The answer to a follower.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub(super) form: u32,
    /// Number of this answer.
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// Circumstances under which followers carry out no reads.
    pub(super) reserve: Reserve,
    /// Steps from the last answer, or from an empty view when that is unknown.
    pub(super) view: Difference,
    pub(super) is_whole: bool,
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
struct Known {
    number: u64,
    view: Arc<View>,
    reads: u64,
    asked_at: Instant,
}

/// The leader's knowledge of its followers.
#[derive(Default)]
pub struct Teller(Mutex<BTreeMap<Uuid, Known>>);

impl Teller {
    /// The answer to a question that came before `view` was published, or at the same time.
    pub fn answer(
        &self,
        question: Question,
        view: &Arc<View>,
        (epoch, reserve): (u64, Reserve),
    ) -> Told {
        let now = Instant::now();
        let known = Known {
            number: question.since + 1,
            view: Arc::clone(view),
            reads: question.reads,
            asked_at: now,
        };
        let before = {
            let mut followers = self.0.lock();
            followers.retain(|_, known| now - known.asked_at < FORGOTTEN_AFTER);
            followers.insert(question.proxy, known)
        };
        let last = before.filter(|known| known.number == question.since);
        let (is_whole, view) = match last {
            Some(last) => (false, Difference::between(&last.view, view)),
            None => (true, Difference::between(&View::default(), view)),
        };
        Told {
            form: FORM,
            number: question.since + 1,
            epoch,
            reserve,
            view,
            is_whole,
        }
    }

    /// The number of reads that a follower has carried out itself, when it has asked lately.
    pub fn reads_of(&self, proxy: Uuid) -> Option<u64> {
        let followers = self.0.lock();
        followers.get(&proxy).map(|known| known.reads)
    }
}

impl Question {
    /// The target of the request.
    pub(super) fn target(&self) -> String {
        let Self {
            proxy,
            since,
            reads,
        } = self;
        format!("{PATH}?proxy={proxy}&since={since}&reads={reads}")
    }

    /// The question of a path and its query; `None` when it is another one.
    pub fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        if path != PATH {
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(since: u64) -> Question {
        Question {
            proxy: Uuid::from_u128(7),
            since,
            reads: 3,
        }
    }

    /// A question is read as it is written, and nothing else is one.
    #[test]
    fn questions_are_read_as_written() {
        let target = question(5).target();
        let (path, query) = target.split_once('?').unwrap();
        assert_eq!(Question::parse(path, Some(query)), Some(question(5)));
        assert_eq!(Question::parse(path, None), None);
        assert_eq!(Question::parse(path, Some("proxy=x&since=1&reads=2")), None);
        assert_eq!(Question::parse("/fleet", Some(query)), None);
    }

    /// A follower that has missed an answer gets the whole, and so does one that asks another leader.
    #[test]
    fn what_was_missed_is_told_as_a_whole() {
        let (teller, view) = (Teller::default(), Arc::new(View::default()));
        let ask = |since| {
            let told = teller.answer(question(since), &view, (1, Reserve::default()));
            (told.is_whole, told.number)
        };
        assert_eq!(ask(0), (true, 1));
        assert_eq!(ask(1), (false, 2));
        // The second answer was lost.
        assert_eq!(ask(1), (true, 2));
        assert_eq!(ask(2), (false, 3));
        assert_eq!(teller.reads_of(question(0).proxy), Some(3));
        assert_eq!(teller.reads_of(Uuid::nil()), None);
    }
}
