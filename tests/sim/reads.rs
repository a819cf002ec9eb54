//! Reads, as the shell's `serve` sends them: one eligible instance after the other, a second one
//! beside the first when that is silent, with `core`'s own lookup, plan and dispatch.

use std::time::Duration;

use achromat_core::{
    abilities::AllAbilities,
    catalog::Catalog,
    engine::Event,
    health::Sign,
    ids::InstanceIx,
    lookup::Lookup,
    outcome::Sending,
    read::{
        Baseline, Dispatch, Exposure, Order, Plan, ReadFailure, ReadStep, Strategy, Tried, Watched,
        plan, turn_of,
    },
    reply::{self, Reply},
    route::{Action, Method, Target, find},
    time::Instant,
    view::{Scope, View},
    weight::heavy_read_time,
};
use bytes::Bytes;

use super::{
    followers::Following,
    holds::Held,
    marks::Mark,
    proxy::{Message, Proxy},
    wire::{Request, Sender},
    world::{Happening, World},
};

/// A read on its way.
#[derive(Debug)]
pub struct Read {
    pub(super) operation: usize,
    method: Method,
    target: String,
    body: Bytes,
    turn: u64,
    begun: Instant,
    pub(super) dispatch: Dispatch,
    /// The catalog by which the read was last looked up.
    catalog: Catalog,
    /// What the instances knew when it began.
    abilities: AllAbilities,
    /// What had come to nothing then.
    baseline: Baseline,
    /// The answers that are held.
    pub(super) held: Vec<Held>,
    step: u64,
    waits: bool,
    /// Where it was sent last.
    last: Option<InstanceIx>,
    /// State of the read at a follower, as long as that has it.
    pub(super) following: Option<Following>,
}

/// What was found out about where a read may go.
enum Found {
    Go(Catalog, Baseline, Order),
    Answer(Reply),
    Nobody,
}

