//! One lane: which entry goes to which instance next, and when its client is answered.
//!
//! A lane is a state machine. Things that happened go in ([`Lane::appended`], [`Lane::answered`],
//! [`Lane::recorded`], time by [`Lane::advance`]), [`Effect`]s come out. It never looks at bodies
//! or at the catalog; what it must know of the instances stands in [`Peer`]s.
//!
//! For each instance there is a *track*: what it has applied, what of that is recorded, and the one
//! flight that may be under way (I07), which several entries may share. An entry is first sent to
//! one instance, its executor; when that hangs or fails, to the next. The first answer decides it.
//! Decided entries go to all others, in order.

mod advance;
mod answers;
mod closings;
mod effect;
mod events;
mod flight;
mod placing;
mod together;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use smallvec::SmallVec;

pub(crate) use self::closings::Closings;
use self::flight::{Flight, Phase};
pub use self::{effect::Effect, flight::Awaited};
use crate::{
    awake::Awake,
    health::{Lived, Standing},
    ids::{Attempt, InstanceIx, Key, LaneId, Position, Ticket},
    limits::{BODY_KEPT_BYTES_MAX, CLOSED_INSTANCES_MAX},
    log::{Level, Verb, Verdict},
    outcome::Failure,
    planted::Planted,
    progress::Progress,
    reply::Reply,
    time::{Instant, WallTime},
    weight::is_heavy,
};

/// Facts about one instance that a lane must know.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Standing of the instance.
    pub standing: Standing,
    /// True when the instance has what the lane's entries need: its copy of the collection.
    pub is_ready: bool,
    /// True when its copy is quarantined: the instance is sent nothing, and the log is not kept for it.
    pub is_quarantined: bool,
    /// True when its copy may differ from the others: the instance decides nothing while another one can.
    pub is_distrusted: bool,
    /// Time that the instance has been awake: the clock by which requests to it settle.
    pub awake: Awake,
    /// The latest signs of its life and death.
    pub lived: Lived,
}

/// Timing and bounds of lanes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Silence after which an entry is sent to the next instance as well.
    pub hedge: Duration,
    /// Silence at the end of a sending's deadline leaves a request that may still be carried out;
    /// nothing is sent to the instance in this lane until it has been awake for this time too, or
    /// has been seen to restart.
    pub settle: Duration,
    /// Longest time that the levels `majority` and `all` wait for instances beyond the first.
    pub all_wait: Duration,
    /// Faults that the simulator plants; none anywhere else.
    pub planted: Planted,
}

/// Facts and rules that a lane gets while it works, and the list that takes its effects.
pub struct Context<'a> {
    /// Now.
    pub now: Instant,
    /// One for each instance.
    pub peers: &'a [Peer],
    /// Timing.
    pub rules: &'a Rules,
    /// For each instance, how many more replicating requests it may be sent.
    pub replications: &'a mut [usize],
    /// True when an instance may have carried out an undecided entry that takes the lane's collection away.
    pub may_have_ended: bool,
    /// Effects to be carried out, in order.
    pub effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Awake time of an instance from which nothing that it was sent until now can be carried out any more.
    fn settled_from(&self, instance: InstanceIx) -> Duration {
        let awake = self.peers.get(instance.at()).map(|peer| peer.awake);
        awake.unwrap_or_default().at_most(self.now) + self.rules.settle
    }
}

/// A client that waits for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's ticket.
    pub ticket: Ticket,
    /// Level that must be reached before the client is answered.
    pub level: Level,
    /// Deadline of the client's answer, whatever has happened.
    pub answer_by: Instant,
    /// The instance that is to carry it out first, when it is as good as any other.
    pub executor: Option<InstanceIx>,
}

