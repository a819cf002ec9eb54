//! The store, and the wait for it where several proxies share it.

use std::{net::TcpListener, sync::Arc};

use super::StartError;
use crate::{
    clock,
    config::{Config, StoreUrl},
    fleet::{Fleet, LinkConfig, Tenure},
    instances::CredentialFiles,
    serve::{Door, Encryption, Follower, Listening},
    store::{
        Database, HistoryStore, Holder, InstanceNames, MemoryStore, SqliteStore, Store,
        VersionStore,
    },
};

/// A fleet's leader: its lease, and the connections of clients who came when it did not lead.
pub(super) struct Term {
    pub(super) tenure: Tenure,
    pub(super) before: Listening,
}

/// The store, once for each of its uses.
pub(super) type Stores = (Arc<dyn Store>, Arc<dyn VersionStore>, Arc<dyn HistoryStore>);

/// Opens the store. One that others share is this proxy's when it leads; until then it follows the one that
/// does.
pub(super) async fn open(
    config: &Config,
    names: InstanceNames,
    (socket, encryption): (&TcpListener, &Option<Arc<Encryption>>),
    door: &Door,
) -> Result<(Stores, Option<Term>), StartError> {
    Ok(match &config.store {
        StoreUrl::Sqlite(path) => {
            let store = Arc::new(SqliteStore::open(path, names).await?);
            ((store.clone(), store.clone(), store), None)
        }
        StoreUrl::Postgres(url) => {
            let database = Database::open(url.reveal()).await?;
            let fleet = Fleet::new(database, holder(config), link(config));
            let follower = Follower::new(config.serve, door.clone(), fleet.leaders());
            let again = |source| StartError::Listen {
                address: config.listen,
                source,
            };
            let socket = socket.try_clone().map_err(again)?;
            let before = Arc::new(follower).listen(socket, encryption.clone());
            let before = before.map_err(again)?;
            let tenure = fleet.lead().await;
            let store = Arc::new(tenure.store(names).await?);
            fleet.serves_itself();
            let term = Term { tenure, before };
            ((store.clone(), store.clone(), store), Some(term))
        }
        StoreUrl::Memory => {
            tracing::warn!("the log is kept in memory: a restart loses what instances are owed");
            let store = Arc::new(MemoryStore::new(names.len()));
            ((store.clone(), store.clone(), store), None)
        }
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
