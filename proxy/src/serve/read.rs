//! A read: sent to one eligible instance after the other until one answers, and streamed through.

mod route;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use achromat_core::{
    health::Sign,
    ids::InstanceIx,
    limits::REPLY_BYTES_MAX,
    lookup::Lookup,
    policy::Routing,
    read::{Baseline, Dispatch, Exposure, Order, ReadFailure, ReadStep, Release, Tried, Watched},
    reply::{self, Reply},
    route::{Captures, Method, Route, Target},
    weight::heavy_read_time,
};
use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_timeout::{sleep, timeout};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    App,
    admission::Memory,
    intake::Intake,
    places::Place,
    respond::{give, respond_with},
    stream::stream,
    taking::Taking,
};
use crate::{
    instances::{Exchange, ExchangeError, Request},
    policy::{Generation, Load, RoutingSlot},
};

/// An answer of this size is taken in whole before its first byte is passed on, so that a read
/// survives an instance that dies in the middle of it.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;

/// An answer for the client.
enum Answer<'a> {
    Stream(Box<Exchange<'a>>),
    Whole(Reply),
    /// A large one, and the memory that it takes until it is sent.
    Large(Reply, Memory),
}

/// An answer, and what stands against giving it to the client.
struct Answered<'a> {
    answer: Answer<'a>,
    /// The writes that it may show; nothing when it may be given whatever it shows.
    exposure: Option<Exposure>,
}

/// First step of an attempt.
enum Attempt<'a, 't> {
    /// Asking an instance.
    Ask(Arc<Planned<'t>>),
    /// Holding its answer.
    Hold(Answered<'a>),
}

/// A read, as it is sent to instances.
struct Planned<'t> {
    lookup: Lookup<'t>,
    baseline: Baseline,
    /// True when a policy lets the client see any state.
    may_be_stale: bool,
}

/// Result of looking for instances that a read may go to.
enum Found<'t> {
    /// To these instances.
    Go(Arc<Planned<'t>>, Order),
    /// Nowhere: this is the answer.
    Answer(Reply),
    /// Nowhere that it has not been.
    Nobody,
}

/// Attempts that have not ended: one, or two when one was silent for too long. So few that all of them
/// are looked at whenever one may have ended.
struct Attempts<F>(SmallVec<[Pin<Box<F>>; 2]>);

impl<F: Future> Attempts<F> {
    fn begin(&mut self, attempt: F) {
        self.0.push(Box::pin(attempt));
    }

