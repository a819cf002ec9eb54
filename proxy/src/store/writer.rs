//! The one writer: everything that must be durable goes through it, in order, in groups. What
//! becomes of a group when the store fails is decided in `core`.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    engine::Event,
    ids::{EntryId, Position},
    limits::{GROUP_MAX, LINGER_MAX},
    writing::{Commit, Order, Step, Writing},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{Store, StoreError, flushes::Flushes};
use crate::telemetry::Seldom;

/// Pause before a store that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The sending end of the writer's queue.
#[derive(Clone, Debug)]
pub struct WriterHandle(mpsc::UnboundedSender<Order>);

impl WriterHandle {
    /// Takes an order. How many there can be is bounded by what the engine lets in.
    pub fn order(&self, order: Order) {
        // The writer ends only when all handles are gone.
        let _closed = self.0.send(order);
    }

    /// Waits until the writer has ended, which it does before its handles when another owner has taken the store.
    pub async fn ended(&self) {
        self.0.closed().await;
    }

    /// Returns true when the writer has ended.
    pub fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

/// Callback for the writer's events: what became durable or failed, and whether the store works.
pub type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// The writer.
pub struct Writer<S: ?Sized> {
    store: Arc<S>,
    orders: mpsc::UnboundedReceiver<Order>,
    listener: Listener,
    writing: Writing,
    flushes: Arc<Flushes>,
    failures: Seldom,
    /// True when it was logged that the store fails.
    has_told: bool,
}

impl<S: Store + ?Sized> Writer<S> {
    /// A writer that tells `listener` what has become durable, and counts in `flushes`.
    pub fn new(store: Arc<S>, listener: Listener, flushes: Arc<Flushes>) -> (Self, WriterHandle) {
        let (sender, orders) = mpsc::unbounded_channel();
        let writer = Self {
            store,
            orders,
            listener,
            writing: Writing::default(),
            flushes,
            failures: Seldom::default(),
            has_told: false,
        };
        (writer, WriterHandle(sender))
    }

    /// Works until all handles are gone, or until another owner has taken the store.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut collected = Vec::with_capacity(GROUP_MAX);
        let mut lingers_until = None;
        loop {
            match self.writing.step() {
                Step::Wait => {
                    if self.orders.recv_many(&mut collected, GROUP_MAX).await == 0 {
                        return Ok(());
                    }
                    self.take(&mut collected);
                }
                Step::Linger => {
                    let until = *lingers_until.get_or_insert_with(|| Instant::now() + LINGER_MAX);
                    let orders = self.orders.recv_many(&mut collected, GROUP_MAX);
                    match timeout_at(until, orders).await {
                        Ok(1..) => self.take(&mut collected),
                        Ok(0) | Err(_) => self.writing.lingered(),
                    }
                }
                Step::Commit => {
                    lingers_until = None;
                    let commit = self.commit().await?;
                    self.writing.committed(commit);
                }
                Step::Find(entry) => {
                    let position = self.find(entry).await?;
                    self.take_waiting();
                    self.writing.found(position);
                }
                Step::Rest => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    self.writing.rested();
                }
            }
            for event in self.writing.events() {
                self.say(event);
            }
        }
    }

    fn take(&mut self, orders: &mut Vec<Order>) {
        for order in orders.drain(..) {
            self.writing.take(order);
        }
    }

    async fn commit(&mut self) -> Result<Commit, StoreError> {
        let (group, begun) = (self.writing.writes(), Instant::now());
        let error = match self.store.commit(&group).await {
            Ok(appended) => {
                self.flushes.flushed(&group, begun.elapsed());
                return Ok(Commit::Done(appended));
            }
            Err(error @ StoreError::Deposed { .. }) => return Err(error),
            Err(error) => error,
        };
        if !self.has_told
            && let Some(left_out) = self.failures.due()
        {
            self.has_told = true;
            tracing::error!(%error, left_out, "the store failed; writes are refused until it works again");
        }
        self.take_waiting();
        Ok(match error {
            StoreError::Unknown(_) => Commit::Unknown,
            _ => Commit::NotDone,
        })
    }

    /// Takes the orders that wait, so that they share the fate of the group.
    fn take_waiting(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.writing.take(order);
        }
    }

    /// Asks until the store answers, or has passed to another owner.
    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        loop {
            match self.store.find(entry).await {
                Ok(position) => return Ok(position),
                Err(error @ StoreError::Deposed { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the store can't be read yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn say(&mut self, event: Event) {
        if matches!(event, Event::StoreIs { up: true }) && std::mem::take(&mut self.has_told) {
            tracing::info!("the store works again");
        }
        (self.listener)(event);
    }
}

#[cfg(test)]
mod tests;