impl Read {
    /// Has the lookup of the read, by a catalog, do something.
    fn with_lookup<T>(
        &self,
        catalog: &Catalog,
        work: impl FnOnce(&Lookup<'_>) -> T,
    ) -> Result<T, Reply> {
        let target = Target::parse(self.target.as_bytes()).expect("it was parsed before");
        let (route, captures) = find(Some(self.method), &target).expect("it was found before");
        Lookup::new(catalog, route, captures, &target)
            .map(|lookup| work(&lookup.knowing(&self.abilities)))
    }

    /// Where the read may go now; `None` when it must wait.
    fn look(&self, view: &View, strategy: Strategy, tried: Tried) -> Option<Found> {
        let plan = self.with_lookup(&view.catalog, |lookup| {
            let strategy = lookup.strategy(strategy);
            let collection = lookup.collection();
            let turn = turn_of(self.action(), collection, &self.body, self.turn);
            let plan = plan(view, lookup.scope(), strategy, turn, tried);
            (plan, Baseline::new(view, collection.map(|c| c.id)))
        });
        match plan {
            Err(reply) => Some(Found::Answer(reply)),
            Ok((Plan::Go(order), baseline)) => {
                Some(Found::Go(view.catalog.clone(), baseline, order))
            }
            Ok((Plan::Wait, _)) => None,
            Ok((Plan::Nobody, _)) => Some(Found::Nobody),
        }
    }

    /// The instance that a follower asks by its copy of the view, when the answer can be given at once.
    pub(super) fn choose_first(&mut self, view: &View, strategy: Strategy) -> Option<InstanceIx> {
        let Some(Found::Go(catalog, baseline, order)) = self.look(view, strategy, Tried::default())
        else {
            return None;
        };
        let first = *order.first()?;
        let is_good =
            |scope: Scope<'_>| !matches!(scope, Scope::Any) && view.is_settled_on(first, scope);
        let is_good = self.in_scope(view, is_good)?;
        (self.catalog, self.baseline) = (catalog, baseline);
        is_good.then_some(first)
    }

    /// Has something be said of the read's scope, as a view has it.
    pub(super) fn in_scope<T>(&self, view: &View, work: impl FnOnce(Scope<'_>) -> T) -> Option<T> {
        self.with_lookup(&view.catalog, |lookup| work(lookup.scope()))
            .ok()
    }

    /// Answer for the client, when that is a success.
    pub(super) fn judge(&self, view: &View, instance: InstanceIx, answer: Reply) -> Option<Reply> {
        let judged = self.with_lookup(&self.catalog, |lookup| {
            lookup.judge(&view.catalog, instance, answer)
        });
        let judged = judged.ok()?.ok()?;
        judged.is_success().then_some(judged)
    }

    fn action(&self) -> Action {
        let target = Target::parse(self.target.as_bytes()).expect("it was parsed before");
        let (route, _) = find(Some(self.method), &target).expect("it was found before");
        route.action
    }

    /// The writes that an answer may show whose first byte has come now.
    pub(super) fn exposure(&self, view: &View, instance: InstanceIx) -> Option<Exposure> {
        let watched = self.with_lookup(&self.catalog, |lookup| {
            Watched::new(self.action(), lookup.collection(), instance)
        });
        Some(Exposure::new(view, instance, watched.ok()?, self.baseline))
    }
}

impl World {
    pub(super) fn start_read(
        &mut self,
        number: u32,
        operation: usize,
        what: (Method, String, Bytes),
    ) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        proxy.turns += 1;
        let (method, target, body) = what;
        let read = Read {
            operation,
            method,
            target,
            body,
            turn: proxy.turns,
            begun: self.instant(),
            dispatch: Dispatch::default(),
            catalog: Catalog::default(),
            abilities: proxy.view.abilities.clone(),
            baseline: Baseline::default(),
            held: Vec::new(),
            step: 0,
            waits: false,
            last: None,
            following: None,
        };
        if let Some(read) = self.follow(&mut proxy, read) {
            self.go_on_reading(&mut proxy, read, ReadStep::Exhausted);
        }
        self.proxies.insert(number, proxy);
    }

    /// Goes on until the read is answered or waits for something.
    #[allow(clippy::needless_pass_by_value, reason = "a step is taken once")]
    pub(super) fn go_on_reading(&mut self, proxy: &mut Proxy, mut read: Read, step: ReadStep) {
        read.step += 1;
        match step {
            ReadStep::Try(instance) => self.attempt(proxy, &mut read, instance),
            ReadStep::Wait => {}
            ReadStep::Exhausted if !read.dispatch.may_go_on() => {
                let reply = read.dispatch.give_up(self.known_instances());
                self.answer_read(read.operation, reply);
                return;
            }
            ReadStep::Exhausted => {
                let strategy = self.plan.strategy;
                let mut found = read.look(&proxy.view, strategy, read.dispatch.tried());
                let is_nowhere = matches!(found, None | Some(Found::Nobody));
                if is_nowhere && read.dispatch.second_chance(self.elapsed(&read)) {
                    found = read.look(&proxy.view, strategy, read.dispatch.tried());
                }
                match found {
                    Some(found) => self.found(proxy, read, found),
                    None => self.wait_for_view(proxy, read),
                }
                return;
            }
        }
        if read.dispatch.may_hedge() {
            let happening = Happening::Hedge {
                proxy: proxy.number,
                operation: read.operation,
                step: read.step,
            };
            self.after(self.plan.reads.hedge, happening);
        }
        proxy.reads.insert(read.operation, read);
    }

    fn found(&mut self, proxy: &mut Proxy, mut read: Read, found: Found) {
        match found {
            Found::Go(catalog, baseline, order) => {
                if read.waits {
                    self.mark(Mark::ReadWaited);
                }
                read.waits = false;
                (read.catalog, read.baseline) = (catalog, baseline);
                let step = read.dispatch.go(&order);
                self.go_on_reading(proxy, read, step);
            }
            Found::Answer(reply) => self.answer_read(read.operation, reply),
            Found::Nobody => {
                let reply = read.dispatch.give_up(self.known_instances());
                self.answer_read(read.operation, reply);
            }
        }
    }

    fn wait_for_view(&mut self, proxy: &mut Proxy, mut read: Read) {
        read.waits = true;
        let happening = Happening::Tired {
            proxy: proxy.number,
            operation: read.operation,
            step: read.step,
        };
        self.after(self.plan.reads.eligible_wait, happening);
        proxy.reads.insert(read.operation, read);
    }

    /// A view was published: answers that are held may be given, and reads that wait look again.
    pub(super) fn view_changed(&mut self, proxy: &mut Proxy) {
        self.release_held(proxy);
        let waiting: Vec<_> = proxy
            .reads
            .iter()
            .filter(|(_, read)| read.waits)
            .map(|(operation, _)| *operation)
            .collect();
        for operation in waiting {
            let Some(read) = proxy.reads.remove(&operation) else {
                continue;
            };
            let tried = read.dispatch.tried();
            match read.look(&proxy.view, self.plan.strategy, tried) {
                Some(found) => self.found(proxy, read, found),
                None => {
                    proxy.reads.insert(operation, read);
                }
            }
        }
    }

    fn attempt(&mut self, proxy: &mut Proxy, read: &mut Read, instance: InstanceIx) {
        let last = read.last.replace(instance);
        if last.is_some_and(|last| last != instance) {
            self.mark(Mark::ReadMovedOn);
        }
        self.exchange(proxy.number, read, instance);
    }

    pub(super) fn exchange(&mut self, proxy: u32, read: &Read, instance: InstanceIx) {
        let target = read.with_lookup(&read.catalog, |lookup| {
            let collection = match lookup.scope() {
                Scope::Collection(collection) => Some(collection.id),
                _ => None,
            };
            (lookup.target(instance), collection)
        });
        let (target, collection) = target.unwrap_or_default();
        // A follower may read a copy that is not trusted any more, and does not give what it has read then.
        let is_judged = proxy == self.store.epoch && read.following.is_none();
        if let Some(collection) = collection.filter(|_| is_judged) {
            self.oracle.reading(collection, instance);
        }
        let sender = Sender::Read {
            proxy,
            operation: read.operation,
            by_follower: read.following.is_some(),
        };
        let what = (read.method, target, read.body.clone());
        let deadline = self.plan.reads.deadline + heavy_read_time(read.body.len());
        self.send(sender, instance, what, deadline);
    }

    pub(super) fn read_answered(
        &mut self,
        number: u32,
        operation: usize,
        request: &Request,
        sending: Sending,
    ) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if let Some(read) = proxy.reads.remove(&operation) {
            if read.following.is_some() {
                self.take_followers_answer(&mut proxy, read, (sending, request.life));
            } else {
                self.take_read_answer(&mut proxy, read, request.instance, sending);
            }
        }
        self.proxies.insert(number, proxy);
    }