    /// Waits for the next attempt that ends, and returns its result; waits for ever when there is no attempt.
    async fn next(&mut self) -> F::Output {
        std::future::poll_fn(|context| {
            for at in 0..self.0.len() {
                if let Some(attempt) = self.0.get_mut(at)
                    && let Poll::Ready(ended) = attempt.as_mut().poll(context)
                {
                    drop(self.0.swap_remove(at));
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A read on its way.
struct Read<'a, 't> {
    app: &'a App,
    intake: &'a Intake,
    route: &'static Route,
    captures: Captures<'t>,
    target: &'a Target<'t>,
    body: Bytes,
    begun: Instant,
    turn: u64,
    /// The policy that the read lives in.
    policy: Arc<Generation<RoutingSlot>>,
    /// The policy's answer; the policy is asked once.
    routing: OnceLock<Routing>,
    /// Its second answer, once the only instances that the first one named have failed.
    again: OnceLock<Routing>,
}

impl App {
    /// Serves a read. Returns whether the connection may be used again.
    pub(super) async fn read<'t>(
        &self,
        session: &mut ServerSession,
        intake: &Intake,
        route: &'static Route,
        captures: Captures<'t>,
        target: &Target<'t>,
        (body, place): (Bytes, Place),
    ) -> bool {
        let read = Read {
            app: self,
            intake,
            route,
            captures,
            target,
            body,
            begun: Instant::now(),
            turn: self.reads.fetch_add(1, Relaxed),
            policy: self.policies.routing.generation(),
            routing: OnceLock::new(),
            again: OnceLock::new(),
        };
        let answer = read.dispatch().await;
        if let Err(reply) = self.may_answer().await {
            return respond_with(session, &reply, &intake.allowed, false).await;
        }
        let mut taking = Taking::new(&self.admission, place);
        let (reply, memory) = match answer {
            Answer::Whole(reply) => (reply, None),
            Answer::Large(reply, memory) => (reply, Some(memory)),
            Answer::Stream(exchange) => {
                return stream(session, *exchange, (&intake.allowed, &mut taking)).await;
            }
        };
        taking.hold(reply.body.len(), memory);
        give(session, &reply, (&intake.allowed, &mut taking)).await
    }
}

impl App {
    /// Load of an instance.
    pub(super) fn load(&self, instance: InstanceIx) -> Load {
        let instance = self.instances.get(instance);
        let figures = instance.map(|instance| instance.figures.snapshot());
        figures.map_or_else(Load::default, |figures| Load {
            in_flight: figures.in_flight,
            latency_us: figures.latency_us,
        })
    }
}

impl<'a, 't> Read<'a, 't> {
    /// Tries instances until one has an answer for the client; a second one beside the first when
    /// that is silent.
    async fn dispatch(&self) -> Answer<'a> {
        let hedge = self.app.settings.reads.hedge;
        let mut dispatch = Dispatch::default();
        let mut under_way = Attempts(SmallVec::new());
        let mut planned = None;
        let mut step = ReadStep::Exhausted;
        loop {
            match step {
                ReadStep::Try(instance) => {
                    if let Some(planned) = &planned {
                        let attempt = Attempt::Ask(Arc::clone(planned));
                        under_way.begin(self.attempt(instance, attempt));
                    }
                }
                ReadStep::Wait => {}
                ReadStep::Exhausted if !dispatch.may_go_on() => {
                    return Answer::Whole(dispatch.give_up(self.app.instances.len()));
                }
                ReadStep::Exhausted => match self.find(&mut dispatch).await {
                    Found::Go(found, order) => {
                        planned = Some(found);
                        step = dispatch.go(&order);
                        continue;
                    }
                    Found::Answer(reply) => return Answer::Whole(reply),
                    Found::Nobody => {
                        if self.is_restricted() {
                            dispatch.restrict();
                        }
                        return Answer::Whole(dispatch.give_up(self.app.instances.len()));
                    }
                },
            }
            tokio::select! {
                biased;
                (instance, result) = under_way.next() => match result {
                    Ok(answered) => match self.release(&answered) {
                        Release::Give => return answered.answer,
                        Release::ReadAgain => {
                            step = dispatch.failed(instance, ReadFailure::Outdated);
                        }
                        Release::Hold => {
                            dispatch.hold(instance);
                            under_way.begin(self.attempt(instance, Attempt::Hold(answered)));
                            step = ReadStep::Wait;
                        }
                    },
                    Err(failure) => {
                        let lookup = planned.as_deref().map(|planned| &planned.lookup);
                        self.notice(instance, &failure, lookup);
                        step = dispatch.failed(instance, failure);
                    }
                },
                () = sleep(hedge), if dispatch.may_hedge() => {
                    self.tell_silence(dispatch.tell_silence());
                    if self.is_patient(&dispatch) {
                        step = ReadStep::Wait;
                        continue;
                    }
                    step = match self.look(&self.app.replicator.view(), dispatch.tried()) {
                        Some(Found::Go(found, order)) => {
                            planned = Some(found);
                            dispatch.go(&order)
                        }
                        _ => ReadStep::Wait,
                    };
                }
            }
        }
    }

    /// Finds the instances that the read may go to, and waits until there is one.
    async fn find(&self, dispatch: &mut Dispatch) -> Found<'t> {
        let mut found = self.look(&self.app.replicator.view(), dispatch.tried());
        if matches!(found, None | Some(Found::Nobody))
            && dispatch.second_chance(self.begun.elapsed())
        {
            found = self.look(&self.app.replicator.view(), dispatch.tried());
        }
        if let Some(found) = found {
            return found;
        }
        let tried = dispatch.tried();
        let wait = self.app.settings.reads.eligible_wait;
        let found = self
            .app
            .replicator
            .wait_for(wait, |view| self.look(view, tried));
        found.await.unwrap_or(Found::Nobody)
    }

    fn is_patient(&self, dispatch: &Dispatch) -> bool {
        let (view, rules) = (self.app.replicator.view(), &self.app.settings.reads);
        dispatch.is_patient(&view, self.begun.elapsed(), rules, self.body.len())
    }

    /// The time for an answer to begin, which grows with the body.
    fn deadline(&self) -> Duration {
        self.app.settings.reads.deadline + heavy_read_time(self.body.len())
    }

    fn tell_silence(&self, silent: Tried) {
        for (instance, _) in self.app.instances.iter() {
            if silent.contains(instance) {
                self.app.replicator.notice(instance, Sign::Silent);
            }
        }
    }

    fn notice(&self, instance: InstanceIx, failure: &ReadFailure, lookup: Option<&Lookup<'_>>) {
        let sign = match failure {
            ReadFailure::Refused => Sign::Refused,
            ReadFailure::Silent => Sign::Silent,
            ReadFailure::Closed | ReadFailure::Stale => Sign::Closed,
            ReadFailure::Missing(_) => {
                if let Some(id) = lookup.and_then(|lookup| lookup.copy_id(instance)) {
                    self.app.replicator.missed(instance, id);
                }
                return;
            }
            ReadFailure::ServerError(_)
            | ReadFailure::NoRoute(_)
            | ReadFailure::Busy
            | ReadFailure::Outdated
            | ReadFailure::Undecided => return,
        };
        self.app.replicator.notice(instance, sign);
    }

    async fn attempt(
        &self,
        instance: InstanceIx,
        attempt: Attempt<'a, 't>,
    ) -> (InstanceIx, Result<Answered<'a>, ReadFailure>) {
        let ended = match attempt {
            Attempt::Ask(planned) => self.ask(instance, &planned).await,
            Attempt::Hold(answered) => self.hold(answered).await,
        };
        (instance, ended)
    }

    /// Decides if an answer is given now, held, or asked for again.
    fn release(&self, answered: &Answered<'a>) -> Release {
        let release = |exposure: Exposure| exposure.release(&self.app.replicator.view());
        answered.exposure.map_or(Release::Give, release)
    }

    /// Waits until it is known what becomes of the writes that an answer may show.
    async fn hold(&self, answered: Answered<'a>) -> Result<Answered<'a>, ReadFailure> {
        let Some(exposure) = answered.exposure else {
            return Ok(answered);
        };
        let deadline = self.app.settings.reads.deadline;
        let released = self.app.replicator.wait_for(deadline, |view| {
            let release = exposure.release(view);
            (release != Release::Hold).then_some(release)
        });
        match released.await {
            Some(Release::Give) => Ok(answered),
            Some(Release::ReadAgain) => Err(ReadFailure::Outdated),
            Some(Release::Hold) | None => Err(ReadFailure::Undecided),
        }
    }

    async fn ask(
        &self,
        instance: InstanceIx,
        planned: &Planned<'_>,
    ) -> Result<Answered<'a>, ReadFailure> {
        let lookup = &planned.lookup;
        let exchange = self.exchange(instance, &lookup.target(instance)).await?;
        let exposure = (!planned.may_be_stale).then(|| {
            let watched = Watched::new(self.route.action, lookup.collection(), instance);
            let view = self.app.replicator.view();
            Exposure::new(&view, instance, watched, planned.baseline)
        });
        let answer = self.take(instance, lookup, exchange).await?;
        Ok(Answered { answer, exposure })
    }

    /// Takes in an answer whose head has come, unless it is to be streamed.
    async fn take(
        &self,
        instance: InstanceIx,
        lookup: &Lookup<'_>,
        exchange: Exchange<'a>,
    ) -> Result<Answer<'a>, ReadFailure> {
        let status = exchange.status();
        let is_success = (200..300).contains(&status);
        let is_small = exchange
            .content_length()
            .is_some_and(|length| length <= SMALL_BYTES_MAX);
        if is_success && lookup.streams() && !is_small {
            return Ok(Answer::Stream(Box::new(exchange)));
        }
        let memory = match exchange.content_length() {
            _ if is_small => None,
            length => match self
                .app
                .admission
                .memory(length.unwrap_or(REPLY_BYTES_MAX))
                .await
            {
                Ok(memory) => Some(memory),
                Err(reply) => return Ok(Answer::Whole(reply)),
            },
        };
        let whole = timeout(self.deadline(), exchange.whole(REPLY_BYTES_MAX)).await;
        let whole = match whole {
            Ok(Err(ExchangeError::TooLarge)) => {
                return Ok(Answer::Whole(reply::answer_too_large()));
            }
            Ok(whole) => whole.map_err(|error| failure(&error))?,
            Err(_) => return Err(ReadFailure::Silent),
        };
        let reply = {
            let view = self.app.replicator.view();
            lookup.judge(&view.catalog, instance, whole)?
        };
        Ok(match memory {
            Some(memory) => Answer::Large(reply, memory),
            None => Answer::Whole(reply),
        })
    }

    async fn exchange(
        &self,
        instance: InstanceIx,
        target: &str,
    ) -> Result<Exchange<'a>, ReadFailure> {
        let method = Method::of(&self.intake.method).unwrap_or(Method::Get);
        let deadline = self.deadline();
        let has_body = method != Method::Get;
        let request = Request {
            method: method.as_str(),
            target,
            headers: Some(&self.intake.headers),
            content_type: None,
            body: has_body.then(|| self.body.clone()),
            is_probe: false,
            leave: None,
        };
        let exchange = self.app.instances.read(instance, request, deadline);
        exchange.await.map_err(|error| failure(&error))
    }
}

fn failure(error: &ExchangeError) -> ReadFailure {
    match error {
        ExchangeError::Refused(_) | ExchangeError::NotSent(_) | ExchangeError::NoLeave => {
            ReadFailure::Refused
        }
        ExchangeError::Silent => ReadFailure::Silent,
        ExchangeError::Busy => ReadFailure::Busy,
        ExchangeError::Closed { reused: true } => ReadFailure::Stale,
        ExchangeError::Closed { .. } | ExchangeError::Garbled(_) | ExchangeError::TooLarge => {
            ReadFailure::Closed
        }
    }
}
