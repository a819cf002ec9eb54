//! Destination of a read: its instances, their order, and the next step when one fails.

mod repeat;
mod visible;

use std::time::Duration;

use smallvec::SmallVec;

pub use self::{
    repeat::turn_of,
    visible::{Baseline, Exposure, Release, Watched},
};
use crate::{
    health::Standing,
    ids::InstanceIx,
    limits::{CLOSED_INSTANCES_MAX, READ_AGAIN_MAX, SECOND_CHANCE_WITHIN, STALE_CONNECTIONS_MAX},
    reply::{self, Reply},
    view::{Scope, View},
    weight::heavy_read_time,
};

/// Strategy that spreads reads over the eligible instances.
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

/// Next step with a read, before an instance is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Try these.
    Go(Order),
    /// None is eligible, but one in service may soon be.
    Wait,
    /// There is none to wait for.
    Nobody,
}

/// Instances as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u16);

impl Tried {
    /// Returns true when this instance is among them.
    pub fn contains(self, instance: InstanceIx) -> bool {
        self.0 & 1 << (instance.0 & 15) != 0
    }

    fn len(self) -> usize {
        usize::try_from(self.0.count_ones()).unwrap_or(usize::MAX)
    }

    fn insert(&mut self, instance: InstanceIx) {
        self.0 |= 1 << (instance.0 & 15);
    }

    fn remove(&mut self, instance: InstanceIx) {
        self.0 &= !(1 << (instance.0 & 15));
    }
}

/// Plans where a read goes now, among the instances that it was not tried on yet.
pub fn plan(view: &View, scope: Scope<'_>, strategy: Strategy, turn: u64, tried: Tried) -> Plan {
    let mut order = native_order(view, scope, strategy, turn);
    order.retain(|instance| !tried.contains(*instance));
    if !order.is_empty() {
        return Plan::Go(order);
    }
    let has_hope = view
        .instances()
        .any(|instance| !tried.contains(instance) && view.may_become_eligible(instance, scope));
    if has_hope { Plan::Wait } else { Plan::Nobody }
}

/// The eligible instances in the order in which a read tries them: those that are up, spread by
/// the strategy, then the suspect ones. Of those that are up, the ones come first whose answers can
/// be given at once, unless the strategy names one instance. `turn` counts the reads, or stands for
/// what is read ([`turn_of`]).
pub(crate) fn native_order(view: &View, scope: Scope<'_>, strategy: Strategy, turn: u64) -> Order {
    let eligible = |standing| {
        view.instances()
            .filter(move |i| view.standing(*i) == standing && view.is_eligible(*i, scope))
    };
    let mut order: Order = eligible(Standing::Up).collect();
    spread(&mut order, strategy, turn);
    if strategy != Strategy::PrimaryOnly && order.len() > 1 {
        // The sort is stable.
        order.sort_by_key(|instance| !view.is_settled_on(*instance, scope));
    }
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
            // The upper half of a digest has nothing to do with the lower one, which says whose turn
            // it is; that of a count is 0.
            rotate(replicas, turn ^ turn >> 32);
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

/// Reason why an instance did not answer a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The connection was refused, or could not be made in time.
    Refused,
    /// The connection closed without an answer.
    Closed,
    /// So it did, but it had been used before: the server may have let it go unseen.
    Stale,
    /// No answer before the deadline.
    Silent,
    /// Nothing was sent: it has as many reads as it may have at once.
    Busy,
    /// A 5xx, which is passed on when no instance has anything better.
    ServerError(Reply),
    /// The instance does not have the collection, which is passed on when no instance has.
    Missing(Reply),
    /// The instance does not know the route, which is passed on when no instance has anything better.
    NoRoute(Reply),
    /// Its answer may show a write that came to nothing, or the copy that it came from is not in
    /// service any more.
    Outdated,
    /// Its answer may show a write of which nobody knew in time what becomes of it.
    Undecided,
}

/// Next step with a read that is under way.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Try this instance, beside those that are under way.
    Try(InstanceIx),
    /// Wait for those under way.
    Wait,
    /// Nothing is under way: look for another instance, or give up.
    Exhausted,
}

