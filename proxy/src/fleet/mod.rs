//! Several proxies on one database: one leads, and the others pass requests on to it until it is their turn.

mod leader;
mod voucher;

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
use uuid::Uuid;

pub use self::{
    leader::{Leader, LinkConfig},
    voucher::{Unvouched, Vouched, Voucher},
};
use crate::{
    leave::{self, Leave},
    store::{Database, Holder, InstanceNames, PostgresStore, Seen, StoreError},
};

/// Time for the database to answer about the lease. After that it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Time from one sign of life of a proxy to the next.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// Age of a proxy's last sign of life up to which it is taken to be there.
const PRESENCE_MAX: Duration = Duration::from_secs(5);

/// A proxy's place in its fleet.
pub struct Fleet {
    database: Arc<Database>,
    me: Holder,
    link: LinkConfig,
    voucher: Arc<Voucher>,
    leaders: watch::Sender<Option<Arc<Leader>>>,
    /// The proxy that is to lead next, once an operator has said so.
    heir: watch::Sender<Option<Uuid>>,
    presence: JoinHandle<()>,
}

/// The reason why the lease is not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// There is nobody to hand it to.
    #[error("no other proxy of the fleet is there")]
    Nobody,
    /// There is nobody of this name.
    #[error("no proxy named {name:?} is there; these are: {there:?}")]
    Unknown {
        /// The name.
        name: String,
        /// The others' names.
        there: Vec<String>,
    },
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lease of this proxy, which leads as long as it lasts.
pub struct Tenure {
    database: Arc<Database>,
    me: Holder,
    epoch: Epoch,
    leave: Leave,
    keeping: JoinHandle<()>,
    heir: watch::Receiver<Option<Uuid>>,
}

impl Fleet {
    /// Joins the proxies of a database, and knows of no leader yet.
    pub async fn join(
        database: Database,
        me: Holder,
        link: LinkConfig,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(database);
        let voucher = Arc::new(Voucher::new(&database.secret().await?));
        let presence = tokio::spawn(be_present(Arc::clone(&database), me.clone()));
        Ok(Self {
            database,
            me,
            link,
            voucher,
            leaders: watch::Sender::new(None),
            heir: watch::Sender::new(None),
            presence,
        })
    }

    /// Makes and judges the words of the fleet's proxies.
    pub fn voucher(&self) -> Arc<Voucher> {
        Arc::clone(&self.voucher)
    }

    /// The proxies that were there in the last hour, by name.
    pub async fn members(&self) -> Result<Vec<Seen>, StoreError> {
        self.database.members().await
    }

    /// The epoch, and the proxy that leads.
    pub async fn lease(&self) -> Result<(Epoch, Option<Holder>), StoreError> {
        let lease = self.database.look().await?;
        Ok((lease.state.epoch, lease.holder))
    }

    /// Has this proxy hand the lease over, to the one of a name or to any. Returns that one; it leads as soon
    /// as what this one has begun is done.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<Holder, HandOverError> {
        let members = self.database.members().await?.into_iter();
        let others = members.filter(|seen| seen.proxy.id != self.me.id && seen.is_there());
        let mut others: Vec<Holder> = others.map(|seen| seen.proxy).collect();
        if others.is_empty() {
            return Err(HandOverError::Nobody);
        }
        let chosen = match to {
            None => Some(0),
            Some(name) => others.iter().position(|other| other.name == name),
        };
        let Some(chosen) = chosen else {
            return Err(HandOverError::Unknown {
                name: to.unwrap_or_default().to_owned(),
                there: others.into_iter().map(|other| other.name).collect(),
            });
        };
        let heir = others.swap_remove(chosen);
        tracing::info!(to = heir.name, "an operator has the lease handed over");
        self.heir.send_replace(Some(heir.id));
        Ok(heir)
    }

    /// Leaves the fleet.
    pub async fn leave(&self) {
        self.presence.abort();
        let withdrawn = timeout(ANSWER_MAX, self.database.withdraw(&self.me)).await;
        if !matches!(withdrawn, Ok(Ok(()))) {
            tracing::debug!("the fleet could not be left in time, and will see it");
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
                    watch.lose_sight();
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
            watch.lose_sight();
            return Ok(None);
        };
        let lease = lease?;
        // One that was given back for another proxy is left to that one as long as it may be on its way.
        let is_for_another = lease.heir.is_some_and(|heir| heir != self.me.id);
        let mut seen = lease.state;
        seen.is_held |= is_for_another;
        if !watch.may_take(seen, leave::now()) {
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
        self.heir.send_replace(None);
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
            heir: self.heir.subscribe(),
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

impl Seen {
    /// True for a proxy that has just given a sign of life.
    pub fn is_there(&self) -> bool {
        self.ago <= PRESENCE_MAX
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.presence.abort();
    }
}

/// Says again and again that a proxy is there.
async fn be_present(database: Arc<Database>, me: Holder) {
    let mut ticks = interval(PRESENCE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let said = timeout(
            ANSWER_MAX,
            database.announce(&me, env!("CARGO_PKG_VERSION")),
        )
        .await;
        if let Ok(Err(error)) = said {
            tracing::debug!(%error, "the fleet can't be told that this proxy is there");
        }
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
