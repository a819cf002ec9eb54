//! Groups of writes on their way into the store, and what is said when they are there.
//!
//! While one group is being committed the next collects, so that one flush serves all who wait,
//! and a lone write waits for nobody. What nobody waits for goes with the next group, so that it
//! costs no flush of its own, or alone when there is none for a while.
//!
//! When the store fails, appends fail (their clients are told that nothing was done) and
//! everything else is kept and tried again until it succeeds: it records what has already
//! happened. I12: whether an append happened is found out before anybody is told.

use std::collections::VecDeque;

use crate::{
    durable::{Appended, Write},
    engine::Event,
    ids::{EntryId, InstanceIx, JobId, LaneId, Position, Ticket},
    limits::GROUP_MAX,
    log::Entry,
    reply,
};

/// A write, and what is said when it is durable.
#[derive(Clone, Debug)]
pub struct Order {
    /// The write.
    pub write: Write,
    /// The event that follows.
    pub then: Then,
    /// True when nobody waits for the write.
    pub may_linger: bool,
}

/// Event that follows a durable write.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// The client's entry is in the log.
    Appended(Ticket),
    /// The cursor is recorded.
    Recorded(LaneId, InstanceIx, Position),
    /// The verdict is recorded.
    Closed(LaneId, Position),
    /// The state that a job has brought about is recorded.
    Settled(JobId),
    /// Nothing.
    Nothing,
}

impl Order {
    /// An append for a client.
    pub fn append(ticket: Ticket, entry: Entry) -> Self {
        Self {
            write: Write::Append(entry),
            then: Then::Appended(ticket),
            may_linger: false,
        }
    }

    /// Any other write; what follows it can be read off it.
    pub fn other(write: Write) -> Self {
        let then = match &write {
            Write::Record {
                lane,
                instance,
                position,
                ..
            } => Then::Recorded(*lane, *instance, *position),
            Write::Close { lane, position, .. } => Then::Closed(*lane, *position),
            Write::Settle { job, .. } => Then::Settled(*job),
            _ => Then::Nothing,
        };
        Self {
            write,
            then,
            may_linger: false,
        }
    }

    /// The same write, when nobody waits for it.
    pub fn lingering(write: Write) -> Self {
        Self {
            may_linger: true,
            ..Self::other(write)
        }
    }

    fn entry(&self) -> Option<EntryId> {
        match &self.write {
            Write::Append(entry) => Some(entry.id),
            _ => None,
        }
    }
}

/// Next step of the store's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for an order.
    Wait,
    /// The same, but after [`LINGER_MAX`](crate::limits::LINGER_MAX) say [`Writing::lingered`].
    Linger,
    /// Commit [`Writing::writes`], then say [`Writing::committed`].
    Commit,
    /// Ask the store where this entry stands, then say [`Writing::found`].
    Find(EntryId),
    /// Let the store rest, then say [`Writing::rested`].
    Rest,
}

/// Result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All of it is durable; what became of the appends, in order.
    Done(Vec<Appended>),
    /// None of it has happened or will.
    NotDone,
    /// All of it may have happened, or none.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Committing,
    /// Looking for the appends of the group, of these the store has told.
    Seeking(Vec<Appended>),
    Resting,
}

/// The writes that wait, and the group that is being made durable.
#[derive(Debug)]
pub struct Writing {
    waiting: VecDeque<Order>,
    group: Vec<Order>,
    phase: Phase,
    /// The orders that wait have lingered for long enough, though nobody waits for them.
    has_lingered: bool,
    is_up: bool,
    events: Vec<Event>,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            group: Vec::new(),
            phase: Phase::Idle,
            has_lingered: false,
            is_up: true,
            events: Vec::new(),
        }
    }
}

impl Writing {
    /// Takes an order. How many there can be is bounded by what the engine lets in.
    pub fn take(&mut self, order: Order) {
        self.waiting.push_back(order);
    }

