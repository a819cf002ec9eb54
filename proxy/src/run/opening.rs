//! The store, and the wait for it where several proxies share it.

use std::sync::{Arc, atomic::AtomicU64};

use super::{
    StartError,
    base::{Base, Member},
    with_credentials,
};
use crate::{
    access::Access,
    clock,
    config::{Config, DatabaseUrl, StoreUrl},
    fleet::{Fleet, LinkConfig, Tenure},
    instances::{CredentialFiles, Instances},
    serve::{Follower, Reader, Server, Trust},
    store::{
        Database, HistoryStore, Holder, InstanceNames, MemoryStore, SqliteStore, Store,
        VersionStore,
    },
};

/// The store, once for each of its uses.
pub(super) type Stores = (Arc<dyn Store>, Arc<dyn VersionStore>, Arc<dyn HistoryStore>);

/// Opens the store. One that others share is this proxy's when it leads; until then it follows the one that
/// does.
pub(super) async fn open(
    config: &Config,
    names: InstanceNames,
    (base, access): (&mut Base, &Arc<Access>),
) -> Result<(Stores, Option<Tenure>), StartError> {
    Ok(match &config.store {
        StoreUrl::Sqlite(path) => {
            let store = Arc::new(SqliteStore::open(path, names).await?);
            ((store.clone(), store.clone(), store), None)
        }
        StoreUrl::Postgres(url) => {
            let fleet = join(config, (url, &names), (base, access)).await?;
            let tenure = fleet.lead().await;
            let store = Arc::new(tenure.store(names).await?);
            ((store.clone(), store.clone(), store), Some(tenure))
        }
        StoreUrl::Memory => {
            tracing::warn!("the log is kept in memory: a restart loses what instances are owed");
            let store = Arc::new(MemoryStore::new(names.len()));
            ((store.clone(), store.clone(), store), None)
        }
    })
}

/// Joins the fleet of a database, and follows in it.
async fn join(
    config: &Config,
    (url, names): (&DatabaseUrl, &InstanceNames),
    (base, access): (&mut Base, &Arc<Access>),
) -> Result<Arc<Fleet>, StartError> {
    if let Some(member) = &base.member {
        return Ok(Arc::clone(&member.fleet));
    }
    let database = Database::open(url.reveal()).await?;
    let fleet = Fleet::join(database, holder(config), names, link(config)).await?;
    let fleet = Arc::new(fleet);
    let trust = Trust {
        access: Arc::clone(access),
        hosts: config.hosts.clone(),
        voucher: fleet.voucher(),
        fleet: Arc::clone(&fleet),
        is_operated_on_main: config.operator.on_main,
    };
    let reader = reader(config, &fleet)?;
    let door = base.addresses.door();
    let follower = Follower::new(config.serve, trust, reader, fleet.leaders(), door);
    let follower = Arc::new(follower);
    base.serve(Server::Follower(Arc::clone(&follower)))?;
    base.member = Some(Member {
        fleet: Arc::clone(&fleet),
        follower,
    });
    Ok(fleet)
}

/// Means to read while another proxy leads.
fn reader(config: &Config, fleet: &Fleet) -> Result<Reader, StartError> {
    let list = with_credentials(config.instances.clone())?;
    let avoided = list.iter().map(|_| AtomicU64::new(0)).collect();
    Ok(Reader {
        instances: Instances::new(list, config.timing, config.bounds),
        mirror: fleet.mirror(),
        strategy: config.serve.strategy,
        rules: config.serve.reads,
        origins: config.origins.clone(),
        turns: AtomicU64::new(1),
        avoided,
    })
}

/// This proxy as the others of its fleet know it.
fn holder(config: &Config) -> Holder {
    let (name, address) = config
        .fleet
        .as_ref()
        .map_or_else(Default::default, |fleet| {
            (fleet.name.clone(), fleet.advertised.clone())
        });
    Holder {
        id: clock::fresh_id(),
        name,
        address,
    }
}

/// Settings of this proxy's connections to the one that leads.
fn link(config: &Config) -> LinkConfig {
    let ca_file = config
        .fleet
        .as_ref()
        .and_then(|fleet| fleet.ca_file.clone());
    LinkConfig {
        timing: config.timing,
        bounds: config.bounds,
        credentials: CredentialFiles {
            authorities: ca_file,
            ..CredentialFiles::default()
        },
    }
}
