//! The task that owns the engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use achromat_core::{
    catalog::{Change, Marker},
    durable::Write,
    embeddings,
    engine::{
        Effect, Engine, Event, Join, LocalSubmission, Payload, Submission, TroubleReport, Wire,
    },
    health::{Standing, Transition},
    ids::{InstanceIx, LaneId, Position, Ticket},
    outcome::Sending,
    time::WallTime,
    view::View,
    writing::Order,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    Message, Parts, Told,
    loading::{Loaded, Loading},
    resolver,
};
use crate::{
    clock::wall_time,
    store::{Flushes, StoreError, Writer, WriterHandle},
};

/// Messages that are taken in together.
const BATCH_MAX: usize = 256;

/// Time that requests to instances may take to end when the proxy stops. A request that has not
/// ended by then is sent again at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    parts: Parts,
    engine: Engine,
    inbox: mpsc::UnboundedReceiver<Message>,
    messages: mpsc::UnboundedSender<Message>,
    writer: WriterHandle,
    writing: JoinHandle<Result<(), StoreError>>,
    view: Arc<ArcSwap<View>>,
    changes: watch::Sender<()>,
    tickets: u64,
    waiting: BTreeMap<Ticket, oneshot::Sender<Told>>,
    sendings: JoinSet<()>,
    stop_at: Option<Instant>,
}