/// An entry as a lane holds it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) verb: Verb,
    pub(crate) content_type: Option<Arc<str>>,
    /// The body, as long as it is worth its memory; the store has it always.
    pub(crate) body: Option<Bytes>,
    /// Size of the body in bytes, wherever it is.
    bytes: usize,
    pub(crate) logged_at: WallTime,
    pub(crate) verdict: Verdict,
    /// The key under which its client may repeat it.
    key: Option<Key>,
    /// The instance that is to carry it out first, when it is as good as any other.
    executor: Option<InstanceIx>,
    /// True when the entry becomes a letter if it comes to nothing: a client was told that its outcome is
    /// unknown, or may have been before a restart, or the entry takes up a letter.
    is_late: bool,
    /// The instances that may have carried it out without our knowing.
    maybe_on: u16,
    verdict_is_recorded: bool,
    /// Time at which the entry was appended; from its decision on, the time of that.
    since: Instant,
    /// The answer that decided it.
    reply: Option<Box<Reply>>,
    /// Connections that instances closed on it.
    closings: Closings,
    /// The instances that failed it after it was sent.
    failed_on: u16,
    /// The instances that said that they lack its collection.
    lacking_on: u16,
    failures: u32,
    last_failure: Option<Box<Failure>>,
}

impl Slot {
    /// Returns true when so many instances have closed the connection on the entry that it goes to no
    /// further one.
    fn closes_connections(&self) -> bool {
        self.closings.instances() >= usize::from(CLOSED_INSTANCES_MAX)
    }

    /// Returns true when the entry must not be tried on an instance, because it may break that instance as
    /// well.
    fn is_kept_from(&self, instance: InstanceIx) -> bool {
        self.closes_connections() && !self.closings.has(instance)
    }

    /// Returns true when an instance may have carried the entry out without our knowing.
    pub(crate) fn may_be_done_on(&self, instance: InstanceIx) -> bool {
        self.maybe_on & bit(instance) != 0
    }

    /// Returns true when an instance must be asked for the collection that a create found elsewhere: it may
    /// have carried the create out as well, and has made another collection then if it had lost its copy.
    fn must_show(&self, instance: InstanceIx) -> bool {
        self.verdict == Verdict::Found && self.may_be_done_on(instance)
    }

    /// Returns true when an instance has said that it lacks the entry's collection.
    pub(crate) fn is_lacked_by(&self, instance: InstanceIx) -> bool {
        self.lacking_on & bit(instance) != 0
    }