/// One read on its way: at most two attempts at once, each instance at most once, or twice when its
/// first answer was a 5xx that may pass and nobody else has a better one: Chroma 1.5.9 answers some reads
/// so that meet a write ("Error finding id"), and not the next. A 5xx that two instances give alike, or
/// that took long, is the read's own failure and is passed on. That a connection from the pool was dead is
/// no attempt. For each attempt it is planned anew: who was eligible for the one before, or for the
/// request that a dead connection swallowed, may not be any more.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that an answer has brought"
)]
pub struct Dispatch {
    tried: Tried,
    under_way: Tried,
    /// Those of them whose silence was told.
    told: Tried,
    /// Those that have answered 5xx once.
    faltered: Tried,
    /// Those of them whose 5xx is known to pass.
    passing: Tried,
    /// Those that have had their second chance.
    retried: Tried,
    /// The other 5xx, and whether two instances have given the same.
    server_error: Option<Reply>,
    is_agreed: bool,
    /// Connections that turned out to be dead.
    stale: u8,
    /// Those that have closed their connections without an answer. However often one of them does so, it
    /// says no more than that about the request.
    closed_by: Tried,
    /// Answers that were thrown away.
    outdated: u8,
    /// True when an answer was thrown away, as [`ReadFailure::Outdated`] or [`ReadFailure::Undecided`].
    is_undecided: bool,
    best: Option<Reply>,
    /// That an instance lacks what it should have.
    missing: Option<Reply>,
    /// That an instance does not know the route.
    no_route: Option<Reply>,
    /// True when an instance has failed otherwise, and may have what others lack.
    is_unsure: bool,
    /// True when the policy lets some instances answer and no other.
    is_restricted: bool,
    /// True when an instance had too many reads already.
    is_busy: bool,
}

impl Dispatch {
    /// Begins with the first of an order, if another attempt may be made.
    pub fn go(&mut self, order: &[InstanceIx]) -> ReadStep {
        match order.first() {
            Some(first) if self.may_begin() => {
                self.under_way.insert(*first);
                self.told.remove(*first);
                self.tried.insert(*first);
                ReadStep::Try(*first)
            }
            _ => self.wait(),
        }
    }

    /// The instances that it was tried on.
    pub fn tried(&self) -> Tried {
        self.tried
    }

    /// Those under way, each once for an attempt: the hedge delay is over, and they were silent. What
    /// the instances do after that is for probes to see.
    pub fn tell_silence(&mut self) -> Tried {
        let silent = Tried(self.under_way.0 & !self.told.0);
        self.told = self.under_way;
        silent
    }

    /// An instance has answered, and its answer is held: it is not silent.
    pub fn hold(&mut self, instance: InstanceIx) {
        self.told.insert(instance);
    }

    /// Returns true when a second attempt may be made beside the one that is under way.
    pub fn may_hedge(&self) -> bool {
        self.under_way.0.is_power_of_two() && self.may_begin()
    }

    /// Returns true when a read with a body of so many bytes goes on waiting after the hedge delay: the time
    /// that such a body may take is not over, and the instance that has it is not down.
    pub fn is_patient(
        &self,
        view: &View,
        elapsed: Duration,
        rules: &ReadRules,
        bytes: usize,
    ) -> bool {
        let time = heavy_read_time(bytes);
        let is_live = |instance: InstanceIx| {
            self.under_way.contains(instance) && view.standing(instance) != Standing::Down
        };
        time > Duration::ZERO && elapsed < rules.hedge + time && view.instances().any(is_live)
    }

    /// Returns true when no more than two instances would have closed their connections, should all that are
    /// under way, and one more, do so.
    fn may_begin(&self) -> bool {
        Tried(self.closed_by.0 | self.under_way.0).len() < usize::from(CLOSED_INSTANCES_MAX)
    }

    /// Returns true when further instances may be looked for.
    pub fn may_go_on(&self) -> bool {
        self.closed_by.len() < usize::from(CLOSED_INSTANCES_MAX)
    }

    /// An attempt ended without an answer for the client.
    pub fn failed(&mut self, instance: InstanceIx, failure: ReadFailure) -> ReadStep {
        self.under_way.remove(instance);
        if failure == ReadFailure::Stale && self.stale < STALE_CONNECTIONS_MAX {
            self.stale += 1;
            self.tried.remove(instance);
            return self.wait();
        }
        if failure == ReadFailure::Outdated && self.outdated < READ_AGAIN_MAX {
            self.outdated += 1;
            self.tried.remove(instance);
            return self.wait();
        }
        if let ReadFailure::ServerError(reply) = &failure
            && !self.retried.contains(instance)
        {
            self.falter(instance, reply);
        }
        match failure {
            ReadFailure::Closed | ReadFailure::Stale => self.closed_by.insert(instance),
            // It has closed its connection because it died: that says nothing of the request.
            ReadFailure::Refused => self.closed_by.remove(instance),
            _ => {}
        }
        self.take_in(failure);
        self.wait()
    }

