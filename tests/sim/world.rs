//! The world of one history: virtual time, what is due in it, and everybody who lives in it.
//!
//! One thing happens at a time, in the order of its moment and, at one moment, in the order in
//! which it was put down. Nothing here asks for the time, for a thread or for the order of a hash
//! map: a seed gives the same history, byte for byte.

use std::{collections::BTreeMap, time::Duration};

use achromat_core::{
    ids::{InstanceIx, Position},
    reply::Reply,
    time::Instant,
};

use super::{
    agenda::Agenda,
    chaos::Spell,
    clients::{Client, Operation},
    faults::{Counts, Fault},
    followers::Followers,
    homes::Policy,
    letters::Poison,
    marks::Mark,
    mix::Mix,
    oracle::Oracle,
    plan::{Options, Plan},
    process::Process,
    proxy::{Message, Proxy},
    random::Random,
    scopes::Live,
    store::{Store, Told},
    trace::Trace,
    wire::{Request, Word},
};

/// Something that is due.
#[derive(Debug)]
pub enum Happening {
    /// A proxy takes in what has come.
    Run(u32),
    /// A proxy starts.
    Boot,
    /// The instances may all be in service.
    Dawn,
    /// A request reaches its instance.
    Arrive(u64),
    /// An instance carries a request out.
    Serve(u64),
    /// The word on a request reaches its sender.
    Return(u64, Word),
    /// A request's sender gives up.
    Expire(u64),
    /// The store commits.
    Apply(super::store::Flush),
    /// A proxy's writer hears from the store.
    Tell(u32, Told),
    /// A client does its next thing.
    Turn(usize),
    /// A client is answered.
    Answer(usize, Option<Reply>),
    /// The store says what it knows under an operation's key.
    Key {
        /// The proxy.
        proxy: u32,
        /// The operation.
        operation: usize,
        /// What it was refused for before.
        refusal: Option<Reply>,
    },
    /// A read has waited for its hedge delay.
    Hedge {
        /// The proxy.
        proxy: u32,
        /// The operation.
        operation: usize,
        /// The read's step, so that what came first counts.
        step: u64,
    },
    /// A read has waited long enough for an instance.
    Tired {
        /// The proxy.
        proxy: u32,
        /// The operation.
        operation: usize,
        /// The read's step.
        step: u64,
    },
    /// An answer to a read was held for as long as it may be.
    HeldTooLong {
        /// The proxy.
        proxy: u32,
        /// The operation.
        operation: usize,
    },
    /// The question of a follower, which has read something, reaches the leader.
    Asked {
        /// The leader.
        proxy: u32,
        /// The operation.
        operation: usize,
    },
    /// A write that was judged reaches the engine.
    Submitted(u32, Box<Message>),
    /// Policy changes.
    Swap,
    /// Something goes wrong for a while.
    Begin(Fault),
    /// It ends.
    End(Spell),
    /// Everything is repaired.
    Heal,
    /// Time to look whether everything has come to rest.
    Look,
}

/// The world.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says whether one thing has happened yet, in no order"
)]
pub struct World {
    /// What the seed decided.
    pub plan: Plan,
    /// How it is run.
    pub options: Options,
    /// Now, in microseconds.
    pub now: u64,
    agenda: Agenda,
    /// Randomness of the wire.
    pub of_wire: Random,
    /// Randomness of what befalls processes and proxies.
    pub of_chaos: Random,
    /// Randomness of the clients.
    pub of_clients: Random,
    /// Randomness of the store.
    pub of_store: Random,
    /// Randomness of heavy writes.
    pub of_heavy: Random,
    /// Randomness of odd requests.
    pub of_odd: Random,
    /// Randomness of the trash.
    pub of_trash: Random,
    /// The followers, in a history of a fleet.
    pub followers: Option<Followers>,
    /// What policy says.
    pub policy: Policy,
    /// The instances.
    pub processes: Vec<Process>,
    /// What is on the wire.
    pub requests: BTreeMap<u64, Request>,
    /// The log.
    pub store: Store,
    /// The proxies that live, by number.
    pub proxies: BTreeMap<u32, Box<Proxy>>,
    /// How many proxies there have been.
    pub proxy_count: u32,
    /// The clients.
    pub clients: Vec<Client>,
    /// What they have done and are doing.
    pub operations: Vec<Operation>,
    /// Whoever judges.
    pub oracle: Oracle,
    /// Entries that no instance can carry out.
    pub poison: Poison,
    /// Faults that happened.
    pub faults: Counts,
    /// Places that were reached.
    pub marks: Counts,
    /// What is told.
    pub trace: Trace,
    /// Whether clients have come.
    has_dawned: bool,
    /// When they came.
    pub dawned_at: u64,
    /// Whether the proxies know the last instance.
    pub has_joined: bool,
    /// Whether operators wait for a comparison of all copies.
    pub compares: bool,
    /// Whether faults are over.
    pub is_healed: bool,
    /// Since when everything seems to be at rest.
    pub resting: u32,
    /// How much has happened at this moment.
    at_once: u32,
    violation: Option<String>,
    /// What is lived through exhaustively, if it is.
    pub scope: Option<Live>,
}