    /// The answer that decided it, as long as somebody may ask for it.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        self.reply.as_deref()
    }

    /// Frees the answer of a decided entry that a client has got: without a key nobody else asks for it. Up
    /// to 100,000 slots may queue for a lagging instance. The answer of a create that found a collection says
    /// which.
    fn is_told(&mut self) {
        let is_asked_for = matches!(self.verdict, Verdict::Open | Verdict::Found);
        if self.key.is_none() && !is_asked_for {
            (self.reply, self.last_failure) = (None, None);
        }
    }

    /// Decides the entry by an instance's answer.
    fn is_decided(&mut self, verdict: Verdict, reply: Reply, now: Instant) {
        (self.verdict, self.since) = (verdict, now);
        self.reply = Some(Box::new(reply));
        self.body = self.body.take().filter(|b| b.len() <= BODY_KEPT_BYTES_MAX);
    }

    /// The size of its body, if that is heavy.
    fn heavy_bytes(&self) -> usize {
        if is_heavy(self.bytes) { self.bytes } else { 0 }
    }

    fn new(verb: Verb, logged_at: WallTime, verdict: Verdict, since: Instant) -> Self {
        Self {
            verb,
            content_type: None,
            body: None,
            bytes: 0,
            logged_at,
            verdict,
            key: None,
            executor: None,
            is_late: false,
            maybe_on: 0,
            verdict_is_recorded: verdict != Verdict::Open,
            since,
            reply: None,
            closings: Closings::default(),
            failed_on: 0,
            lacking_on: 0,
            failures: 0,
            last_failure: None,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Track {
    applied: Position,
    recorded: Position,
    /// The last entry that it may have been sent.
    sent: Position,
    flight: Option<Flight>,
    /// The position at which a job has placed it, as long as that is not recorded.
    placed: Option<Position>,
    trouble: Option<Trouble>,
}

impl Track {
    fn sent(&self) -> Position {
        self.sent.max(self.applied)
    }

    fn settles(&self) -> bool {
        self.trouble
            .is_some_and(|trouble| trouble.settles.is_some())
    }
}

/// An entry that an instance has failed; gone when it has applied it.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    tries: u32,
    retry_at: Instant,
    /// An old sending may still be carried out until the instance has been awake for so long; before
    /// that it is sent nothing.
    settles: Option<Duration>,
}

/// The state machine of one lane.
#[derive(Debug)]
pub struct Lane {
    id: LaneId,
    /// The slots are those after this position.
    base: Position,
    trimmed: Position,
    slots: VecDeque<Slot>,
    /// The waiting clients; several may wait for one entry, under its key.
    clients: BTreeMap<(Position, Ticket), Client>,
    tracks: SmallVec<[Track; 2]>,
    /// The last entry that a client or a reader may know to be done.
    acknowledged: Position,
    /// The last entry that was given up although an instance may have done it.
    undone: Position,
    attempts: u64,
    /// All entries up to this one are decided; a later one may be, when it was given up.
    decided: Position,
    /// Bytes of the heavy bodies among the entries after `decided`.
    open_heavy_bytes: usize,
    is_void: bool,
    /// Entries up to this one go alone: a request with several of them has failed.
    alone: Position,
}

impl Lane {
    /// An empty lane whose next entry comes after `head`.
    pub fn new(id: LaneId, instances: usize, head: Position) -> Self {
        let track = Track {
            applied: head,
            recorded: head,
            ..Track::default()
        };
        Self {
            id,
            base: head,
            trimmed: head,
            slots: VecDeque::new(),
            clients: BTreeMap::new(),
            tracks: SmallVec::from_elem(track, instances),
            acknowledged: head,
            undone: Position::default(),
            attempts: 0,
            decided: head,
            open_heavy_bytes: 0,
            is_void: false,
            alone: head,
        }
    }

    /// Id of the lane.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The last entry.
    pub fn head(&self) -> Position {
        Position(self.base.0 + u64::try_from(self.slots.len()).unwrap_or(u64::MAX))
    }

    /// Everything up to here is done on every instance that the log is kept for.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Entries that somebody still has to do.
    pub fn pending(&self) -> usize {
        self.slots.len()
    }

    /// Entries that nobody has decided.
    pub fn open(&self) -> usize {
        usize::try_from(self.head().since(self.decided)).unwrap_or(usize::MAX)
    }

    /// The last entry before which everything is decided.
    pub fn decided(&self) -> Position {
        self.decided
    }

    /// Bytes of the heavy bodies among the undecided entries: a later entry waits for as long as these
    /// take.
    pub fn open_heavy_bytes(&self) -> usize {
        self.open_heavy_bytes
    }

    /// The oldest entry that somebody still has to do.
    pub fn oldest_pending(&self) -> Option<WallTime> {
        self.slots.front().map(|slot| slot.logged_at)
    }

    /// Entries that an instance has not applied.
    pub fn owed_to(&self, instance: InstanceIx) -> u64 {
        self.track(instance)
            .map_or(0, |track| self.head().since(track.applied))
    }

    /// Time at which the oldest entry that an instance has not applied was logged.
    pub fn oldest_owed_to(&self, instance: InstanceIx) -> Option<WallTime> {
        let next = self.track(instance)?.applied.next();
        Some(self.slot(next)?.logged_at)
    }

    /// Returns true when an instance has failed its next entry and has not applied it since.
    pub fn is_failing_on(&self, instance: InstanceIx) -> bool {
        let trouble = self.track(instance).and_then(|track| track.trouble);
        trouble.is_some_and(|trouble| trouble.tries > 0)
    }

    /// Number of instances that are failing their next entry.
    pub fn failing(&self) -> usize {
        self.instances().filter(|i| self.is_failing_on(*i)).count()
    }

    /// Returns true when an instance has applied everything up to a position.
    pub fn has_applied(&self, instance: InstanceIx, position: Position) -> bool {
        self.track(instance)
            .is_some_and(|track| track.applied >= position)
    }

    /// Returns true when an instance's cursor is recorded up to a position, and no flight there is under way.
    pub fn has_recorded(&self, instance: InstanceIx, position: Position) -> bool {
        self.track(instance)
            .is_some_and(|track| track.recorded >= position && track.flight.is_none())
    }

    /// Returns true when nothing that was sent to an instance can still be carried out.
    pub fn is_quiet(&self, instance: InstanceIx) -> bool {
        self.track(instance)
            .is_none_or(|track| track.flight.is_none() && !track.settles())
    }

    /// Returns true when any instance is left alone until an old sending has settled. Until then the lane
    /// must hear when an instance comes or goes, even one to which it owes nothing.
    pub fn is_settling(&self) -> bool {
        self.tracks.iter().any(Track::settles)
    }

    /// Returns true when this instance is left alone until an old sending has settled.
    pub fn is_settling_on(&self, instance: InstanceIx) -> bool {
        self.track(instance).is_some_and(Track::settles)
    }

    /// Returns true when an instance closed the connection on the entry that is to be decided next: a probe
    /// tells whether the instance lived on.
    pub fn has_closed_on(&self, instance: InstanceIx) -> bool {
        let open = self.slot(self.decided.next());
        open.is_some_and(|slot| slot.closings.has(instance))
    }

    /// Returns true when any sending or recording is under way, or any client waits.
    pub fn is_busy(&self) -> bool {
        !self.clients.is_empty() || self.tracks.iter().any(|track| track.flight.is_some())
    }

    fn is_awaited(&self, position: Position) -> bool {
        let all = (position, Ticket(0))..=(position, Ticket(u64::MAX));
        self.clients.range(all).next().is_some()
    }

    /// Returns true when there is something to trim, which from then on counts as trimmed.
    pub fn begin_trim(&mut self) -> bool {
        let is_due = self.trimmed < self.base;
        self.trimmed = self.base;
        is_due
    }

    /// Returns true when the collection is deleted.
    pub fn is_void(&self) -> bool {
        self.is_void
    }

    /// Progress of the lane, for readers.
    pub fn progress(&self) -> Progress {
        Progress {
            acknowledged: self.acknowledged,
            decided: self.decided,
            undone: self.undone,
            applied: self.tracks.iter().map(|track| track.applied).collect(),
            sent: self.tracks.iter().map(Track::sent).collect(),
        }
    }

    /// The undecided entries that an instance may have been sent, with their verbs.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (Position, &Verb)> {
        let last = self.tracks.iter().map(Track::sent).max();
        let open = self.decided.0 + 1..=last.unwrap_or_default().0;
        open.map(Position)
            .filter_map(|position| Some((position, &self.slot(position)?.verb)))
    }

    pub(crate) fn slot(&self, position: Position) -> Option<&Slot> {
        self.slots.get(self.index(position)?)
    }

    fn push(&mut self, slot: Slot) {
        self.open_heavy_bytes += slot.heavy_bytes();
        self.slots.push_back(slot);
    }

    fn slot_mut(&mut self, position: Position) -> Option<&mut Slot> {
        let index = self.index(position)?;
        self.slots.get_mut(index)
    }

    fn index(&self, position: Position) -> Option<usize> {
        usize::try_from(position.0.checked_sub(self.base.0 + 1)?).ok()
    }

    fn track(&self, instance: InstanceIx) -> Option<&Track> {
        self.tracks.get(instance.at())
    }

    fn track_mut(&mut self, instance: InstanceIx) -> Option<&mut Track> {
        self.tracks.get_mut(instance.at())
    }

    fn instances(&self) -> impl DoubleEndedIterator<Item = InstanceIx> + use<> {
        InstanceIx::all(self.tracks.len())
    }

    /// The sending that an answer is about, if the lane still waits for that answer.
    pub fn awaited(&self, instance: InstanceIx, attempt: Attempt) -> Option<Awaited> {
        let flight = self.track(instance)?.flight?;
        (flight.attempt == attempt && flight.phase != Phase::Recording).then_some(Awaited {
            position: flight.position,
            last: flight.last,
            look_up: flight.look_up,
            replicates: flight.replicates,
        })
    }
}

fn bit(instance: InstanceIx) -> u16 {
    1 << (instance.0 & 15)
}