    fn take_read_answer(
        &mut self,
        proxy: &mut Proxy,
        mut read: Read,
        instance: InstanceIx,
        sending: Sending,
    ) {
        let failure = match judge_answer(proxy, &read, instance, sending) {
            Ok(reply) => {
                self.give(proxy, read, instance, reply);
                return;
            }
            Err(failure) => failure,
        };
        if let ReadFailure::Missing(_) = failure
            && let Ok(Some(id)) = read.with_lookup(&read.catalog, |l| l.copy_id(instance))
        {
            self.put(proxy, Message::Event(Event::Missed { instance, id }));
        }
        let sign = match failure {
            ReadFailure::Refused => Some(Sign::Refused),
            ReadFailure::Silent => Some(Sign::Silent),
            ReadFailure::Closed | ReadFailure::Stale => Some(Sign::Closed),
            ReadFailure::ServerError(_)
            | ReadFailure::NoRoute(_)
            | ReadFailure::Missing(_)
            | ReadFailure::Busy
            | ReadFailure::Outdated
            | ReadFailure::Undecided => None,
        };
        if let Some(sign) = sign {
            self.put(proxy, Message::Event(Event::Noticed { instance, sign }));
        }
        let step = read.dispatch.failed(instance, failure);
        self.go_on_reading(proxy, read, step);
    }

    pub(super) fn hedge_read(&mut self, number: u32, operation: usize, step: u64) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        let is_due = |read: &Read| read.step == step && !read.waits && read.dispatch.may_hedge();
        if proxy.reads.get(&operation).is_some_and(is_due)
            && let Some(read) = proxy.reads.remove(&operation)
        {
            self.hedge(&mut proxy, read);
        }
        self.proxies.insert(number, proxy);
    }

    fn elapsed(&self, read: &Read) -> Duration {
        self.instant().since(read.begun)
    }

    fn hedge(&mut self, proxy: &mut Proxy, mut read: Read) {
        let (elapsed, bytes) = (self.elapsed(&read), read.body.len());
        let rules = &self.plan.reads;
        let is_patient = read.dispatch.is_patient(&proxy.view, elapsed, rules, bytes);
        let told = read.dispatch.tell_silence();
        let silent = proxy.view.instances().filter(|i| told.contains(*i));
        for instance in silent.collect::<Vec<_>>() {
            let sign = Sign::Silent;
            self.put(proxy, Message::Event(Event::Noticed { instance, sign }));
        }
        if is_patient {
            self.go_on_reading(proxy, read, ReadStep::Wait);
            return;
        }
        let found = read.look(&proxy.view, self.plan.strategy, read.dispatch.tried());
        let step = match found {
            Some(Found::Go(catalog, baseline, order)) => {
                (read.catalog, read.baseline) = (catalog, baseline);
                read.dispatch.go(&order)
            }
            _ => ReadStep::Wait,
        };
        if matches!(step, ReadStep::Try(_)) {
            self.mark(Mark::ReadHedged);
        }
        self.go_on_reading(proxy, read, step);
    }

    pub(super) fn tire_read(&mut self, number: u32, operation: usize, step: u64) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        let is_due = |read: &Read| read.step == step && read.waits;
        if proxy.reads.get(&operation).is_some_and(is_due)
            && let Some(read) = proxy.reads.remove(&operation)
        {
            let reply = read.dispatch.give_up(self.known_instances());
            self.answer_read(operation, reply);
        }
        self.proxies.insert(number, proxy);
    }
}

fn judge_answer(
    proxy: &Proxy,
    read: &Read,
    instance: InstanceIx,
    sending: Sending,
) -> Result<Reply, ReadFailure> {
    let answer = match sending {
        Sending::Answered(answer) => answer,
        Sending::NotSent(_) | Sending::Withheld(_) => return Err(ReadFailure::Refused),
        Sending::TooLarge => return Ok(reply::answer_too_large()),
        Sending::Silent => return Err(ReadFailure::Silent),
        Sending::Closed { reused: true } => return Err(ReadFailure::Stale),
        Sending::Closed { reused: false } => return Err(ReadFailure::Closed),
    };
    let judged = read.with_lookup(&read.catalog, |lookup| {
        lookup.judge(&proxy.view.catalog, instance, answer)
    });
    judged.unwrap_or_else(Ok)
}
