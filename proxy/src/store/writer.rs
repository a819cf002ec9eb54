//! The one writer: everything that must be durable goes through it, in order, in groups.
//!
//! While one group is being committed the next collects, so that one flush serves all who wait,
//! and a lone write waits for nobody.
//!
//! When the store fails, appends fail (their clients are told that nothing was done) and
//! everything else is kept and tried again until it succeeds: it records what has already
//! happened. I12: whether an append happened is found out before anybody is told.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    durable::{Appended, Write},
    engine::Event,
    ids::{EntryId, InstanceIx, JobId, LaneId, Position, Ticket},
    reply::{self, Reply},
};
use tokio::sync::mpsc;

use super::{Store, StoreError};

/// Writes that are committed together at most.
const GROUP_MAX: usize = 512;

/// Pause before a store that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A write, and what is said when it is durable.
#[derive(Debug)]
pub struct Order {
    /// The write.
    pub write: Write,
    /// The event that follows.
    pub then: Then,
}

/// What follows a durable write.
#[derive(Debug)]
pub enum Then {
    /// The client's entry is in the log.
    Appended(Ticket),
    /// The cursor is recorded.
    Recorded(LaneId, InstanceIx, Position),
    /// The verdict is recorded.
    Closed(LaneId, Position),
    /// What a job has made true is recorded.
    Settled(JobId),
    /// Nothing.
    Nothing,
}

impl Order {
    /// An append for a client.
    pub fn append(ticket: Ticket, entry: achromat_core::log::Entry) -> Self {
        Self {
            write: Write::Append(entry),
            then: Then::Appended(ticket),
        }
    }

    /// Any other write; what follows it can be read off it.
    pub fn other(write: Write) -> Self {
        let then = match &write {
            Write::Record {
                lane,
                instance,
                position,
                ..
            } => Then::Recorded(*lane, *instance, *position),
            Write::Close { lane, position, .. } => Then::Closed(*lane, *position),
            Write::Settle { job, .. } => Then::Settled(*job),
            _ => Then::Nothing,
        };
        Self { write, then }
    }
}

/// Where orders go in.
#[derive(Clone, Debug)]
pub struct WriterHandle(mpsc::UnboundedSender<Order>);

impl WriterHandle {
    /// Takes an order. How many there can be is bounded by what the engine lets in.
    pub fn order(&self, order: Order) {
        // The writer ends only when all handles are gone.
        let _closed = self.0.send(order);
    }
}

/// Who is told what has become durable.
pub type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// The writer.
pub struct Writer<S: ?Sized> {
    store: Arc<S>,
    orders: mpsc::UnboundedReceiver<Order>,
    listener: Listener,
    is_up: bool,
}

impl<S: Store + ?Sized> Writer<S> {
    /// A writer that tells `listener` what has become durable.
    pub fn new(store: Arc<S>, listener: Listener) -> (Self, WriterHandle) {
        let (sender, orders) = mpsc::unbounded_channel();
        let writer = Self {
            store,
            orders,
            listener,
            is_up: true,
        };
        (writer, WriterHandle(sender))
    }

    /// Works until all handles are gone, or until another owner has taken the store.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.orders.recv_many(&mut group, GROUP_MAX).await > 0 {
            self.commit(&mut group).await?;
            group.clear();
        }
        Ok(())
    }

    async fn commit(&mut self, group: &mut Vec<Order>) -> Result<(), StoreError> {
        loop {
            let writes: Vec<Write> = group.iter().map(|order| order.write.clone()).collect();
            match self.store.commit(&writes).await {
                Ok(appended) => {
                    self.tell_store_is(true);
                    self.tell(group, appended);
                    return Ok(());
                }
                Err(error @ StoreError::Deposed { .. }) => return Err(error),
                Err(error) => {
                    if self.is_up {
                        tracing::error!(%error, "the store failed; writes are refused until it works again");
                    }
                    self.tell_store_is(false);
                    if matches!(error, StoreError::Unknown(_))
                        && let Some(appended) = self.appended_if_done(group).await
                    {
                        self.tell(group, appended);
                        return Ok(());
                    }
                    self.fail_appends(group, &error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Finds out whether a group was committed after all: it was when one of its appends was. One
    /// that is not there all the same had a key that was known.
    async fn appended_if_done(&self, group: &[Order]) -> Option<Vec<Appended>> {
        let mut appended = Vec::new();
        for entry in group.iter().filter_map(appended_entry) {
            let position = self.find(entry).await;
            appended.push(position.map_or(Appended::Known, Appended::At));
        }
        let is_done = appended.iter().any(|one| *one != Appended::Known);
        is_done.then_some(appended)
    }

    async fn find(&self, entry: EntryId) -> Option<Position> {
        loop {
            match self.store.find(entry).await {
                Ok(position) => return position,
                Err(error) => {
                    tracing::debug!(%error, "the store can't be read yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// What did not get into the log never will: its client is told.
    fn fail_appends(&mut self, group: &mut Vec<Order>, error: &StoreError) {
        while let Ok(order) = self.orders.try_recv() {
            group.push(order);
        }
        group.retain(|order| match order.then {
            Then::Appended(ticket) => {
                let reply = store_failed(error);
                self.say(Event::AppendFailed { ticket, reply });
                false
            }
            _ => true,
        });
    }

    fn tell(&self, group: &mut Vec<Order>, appended: Vec<Appended>) {
        let mut appended = appended.into_iter();
        for order in group.drain(..) {
            match order.then {
                Then::Appended(ticket) => match appended.next() {
                    Some(Appended::At(position)) => self.say(Event::Appended { ticket, position }),
                    Some(Appended::Known) => self.say(Event::AppendKnown { ticket }),
                    None => {}
                },
                Then::Recorded(lane, instance, position) => self.say(Event::Recorded {
                    lane,
                    instance,
                    position,
                }),
                Then::Closed(lane, position) => self.say(Event::Closed { lane, position }),
                Then::Settled(job) => self.say(Event::Settled { job }),
                Then::Nothing => {}
            }
        }
    }

    fn tell_store_is(&mut self, up: bool) {
        if self.is_up != up {
            self.is_up = up;
            if up {
                tracing::info!("the store works again");
            }
            self.say(Event::StoreIs { up });
        }
    }

    fn say(&self, event: Event) {
        (self.listener)(event);
    }
}

fn appended_entry(order: &Order) -> Option<EntryId> {
    match &order.write {
        Write::Append(entry) => Some(entry.id),
        _ => None,
    }
}

fn store_failed(error: &StoreError) -> Reply {
    tracing::debug!(%error, "an append is refused");
    reply::unavailable(
        "The log can't be written at the moment; nothing was done",
        1,
    )
}

#[cfg(test)]
mod tests;