    /// Returns the next step.
    pub fn step(&mut self) -> Step {
        match &self.phase {
            Phase::Idle if self.waiting.is_empty() => Step::Wait,
            Phase::Idle if self.may_linger() => Step::Linger,
            Phase::Idle => {
                self.has_lingered = false;
                let count = self.waiting.len().min(GROUP_MAX);
                self.group.extend(self.waiting.drain(..count));
                self.phase = Phase::Committing;
                Step::Commit
            }
            Phase::Committing => Step::Commit,
            Phase::Seeking(found) => {
                let mut sought = self.group.iter().filter_map(Order::entry);
                sought.nth(found.len()).map_or(Step::Rest, Step::Find)
            }
            Phase::Resting => Step::Rest,
        }
    }

    fn may_linger(&self) -> bool {
        !self.has_lingered
            && self.waiting.len() < GROUP_MAX
            && self.waiting.iter().all(|order| order.may_linger)
    }

    /// No order has come for a while.
    pub fn lingered(&mut self) {
        self.has_lingered = true;
    }

    /// The writes of the group.
    pub fn writes(&self) -> Vec<Write> {
        self.group.iter().map(|order| order.write.clone()).collect()
    }

    /// Returns true when the last commit succeeded.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Takes the events that have collected since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The group was committed, or was not.
    pub fn committed(&mut self, commit: Commit) {
        match commit {
            Commit::Done(appended) => {
                self.store_is(true);
                self.tell(appended);
            }
            Commit::Unknown if self.group.iter().any(|order| order.entry().is_some()) => {
                self.store_is(false);
                self.phase = Phase::Seeking(Vec::new());
            }
            Commit::NotDone | Commit::Unknown => {
                self.store_is(false);
                self.fail_appends();
            }
        }
    }

    /// The entry that was asked for stands here, or nowhere. The group was committed when one of
    /// its appends was; one that is not there all the same had a key that was known.
    pub fn found(&mut self, position: Option<Position>) {
        let Phase::Seeking(found) = &mut self.phase else {
            return;
        };
        found.push(position.map_or(Appended::Known, Appended::At));
        let sought = self.group.iter().filter_map(Order::entry).count();
        if found.len() < sought {
            return;
        }
        let found = std::mem::take(found);
        if found.iter().any(|one| *one != Appended::Known) {
            self.tell(found);
        } else {
            self.fail_appends();
        }
    }

    /// The store has rested: the group is committed again, be it empty by now.
    pub fn rested(&mut self) {
        self.phase = Phase::Committing;
    }

    /// Fails all appends of the group and of the queue. None of their entries will ever be in the log, and
    /// their clients are told so.
    fn fail_appends(&mut self) {
        self.phase = Phase::Resting;
        self.group.extend(self.waiting.drain(..));
        let events = &mut self.events;
        self.group.retain(|order| match order.then {
            Then::Appended(ticket) => {
                let message = "The log can't be written at the moment; nothing was done";
                let reply = reply::unavailable(message, 1);
                events.push(Event::AppendFailed { ticket, reply });
                false
            }
            _ => true,
        });
    }

    fn tell(&mut self, appended: Vec<Appended>) {
        self.phase = Phase::Idle;
        let mut appended = appended.into_iter();
        for order in self.group.drain(..) {
            let event = match order.then {
                Then::Appended(ticket) => match appended.next() {
                    Some(Appended::At(position)) => Event::Appended { ticket, position },
                    Some(Appended::Known) => Event::AppendKnown { ticket },
                    None => continue,
                },
                Then::Recorded(lane, instance, position) => Event::Recorded {
                    lane,
                    instance,
                    position,
                },
                Then::Closed(lane, position) => Event::Closed { lane, position },
                Then::Settled(job) => Event::Settled { job },
                Then::Nothing => continue,
            };
            self.events.push(event);
        }
    }

    fn store_is(&mut self, up: bool) {
        if self.is_up != up {
            self.is_up = up;
            self.events.push(Event::StoreIs { up });
        }
    }
}