    fn falter(&mut self, instance: InstanceIx, reply: &Reply) {
        self.faltered.insert(instance);
        if is_passing(reply) {
            self.passing.insert(instance);
            return;
        }
        let before = self.server_error.get_or_insert_with(|| reply.clone());
        let is_second = self.faltered.len() > self.passing.len() + 1;
        self.is_agreed |= is_second && is_alike(before, reply);
    }

    /// Remembers that the policy lets some instances answer and no other: the reply says so when none of
    /// them can.
    pub fn restrict(&mut self) {
        self.is_restricted = true;
    }

    /// Lets those be tried once more that have answered with a 5xx which may pass, and one that alone has
    /// closed its connection: it may have died, which the next attempt shows. Says whether there are any. `elapsed` is the time since the read began: one that fails slowly would fail slowly again.
    pub fn second_chance(&mut self, elapsed: Duration) -> bool {
        let mut again = std::mem::take(&mut self.faltered);
        if self.is_agreed || elapsed > SECOND_CHANCE_WITHIN {
            again.0 &= self.passing.0;
        }
        if self.may_go_on() {
            again.0 |= self.closed_by.0 & !self.retried.0;
        }
        self.tried.0 &= !again.0;
        self.retried.0 |= again.0;
        again != Tried::default()
    }

    fn take_in(&mut self, failure: ReadFailure) {
        match failure {
            ReadFailure::Missing(reply) => {
                self.missing.get_or_insert(reply);
                return;
            }
            ReadFailure::NoRoute(reply) => {
                self.no_route.get_or_insert(reply);
            }
            ReadFailure::ServerError(reply) => self.best = Some(reply),
            ReadFailure::Busy => self.is_busy = true,
            ReadFailure::Outdated | ReadFailure::Undecided => self.is_undecided = true,
            ReadFailure::Closed
            | ReadFailure::Stale
            | ReadFailure::Refused
            | ReadFailure::Silent => {}
        }
        self.is_unsure = true;
    }

    fn wait(&self) -> ReadStep {
        if self.under_way == Tried::default() {
            ReadStep::Exhausted
        } else {
            ReadStep::Wait
        }
    }

    /// Reply to the client when no instance is left to try, of so many `instances`. A 404 is given only when
    /// each of them has answered so: a single one may have lost what it should have.
    pub fn give_up(self, instances: usize) -> Reply {
        let all_lack_it = !self.is_unsure && self.tried.len() == instances;
        let missing = self.missing.filter(|_| all_lack_it);
        match self.best.or(self.no_route).or(missing) {
            Some(reply) => reply,
            None if self.closed_by != Tried::default() => {
                reply::no_answer(&format!("{} instance(s)", self.closed_by.len()))
            }
            None if self.is_restricted => reply::unavailable(
                "The routing policy lets some instances answer this and no other, and none of them can be reached",
                1,
            ),
            None if self.tried == Tried::default() => reply::unavailable(
                "No instance in service has every acknowledged write that this read could see",
                1,
            ),
            None if self.is_undecided => reply::unavailable(
                "The answer may show a write whose outcome is not known yet",
                1,
            ),
            None if self.is_busy => reply::unavailable(
                "Every instance that could answer has as many reads as it may have at once",
                1,
            ),
            None => reply::unavailable("No instance could be reached", 1),
        }
    }
}

/// Returns true for an answer that Chroma gives to a read that met a write, and does not give to the next
/// one.
fn is_passing(reply: &Reply) -> bool {
    const PASSING: &[u8] = b"Error finding id";
    reply
        .body
        .windows(PASSING.len())
        .any(|part| part == PASSING)
}

