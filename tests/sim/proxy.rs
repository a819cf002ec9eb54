//! A proxy: the engine and everything that the shell does around it, in the same order. Events are
//! taken in in batches, the view is published before effects are carried out, effects are carried
//! out one after the other; and it can die between any two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use achromat_core::{
    durable::Write,
    engine::{Effect, Engine, Event, Payload, Submission},
    guard::Guard,
    health::Standing,
    ids::{InstanceIx, Ticket},
    key::KeyRecord,
    local::LocalWrite,
    outcome::Sending,
    time::{Instant, WallTime},
    view::View,
    weight::heavy_time,
    write::Permit,
    writing::{Order, Writing},
};
use bytes::Bytes;

use super::{
    faults::Fault,
    marks::Mark,
    questions::Asking,
    reads::Read,
    wire::{Request, Sender},
    world::{Happening, World},
};

/// Messages that are taken in together: the shell's own bound.
const BATCH_MAX: usize = 256;

/// What a proxy is told.
#[derive(Debug)]
pub enum Message {
    /// Something for the engine.
    Event(Event),
    /// A client's write.
    Submit {
        /// What was permitted.
        permit: Box<Permit>,
        /// Whose it is.
        operation: usize,
        /// When it is answered at the latest.
        answer_by: Instant,
    },
    /// A client's write that policy keeps out of the log.
    SubmitLocally {
        /// The change to be made.
        write: Box<LocalWrite>,
        /// Whose it is.
        operation: usize,
        /// When it is answered at the latest, as long as nothing was sent.
        answer_by: Instant,
    },
    /// A client's write under a key that the store knows.
    Join {
        /// What it knows.
        record: Box<KeyRecord>,
        /// Whose it is.
        operation: usize,
    },
}

impl Message {
    /// The operation whose client waits for it.
    pub(super) fn operation(&self) -> Option<&usize> {
        match self {
            Self::Event(_) => None,
            Self::Submit { operation, .. }
            | Self::SubmitLocally { operation, .. }
            | Self::Join { operation, .. } => Some(operation),
        }
    }
}

/// A proxy.
pub struct Proxy {
    /// Its number, which is its epoch too.
    pub number: u32,
    /// The engine.
    pub engine: Engine,
    /// What requests see.
    pub view: View,
    /// What may not be destroyed.
    pub guard: Guard,
    /// What is on its way into the store.
    pub writing: Writing,
    /// The flush that the writer waits for; 0 for anything else that it waits for.
    pub flush: Option<u64>,
    /// Whether the writer will be told that it has lingered.
    pub lingers: bool,
    /// What it was told and has not taken in.
    pub inbox: Vec<Message>,
    /// When it takes in what it was told.
    pub runs_at: Option<u64>,
    /// When it began.
    pub born: u64,
    /// Whether it has seen its instances and serves.
    pub serves: bool,
    /// The clients whose writes it has.
    pub waiting: BTreeMap<Ticket, usize>,
    /// The clients for which the store is asked for a key.
    pub keyed: BTreeSet<usize>,
    /// The clients whose writes are judged, and not with the engine yet.
    pub judged: BTreeSet<usize>,
    /// The reads that it has.
    pub reads: BTreeMap<usize, Read>,
    /// The questions that it has put.
    pub questions: BTreeMap<(Ticket, InstanceIx), Asking>,
    /// When each instance last answered it anything.
    pub answered_at: BTreeMap<InstanceIx, u64>,
    /// How many writes it has had.
    pub tickets: u64,
    /// How many reads it has had.
    pub turns: u64,
}

/// The collection that is protected.
pub const PROTECTED: &str = "global";

impl Proxy {
    /// One more write, for a client.
    pub(super) fn ticket(&mut self, operation: usize) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, operation);
        ticket
    }
}

impl World {
    /// A proxy starts, from what the store holds. One that still runs does not know it yet.
    pub(super) fn boot(&mut self) {
        if self.store.down_until > self.now {
            self.after(Duration::from_millis(250), Happening::Boot);
            return;
        }
        self.proxy_count += 1;
        let number = self.proxy_count;
        self.store.epoch = number;
        let mut settings = self.plan.settings;
        settings.instances = self.known_instances();
        let snapshot = self.store.ledger.snapshot(settings.instances);
        let now = self.instant();
        let engine = Engine::restore(settings, snapshot, now);
        let mut proxy = Box::new(Proxy {
            number,
            view: engine.view(),
            engine,
            guard: Guard::new([PROTECTED]),
            writing: Writing::default(),
            flush: None,
            lingers: false,
            inbox: Vec::new(),
            runs_at: None,
            born: self.now,
            serves: false,
            waiting: BTreeMap::new(),
            keyed: BTreeSet::new(),
            judged: BTreeSet::new(),
            reads: BTreeMap::new(),
            questions: BTreeMap::new(),
            answered_at: BTreeMap::new(),
            tickets: 0,
            turns: 0,
        });
        self.say(|| format!("proxy {number} starts"));
        self.oracle.proxy_started();
        self.schedule(&mut proxy, self.now);
        self.proxies.insert(number, proxy);
    }

