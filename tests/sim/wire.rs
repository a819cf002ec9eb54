//! Requests on their way to instances, and what comes back.
//!
//! What this wire promises, and no more: a request is carried out at most once; what a crashed
//! process held is lost; a request whose connection was seen to close is not carried out after
//! that; one that nobody waits for any more is carried out, if it still is, before the settling
//! time is over, counted from when its sender gave up or, on an instance that held it while it could
//! not be reached, from when it could be reached again. What nobody waits for when an instance stops
//! is not held by it: nobody could know of it.

use std::time::Duration;

use achromat_core::{
    catalog::Marker,
    ids::{Attempt, CollectionId, EntryId, InstanceIx, JobId, LaneId, Position, Ticket},
    outcome::Sending,
    reply::Reply,
    route::Method,
};
use bytes::Bytes;

use super::{
    faults::Fault,
    homes::carried_out_locally,
    marks::Mark,
    process::State,
    world::{Happening, World},
};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An engine's sending.
    Entry {
        /// The proxy.
        proxy: u32,
        /// The lane.
        lane: LaneId,
        /// The entry, or the first of several.
        position: Position,
        /// The last of them.
        last: Position,
        /// The engine's name for it.
        attempt: Attempt,
    },
    /// A probe of a proxy for a marker.
    Probe { proxy: u32, marker: Option<Marker> },
    /// A job's request.
    Job {
        /// The proxy.
        proxy: u32,
        /// The job.
        job: JobId,
        /// Bytes that the answer may have.
        reply_bytes_max: usize,
    },
    /// A question before a delete.
    Question {
        /// The proxy.
        proxy: u32,
        /// Who waits for it.
        ticket: Ticket,
        /// Who is asked.
        instance: InstanceIx,
    },
    /// A write that is not logged.
    Local {
        /// The proxy.
        proxy: u32,
        /// Who waits for it.
        ticket: Ticket,
        /// Of which collection.
        collection: CollectionId,
        /// The entry that it would have been.
        entry: EntryId,
    },
    /// A read.
    Read {
        /// The proxy.
        proxy: u32,
        /// The operation.
        operation: usize,
        /// True when a follower carries it out.
        by_follower: bool,
    },
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On its way.
    Travelling,
    /// With a process that does not look at it.
    Held,
    /// Being carried out.
    Serving,
    /// Carried out, or never to be.
    Over,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Word {
    /// An answer.
    Answer(Reply),
    /// The connection was refused.
    Refused,
    /// The connection could not be made in time.
    Unreachable,
    /// The connection closed.
    Closed,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// To whom.
    pub instance: InstanceIx,
    /// The process's life in which it was sent.
    pub life: u32,
    /// The method.
    pub method: Method,
    /// The target.
    pub target: String,
    /// The body.
    pub body: Bytes,
    /// Who sent it.
    pub sender: Sender,
    /// Whether it is on a connection that was used before.
    pub is_reused: bool,
    /// What goes wrong with it.
    pub fate: Option<Fault>,
    /// Where it is.
    pub stage: Stage,
    /// When it was sent.
    pub sent_at: u64,
    /// When it reaches the instance.
    pub arrives_at: u64,
    /// Whether its sender still waits.
    pub is_awaited: bool,
}

impl Request {
    /// Whether it may change what an instance holds.
    pub fn is_write(&self) -> bool {
        let is_ours = matches!(
            self.sender,
            Sender::Entry { .. } | Sender::Job { .. } | Sender::Local { .. }
        );
        let is_get = self.method == Method::Get || self.target.ends_with("/get");
        is_ours && !is_get
    }

    /// Whether it is a probe.
    pub fn is_probe(&self) -> bool {
        matches!(self.sender, Sender::Probe { .. })
    }

    /// The proxy that sent it.
    pub fn proxy(&self) -> Option<u32> {
        Some(match self.sender {
            Sender::Entry { proxy, .. }
            | Sender::Probe { proxy, .. }
            | Sender::Job { proxy, .. }
            | Sender::Question { proxy, .. }
            | Sender::Local { proxy, .. }
            | Sender::Read { proxy, .. } => proxy,
        })
    }
}

