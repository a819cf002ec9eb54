//! Policy that keeps writes out of the log, and changes now and then: a swap, a rollback, a version that
//! is taken out of service after traps. What it keeps out goes to its collection's home, as the shell's
//! `serve` and its driver have it done.

use std::time::Duration;

use achromat_core::{
    engine::{Event, LocalSubmission, Payload, Wire},
    ids::{InstanceIx, Ticket},
    local::LocalWrite,
    time::Instant,
    weight::heavy_time,
    write::Permit,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{
    marks::Mark,
    model::Server,
    proxy::{Message, Proxy},
    random::Random,
    wire::{Request, Sender},
    world::{Happening, World},
};

/// The longest time that a judged write is on its way to the engine: policy may have changed by then.
const ON_ITS_WAY_US_MAX: u64 = 20_000;

/// Policy.
#[derive(Debug)]
pub struct Policy {
    /// Of writes of records, how many in a thousand it keeps out of the log now.
    local: u32,
    random: Random,
}

impl Policy {
    /// The policy of a history, which replicates everything at first.
    pub fn new(seed: u64) -> Self {
        Self {
            local: 0,
            random: Random::of(seed, "policy"),
        }
    }
}

/// The body of a write at a home, as it can be carried out anywhere. Which of the records that a filter meets
/// a delete with a limit takes depends on their order, and that is the home's own once its copy was mended: it
/// is asked just before.
pub(super) fn carried_out_locally(server: &mut Server, request: &Request) -> Bytes {
    #[derive(Deserialize)]
    struct Found {
        ids: Vec<String>,
    }
    let body = || request.body.clone();
    let asked = request.target.strip_suffix("/delete");
    let is_local = matches!(request.sender, Sender::Local { .. });
    let Some(collection) = asked.filter(|_| is_local) else {
        return body();
    };
    let answer = server.handle("POST", &format!("{collection}/get"), &request.body);
    let Ok(found) = serde_json::from_slice::<Found>(&answer.body) else {
        return body();
    };
    if found.ids.is_empty() {
        return body();
    }
    json!({ "ids": found.ids }).to_string().into()
}

impl World {
    /// Decides when policy changes.
    pub(super) fn plan_swaps(&mut self) {
        if self.plan.odds.local == 0 {
            return;
        }
        let span = u64::try_from(self.plan.chaos.as_micros()).expect("a span");
        for _ in 0..self.plan.odds.swaps {
            let at = self.policy.random.below(span);
            self.at(self.now + at, Happening::Swap);
        }
        self.swap();
    }

    /// Policy begins to keep writes out of the log, or ends.
    pub(super) fn swap(&mut self) {
        if self.is_healed {
            return;
        }
        let local = self.plan.odds.local;
        self.put_policy(if self.policy.local == 0 { local } else { 0 });
    }

    /// Policy ends to keep writes out of the log at the end of some histories, so that every collection
    /// must be back everywhere; in the others some have a home in the end.
    pub(super) fn end_policy(&mut self) {
        if self.policy.local > 0 && self.policy.random.chance(600) {
            self.put_policy(0);
        }
    }

    fn put_policy(&mut self, local: u32) {
        self.policy.local = local;
        self.say(|| format!("policy keeps {local} of 1,000 writes out of the log"));
        let proxies: Vec<u32> = self.proxies.keys().copied().collect();
        for number in proxies {
            self.put_to(number, Message::Event(Event::PolicyChanged));
        }
    }

    /// A write that policy keeps out of the log; the same write when it does not.
    pub(super) fn judge_locally(
        &mut self,
        proxy: &Proxy,
        operation: usize,
        permit: Permit,
    ) -> Result<LocalWrite, Permit> {
        if !self.policy.random.chance(self.policy.local) {
            return Err(permit);
        }
        let count = u64::try_from(self.known_instances()).expect("a count");
        let wished = u8::try_from(self.policy.random.below(count)).expect("a place");
        let (id, subject) = (permit.entry().id, permit.entry().verb.subject());
        let judged = permit
            .first_on(InstanceIx(wished))
            .locally(&proxy.guard, &proxy.view);
        let local = judged.map_err(|permit| *permit)?;
        self.operations[operation].local = subject.map(|collection| (collection, id));
        Ok(local)
    }

    /// A client's write is handed to the engine, at once or a moment later.
    pub(super) fn put_locally(
        &mut self,
        proxy: &mut Proxy,
        write: LocalWrite,
        operation: usize,
        answer_by: Instant,
    ) {
        self.mark(Mark::Local);
        let message = Message::SubmitLocally {
            write: Box::new(write),
            operation,
            answer_by,
        };
        if self.policy.random.chance(300) {
            let late = self.policy.random.below(ON_ITS_WAY_US_MAX);
            proxy.judged.insert(operation);
            let submitted = Happening::Submitted(proxy.number, Box::new(message));
            self.after(Duration::from_micros(late), submitted);
        } else {
            self.put(proxy, message);
        }
    }

    /// A judged write reaches the engine, if its proxy still lives.
    pub(super) fn submitted(&mut self, number: u32, message: Message) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if let Some(operation) = message.operation() {
            proxy.judged.remove(operation);
        }
        self.put(&mut proxy, message);
        self.proxies.insert(number, proxy);
    }

    pub(super) fn take_in_locally(
        &mut self,
        proxy: &mut Proxy,
        write: LocalWrite,
        (operation, answer_by): (usize, Instant),
    ) {
        let submission = LocalSubmission {
            ticket: proxy.ticket(operation),
            write,
            answer_by,
        };
        let now = self.instant();
        let event = Event::SubmittedLocally(Box::new(submission));
        proxy.engine.step(event, now);
    }

    /// The engine has a write sent to its collection's home.
    pub(super) fn send_locally(
        &mut self,
        proxy: &Proxy,
        ticket: Ticket,
        instance: InstanceIx,
        wire: Wire,
    ) {
        let operation = proxy.waiting.get(&ticket);
        let local = operation.and_then(|operation| self.operations[*operation].local);
        let Some((collection, entry)) = local else {
            self.violate("a write is sent to a home, and nobody waits for it".to_owned());
            return;
        };
        let body = match wire.body {
            Payload::Entry { body, .. } => body.unwrap_or_default(),
            Payload::None => Bytes::new(),
        };
        if proxy.number == self.store.epoch {
            self.oracle.sending_locally(collection, instance);
        }
        let sender = Sender::Local {
            proxy: proxy.number,
            ticket,
            collection,
            entry,
        };
        let deadline = self.plan.timing.write + heavy_time(body.len());
        self.send(sender, instance, (wire.method, wire.target, body), deadline);
    }

    /// What keeps everything from being at rest: policy replicates everything, and a collection still has
    /// a home.
    pub(super) fn homed(&self) -> Option<String> {
        let (id, home) = self
            .oracle
            .homes()
            .next()
            .filter(|_| self.policy.local == 0)?;
        let home = home.0;
        Some(format!(
            "policy keeps nothing out of the log, and {id} still has its home on {home}"
        ))
    }
}
