//! The lease: which of the proxies that share a database may write to it.

use std::sync::{Arc, atomic::AtomicU64};

use achromat_core::{fleet::LeaseState, ids::Epoch};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    super::{
        InstanceNames, StoreError,
        words::{signed, unsigned},
    },
    PostgresStore,
    connection::Connections,
    load::text,
    script::Script,
};

/// One proxy of a fleet, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id, new with each start.
    pub id: Uuid,
    /// Its name, for people.
    pub name: String,
    /// URL at which it serves.
    pub address: String,
}

/// The lease as it stands in the database.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its state.
    pub state: LeaseState,
    /// The proxy that holds it, if any.
    pub holder: Option<Holder>,
    /// The proxy for which it was given back, if it was for one.
    pub heir: Option<Uuid>,
}

/// A database that several proxies may share, and that belongs to the holder of its lease.
pub struct Database {
    pub(super) connections: Arc<Connections>,
}

impl Database {
    /// Connects, and makes the tables when they are not there. Nobody else is disturbed.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let connections = Arc::new(Connections::open(url).await?);
        Ok(Self { connections })
    }

    /// The same for a database that holds a store already; no tables are made in any other.
    pub async fn open_existing(url: &str) -> Result<Self, StoreError> {
        let connections = Arc::new(Connections::open_existing(url).await?);
        Ok(Self { connections })
    }

    /// Looks at the lease.
    pub async fn look(&self) -> Result<Lease, StoreError> {
        let script = Script::of(
            "SELECT lease.*, (SELECT value FROM meta WHERE key = 'epoch') AS epoch FROM lease",
            &[],
        );
        let rows = self.connections.read(script).await?;
        rows.first().map(lease).ok_or_else(no_row)
    }

    /// Takes the lease, if nothing has happened to it since it was seen so. Returns the new owner's epoch.
    pub async fn take(&self, me: &Holder, seen: LeaseState) -> Result<Option<Epoch>, StoreError> {
        let mut script = Script::default();
        // Whoever renews or takes it at the same time waits for this row.
        script.add(
            "UPDATE lease SET holder = ?, name = ?, address = ?, heir = NULL, renewals = renewals + 1
             WHERE renewals = ? AND ? = (SELECT value FROM meta WHERE key = 'epoch')",
            &[
                me.id.into(),
                me.name.as_str().into(),
                me.address.as_str().into(),
                signed(seen.renewals).into(),
                signed(seen.epoch.0).into(),
            ],
        );
        script.add(
            "UPDATE meta SET value = value + 1
             WHERE key IN ('epoch', 'fence') AND EXISTS (
                 SELECT 1 FROM lease WHERE holder = ? AND renewals = ?
             ) RETURNING key, value",
            &[me.id.into(), signed(seen.renewals + 1).into()],
        );
        let rows = self.connections.write(script, Epoch(0)).await?;
        let epoch = rows.iter().find(|row| row.get::<&str, _>("key") == "epoch");
        Ok(epoch.map(|row| Epoch(unsigned(row.get("value")))))
    }

    /// Renews the lease of an owner.
    pub async fn renew(&self, me: &Holder, ours: Epoch) -> Result<(), StoreError> {
        let script = Script::of(
            "UPDATE lease SET renewals = renewals + 1
             WHERE holder = ? AND ? = (SELECT value FROM meta WHERE key = 'epoch') RETURNING renewals",
            &[me.id.into(), signed(ours.0).into()],
        );
        let rows = self.connections.write(script, ours).await?;
        if rows.is_empty() {
            let theirs = self.look().await?.state.epoch;
            return Err(StoreError::Deposed { ours, theirs });
        }
        Ok(())
    }

    /// Gives the lease back, so that the next proxy need not wait for its end: the heir, if one is named.
    pub async fn give_back(&self, me: &Holder, heir: Option<Uuid>) -> Result<(), StoreError> {
        let script = Script::of(
            "UPDATE lease SET holder = NULL, heir = ?, renewals = renewals + 1 WHERE holder = ?",
            &[heir.into(), me.id.into()],
        );
        self.connections.write(script, Epoch(0)).await?;
        Ok(())
    }

    /// The store of the owner with this epoch.
    pub async fn store(
        &self,
        names: InstanceNames,
        epoch: Epoch,
    ) -> Result<PostgresStore, StoreError> {
        let script = Script::of("SELECT value FROM meta WHERE key = 'fence'", &[]);
        let rows = self.connections.read(script).await?;
        let fence = rows.first().map(|row| unsigned(row.get("value")));
        Ok(PostgresStore {
            names,
            epoch,
            fence: AtomicU64::new(fence.ok_or_else(no_row)?),
            connections: Arc::clone(&self.connections),
        })
    }
}

pub(super) fn no_row() -> StoreError {
    StoreError::Unreadable("its lease or its epoch is missing".to_owned())
}

fn lease(row: &PgRow) -> Lease {
    let holder: Option<Uuid> = row.get("holder");
    Lease {
        state: LeaseState {
            epoch: Epoch(unsigned(row.get("epoch"))),
            renewals: unsigned(row.get("renewals")),
            is_held: holder.is_some(),
        },
        holder: holder.map(|id| Holder {
            id,
            name: text(row, "name"),
            address: text(row, "address"),
        }),
        heir: row.get("heir"),
    }
}