impl World {
    /// Sends a request, and gives up after `deadline`.
    pub fn send(
        &mut self,
        sender: Sender,
        instance: InstanceIx,
        what: (Method, String, Bytes),
        deadline: Duration,
    ) {
        let (method, target, body) = what;
        let id = self.oracle.next_request();
        self.note_rebuild(sender, (method, &target));
        let fate = self.fate(sender, method);
        let state = self.processes[instance.at()].state;
        let latency = self.of_wire.between(100, 1_500);
        let mut request = Request {
            instance,
            life: self.processes[instance.at()].life,
            method,
            target,
            body,
            sender,
            is_reused: self.of_wire.chance(800),
            fate,
            stage: Stage::Travelling,
            sent_at: self.now,
            arrives_at: self.now + latency,
            is_awaited: true,
        };
        self.say(|| {
            let Request { target, .. } = &request;
            let fate = fate.map_or(String::new(), |fate| format!(" [{fate}]"));
            format!(
                "#{id} to {}: {method} {target}{fate} {sender:?}",
                instance.0
            )
        });
        if let Sender::Probe { .. } = sender {
            self.note_probe(instance, fate);
        }
        match fate {
            Some(Fault::Unsent) => self.lose(id, &mut request, Some(Word::Unreachable)),
            Some(Fault::LostReset) => {
                request.is_reused = false;
                self.lose(id, &mut request, Some(Word::Closed));
            }
            Some(Fault::LostStale) => {
                request.is_reused = true;
                self.lose(id, &mut request, Some(Word::Closed));
            }
            Some(Fault::LostSilent) => self.lose(id, &mut request, None),
            // A connection to a dead process is not made, so nothing can be delayed on it.
            Some(Fault::Late) if state != State::Crashed => {
                let span = deadline + self.plan.settings.lanes.settle.mul_f64(0.9);
                let span = u64::try_from(span.as_micros()).expect("a span");
                let late = self.of_wire.below(span);
                // In a scope it lands when its sender has given up.
                request.arrives_at += self.scope.as_ref().map_or(late, |_| span);
                self.at(request.arrives_at, Happening::Arrive(id));
            }
            _ => self.at(request.arrives_at, Happening::Arrive(id)),
        }
        self.requests.insert(id, request);
        self.after(deadline, Happening::Expire(id));
    }

    fn lose(&mut self, id: u64, request: &mut Request, word: Option<Word>) {
        request.stage = Stage::Over;
        if let Some(word) = word {
            self.at(request.arrives_at, Happening::Return(id, word));
        }
    }

    /// What goes wrong with a request. Probes and questions have fewer troubles.
    fn fate(&mut self, sender: Sender, method: Method) -> Option<Fault> {
        let is_entry = matches!(sender, Sender::Entry { .. } | Sender::Local { .. });
        let is_probe = matches!(sender, Sender::Probe { .. });
        let mut fate = self.chosen_fate(sender, method);
        for fault in Fault::OF_REQUESTS {
            let suits = match fault {
                Fault::Unsent | Fault::LostStale | Fault::LostSilent => true,
                Fault::ErrorDone | Fault::Garbage => is_entry,
                _ => !is_probe,
            };
            // Each is drawn for each request, so that the others stay what they were without it.
            if self.befalls(*fault) && suits {
                fate.get_or_insert(*fault);
            }
        }
        let fate = fate.filter(|fate| *fate != Fault::Garbage || method == Method::Post);
        if let Some(fault) = fate {
            self.count(fault);
        }
        fate
    }

    pub(super) fn arrive(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.arrives_at != self.now || request.stage != Stage::Travelling {
            return;
        }
        let (instance, reused) = (request.instance, request.is_reused);
        let process = &mut self.processes[instance.at()];
        if request.life != process.life {
            // The connection belonged to a process that is no more.
            self.end(id, Word::Closed);
            return;
        }
        match process.state {
            State::Up => {
                request.stage = Stage::Serving;
                let usual = self.of_wire.between(100, 4_000) * process.slowness;
                let (is_read, is_probe) = (!request.is_write(), request.is_probe());
                let bytes = request.body.len();
                let work = self.busy_time(instance, (is_read && !is_probe, bytes));
                self.after(work + Duration::from_micros(usual), Happening::Serve(id));
            }
            State::Crashed => {
                let word = if reused { Word::Closed } else { Word::Refused };
                let word = if self.of_wire.chance(800) {
                    Word::Refused
                } else {
                    word
                };
                self.end(id, word);
            }
            State::Frozen | State::Cut if !request.is_awaited => request.stage = Stage::Over,
            State::Frozen | State::Cut => {
                let is_cut = process.state == State::Cut;
                // A frozen process's queue of connections may be full.
                if !reused && (is_cut || self.of_wire.chance(150)) {
                    request.stage = Stage::Over;
                    let connect = self.plan.timing.connect;
                    self.after(connect, Happening::Return(id, Word::Unreachable));
                } else {
                    request.stage = Stage::Held;
                    process.held.push(id);
                }
            }
        }
    }

