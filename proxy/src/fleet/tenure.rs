//! The time for which a proxy leads.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    fleet::{RENEWAL_INTERVAL, valid_until},
    ids::Epoch,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use super::ANSWER_MAX;
use crate::{
    leave::{self, Leave},
    store::{Database, Holder, InstanceNames, PostgresStore, StoreError},
};

/// The lease of this proxy, which leads as long as it lasts.
pub struct Tenure {
    database: Arc<Database>,
    me: Holder,
    epoch: Epoch,
    leave: Leave,
    keeping: JoinHandle<()>,
    heir: watch::Receiver<Option<Uuid>>,
}

impl Tenure {
    /// A lease that was just taken, and is renewed from now on.
    pub(super) fn keep(
        (database, me): (Arc<Database>, Holder),
        epoch: Epoch,
        leave: Leave,
        heir: watch::Receiver<Option<Uuid>>,
    ) -> Self {
        let renewing = renew((Arc::clone(&database), me.clone()), epoch, leave.clone());
        Self {
            database,
            me,
            epoch,
            leave,
            keeping: tokio::spawn(renewing),
            heir,
        }
    }

    /// The store, which is this proxy's.
    pub async fn store(&self, names: InstanceNames) -> Result<PostgresStore, StoreError> {
        self.database.store(names, self.epoch).await
    }

    /// Leave to send, as long as the lease lasts.
    pub fn leave(&self) -> Leave {
        self.leave.clone()
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Waits until another proxy leads, or is to lead.
    pub async fn over(&mut self) {
        tokio::select! {
            kept = &mut self.keeping => if let Err(error) = kept {
                tracing::error!(%error, "the lease is not renewed any more");
            },
            // The fleet, which would say so, is not dropped before its tenure.
            _ = self.heir.wait_for(Option::is_some) => {}
        }
    }

    /// Gives the lease back, for the next proxy to lead at once. Nothing is sent any more by then.
    pub async fn give_back(self) {
        self.end();
        let heir = *self.heir.borrow();
        match timeout(ANSWER_MAX, self.database.give_back(&self.me, heir)).await {
            Ok(Ok(())) => tracing::info!("the lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease can't be given back, and runs out"),
            Err(_) => tracing::warn!("the lease can't be given back in time, and runs out"),
        }
    }

    /// Sends nothing more, and renews the lease no more.
    fn end(&self) {
        self.leave.end();
        self.keeping.abort();
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.end();
    }
}

/// Longest wait for the database once the lease is over: requests wait for its answer meanwhile.
const LAPSED_ANSWER_MAX: Duration = Duration::from_millis(300);

/// Renews the lease until another proxy has it. A database that does not answer is asked again: as long as
/// nobody reaches it, nobody takes the lease either.
async fn renew((database, me): (Arc<Database>, Holder), epoch: Epoch, leave: Leave) {
    let mut ticks = interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut blind_since: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let asked_at = leave::now();
        let end = leave.end_ahead();
        match timeout(patience(asked_at, end), database.renew(&me, epoch)).await {
            Ok(Ok(())) => {
                leave.extend(valid_until(asked_at));
                if let Some(since) = blind_since.take() {
                    tracing::info!(after = ?since.elapsed(), "the lease is renewed again");
                }
                continue;
            }
            Ok(Err(StoreError::Deposed { theirs, .. })) => {
                leave.end();
                tracing::warn!(epoch = theirs.0, "another proxy leads");
                return;
            }
            failed => {
                if blind_since.is_none() {
                    blind_since = Some(Instant::now());
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "the database does not answer".to_owned(),
                    };
                    tracing::warn!(why, "the lease can't be renewed");
                }
            }
        }
        if end.is_none() {
            leave.tell_blindness();
        } else if leave.end_ahead().is_none() {
            // The end of the lease has cut the question off, or this process was frozen: it is asked anew.
            ticks.reset_immediately();
        }
    }
}

/// Time for the database to answer: not beyond the end of the lease, at which it is asked anew.
fn patience(
    asked_at: achromat_core::time::Instant,
    end: Option<achromat_core::time::Instant>,
) -> Duration {
    end.map_or(LAPSED_ANSWER_MAX, |end| end.since(asked_at).min(ANSWER_MAX))
}