/// Returns true when two answers say the same. Numbers and ids in them may differ, and so may the order of
/// the fields in Chroma's answers.
fn is_alike(one: &Reply, other: &Reply) -> bool {
    let letters = |reply: &Reply| -> Vec<u8> {
        let bytes = reply.body.iter().copied();
        let mut letters: Vec<u8> = bytes.filter(|byte| !byte.is_ascii_hexdigit()).collect();
        letters.sort_unstable();
        letters
    };
    one.status == other.status && letters(one) == letters(other)
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
    use crate::ids::Position;

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
            let order = native_order(&view, Scope::Any, strategy, turn);
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

    /// A read that is tried on the first of so many instances.
    fn dispatch(count: u8) -> Dispatch {
        let mut dispatch = Dispatch::default();
        assert_eq!(go_on(&mut dispatch, count), ReadStep::Try(InstanceIx(0)));
        dispatch
    }

    /// Goes on with the first instance that it was not tried on.
    fn go_on(read: &mut Dispatch, count: u8) -> ReadStep {
        let tried = read.tried();
        let left: Vec<_> = (0..count)
            .map(InstanceIx)
            .filter(|i| !tried.contains(*i))
            .collect();
        read.go(&left)
    }

    const A: InstanceIx = InstanceIx(0);
    const B: InstanceIx = InstanceIx(1);

    /// A request that closes its connection is tried on two instances and no more.
    #[test]
    fn a_poisonous_read_ends_after_two_instances() {
        let mut read = dispatch(4);
        assert_eq!(read.failed(A, ReadFailure::Closed), ReadStep::Exhausted);
        assert_eq!(go_on(&mut read, 4), ReadStep::Try(B));
        assert_eq!(read.failed(B, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(!read.may_go_on());
        assert_eq!(read.give_up(4).status, 502);
    }

    /// The only instance in service is asked once more when it closes the connection: when it has died, the
    /// client is told that nobody could be reached, and when it closes again, that the request does that.
    #[test]
    fn a_server_that_dies_is_no_poisonous_read() {
        for (second, status) in [(ReadFailure::Refused, 503), (ReadFailure::Closed, 502)] {
            let mut read = dispatch(1);
            assert_eq!(read.failed(A, ReadFailure::Closed), ReadStep::Exhausted);
            assert!(read.may_go_on());
            assert!(read.second_chance(Duration::from_secs(1)));
            assert_eq!(go_on(&mut read, 1), ReadStep::Try(A));
            assert_eq!(read.failed(A, second), ReadStep::Exhausted);
            assert!(!read.second_chance(Duration::ZERO));
            assert_eq!(read.give_up(1).status, status);
        }
    }

    /// The only instance that is eligible closes its connections, again and again: the other one is waited
    /// for all the same, since nothing was heard from it.
    #[test]
    fn one_that_closes_twice_does_not_speak_for_the_other() {
        let mut read = dispatch(1);
        assert_eq!(read.failed(A, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(read.second_chance(Duration::ZERO));
        assert_eq!(go_on(&mut read, 1), ReadStep::Try(A));
        assert_eq!(read.failed(A, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(read.may_go_on());
        assert!(!read.second_chance(Duration::ZERO));
        assert_eq!(go_on(&mut read, 4), ReadStep::Try(B));
        assert_eq!(read.failed(B, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(!read.may_go_on());
        let reply = String::from_utf8(read.give_up(4).body.to_vec()).unwrap();
        assert!(reply.contains("on 2 instance(s)"), "{reply}");
    }

    /// The same when it was asked of two at once: the third is left alone.
    #[test]
    fn a_hedged_poisonous_read_ends_after_two_instances() {
        let mut read = dispatch(4);
        assert!(read.may_hedge());
        assert_eq!(go_on(&mut read, 4), ReadStep::Try(B));
        assert_eq!(read.failed(A, ReadFailure::Closed), ReadStep::Wait);
        assert!(!read.may_hedge());
        assert_eq!(go_on(&mut read, 4), ReadStep::Wait);
        assert_eq!(read.failed(B, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(!read.may_go_on());
    }

    /// Dead connections are no attempts, but not for ever; and after each it is planned anew.
    #[test]
    fn dead_connections_are_no_attempts() {
        let mut read = dispatch(2);
        for _ in 0..STALE_CONNECTIONS_MAX {
            assert_eq!(read.failed(A, ReadFailure::Stale), ReadStep::Exhausted);
            assert!(!read.tried().contains(A));
            assert_eq!(go_on(&mut read, 2), ReadStep::Try(A));
        }
        assert_eq!(read.failed(A, ReadFailure::Stale), ReadStep::Exhausted);
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        assert_eq!(read.failed(B, ReadFailure::Closed), ReadStep::Exhausted);
        assert!(!read.may_go_on());
    }

    /// A large body is not sent to a second instance after the hedge delay as long as the first is not
    /// down; a small one is.
    #[test]
    fn a_large_read_is_hedged_late() {
        const LARGE: usize = 8 * 1024 * 1024;
        let rules = ReadRules {
            hedge: Duration::from_millis(150),
            deadline: Duration::from_secs(60),
            eligible_wait: Duration::from_secs(10),
        };
        let busy = view(&[Standing::Suspect, Standing::Up]);
        let dead = view(&[Standing::Down, Standing::Up]);
        let read = dispatch(2);
        let [soon, late] = [rules.hedge, rules.hedge + heavy_read_time(LARGE)];
        assert!(read.is_patient(&busy, soon, &rules, LARGE));
        assert!(!read.is_patient(&busy, soon, &rules, 1000));
        assert!(!read.is_patient(&busy, late, &rules, LARGE));
        assert!(!read.is_patient(&dead, soon, &rules, LARGE));
    }

    /// A hedge adds one attempt; when both are under way nothing more is added.
    #[test]
    fn a_hedge_adds_one_attempt() {
        let mut read = dispatch(3);
        assert_eq!(go_on(&mut read, 3), ReadStep::Try(B));
        assert_eq!(go_on(&mut read, 3), ReadStep::Wait);
        assert_eq!(read.failed(B, ReadFailure::Refused), ReadStep::Wait);
        assert_eq!(go_on(&mut read, 3), ReadStep::Try(InstanceIx(2)));
        assert_eq!(
            read.failed(InstanceIx(2), ReadFailure::Refused),
            ReadStep::Wait
        );
        assert_eq!(read.failed(A, ReadFailure::Silent), ReadStep::Exhausted);
        assert_eq!(read.give_up(3).status, 503);
    }

    /// A policy may name the only instances that may answer: when they can't, the reply says why no other
    /// was asked.
    #[test]
    fn a_policys_restriction_is_told() {
        let told = |is_restricted: bool| {
            let mut read = dispatch(1);
            if is_restricted {
                read.restrict();
            }
            assert_eq!(read.failed(A, ReadFailure::Refused), ReadStep::Exhausted);
            String::from_utf8(read.give_up(2).body.to_vec()).unwrap()
        };
        assert!(told(true).contains("The routing policy lets some instances answer"));
        assert!(told(false).contains("No instance could be reached"));
    }

    /// However long an attempt is silent, that is told once; the next one on the same instance tells
    /// it anew.
    #[test]
    fn a_silence_is_told_once() {
        let mut read = dispatch(1);
        assert!(read.tell_silence().contains(A));
        assert_eq!(go_on(&mut read, 1), ReadStep::Wait);
        assert_eq!(read.tell_silence(), Tried::default());
        assert_eq!(read.failed(A, ReadFailure::Stale), ReadStep::Exhausted);
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(A));
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        let silent = read.tell_silence();
        assert!(silent.contains(A) && silent.contains(B));
        assert_eq!(read.tell_silence(), Tried::default());
    }

    /// That a collection is not found is told only when every instance says so.
    #[test]
    fn one_who_lacks_it_does_not_speak_for_all() {
        let missing = || ReadFailure::Missing(Reply::error(404, "NotFoundError", "no"));
        let cases = [
            (missing(), 404),
            (ReadFailure::Silent, 503),
            (ReadFailure::Busy, 503),
            (ReadFailure::Closed, 502),
        ];
        for (second, status) in cases {
            let mut read = dispatch(2);
            read.failed(A, missing());
            assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
            read.failed(B, second);
            assert_eq!(read.give_up(2).status, status);
        }
        let mut read = dispatch(1);
        read.failed(A, missing());
        assert_eq!(
            read.give_up(2).status,
            503,
            "the other lags, and may have it"
        );
    }

    /// A server that does not know the route says nothing about the collection: another one is asked,
    /// and the answer is passed on when nobody has a better one.
    #[test]
    fn a_server_without_the_route_is_passed_over() {
        let no_route = || ReadFailure::NoRoute(Reply::json(404, ""));
        let error = Reply::error(500, "InternalError", "broken");
        let cases = [
            (no_route(), 404),
            (ReadFailure::Refused, 404),
            (ReadFailure::ServerError(error), 500),
        ];
        for (second, status) in cases {
            let mut read = dispatch(2);
            assert_eq!(read.failed(A, no_route()), ReadStep::Exhausted);
            assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
            read.failed(B, second);
            assert_eq!(read.give_up(2).status, status);
        }
    }

    /// A 5xx moves the read on, and is passed on as it is when there is nobody else.
    #[test]
    fn a_server_error_is_passed_on_last() {
        let error = Reply::error(500, "InternalError", "broken");
        let mut read = dispatch(2);
        let failure = ReadFailure::ServerError(error.clone());
        assert_eq!(read.failed(A, failure), ReadStep::Exhausted);
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        assert_eq!(read.failed(B, ReadFailure::Refused), ReadStep::Exhausted);
        assert_eq!(read.give_up(2), error);
    }

    fn server_error(message: &str) -> ReadFailure {
        ReadFailure::ServerError(Reply::error(500, "InternalError", message))
    }

    /// Has the first two instances answer so, and returns whether any is tried again.
    fn is_tried_again(messages: [&str; 2], elapsed: Duration) -> bool {
        let mut read = dispatch(2);
        read.failed(A, server_error(messages[0]));
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        read.failed(B, server_error(messages[1]));
        read.second_chance(elapsed)
    }

    /// A read that fails by rule costs its client one attempt on two instances, not four attempts: two
    /// equal answers are enough, and a slow one is not asked for again. What is known to pass is tried
    /// again all the same.
    #[test]
    fn a_read_that_fails_by_rule_is_not_tried_again() {
        let (quick, slow) = (Duration::from_millis(20), Duration::from_secs(1));
        let rule = "too many SQL variables";
        assert!(!is_tried_again([rule, rule], quick));
        assert!(!is_tried_again([rule, "something else"], slow));
        assert!(is_tried_again([rule, "something else"], quick));
        let numbered = ["no room in block 17 of a3f0", "no room in block 9 of 77"];
        assert!(!is_tried_again(numbered, quick));
        let passing = "Internal error: Error finding id";
        for other in [rule, passing] {
            assert!(is_tried_again([passing, other], slow));
        }
    }

    /// Of two instances that answer 5xx, the one whose answer is known to pass is tried again, and the
    /// other is not.
    #[test]
    fn only_the_answer_that_passes_is_tried_again_after_a_while() {
        let mut read = dispatch(2);
        read.failed(A, server_error("broken"));
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        read.failed(B, server_error("Error finding id"));
        assert!(read.second_chance(Duration::from_secs(1)));
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        assert_eq!(read.failed(B, server_error("broken")), ReadStep::Exhausted);
        assert!(!read.second_chance(Duration::from_secs(1)));
    }

    /// An instance that has answered 5xx is tried once more when no other is left, and not again after that.
    #[test]
    fn a_server_error_has_a_second_chance() {
        let failure = || server_error("broken");
        let mut read = dispatch(2);
        assert_eq!(read.failed(A, failure()), ReadStep::Exhausted);
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(B));
        assert_eq!(read.failed(B, ReadFailure::Refused), ReadStep::Exhausted);
        assert!(read.second_chance(Duration::ZERO));
        assert_eq!(go_on(&mut read, 2), ReadStep::Try(A));
        assert_eq!(read.failed(A, failure()), ReadStep::Exhausted);
        assert!(!read.second_chance(Duration::ZERO));
        assert_eq!(read.give_up(2).status, 500);
    }

    /// A read that failed on the only instance that was eligible waits for the other, if that is in
    /// service and will have what it lacks, and goes on there.
    #[test]
    fn a_read_waits_for_an_instance_that_catches_up() {
        let mut view = view(&[Standing::Suspect, Standing::Up]);
        view.schema.acknowledged = Position(2);
        view.schema.applied = [Position(2), Position(1)].into();
        let mut read = Dispatch::default();
        let plan = |view: &View, read: &Dispatch| {
            plan(view, Scope::Schema, Strategy::RoundRobin, 0, read.tried())
        };
        let Plan::Go(order) = plan(&view, &read) else {
            panic!("the first is eligible");
        };
        assert_eq!(read.go(&order), ReadStep::Try(A));
        assert_eq!(read.failed(A, ReadFailure::Refused), ReadStep::Exhausted);
        assert_eq!(plan(&view, &read), Plan::Wait);
        view.schema.applied = [Position(2), Position(2)].into();
        assert_eq!(
            plan(&view, &read),
            Plan::Go([InstanceIx(1)].as_slice().into())
        );
        view.schema.applied = [Position(2), Position(1)].into();
        view.standings = [Standing::Suspect, Standing::Down].into();
        assert_eq!(plan(&view, &read), Plan::Nobody);
    }
}
