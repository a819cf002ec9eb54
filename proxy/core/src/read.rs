//! Where a read goes: which instances, in which order, and what happens when one fails.

use std::time::Duration;

use smallvec::SmallVec;

use crate::{
    health::Standing,
    ids::InstanceIx,
    limits::CLOSED_INSTANCES_MAX,
    reply::{self, Reply},
    view::{Scope, View},
};

/// How reads are spread over the eligible instances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// Each in turn.
    RoundRobin,
    /// The replicas get this share of the reads, from 0 to 1, the primary the rest.
    ReadReplica {
        /// The share.
        ratio: f64,
    },
    /// The primary, as long as it is eligible.
    PrimaryOnly,
}

/// Instances in the order in which they are tried.
pub type Order = SmallVec<[InstanceIx; 4]>;

/// The eligible instances in the order in which a read tries them: those that are up, spread by
/// the strategy, then the suspect ones. `turn` counts the reads.
pub fn order(view: &View, scope: Scope<'_>, strategy: Strategy, turn: u64) -> Order {
    let eligible = |standing| {
        view.instances()
            .filter(move |i| view.standing(*i) == standing && view.is_eligible(*i, scope))
    };
    let mut order: Order = eligible(Standing::Up).collect();
    spread(&mut order, strategy, turn);
    order.extend(eligible(Standing::Suspect));
    order
}

fn spread(order: &mut Order, strategy: Strategy, turn: u64) {
    match strategy {
        Strategy::PrimaryOnly => {}
        Strategy::RoundRobin => rotate(order, turn),
        Strategy::ReadReplica { ratio } => {
            let has_primary = order.first() == Some(&InstanceIx(0));
            let (primary, replicas) = order.split_at_mut(usize::from(has_primary));
            rotate(replicas, turn);
            if !primary.is_empty() && is_replicas_turn(ratio, turn) {
                order.rotate_left(1);
            }
        }
    }
}

fn rotate(instances: &mut [InstanceIx], turn: u64) {
    let count = u64::try_from(instances.len()).unwrap_or(1).max(1);
    instances.rotate_left(usize::try_from(turn % count).unwrap_or(0));
}

/// Spreads a share evenly over the turns, as Bresenham's line spreads its steps: of any n turns in
/// a row, n × ratio are the replicas', to within one.
fn is_replicas_turn(ratio: f64, turn: u64) -> bool {
    // 2^32 turns are exact in f64; the spread repeats after that.
    let turn = f64::from(u32::try_from(turn & 0xffff_ffff).unwrap_or(0));
    ((turn + 1.0) * ratio).floor() > (turn * ratio).floor()
}

/// Why an instance did not answer a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The connection was refused, or could not be made in time.
    Refused,
    /// The connection closed without an answer.
    Closed,
    /// No answer before the deadline.
    Silent,
    /// A 5xx, which is passed on when no instance has anything better.
    ServerError(Reply),
    /// The instance does not have the collection, which is passed on when no instance has.
    Missing(Reply),
}

/// What happened to a read.
#[derive(Debug)]
pub enum ReadEvent {
    /// The hedge delay has passed since the last attempt began.
    HedgeDue,
    /// An attempt ended without an answer for the client.
    Failed(InstanceIx, ReadFailure),
}

/// What to do next with a read.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Try this instance, beside those that are under way.
    Try(InstanceIx),
    /// Wait for those under way.
    Wait,
    /// Answer the client this.
    GiveUp(Reply),
}

/// One read on its way: at most two attempts at once, each instance at most once.
#[derive(Debug)]
pub struct Dispatch {
    order: std::vec::IntoIter<InstanceIx>,
    under_way: u8,
    closed: SmallVec<[InstanceIx; 2]>,
    best: Option<Reply>,
}

/// Attempts of one read at the same time.
const ATTEMPTS_AT_ONCE_MAX: u8 = 2;

impl Dispatch {
    /// A read that tries instances in this order, and the first of them.
    pub fn new(order: Order) -> Option<(Self, InstanceIx)> {
        let mut order = order.into_vec().into_iter();
        let first = order.next()?;
        let dispatch = Self {
            order,
            under_way: 1,
            closed: SmallVec::new(),
            best: None,
        };
        Some((dispatch, first))
    }

    /// Whether there is an instance left, so that waiting for the hedge delay makes sense.
    pub fn can_hedge(&self) -> bool {
        self.under_way < ATTEMPTS_AT_ONCE_MAX && !self.order.as_slice().is_empty()
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: ReadEvent) -> ReadStep {
        match event {
            ReadEvent::HedgeDue if self.can_hedge() => self.next(),
            ReadEvent::HedgeDue => ReadStep::Wait,
            ReadEvent::Failed(instance, failure) => {
                self.under_way = self.under_way.saturating_sub(1);
                self.take_in(instance, failure);
                self.next()
            }
        }
    }

