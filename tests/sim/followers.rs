//! Reads that a follower carries out, as the shell's `serve::follow` does: by a copy of the leader's view, which may
//! be old, and given when the leader's view of a later moment confirms them. All else goes to the leader.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    fleet::{Copy, Question, Reserve, Teller, Told, confirms},
    ids::{Epoch, InstanceIx},
    outcome::Sending,
    planted::Planted,
    read::{ReadStep, Release},
    reply::Reply,
    time::Instant,
    view::{Scope, View},
};
use uuid::Uuid;

use super::{
    marks::Mark,
    proxy::Proxy,
    random::Random,
    reads::Read,
    world::{Happening, World},
};

/// Number of times that a follower carries a read out before the leader gets it: the shell's own bound.
const ROUNDS_MAX: u32 = 2;

/// Longest way of a follower's question to the leader, or of the answer, in microseconds.
const WAY_US_MAX: u64 = 20_000;

/// Answers of the leader, of a thousand, that do not come to the followers.
const MISSED: u32 = 50;

/// The followers of a history, and their copy of the leader's view.
#[derive(Debug)]
pub struct Followers {
    random: Random,
    /// The leader, by number, with what it has told.
    leader: Option<(u32, Teller)>,
    /// The followers' copy of its view.
    copy: Option<Arc<Copy>>,
    planted: Planted,
}

/// A read in a follower's hands.
#[derive(Clone, Debug)]
pub struct Following {
    /// The copy by which its instance was chosen.
    seen: Arc<Copy>,
    instance: InstanceIx,
    rounds: u32,
    /// The instance's answer, and the life in which it was asked.
    answer: Option<(Reply, u32)>,
}

impl Followers {
    /// Followers that were told nothing yet.
    pub fn of(seed: u64, planted: Planted) -> Self {
        Self {
            random: Random::of(seed, "followers"),
            leader: None,
            copy: None,
            planted,
        }
    }

    /// The followers ask a leader for its view, and may miss the answer.
    fn ask(&mut self, leader: u32, view: &View, now: Instant) -> Option<Arc<Copy>> {
        let id = Uuid::from_u128(leader.into());
        if self
            .leader
            .as_ref()
            .is_none_or(|(number, _)| *number != leader)
        {
            let teller = Teller::new(Epoch(leader.into())).with(self.planted);
            self.leader = Some((leader, teller));
        }
        let (_, teller) = self.leader.as_mut()?;
        let before = self.copy.take().filter(|copy| copy.is_of(id));
        let question = Question {
            proxy: Uuid::nil(),
            since: before.as_ref().map_or(0, |copy| copy.number()),
            reads: 0,
            silent: 0,
        };
        let told = teller.answer(question, view, Reserve::default(), now);
        let told = serde_json::to_vec(&told).expect("it can be told");
        if self.random.chance(MISSED) {
            self.copy = before;
            return None;
        }
        let told: Told = serde_json::from_slice(&told).expect("it can be read");
        let taken = Copy::take_in(before.as_deref(), id, told);
        self.copy = Some(Arc::new(taken.expect("it follows the last one")));
        self.copy.clone()
    }
}

impl World {
    /// Has a follower begin with a read. Returns the read when the leader shall have it.
    pub(super) fn follow(&mut self, proxy: &mut Proxy, read: Read) -> Option<Read> {
        let now = self.instant();
        let Some(followers) = &mut self.followers else {
            return Some(read);
        };
        if !followers.random.chance(600) {
            return Some(read);
        }
        if followers.random.chance(200) {
            followers.ask(proxy.number, &proxy.view, now);
        }
        let id = Uuid::from_u128(proxy.number.into());
        match followers.copy.clone().filter(|copy| copy.is_of(id)) {
            Some(copy) => self.read_by_copy(proxy, read, copy, 1),
            None => Some(read),
        }
    }

    fn read_by_copy(
        &mut self,
        proxy: &mut Proxy,
        mut read: Read,
        copy: Arc<Copy>,
        rounds: u32,
    ) -> Option<Read> {
        let Some(instance) = read.choose_first(&copy.view, self.plan.strategy) else {
            return Some(read);
        };
        self.mark(Mark::FollowerRead);
        read.following = Some(Following {
            seen: copy,
            instance,
            rounds,
            answer: None,
        });
        self.exchange(proxy.number, &read, instance);
        proxy.reads.insert(read.operation, read);
        None
    }

    /// An instance has answered a follower, or not. The follower asks the leader then, or leaves the read to it.
    pub(super) fn take_followers_answer(
        &mut self,
        proxy: &mut Proxy,
        mut read: Read,
        (sending, life): (Sending, u32),
    ) {
        let success = match sending {
            Sending::Answered(answer) if answer.is_success() => Some(answer),
            _ => None,
        };
        let (Some(following), Some(success)) = (&mut read.following, success) else {
            self.leave_to_leader(proxy, read);
            return;
        };
        following.answer = Some((success, life));
        let way = |random: &mut Random| Duration::from_micros(random.below(WAY_US_MAX));
        let span = self.followers.as_mut().map(|all| way(&mut all.random));
        let happening = Happening::Asked {
            proxy: proxy.number,
            operation: read.operation,
        };
        self.after(span.unwrap_or_default(), happening);
        proxy.reads.insert(read.operation, read);
    }

    /// The leader gets a read: nothing of what the follower did counts.
    fn leave_to_leader(&mut self, proxy: &mut Proxy, mut read: Read) {
        read.following = None;
        self.go_on_reading(proxy, read, ReadStep::Exhausted);
    }

    /// The leader has a follower's question, and its answer is the view of this moment.
    pub(super) fn confirm_read(&mut self, number: u32, operation: usize) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        let is_asked = |read: &Read| {
            let following = read.following.as_ref();
            following.is_some_and(|following| following.answer.is_some())
        };
        if proxy.reads.get(&operation).is_some_and(is_asked)
            && let Some(read) = proxy.reads.remove(&operation)
        {
            let now = self.instant();
            let followers = self.followers.as_mut();
            match followers.and_then(|all| all.ask(number, &proxy.view, now)) {
                Some(later) => self.take_confirmation(&mut proxy, read, later),
                None => self.leave_to_leader(&mut proxy, read),
            }
        }
        self.proxies.insert(number, proxy);
    }

    fn take_confirmation(&mut self, proxy: &mut Proxy, mut read: Read, later: Arc<Copy>) {
        let Some(Following {
            seen,
            instance,
            rounds,
            answer: Some((answer, life)),
        }) = read.following.take()
        else {
            return;
        };
        let planted = self.plan.settings.lanes.planted;
        let scope_confirms =
            |scope: Scope<'_>| confirms(&seen.view, &later.view, (instance, scope), planted);
        let is_confirmed = read.in_scope(&seen.view, scope_confirms).unwrap_or(false);
        let exposure = read.exposure(&later.view, instance);
        let is_free = exposure
            .is_some_and(|exposure| exposure.with(planted).release(&later.view) == Release::Give);
        if is_confirmed && is_free {
            if let Some(reply) = read.judge(&later.view, instance, answer) {
                if self.processes[instance.at()].life == life {
                    self.oracle.given_by_follower(instance);
                }
                self.mark(Mark::FollowerGave);
                self.answer_read(read.operation, reply);
                return;
            }
        } else if rounds < ROUNDS_MAX {
            self.mark(Mark::FollowerReadAgain);
            let Some(left) = self.read_by_copy(proxy, read, later, rounds + 1) else {
                return;
            };
            read = left;
        }
        self.leave_to_leader(proxy, read);
    }
}