    /// How many instances stand in the configuration.
    pub(super) fn known_instances(&self) -> usize {
        self.processes.len() - usize::from(!self.has_joined)
    }

    /// Tells a proxy something.
    pub(super) fn put(&mut self, proxy: &mut Proxy, message: Message) {
        proxy.inbox.push(message);
        let soon = self.now + self.of_wire.below(30);
        self.schedule(proxy, soon);
    }

    pub(super) fn put_to(&mut self, number: u32, message: Message) {
        if let Some(mut proxy) = self.proxies.remove(&number) {
            self.put(&mut proxy, message);
            self.proxies.insert(number, proxy);
        }
    }

    fn schedule(&mut self, proxy: &mut Proxy, at: u64) {
        if proxy.runs_at.is_none_or(|runs_at| at < runs_at) {
            proxy.runs_at = Some(at);
            self.at(at, Happening::Run(proxy.number));
        }
    }

    pub(super) fn run_proxy(&mut self, number: u32) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if proxy.runs_at != Some(self.now) {
            self.proxies.insert(number, proxy);
            return;
        }
        proxy.runs_at = None;
        let batch = proxy.inbox.len().min(BATCH_MAX);
        let batch: Vec<_> = proxy.inbox.drain(..batch).collect();
        for message in batch {
            self.take_in(&mut proxy, message);
        }
        let now = self.instant();
        if proxy.engine.wakes_at().is_some_and(|at| at <= now) {
            proxy.engine.step(Event::Tick, now);
        }
        if !self.carry_out_all(&mut proxy) {
            self.kill(proxy);
            return;
        }
        if !proxy.inbox.is_empty() {
            self.schedule(&mut proxy, self.now);
        }
        if let Some(Instant(at)) = proxy.engine.wakes_at() {
            self.schedule(&mut proxy, at);
        }
        self.proxies.insert(number, proxy);
    }

    pub(super) fn take_in(&mut self, proxy: &mut Proxy, message: Message) {
        let now = self.instant();
        match message {
            Message::Event(event) => proxy.engine.step(event, now),
            Message::Join { record, operation } => {
                let ticket = proxy.ticket(operation);
                let join = self.join_of(ticket, *record, operation);
                proxy.engine.step(Event::Joined(Box::new(join)), now);
            }
            Message::SubmitLocally {
                write,
                operation,
                answer_by,
            } => self.take_in_locally(proxy, *write, (operation, answer_by)),
            Message::Submit {
                permit,
                operation,
                answer_by,
            } => {
                let submission = Submission {
                    ticket: proxy.ticket(operation),
                    permit: *permit,
                    answer_by,
                };
                proxy
                    .engine
                    .step(Event::Submitted(Box::new(submission)), now);
            }
        }
    }

    /// Publishes what requests may see, then does what the engine wants done, in its order.
    /// Returns whether the proxy lived through it.
    fn carry_out_all(&mut self, proxy: &mut Proxy) -> bool {
        let effects = proxy.engine.effects();
        let has_news = proxy.engine.take_news();
        if effects.is_empty() && !has_news {
            return true;
        }
        for effect in &effects {
            if let Effect::Write(write) | Effect::WriteWithNext(write) = effect {
                self.oracle.ordered(write);
            }
        }
        proxy.view = proxy.engine.view();
        self.view_changed(proxy);
        let count = u64::try_from(effects.len()).expect("a count");
        let mut dies = self.befalls(Fault::CrashAtEffect);
        let mut lives_through = self.of_chaos.below(count + 1);
        match self.chosen_death(effects.len()) {
            Some(at) if at > effects.len() => self.at(self.now, Happening::Begin(Fault::Depose)),
            Some(at) => (dies, lives_through) = (true, u64::try_from(at).expect("a count")),
            None => {}
        }
        for (at, effect) in effects.into_iter().enumerate() {
            if dies && u64::try_from(at).expect("a count") == lives_through {
                self.count(Fault::CrashAtEffect);
                return false;
            }
            self.carry_out(proxy, effect);
        }
        self.go_on_writing(proxy);
        if dies {
            self.count(Fault::CrashAtEffect);
        }
        !dies
    }

    pub(super) fn carry_out(&mut self, proxy: &mut Proxy, effect: Effect) {
        match effect {
            Effect::Append { ticket, entry } => proxy.writing.take(Order::append(ticket, entry)),
            Effect::Write(write) => proxy.writing.take(Order::other(write)),
            Effect::WriteWithNext(write) => proxy.writing.take(Order::lingering(write)),
            Effect::Answer { ticket, reply } => {
                if let Some(operation) = proxy.waiting.remove(&ticket) {
                    self.oracle.answering(&self.operations[operation], &reply);
                    self.answer(operation, Some(reply));
                }
            }
            Effect::Send {
                lane,
                instance,
                position,
                attempt,
                wire,
                more,
            } => self.send_entry(proxy, (lane, instance, position, attempt), (wire, more)),
            Effect::Resolve {
                ticket,
                instance,
                question,
            } => self.ask(proxy, ticket, instance, question),
            Effect::Probe {
                instance, marker, ..
            } => self.probe(proxy.number, instance, marker),
            Effect::Ask {
                job,
                instance,
                wire,
                reply_bytes_max,
            } => {
                let body = match wire.body {
                    Payload::Entry { body, .. } => body.unwrap_or_default(),
                    Payload::None => Bytes::new(),
                };
                let sender = Sender::Job {
                    proxy: proxy.number,
                    job,
                    reply_bytes_max,
                };
                let deadline = self.plan.timing.write + heavy_time(body.len());
                self.send(sender, instance, (wire.method, wire.target, body), deadline);
            }
            Effect::SendLocally {
                ticket,
                instance,
                wire,
            } => self.send_locally(proxy, ticket, instance, wire),
            Effect::AskAgain { ticket } => {
                if let Some(operation) = proxy.waiting.remove(&ticket) {
                    self.ask_again(proxy, operation);
                }
            }
            Effect::ForgetKeys { kept_max, .. } => {
                let write = Write::ForgetKeys {
                    logged_before: WallTime(0),
                    kept_max,
                };
                proxy.writing.take(Order::other(write));
            }
            Effect::JobFailed { task, reason, .. } => {
                self.mark(Mark::JobFailed);
                self.say(|| format!("{task:?} has failed: {reason}"));
            }
            Effect::Tell {
                instance,
                transition,
            } => {
                self.say(|| format!("instance {} is {:?}", instance.0, transition.to));
                if transition.to == Standing::Down {
                    self.check_busy(proxy.number, instance);
                }
            }
            Effect::Warn(trouble) => {
                self.say(|| {
                    let instance = trouble.instance.map_or(-1, |i| i32::from(i.0));
                    let (lane, at) = (trouble.lane, trouble.position);
                    format!("trouble: {instance} {lane} {at}: {}", trouble.reason)
                });
            }
        }
    }

    /// A request of a proxy has ended.
    pub(super) fn deliver(&mut self, request: &Request, sending: Sending) {
        let instance = request.instance;
        if let (Sending::Answered(_), Some(proxy)) = (&sending, request.proxy())
            && let Some(proxy) = self.proxies.get_mut(&proxy)
        {
            proxy.answered_at.insert(instance, self.now);
        }
        match request.sender {
            Sender::Entry {
                proxy,
                lane,
                position,
                last,
                attempt,
            } => {
                let count = usize::try_from(last.since(position)).expect("a count") + 1;
                if count > 1 && !matches!(&sending, Sending::Answered(reply) if reply.is_success())
                {
                    self.mark(Mark::Split);
                }
                let event = Event::Answered {
                    lane,
                    instance,
                    attempt,
                    count,
                    sending,
                };
                self.put_to(proxy, Message::Event(event));
            }
            Sender::Job {
                proxy,
                job,
                reply_bytes_max,
            } => {
                let sending = match sending {
                    Sending::Answered(reply) if reply.body.len() > reply_bytes_max => {
                        self.mark(Mark::TooLarge);
                        Sending::TooLarge
                    }
                    sending => sending,
                };
                let event = Event::Told { job, sending };
                self.put_to(proxy, Message::Event(event));
            }
            Sender::Probe { proxy, marker } => {
                if sending == (Sending::Closed { reused: true }) {
                    // A connection that was let go says nothing of the server: try the next.
                    self.probe(proxy, instance, marker);
                    return;
                }
                let probe = self.probed(instance, marker, &sending);
                // What an instance knows is seen for nothing, whenever it answers.
                let server = &self.processes[instance.at()].server;
                let abilities = probe.shows_a_server().then(|| server.abilities());
                let event = Event::Probed {
                    instance,
                    probe,
                    abilities,
                    vitals: self.vitals(proxy, instance),
                };
                self.put_to(proxy, Message::Event(event));
                self.see_instances(proxy);
            }
            Sender::Question {
                proxy,
                ticket,
                instance,
            } => self.question_answered(proxy, (ticket, instance), sending),
            Sender::Local { proxy, ticket, .. } => {
                let event = Event::DoneLocally { ticket, sending };
                self.put_to(proxy, Message::Event(event));
            }
            Sender::Read {
                proxy, operation, ..
            } => {
                self.read_answered(proxy, operation, request, sending);
            }
        }
    }
}