    fn take_in(&mut self, instance: InstanceIx, failure: ReadFailure) {
        match failure {
            ReadFailure::Closed => self.closed.push(instance),
            ReadFailure::Missing(reply) => {
                self.best.get_or_insert(reply);
            }
            ReadFailure::ServerError(reply) => self.best = Some(reply),
            ReadFailure::Refused | ReadFailure::Silent => {}
        }
    }

    fn next(&mut self) -> ReadStep {
        let may_try = self.closed.len() < usize::from(CLOSED_INSTANCES_MAX);
        if let Some(instance) = may_try.then(|| self.order.next()).flatten() {
            self.under_way += 1;
            return ReadStep::Try(instance);
        }
        if self.under_way > 0 {
            return ReadStep::Wait;
        }
        ReadStep::GiveUp(match self.best.take() {
            Some(reply) => reply,
            None if self.closed.is_empty() => reply::unavailable("No instance answered in time", 1),
            None => reply::no_answer(&format!("{} instance(s)", self.closed.len())),
        })
    }
}

/// Timing of reads.
#[derive(Clone, Copy, Debug)]
pub struct ReadRules {
    /// Silence after which the next instance is asked as well.
    pub hedge: Duration,
    /// Time for the whole answer to begin.
    pub deadline: Duration,
    /// Time to wait for an instance that has every acknowledged write.
    pub eligible_wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(standings: &[Standing]) -> View {
        View {
            standings: standings.into(),
            ..View::default()
        }
    }

    fn firsts(strategy: Strategy, standings: &[Standing], turns: u64) -> Vec<usize> {
        let view = view(standings);
        let mut counts = vec![0; standings.len()];
        for turn in 0..turns {
            let order = order(&view, Scope::Any, strategy, turn);
            counts[order[0].at()] += 1;
        }
        counts
    }

    /// Each strategy spreads reads as it says.
    #[test]
    fn strategies_spread_reads() {
        use Standing::{Down, Suspect, Up};
        assert_eq!(firsts(Strategy::RoundRobin, &[Up, Up, Up], 300), [100; 3]);
        assert_eq!(firsts(Strategy::PrimaryOnly, &[Up, Up], 100), [100, 0]);
        let replica = Strategy::ReadReplica { ratio: 0.8 };
        assert_eq!(firsts(replica, &[Up, Up], 100), [20, 80]);
        assert_eq!(firsts(replica, &[Up, Up, Up], 1000), [200, 400, 400]);
        assert_eq!(firsts(replica, &[Down, Up], 100), [0, 100]);
        assert_eq!(firsts(replica, &[Up, Down], 100), [100, 0]);
        assert_eq!(firsts(Strategy::PrimaryOnly, &[Suspect, Up], 10), [0, 10]);
        assert_eq!(firsts(Strategy::RoundRobin, &[Suspect, Down], 10), [10, 0]);
    }

    fn dispatch(count: u8) -> Dispatch {
        Dispatch::new((0..count).map(InstanceIx).collect())
            .unwrap()
            .0
    }

    fn failed(instance: u8, failure: ReadFailure) -> ReadEvent {
        ReadEvent::Failed(InstanceIx(instance), failure)
    }

    /// A request that closes its connection is tried on two instances and no more.
    #[test]
    fn a_poisonous_read_ends_after_two_instances() {
        let mut read = dispatch(4);
        assert_eq!(
            read.step(failed(0, ReadFailure::Closed)),
            ReadStep::Try(InstanceIx(1))
        );
        match read.step(failed(1, ReadFailure::Closed)) {
            ReadStep::GiveUp(reply) => assert_eq!(reply.status, 502),
            step => panic!("{step:?}"),
        }
    }

    /// A hedge adds one attempt; when both are under way nothing more is added.
    #[test]
    fn a_hedge_adds_one_attempt() {
        let mut read = dispatch(3);
        assert_eq!(read.step(ReadEvent::HedgeDue), ReadStep::Try(InstanceIx(1)));
        assert_eq!(read.step(ReadEvent::HedgeDue), ReadStep::Wait);
        assert_eq!(
            read.step(failed(1, ReadFailure::Refused)),
            ReadStep::Try(InstanceIx(2))
        );
        assert_eq!(read.step(failed(2, ReadFailure::Refused)), ReadStep::Wait);
        match read.step(failed(0, ReadFailure::Silent)) {
            ReadStep::GiveUp(reply) => assert_eq!(reply.status, 503),
            step => panic!("{step:?}"),
        }
    }

    /// A 5xx moves the read on, and is passed on as it is when there is nobody else.
    #[test]
    fn a_server_error_is_passed_on_last() {
        let error = Reply::error(500, "InternalError", "broken");
        let mut read = dispatch(2);
        let first = read.step(failed(0, ReadFailure::ServerError(error.clone())));
        assert_eq!(first, ReadStep::Try(InstanceIx(1)));
        let second = read.step(failed(1, ReadFailure::Refused));
        assert_eq!(second, ReadStep::GiveUp(error));
    }
}