    pub(super) fn serve(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let process = &mut self.processes[request.instance.at()];
        if request.life != process.life || request.stage != Stage::Serving {
            return;
        }
        if process.state == State::Frozen {
            request.stage = if request.is_awaited {
                process.held.push(id);
                Stage::Held
            } else {
                Stage::Over
            };
            return;
        }
        let is_cut = process.state == State::Cut;
        let Some(word) = self.carry_out_request(id) else {
            return;
        };
        if is_cut {
            // The answer does not come through.
            if let Some(request) = self.requests.get_mut(&id) {
                request.stage = Stage::Over;
            }
            return;
        }
        let latency = Duration::from_micros(self.of_wire.between(100, 1_500));
        if let Some(request) = self.requests.get_mut(&id) {
            request.stage = Stage::Over;
        }
        self.after(latency, Happening::Return(id, word));
    }

    /// Carries a request out, or not, and says what its sender hears, if it hears anything.
    fn carry_out_request(&mut self, id: u64) -> Option<Word> {
        let (fate, is_write, instance) = {
            let request = self.requests.get(&id)?;
            (request.fate, request.is_write(), request.instance)
        };
        let is_full = is_write && self.processes[instance.at()].is_full;
        let fails = fate == Some(Fault::ErrorNotDone) || is_write && self.is_poison(id);
        if is_full || fails {
            let status = *self.of_wire.pick(&[500, 503, 429, 408]);
            let status = if is_full { 500 } else { status };
            return Some(Word::Answer(Reply::error(
                status,
                "InternalError",
                "it failed",
            )));
        }
        let answer = self.execute(id)?;
        Some(match fate {
            Some(Fault::AnswerReset) => {
                self.requests.get_mut(&id)?.is_reused = false;
                Word::Closed
            }
            Some(Fault::AnswerStale) => {
                self.requests.get_mut(&id)?.is_reused = true;
                Word::Closed
            }
            Some(Fault::AnswerSilent) => {
                self.requests.get_mut(&id)?.stage = Stage::Over;
                return None;
            }
            Some(Fault::ErrorDone) => {
                Word::Answer(Reply::error(500, "InternalError", "it failed late"))
            }
            Some(Fault::Garbage) if is_creation(self.requests.get(&id)?) => {
                Word::Answer(Reply::json(200, "<html>"))
            }
            _ => Word::Answer(answer),
        })
    }

    /// Has the model server do it.
    pub(super) fn execute(&mut self, id: u64) -> Option<Reply> {
        self.mark_landing(id);
        let request = self.requests.get(&id)?;
        self.oracle.reaching(request);
        let process = &mut self.processes[request.instance.at()];
        let method = request.method.as_str();
        let body = carried_out_locally(&mut process.server, request);
        let answer = process
            .server
            .handle(method, &request.target, &request.body);
        let reply = Reply::json(answer.status, answer.body);
        self.oracle.executed(request, &reply);
        self.oracle
            .executed_locally(request, body, &reply, self.now);
        self.say(|| {
            let body = String::from_utf8_lossy(&reply.body);
            let body: String = body.chars().take(300).collect();
            format!("#{id} is carried out: {} {body}", reply.status)
        });
        Some(reply)
    }

    /// A request is over, and its sender hears of it.
    pub(super) fn end(&mut self, id: u64, word: Word) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.stage = Stage::Over;
        }
        let latency = Duration::from_micros(self.of_wire.between(100, 1_500));
        self.after(latency, Happening::Return(id, word));
    }

    pub(super) fn word_returns(&mut self, id: u64, word: Word) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if request.is_awaited {
            self.hear(id, &request, Some(word));
        }
    }

    pub(super) fn expire(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if !request.is_awaited {
            return;
        }
        request.is_awaited = false;
        let request = request.clone();
        if request.stage == Stage::Over {
            self.requests.remove(&id);
        }
        self.hear(id, &request, None);
    }

    fn hear(&mut self, id: u64, request: &Request, word: Option<Word>) {
        let reused = request.is_reused;
        let sending = match word {
            None => Sending::Silent,
            Some(Word::Answer(reply)) => Sending::Answered(reply),
            Some(Word::Refused) => Sending::NotSent(REFUSED.to_owned()),
            Some(Word::Unreachable) => {
                Sending::NotSent("the connection could not be made in time".to_owned())
            }
            Some(Word::Closed) => Sending::Closed { reused },
        };
        self.say(|| match &sending {
            Sending::Answered(reply) => format!("#{id} is answered {}", reply.status),
            other => format!("#{id} ends: {other:?}"),
        });
        self.oracle.ended(request, &sending, self.now);
        if let (Sender::Entry { .. }, Sending::Closed { reused: true }) = (request.sender, &sending)
        {
            self.mark(Mark::StaleRetry);
        }
        self.deliver(request, sending);
    }
}

/// What is said when nobody listens.
pub const REFUSED: &str = "the connection was refused";

fn is_creation(request: &Request) -> bool {
    request.target.ends_with("/collections")
}
