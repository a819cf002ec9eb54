//! Several proxies on one database: one leads, and the others pass requests on to it until it is their turn.

mod leader;
mod mirror;
mod presence;
mod tenure;
mod voucher;

use std::{sync::Arc, time::Duration};

use achromat_core::{
    fleet::{LOOK_INTERVAL, Loss, Watch, valid_until},
    ids::Epoch,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use self::presence::be_present;
pub use self::{
    leader::{Leader, LinkConfig},
    mirror::Mirror,
    tenure::Tenure,
    voucher::{CameTo, PASSED_ON, Unvouched, Vouched, Voucher},
};
use crate::{
    leave::{self, Leave},
    store::{Database, Holder, InstanceNames, Seen, StoreError},
};

/// Time for the database to answer about the lease. After that it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A proxy's place in its fleet.
pub struct Fleet {
    database: Arc<Database>,
    me: Holder,
    /// Name of the primary instance.
    primary: Arc<str>,
    link: LinkConfig,
    voucher: Arc<Voucher>,
    leaders: watch::Sender<Option<Arc<Leader>>>,
    /// The proxy that is to lead next, once an operator has said so.
    heir: watch::Sender<Option<Uuid>>,
    presence: JoinHandle<()>,
}

/// The reason why a proxy can't join a fleet.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It would write to other instances than the proxies that are there.
    #[error(
        "the proxy {other:?} of this database has the instances {theirs}, and this one {ours}: give all the same, by name and in the same order, or each fleet a database of its own"
    )]
    OtherInstances {
        /// Name of a proxy that is there.
        other: String,
        /// The names of its instances.
        theirs: String,
        /// The names of this proxy's.
        ours: String,
    },
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
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

impl Fleet {
    /// Joins the proxies of a database, and knows of no leader yet. Their instances must be this proxy's, by
    /// name and in the same order: whoever leads writes to its own.
    pub async fn join(
        database: Database,
        me: Holder,
        instances: &InstanceNames,
        link: LinkConfig,
    ) -> Result<Self, JoinError> {
        let database = Arc::new(database);
        let primary = instances.first().cloned().unwrap_or_default();
        let instances = instances.join(",");
        let members = database.members().await?.into_iter();
        // One of this name is this proxy's own earlier life.
        let mut others = members.filter(|seen| seen.is_there() && seen.proxy.name != me.name);
        if let Some(other) = others.find(|seen| seen.instances != instances) {
            return Err(JoinError::OtherInstances {
                other: other.proxy.name,
                theirs: other.instances,
                ours: instances,
            });
        }
        let voucher = Arc::new(Voucher::new(&database.secret().await?));
        let presence = tokio::spawn(be_present(Arc::clone(&database), me.clone(), instances));
        Ok(Self {
            database,
            me,
            primary,
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

    /// The loss, as long as the database has gone back: nothing is written then, and no other proxy leads.
    pub fn loss(&self) -> Option<Loss> {
        self.database.loss()
    }

    /// Accepts a database that has gone back as it is. Returns the number of collections whose copies are
    /// compared before all of them are read again; none when it has not gone back.
    pub async fn accept_database(&self) -> Result<Option<u64>, StoreError> {
        let compared = self.database.accept(&self.primary).await?;
        if let Some(compared) = compared {
            tracing::warn!(compared, "an operator accepts the database as it is");
        }
        Ok(compared)
    }

    /// Leaves the fleet.
    pub async fn leave(&self) {
        self.presence.abort();
        let withdrawn = timeout(ANSWER_MAX, self.database.withdraw(&self.me)).await;
        if !matches!(withdrawn, Ok(Ok(()))) {
            tracing::debug!("the fleet could not be left in time, and will see it");
        }
    }

    /// A copy of the leader's view, kept from now on.
    pub fn mirror(&self) -> Mirror {
        Mirror::keep(self.me.id, self.voucher(), self.leaders())
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
        if lease.is_behind {
            watch.lose_sight();
            // Its lease is an old one: who led up to now goes on with what only it knows.
            if let Some(holder) = lease.holder.filter(|_| self.leaders.borrow().is_none()) {
                self.follow(holder);
            }
            return Ok(None);
        }
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
        let place = (Arc::clone(&self.database), self.me.clone());
        Ok(Some(Tenure::keep(
            place,
            epoch,
            leave,
            self.heir.subscribe(),
        )))
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

    /// This proxy serves as the leader now: those who still come as to a follower are passed on to it.
    pub fn serves_itself(&self) {
        self.follow(self.me.clone());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.presence.abort();
    }
}
