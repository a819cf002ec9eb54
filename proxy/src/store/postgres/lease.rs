//! The lease: which of the proxies that share a database may write to it.

use std::sync::{Arc, atomic::AtomicU64};

use achromat_core::{
    fleet::{Age, LeaseState, Loss},
    ids::Epoch,
    jobs::adopt::NOT_COMPARED,
};
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
    /// True when the database has gone back, so that nobody may take the lease.
    pub is_behind: bool,
    /// The age of the database, and the highest that was said to have been seen.
    age: Age,
    said: Age,
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

    /// Looks at the lease. A database that has gone back is marked.
    pub async fn look(&self) -> Result<Lease, StoreError> {
        look(&self.connections).await
    }

    /// The loss, as long as the database has gone back.
    pub fn loss(&self) -> Option<Loss> {
        self.connections.witness.loss()
    }

    /// Accepts the database as it is although it has gone back. Nobody leads then, and one copy of each collection
    /// is compared with the others before these are read again. Returns the number of those collections; none
    /// when the database has not gone back.
    pub async fn accept(&self, primary: &str) -> Result<Option<u64>, StoreError> {
        let script = Script::of(
            "SELECT achromat_accept(?, ?)",
            &[primary.into(), NOT_COMPARED.into()],
        );
        let rows = self.connections.write(script, Epoch(0)).await?;
        let compared: Option<i64> = rows.first().and_then(|row| row.get(0));
        self.look().await?;
        Ok(compared.map(unsigned))
    }

    /// Takes the lease, if nothing has happened to it since it was seen so. Returns the new owner's epoch.
    pub async fn take(&self, me: &Holder, seen: LeaseState) -> Result<Option<Epoch>, StoreError> {
        let mut script = Script::default();
        // Whoever renews or takes it at the same time waits for this row.
        script.add(
            "UPDATE lease SET holder = ?, name = ?, address = ?, heir = NULL, renewals = renewals + 1
             WHERE renewals = ? AND ? = (SELECT value FROM meta WHERE key = 'epoch')
               AND NOT (SELECT is_behind FROM age)",
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
        let row = rows.iter().find(|row| row.get::<&str, _>("key") == "epoch");
        let epoch = row.map(|row| Epoch(unsigned(row.get("value"))));
        if let Some(epoch) = epoch {
            let witness = &self.connections.witness;
            let seen = witness.seen();
            witness.learn(Age { epoch, ..seen });
        }
        Ok(epoch)
    }

    /// Renews the lease of an owner.
    pub async fn renew(&self, me: &Holder, ours: Epoch) -> Result<(), StoreError> {
        let seen = self.connections.witness.seen();
        let script = Script::of(
            "UPDATE lease SET renewals = renewals + 1
             WHERE holder = ? AND ? = (SELECT value FROM meta WHERE key = 'epoch')
               AND EXISTS (SELECT 1 FROM age WHERE accepted = ? AND commits >= ? AND NOT is_behind)
             RETURNING renewals",
            &[
                me.id.into(),
                signed(ours.0).into(),
                signed(seen.accepted).into(),
                signed(seen.commits).into(),
            ],
        );
        let rows = self.connections.write(script, ours).await?;
        if rows.is_empty() {
            return Err(refusal(&self.connections, ours).await);
        }
        self.connections.witness.find_whole();
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

async fn look(connections: &Connections) -> Result<Lease, StoreError> {
    let witness = &connections.witness;
    let seen = witness.seen();
    let script = Script::of(
        "SELECT holder, name, address, renewals, heir, accepted, commits, is_behind, seen_accepted, seen_epoch,
                seen_commits, (SELECT value FROM meta WHERE key = 'epoch') AS epoch
         FROM lease, age",
        &[],
    );
    let rows = connections.read(script).await?;
    let mut lease = rows.first().map(lease).ok_or_else(no_row)?;
    if lease.age.is_behind(seen) {
        lease.is_behind = true;
        lease.said.learn(seen);
        mark(connections, seen).await;
    }
    if lease.is_behind {
        witness.lose(Loss {
            seen: lease.said,
            found: lease.age,
        });
    } else {
        witness.learn(lease.age);
        witness.find_whole();
    }
    Ok(lease)
}

/// Tells all who use the database that it has gone back, unless it was accepted meanwhile.
async fn mark(connections: &Connections, seen: Age) {
    let values = [seen.accepted, seen.epoch.0, seen.commits, seen.accepted];
    let script = Script::of(
        "UPDATE age SET is_behind = true, seen_accepted = greatest(seen_accepted, ?),
                        seen_epoch = greatest(seen_epoch, ?), seen_commits = greatest(seen_commits, ?)
         WHERE accepted <= ?",
        &values.map(|value| signed(value).into()),
    );
    if let Err(error) = connections.write(script, Epoch(0)).await {
        tracing::debug!(%error, "the database can't be marked yet");
    }
}

/// The reason why an owner's question was not carried out: another owner, or a database that has gone back.
pub(super) async fn refusal(connections: &Connections, ours: Epoch) -> StoreError {
    match look(connections).await {
        Err(error) => error,
        Ok(lease) if lease.is_behind || lease.state.epoch < ours => StoreError::Behind(Loss {
            seen: lease.said,
            found: lease.age,
        }),
        Ok(lease) => StoreError::Deposed {
            ours,
            theirs: lease.state.epoch,
        },
    }
}

fn age(row: &PgRow, [accepted, epoch, commits]: [&str; 3]) -> Age {
    Age {
        accepted: unsigned(row.get(accepted)),
        epoch: Epoch(unsigned(row.get(epoch))),
        commits: unsigned(row.get(commits)),
    }
}

fn lease(row: &PgRow) -> Lease {
    let holder: Option<Uuid> = row.get("holder");
    Lease {
        is_behind: row.get("is_behind"),
        age: age(row, ["accepted", "epoch", "commits"]),
        said: age(row, ["seen_accepted", "seen_epoch", "seen_commits"]),
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
