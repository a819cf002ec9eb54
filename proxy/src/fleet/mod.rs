//! Several proxies on one database: one leads, and the others pass requests on to it until it is their turn.

mod leader;

use std::{sync::Arc, time::Duration};

use achromat_core::{
    fleet::{LOOK_INTERVAL, RENEWAL_INTERVAL, Watch, valid_until},
    ids::Epoch,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

pub use self::leader::{Leader, LinkConfig};
use crate::{
    leave::{self, Leave},
    store::{Database, Holder, InstanceNames, PostgresStore, StoreError},
};

/// Time for the database to answer about the lease. After that it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A proxy's place in its fleet.
pub struct Fleet {
    database: Arc<Database>,
    me: Holder,
    link: LinkConfig,
    leaders: watch::Sender<Option<Arc<Leader>>>,
}

/// The lease of this proxy, which leads as long as it lasts.
pub struct Tenure {
    database: Arc<Database>,
    me: Holder,
    epoch: Epoch,
    leave: Leave,
    keeping: JoinHandle<()>,
}

impl Fleet {
    /// A proxy that does not lead, and knows of no leader yet.
    pub fn new(database: Database, me: Holder, link: LinkConfig) -> Self {
        Self {
            database: Arc::new(database),
            me,
            link,
            leaders: watch::Sender::new(None),
        }
    }

    /// The leader, whenever that changes.
    pub fn leaders(&self) -> watch::Receiver<Option<Arc<Leader>>> {
        self.leaders.subscribe()
    }

    /// Waits until this proxy leads. As long as another one does, that one is told to those who follow.
    pub async fn lead(&self) -> Tenure {
        let mut watch = Watch::default();
        let mut is_blind = false;
        loop {
            match self.try_to_lead(&mut watch).await {
                Ok(Some(tenure)) => return tenure,
                Ok(None) => is_blind = false,
                Err(error) => {
                    if !is_blind {
                        tracing::warn!(%error, "the database does not say who leads; it is asked again");
                    }
                    is_blind = true;
                }
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Goes on telling who leads, and takes no lease.
    pub async fn watch(&self) {
        loop {
            let seen = timeout(ANSWER_MAX, self.database.look()).await;
            if let Ok(Ok(lease)) = seen
                && let Some(holder) = lease.holder
            {
                self.follow(holder);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// This proxy gives up to lead: its clients wait for the next one that does.
    pub fn leads_no_more(&self) {
        self.leaders.send_replace(None);
    }

    async fn try_to_lead(&self, watch: &mut Watch) -> Result<Option<Tenure>, StoreError> {
        let Ok(lease) = timeout(ANSWER_MAX, self.database.look()).await else {
            return Ok(None);
        };
        let lease = lease?;
        if !watch.may_take(lease.state, leave::now()) {
            if let Some(holder) = lease.holder {
                self.follow(holder);
            }
            return Ok(None);
        }
        let asked_at = leave::now();
        let taken = timeout(ANSWER_MAX, self.database.take(&self.me, lease.state)).await;
        let Some(epoch) = taken.unwrap_or(Ok(None))? else {
            return Ok(None);
        };
        let before = lease
            .holder
            .map_or_else(|| "nobody".to_owned(), |holder| holder.name);
        tracing::info!(epoch = epoch.0, before, "this proxy leads");
        let leave = Leave::none();
        leave.extend(valid_until(asked_at));
        Ok(Some(self.keep(epoch, leave)))
    }

    /// Tells who leads, if that is new.
    fn follow(&self, holder: Holder) {
        let is_known = |leader: &Option<Arc<Leader>>| {
            leader
                .as_ref()
                .is_some_and(|leader| leader.holder == holder)
        };
        if is_known(&self.leaders.borrow()) {
            return;
        }
        match Leader::new(holder, &self.link) {
            Ok(leader) => {
                if leader.holder.id != self.me.id {
                    let (name, address) = (&leader.holder.name, &leader.holder.address);
                    tracing::info!(
                        name,
                        address,
                        "another proxy leads, and gets this one's requests"
                    );
                }
                self.leaders.send_replace(Some(Arc::new(leader)));
            }
            Err(error) => tracing::error!(%error, "the proxy that leads can't be reached"),
        }
    }

    fn keep(&self, epoch: Epoch, leave: Leave) -> Tenure {
        let (database, me) = (Arc::clone(&self.database), self.me.clone());
        let keeping = tokio::spawn(keep(
            Arc::clone(&database),
            me.clone(),
            epoch,
            leave.clone(),
        ));
        Tenure {
            database,
            me,
            epoch,
            leave,
            keeping,
        }
    }

    /// This proxy serves as the leader now: those who still come as to a follower are passed on to it.
    pub fn serves_itself(&self) {
        self.follow(self.me.clone());
    }
}

impl Tenure {
    /// The store, which is this proxy's.
    pub async fn store(&self, names: InstanceNames) -> Result<PostgresStore, StoreError> {
        self.database.store(names, self.epoch).await
    }

    /// Leave to send, as long as the lease lasts.
    pub fn leave(&self) -> Leave {
        self.leave.clone()
    }

    /// Waits until another proxy leads.
    pub async fn over(&mut self) {
        if let Err(error) = (&mut self.keeping).await {
            tracing::error!(%error, "the lease is not renewed any more");
        }
    }

    /// Gives the lease back, for the next proxy to lead at once. Nothing is sent any more by then.
    pub async fn give_back(self) {
        self.end();
        match timeout(ANSWER_MAX, self.database.give_back(&self.me)).await {
            Ok(Ok(())) => tracing::info!("the lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease can't be given back, and runs out"),
            Err(_) => tracing::warn!("the lease can't be given back in time, and runs out"),
        }
    }
}

impl Tenure {
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

/// Renews the lease until another proxy has it. A database that does not answer is asked again: as long as
/// nobody reaches it, nobody takes the lease either.
async fn keep(database: Arc<Database>, me: Holder, epoch: Epoch, leave: Leave) {
    let mut ticks = interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut blind_since: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let asked_at = leave::now();
        match timeout(ANSWER_MAX, database.renew(&me, epoch)).await {
            Ok(Ok(())) => {
                leave.extend(valid_until(asked_at));
                if let Some(since) = blind_since.take() {
                    tracing::info!(after = ?since.elapsed(), "the lease is renewed again");
                }
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
    }
}
