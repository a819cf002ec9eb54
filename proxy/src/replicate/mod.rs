//! The lanes at work: the engine with its store and its instances.
//!
//! One task owns the engine. Whatever happens comes to it as a message, is taken in together with
//! what else has happened by then, and the effects are carried out in their order. Requests read
//! the view that it publishes, and never wait for it but for an answer.

mod driver;
mod loading;
mod resolver;

use std::{sync::Arc, time::Duration};

use achromat_core::{
    durable::Write,
    engine::{Event, Report, Settings},
    guard::Guard,
    health::{Sign, Standing},
    ids::{CollectionId, EntryId, InstanceId, InstanceIx, Key},
    jobs::Task,
    key::KeyRecord,
    local::LocalWrite,
    log::{Letter, Level},
    reply::{self, Reply},
    view::View,
    write::Permit,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::driver::Driver;
use crate::{
    clock::Clock,
    instances::Instances,
    store::{FlushFigures, Flushes, Store, StoreError},
};

/// A message to the driver.
enum Message {
    Event(Event),
    Submit {
        permit: Box<Permit>,
        deadline: Duration,
        reply: oneshot::Sender<Told>,
    },
    SubmitLocally {
        write: Box<LocalWrite>,
        deadline: Duration,
        reply: oneshot::Sender<Told>,
    },
    Join {
        record: Box<KeyRecord>,
        level: Level,
        deadline: Duration,
        reply: oneshot::Sender<Told>,
    },
    Report(oneshot::Sender<Report>),
    Stop,
}

/// The result of a write.
#[derive(Debug)]
pub enum Told {
    /// The client is answered this.
    Reply(Reply),
    /// The write was not done, because its key is known: what the client is answered stands in the
    /// store, or will.
    AskAgain,
}

/// Parts that the driver works with.
pub struct Parts {
    /// Timing and bounds.
    pub settings: Settings,
    /// The guard, which says what may not be destroyed.
    pub guard: Arc<Guard>,
    /// The log.
    pub store: Arc<dyn Store>,
    /// The instances.
    pub instances: Arc<Instances>,
    /// The clock.
    pub clock: Clock,
}

/// The requests' handle on the driver. Cheap to clone.
#[derive(Clone)]
pub struct Replicator {
    messages: mpsc::UnboundedSender<Message>,
    store: Arc<dyn Store>,
    view: Arc<ArcSwap<View>>,
    changes: watch::Receiver<()>,
    flushes: Arc<Flushes>,
}

/// The driver's task.
pub struct Running {
    replicator: Replicator,
    driver: JoinHandle<Result<(), StoreError>>,
}

/// Loads the log and goes on where it stopped.
pub async fn start(parts: Parts) -> Result<Running, StoreError> {
    let (messages, inbox) = mpsc::unbounded_channel();
    let store = Arc::clone(&parts.store);
    let flushes = Arc::<Flushes>::default();
    let driver = Driver::load(parts, messages.clone(), inbox, Arc::clone(&flushes));
    let (driver, view, changes) = driver.await?;
    let replicator = Replicator {
        messages,
        store,
        view,
        changes,
        flushes,
    };
    Ok(Running {
        replicator,
        driver: tokio::spawn(driver.run()),
    })
}

impl Running {
    /// The handle by which requests talk to the driver.
    pub fn replicator(&self) -> Replicator {
        self.replicator.clone()
    }

    /// Sends nothing more, lets what is under way end, and makes that durable.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.replicator.say(Message::Stop);
        match self.driver.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    /// Waits for the driver to end, which it does by itself only when the store has passed to
    /// another owner, or when an invariant is broken.
    pub async fn ended(&mut self) {
        while !self.driver.is_finished() {
            self.replicator.messages.closed().await;
            tokio::task::yield_now().await;
        }
    }
}

impl Replicator {
    fn say(&self, message: Message) {
        // A driver that has stopped hears nothing; whoever waits for an answer sees that.
        let _closed = self.messages.send(message);
    }

    /// Has a write logged and carried out. The client is answered after `deadline` at the latest.
    pub async fn submit(&self, permit: Permit, deadline: Duration) -> Told {
        let (reply, answer) = oneshot::channel();
        self.say(Message::Submit {
            permit: Box::new(permit),
            deadline,
            reply,
        });
        Self::told(answer).await
    }

    /// Has a write done by the one instance that alone has its collection's records. The client is
    /// answered after `deadline` at the latest, unless the write was sent by then.
    pub async fn submit_locally(&self, write: LocalWrite, deadline: Duration) -> Told {
        let (reply, answer) = oneshot::channel();
        self.say(Message::SubmitLocally {
            write: Box::new(write),
            deadline,
            reply,
        });
        Self::told(answer).await
    }

    /// Returns a callback that tells the driver that the policy on which writes are logged has changed.
    pub fn policy_follower(&self) -> impl Fn() + Send + Sync + use<> {
        let messages = self.messages.clone();
        move || {
            // A driver that has stopped hears nothing.
            let _closed = messages.send(Message::Event(Event::PolicyChanged));
        }
    }

    /// Waits for the entry that is remembered under a client's key, as long as the one that
    /// submitted it would.
    pub async fn join(&self, record: KeyRecord, level: Level, deadline: Duration) -> Told {
        let (reply, answer) = oneshot::channel();
        self.say(Message::Join {
            record: Box::new(record),
            level,
            deadline,
            reply,
        });
        Self::told(answer).await
    }

    async fn told(answer: oneshot::Receiver<Told>) -> Told {
        // The driver keeps the deadline; a driver that stops drops the ticket.
        answer.await.unwrap_or_else(|_| {
            let reason = "Achromat is stopping and has not seen the end of it";
            Told::Reply(reply::outcome_unknown(reason))
        })
    }

    /// The record of a key.
    pub async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key(key).await
    }

    /// The oldest dead letters, at most `max`, and how many there are.
    pub async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
        self.store.letters(max).await
    }

    /// A dead letter and its body.
    pub async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError> {
        self.store.letter(id).await
    }

    /// Takes a dead letter away for good.
    pub async fn dismiss(&self, id: EntryId) -> Result<(), StoreError> {
        self.store.commit(&[Write::Dismiss(id)]).await?;
        Ok(())
    }

    /// Counts of the log's flushes, and of the writes in them.
    pub fn flushes(&self) -> FlushFigures {
        self.flushes.figures()
    }

    /// The newest snapshot for requests.
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// Waits until the view answers a question, or until `deadline` has passed.
    pub async fn wait_for<T>(
        &self,
        deadline: Duration,
        mut question: impl FnMut(&View) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.changes.clone();
        let answered = async {
            loop {
                changes.mark_unchanged();
                if let Some(answer) = question(&self.view.load()) {
                    return Some(answer);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(deadline, answered)
            .await
            .ok()
            .flatten()
    }

    /// Tells what a request met.
    pub fn notice(&self, instance: InstanceIx, sign: Sign) {
        self.say(Message::Event(Event::Noticed { instance, sign }));
    }

    /// Tells that an instance did not have a collection that was read.
    pub fn missed(&self, instance: InstanceIx, id: InstanceId) {
        self.say(Message::Event(Event::Missed { instance, id }));
    }

    /// Has all other copies of a collection made equal to one.
    pub fn repair(&self, collection: CollectionId, source: InstanceIx) {
        self.say(Message::Event(Event::Repair { collection, source }));
    }

    /// Has something done beside the lanes.
    pub fn want(&self, task: Task) {
        self.say(Message::Event(Event::Wanted(task)));
    }

    /// Tells how an operator wants an instance to be held.
    pub fn force(&self, instance: InstanceIx, standing: Standing, span: Duration) {
        self.say(Message::Event(Event::Forced {
            instance,
            standing,
            span,
        }));
    }

    /// Forgets the troubles that are settled.
    pub fn clear_troubles(&self) {
        self.say(Message::Event(Event::ClearTroubles));
    }

    /// The state of the whole; `None` when the driver has stopped.
    pub async fn report(&self) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.say(Message::Report(reply));
        answer.await.ok()
    }
}