/// Things that may happen at one moment; more are a circle.
const AT_ONCE_MAX: u32 = 10_000;

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(plan: Plan, options: &Options) -> Self {
        let seed = plan.seed;
        let count = plan.settings.instances;
        Self {
            now: 0,
            agenda: Agenda::default(),
            of_wire: Random::of(seed, "wire"),
            of_chaos: Random::of(seed, "chaos"),
            of_clients: Random::of(seed, "clients"),
            of_store: Random::of(seed, "store"),
            of_heavy: Random::of(seed, "heavy"),
            of_odd: Random::of(seed, "odd"),
            of_trash: Random::of(seed, "trash"),
            followers: (options.mix == Mix::Fleet)
                .then(|| Followers::of(seed, plan.settings.lanes.planted)),
            policy: Policy::new(seed),
            processes: InstanceIx::all(count)
                .map(|instance| Process::new(seed, instance))
                .collect(),
            requests: BTreeMap::new(),
            store: Store::default(),
            proxies: BTreeMap::new(),
            proxy_count: 0,
            clients: (0..plan.clients + if plan.odds.trash > 0 { 2 } else { 0 })
                .map(|_| Client::default())
                .collect(),
            operations: Vec::new(),
            oracle: Oracle::new(seed, count, plan.levels.records),
            poison: Poison::default(),
            faults: Counts::new(Fault::ALL.len()),
            marks: Counts::new(Mark::ALL.len()),
            trace: Trace::new(options.trace),
            has_dawned: false,
            dawned_at: 0,
            has_joined: plan.rate(Fault::Join) == 0,
            compares: false,
            is_healed: false,
            resting: 0,
            at_once: 0,
            violation: None,
            scope: None,
            options: options.clone(),
            plan,
        }
    }

    /// Lives the history through. What was broken is returned.
    pub fn run(&mut self) -> Result<(), String> {
        self.begin();
        while self.violation.is_none()
            && let Some((at, happening)) = self.agenda.next()
        {
            assert!(at >= self.now, "time goes on");
            self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
            if self.at_once > AT_ONCE_MAX {
                self.violate(format!("time stands still: {happening:?}"));
            }
            self.now = at;
            self.happen(happening);
            if let Some(violation) = self.oracle.violation.take() {
                self.violate(violation);
            }
        }
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => self.judge(),
        }
    }

    fn begin(&mut self) {
        self.boot();
        self.after(Duration::from_millis(50), Happening::Dawn);
    }

    /// Clients come, and things go wrong, when every instance has been taken into service.
    fn dawn(&mut self) {
        if !self.oracle.all_serve(self.known_instances()) {
            self.after(Duration::from_millis(50), Happening::Dawn);
            return;
        }
        self.has_dawned = true;
        self.dawned_at = self.now;
        for client in 0..self.clients.len() {
            self.after(Duration::from_millis(5), Happening::Turn(client));
        }
        self.plan_chaos();
        self.plan_swaps();
        self.after(self.plan.chaos, Happening::Heal);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Run(proxy) => self.run_proxy(proxy),
            Happening::Boot => self.boot(),
            Happening::Dawn => self.dawn(),
            Happening::Arrive(request) => self.arrive(request),
            Happening::Serve(request) => self.serve(request),
            Happening::Return(request, word) => self.word_returns(request, word),
            Happening::Expire(request) => self.expire(request),
            Happening::Apply(flush) => self.apply_flush(&flush),
            Happening::Tell(proxy, told) => self.tell_writer(proxy, told),
            Happening::Turn(client) => self.client_turn(client),
            Happening::Answer(operation, reply) => self.client_answered(operation, reply),
            Happening::Key {
                proxy,
                operation,
                refusal,
            } => self.key_found(proxy, operation, refusal),
            Happening::Hedge {
                proxy,
                operation,
                step,
            } => self.hedge_read(proxy, operation, step),
            Happening::Tired {
                proxy,
                operation,
                step,
            } => self.tire_read(proxy, operation, step),
            Happening::HeldTooLong { proxy, operation } => self.end_hold(proxy, operation),
            Happening::Asked { proxy, operation } => self.confirm_read(proxy, operation),
            Happening::Submitted(proxy, message) => self.submitted(proxy, *message),
            Happening::Swap => self.swap(),
            Happening::Begin(fault) => self.begin_spell(fault),
            Happening::End(spell) => self.end_spell(spell),
            Happening::Heal => self.heal(),
            Happening::Look => self.look(),
        }
    }

    /// Puts something down for later.
    pub fn after(&mut self, span: Duration, happening: Happening) {
        let span = u64::try_from(span.as_micros()).expect("a span");
        self.at(self.now + span, happening);
    }

    /// Puts something down for a moment.
    pub fn at(&mut self, at: u64, happening: Happening) {
        self.agenda.put(at.max(self.now), happening);
    }

    /// Now, as `core` writes it.
    pub fn instant(&self) -> Instant {
        Instant(self.now)
    }

    /// A fault has happened.
    pub fn count(&mut self, fault: Fault) {
        self.faults.add(fault as usize);
    }

    /// A place was reached.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.add(mark as usize);
    }

    /// Something is not as it must be.
    pub fn violate(&mut self, what: String) {
        self.trace.say(self.now, || format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Nothing happens any more.
    pub fn stop(&mut self) {
        self.agenda.clear();
    }

    /// Tells a step.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.say(self.now, line);
    }

    /// Whether a fault of this kind happens to a request or a commit now.
    pub fn befalls(&mut self, fault: Fault) -> bool {
        let rate = if self.is_healed || !self.has_dawned {
            0
        } else {
            self.plan.rate(fault)
        };
        let random = match fault {
            _ if Fault::OF_REQUESTS.contains(&fault) => &mut self.of_wire,
            _ if Fault::OF_COMMITS.contains(&fault) => &mut self.of_store,
            _ => &mut self.of_chaos,
        };
        random.chance(rate)
    }

    /// The position of a lane's last entry, as the log says it.
    pub fn head(&self, lane: achromat_core::ids::LaneId) -> Position {
        self.oracle.head(lane)
    }
}