impl Driver {
    pub(super) async fn load(
        parts: Parts,
        messages: mpsc::UnboundedSender<Message>,
        inbox: mpsc::UnboundedReceiver<Message>,
        flushes: Arc<Flushes>,
    ) -> Result<(Self, Arc<ArcSwap<View>>, watch::Receiver<()>), StoreError> {
        let snapshot = parts.store.load().await?;
        tracing::info!(
            collections = snapshot.catalog.len(),
            entries = snapshot.entries.len(),
            "the log is loaded"
        );
        let engine = Engine::restore(parts.settings, snapshot, parts.clock.now());
        let to_driver = messages.clone();
        let listener = Box::new(move |event| {
            // Nobody listens any more when the proxy stops.
            let _closed = to_driver.send(Message::Event(event));
        });
        let (writer, handle) = Writer::new(Arc::clone(&parts.store), listener, flushes);
        let view = Arc::new(ArcSwap::from_pointee(engine.view()));
        let (changes, changed) = watch::channel(());
        let driver = Self {
            parts,
            engine,
            inbox,
            messages,
            writer: handle,
            writing: tokio::spawn(writer.run()),
            view: Arc::clone(&view),
            changes,
            tickets: 0,
            waiting: BTreeMap::new(),
            sendings: JoinSet::new(),
            stop_at: None,
        };
        Ok((driver, view, changed))
    }

    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.carry_out_all();
        while !self.is_finished() {
            self.collect(&mut batch).await;
            for message in batch.drain(..) {
                self.take_in(message);
            }
            let now = self.parts.clock.now();
            if self.engine.wakes_at().is_some_and(|at| at <= now) {
                self.engine.step(Event::Tick, now);
            }
            self.carry_out_all();
            while self.sendings.try_join_next().is_some() {}
        }
        self.finish().await
    }

    /// Waits for messages, for the engine's next moment, or for the end.
    async fn collect(&mut self, batch: &mut Vec<Message>) {
        let wake = self.engine.wakes_at().map(|at| self.parts.clock.at(at));
        let until = [wake, self.stop_at].into_iter().flatten().min();
        let sleep = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.inbox.recv_many(batch, BATCH_MAX) => {}
            () = sleep => {}
            Some(_) = self.sendings.join_next(), if self.stop_at.is_some() => {}
            () = self.writer.ended() => {}
        }
    }

    fn is_finished(&self) -> bool {
        let has_stopped = self
            .stop_at
            .is_some_and(|at| self.sendings.is_empty() || Instant::now() >= at);
        has_stopped || self.writer.has_ended()
    }

    /// Makes durable what has ended, and lets go of the store.
    async fn finish(mut self) -> Result<(), StoreError> {
        self.sendings.abort_all();
        while let Ok(message) = self.inbox.try_recv() {
            self.take_in(message);
        }
        self.carry_out_all();
        let Self {
            writer, writing, ..
        } = self;
        drop(writer);
        match writing.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    fn take_in(&mut self, message: Message) {
        let now = self.parts.clock.now();
        match message {
            Message::Event(event) => self.engine.step(event, now),
            Message::Submit {
                permit,
                deadline,
                reply,
            } => {
                let ticket = self.ticket(reply);
                let submission = Submission {
                    ticket,
                    permit: *permit,
                    answer_by: now + deadline,
                };
                self.engine
                    .step(Event::Submitted(Box::new(submission)), now);
            }
            Message::SubmitLocally {
                write,
                deadline,
                reply,
            } => {
                let submission = LocalSubmission {
                    ticket: self.ticket(reply),
                    write: *write,
                    answer_by: now + deadline,
                };
                self.engine
                    .step(Event::SubmittedLocally(Box::new(submission)), now);
            }
            Message::Join {
                record,
                level,
                deadline,
                reply,
            } => {
                let join = Join {
                    ticket: self.ticket(reply),
                    record: *record,
                    level,
                    answer_by: now + deadline,
                };
                self.engine.step(Event::Joined(Box::new(join)), now);
            }
            Message::Report(reply) => {
                // Whoever asked may have gone.
                let _gone = reply.send(self.engine.report());
            }
            Message::Stop => self.stop_at = Some(Instant::now() + STOP_PATIENCE),
        }
    }

    fn ticket(&mut self, reply: oneshot::Sender<Told>) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, reply);
        ticket
    }

    fn answer(&mut self, ticket: Ticket, told: Told) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            // A client that has gone is not told.
            let _gone = waiting.send(told);
        }
    }

    /// Publishes what requests may see, then does what the engine wants done, in its order: a
    /// client that is answered finds its write in the view.
    fn carry_out_all(&mut self) {
        let effects = self.engine.effects();
        let has_news = self.engine.take_news();
        if effects.is_empty() && !has_news {
            return;
        }
        self.view.store(Arc::new(self.engine.view()));
        self.changes.send_replace(());
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append { ticket, entry } => self.writer.order(Order::append(ticket, entry)),
            Effect::Write(write) => {
                self.tell_held(&write);
                self.writer.order(Order::other(write));
            }
            Effect::WriteWithNext(write) => self.writer.order(Order::lingering(write)),
            Effect::Answer { ticket, reply } => self.answer(ticket, Told::Reply(reply)),
            Effect::AskAgain { ticket } => self.answer(ticket, Told::AskAgain),
            Effect::ForgetKeys { kept, kept_max } => self.forget_keys(kept, kept_max),
            Effect::Send {
                lane,
                instance,
                position,
                attempt,
                wire,
                more,
            } => self.send(lane, instance, (position, more), attempt, wire),
            Effect::Resolve {
                ticket,
                instance,
                question,
            } => {
                let (guard, instances) = (
                    Arc::clone(&self.parts.guard),
                    Arc::clone(&self.parts.instances),
                );
                self.spawn(async move {
                    let found = resolver::resolve(&guard, &instances, instance, question).await;
                    Event::Resolved {
                        ticket,
                        instance,
                        found,
                    }
                });
            }
            Effect::Ask {
                job,
                instance,
                wire,
                reply_bytes_max,
            } => {
                let instances = Arc::clone(&self.parts.instances);
                self.spawn(async move {
                    let passage = instances.passage(instance).await;
                    let body = match &wire.body {
                        Payload::Entry { body, .. } => body.clone(),
                        Payload::None => None,
                    };
                    let request = (&wire, body);
                    let sending =
                        instances.send_bounded(instance, passage, request, reply_bytes_max);
                    let sending = sending.await;
                    Event::Told { job, sending }
                });
            }
            Effect::SendLocally {
                ticket,
                instance,
                wire,
            } => self.send_once(instance, wire, move |sending| Event::DoneLocally {
                ticket,
                sending,
            }),
            Effect::JobFailed {
                task,
                tries,
                reason,
            } => tracing::warn!(?task, tries, reason, "a job has failed and is tried again"),
            Effect::Probe {
                instance,
                marker,
                meets,
            } => self.probe(instance, marker, meets),
            Effect::Tell {
                instance,
                transition,
            } => self.tell(instance, transition),
            Effect::Warn(trouble) => self.warn(&trouble),
        }
    }

    fn probe(&mut self, instance: InstanceIx, marker: Option<Marker>, meets: bool) {
        let instances = Arc::clone(&self.parts.instances);
        self.spawn(async move {
            let probe = instances.probe(instance, marker).await;
            let abilities = if meets && probe.shows_a_server() {
                instances.abilities(instance).await
            } else {
                None
            };
            let vitals = instances.vitals(instance);
            Event::Probed {
                instance,
                probe,
                abilities,
                vitals,
            }
        });
    }

    fn forget_keys(&self, kept: Duration, kept_max: u64) {
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let logged_before = WallTime(wall_time().0.saturating_sub(kept_ms));
        self.writer.order(Order::other(Write::ForgetKeys {
            logged_before,
            kept_max,
        }));
    }

    fn send(
        &mut self,
        lane: LaneId,
        instance: InstanceIx,
        (position, more): (Position, Vec<Option<Bytes>>),
        attempt: achromat_core::ids::Attempt,
        mut wire: Wire,
    ) {
        let loading = Loading {
            store: Arc::clone(&self.parts.store),
            instances: Arc::clone(&self.parts.instances),
            instance,
            lane,
        };
        self.spawn(async move {
            let instances = Arc::clone(&loading.instances);
            let passage = instances.passage(instance).await;
            let payload = std::mem::replace(&mut wire.body, Payload::None);
            let (count, sending) = match loading.load(position, payload, more).await {
                Some(Loaded {
                    count,
                    body,
                    rooms: _rooms,
                }) => (count, instances.send(instance, passage, &wire, body).await),
                None => {
                    let why = "its body is not in the log any more".to_owned();
                    (1, Sending::NotSent(why))
                }
            };
            Event::Answered {
                lane,
                instance,
                attempt,
                count,
                sending,
            }
        });
    }

    /// Sends what is no entry, with the body that it carries.
    fn send_once(
        &mut self,
        instance: InstanceIx,
        wire: Wire,
        event: impl FnOnce(Sending) -> Event + Send + 'static,
    ) {
        let instances = Arc::clone(&self.parts.instances);
        self.spawn(async move {
            let passage = instances.passage(instance).await;
            let body = match &wire.body {
                Payload::Entry {
                    body,
                    as_arrays: true,
                    ..
                } => body.as_ref().map(embeddings::as_arrays),
                Payload::Entry { body, .. } => body.clone(),
                Payload::None => None,
            };
            event(instances.send(instance, passage, &wire, body).await)
        });
    }

    /// Does something outside and reports how it ended.
    fn spawn(&mut self, work: impl Future<Output = Event> + Send + 'static) {
        if self.stop_at.is_some() {
            return;
        }
        let messages = self.messages.clone();
        self.sendings.spawn(async move {
            let event = work.await;
            // Nobody listens any more when the proxy stops.
            let _closed = messages.send(Message::Event(event));
        });
    }

    fn tell(&self, instance: InstanceIx, transition: Transition) {
        let name = self.parts.instances.name(instance);
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        match transition.to {
            Standing::Suspect if transition.from == Standing::Up => {
                tracing::debug!(instance = name, from, to, "instance");
            }
            Standing::Up if transition.from == Standing::Suspect => {
                tracing::debug!(instance = name, from, to, "instance");
            }
            Standing::Down => {
                let target = self.parts.instances.get(instance);
                let reason = target.and_then(|target| target.unreachable.load_full());
                tracing::warn!(
                    instance = name,
                    from,
                    to,
                    reason = reason.as_deref(),
                    "instance is down"
                );
            }
            _ => tracing::info!(instance = name, from, to, "instance"),
        }
    }

    fn tell_held(&self, write: &Write) {
        let Write::Change(changes) = write else {
            return;
        };
        for change in changes {
            if let Change::Instance { instance, record } = change
                && let Some(reason) = record.quarantine.as_deref()
            {
                let instance = self.parts.instances.name(*instance);
                tracing::warn!(instance, reason, "instance is held, and will be made anew");
            }
        }
    }

    fn warn(&self, trouble: &TroubleReport) {
        let instance = trouble
            .instance
            .map_or("-", |instance| self.parts.instances.name(instance));
        // The first failures of an entry are everyday life while an instance goes down.
        if trouble.tries > 3 || trouble.tries == 0 {
            tracing::warn!(
                instance,
                lane = %trouble.lane,
                position = trouble.position.0,
                tries = trouble.tries,
                reason = trouble.reason,
                "an entry can't be applied"
            );
        } else {
            tracing::debug!(
                instance,
                lane = %trouble.lane,
                position = trouble.position.0,
                reason = trouble.reason,
                "an entry was not applied yet"
            );
        }
    }
}
