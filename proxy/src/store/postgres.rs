//! The log in a PostgreSQL database. Every group of writes is one message and one transaction.

mod connection;
mod history;
mod lease;
mod load;
mod members;
mod reads;
mod script;
mod side;
mod statements;
mod versions;
mod witness;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use achromat_core::{
    durable::{Appended, Write},
    engine::Snapshot,
    fleet::Age,
    history::{AuditAsked, AuditRecord, Retention, WriteRecord, WritesAsked},
    ids::{CollectionId, EntryId, Epoch, Key, LaneId, Position},
    key::KeyRecord,
    log::Letter,
    policy::{Digest, Shelf, ShelfWrite},
    time::WallTime,
};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{Column as _, Row as _, postgres::PgRow};

pub(super) use self::side::DatabaseSide;
use self::{connection::Connections, script::Script, statements::Statements};
pub use self::{
    connection::{check_database, without_credentials},
    lease::{Database, Holder, Lease},
    members::Seen,
};
use super::{
    HistoryStore, InstanceNames, Store, StoreError, Stored, VersionStore,
    words::{position, signed, unsigned},
};

/// A store in a database.
pub struct PostgresStore {
    names: InstanceNames,
    epoch: Epoch,
    /// The fence that the next group names.
    fence: AtomicU64,
    connections: Arc<Connections>,
}

impl PostgresStore {
    /// Opens the database, makes its tables when they are not there, and takes it over from whoever had it.
    #[cfg(test)]
    pub async fn open(url: &str, names: InstanceNames) -> Result<Self, StoreError> {
        let database = Database::open(url).await?;
        let me = Holder {
            id: crate::clock::fresh_id(),
            name: "test".to_owned(),
            address: "nowhere".to_owned(),
        };
        loop {
            let seen = database.look().await?.state;
            if let Some(epoch) = database.take(&me, seen).await? {
                return database.store(names, epoch).await;
            }
        }
    }

    /// A script that changes nothing unless this is the newest owner, the script was not given up, and the
    /// database has all that was committed.
    fn fenced(&self) -> Script {
        let (epoch, fence) = (signed(self.epoch.0), signed(self.fence.load(Relaxed)));
        let commits = signed(self.connections.witness.seen().commits);
        Script::of(
            "SELECT achromat_begin(?, ?, ?) AS commits",
            &[epoch.into(), fence.into(), commits.into()],
        )
    }

    /// Carries out a fenced script; returns the rows of its other statements.
    async fn write_fenced(&self, script: Script) -> Result<Vec<PgRow>, StoreError> {
        let seen = self.connections.witness.seen();
        let mut rows = self.connections.write(script, self.epoch).await?;
        if !rows.is_empty() {
            let commits = unsigned(rows.remove(0).get("commits"));
            self.connections.witness.learn(Age {
                epoch: self.epoch,
                commits,
                ..seen
            });
        }
        Ok(rows)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        load::snapshot(&self.connections, &self.names).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Appended>, StoreError> {
        let mut statements = Statements {
            script: self.fenced(),
            names: &self.names,
            epoch: self.epoch,
        };
        for write in writes {
            statements.write(write).map_err(StoreError::NotDone)?;
        }
        let rows = self.write_fenced(statements.script).await?;
        Ok(rows.iter().filter_map(appended).collect())
    }

    /// A group that is on its way to the server when this is asked changes nothing any more.
    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        let commits = self.connections.witness.seen().commits;
        let mut script = Script::of(
            "UPDATE meta SET value = value + 1
             WHERE key = 'fence' AND ? = (SELECT value FROM meta WHERE key = 'epoch')
               AND EXISTS (SELECT 1 FROM age WHERE commits >= ? AND NOT is_behind)
             RETURNING value AS fence",
            &[signed(self.epoch.0).into(), signed(commits).into()],
        );
        script.add(
            "SELECT position FROM entries WHERE entry = ?",
            &[entry.0.into()],
        );
        let rows = self.connections.write(script, self.epoch).await?;
        let number = |name: &str| {
            let row = rows.iter().find(|row| is_named(row, name));
            row.map(|row| row.get::<i64, _>(0))
        };
        let Some(fence) = number("fence") else {
            return Err(lease::refusal(&self.connections, self.epoch).await);
        };
        self.fence.store(unsigned(fence), Relaxed);
        Ok(number("position").map(position))
    }

    async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError> {
        reads::key(&self.connections, key).await
    }

    async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
        reads::letters(&self.connections, max).await
    }

    async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError> {
        reads::letter(&self.connections, id).await
    }

    async fn body(
        &self,
        lane: LaneId,
        position: Position,
        bytes_max: usize,
    ) -> Result<Option<Stored>, StoreError> {
        reads::body(&self.connections, lane, position, bytes_max).await
    }

    async fn bodies(
        &self,
        lane: LaneId,
        first: Position,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        reads::bodies(&self.connections, lane, (first, count), bytes_max).await
    }
}

/// Returns true when a row's first column has this name, which tells its statement.
fn is_named(row: &PgRow, name: &str) -> bool {
    let first = row.columns().first();
    first.is_some_and(|column| column.name() == name)
}

/// The result of an append; none for a row of another statement.
fn appended(row: &PgRow) -> Option<Appended> {
    if !is_named(row, "appended") {
        return None;
    }
    let at: Option<i64> = row.get(0);
    Some(at.map_or(Appended::Known, |at| Appended::At(position(at))))
}

#[async_trait]
impl VersionStore for PostgresStore {
    async fn shelf(&self) -> Result<Shelf, StoreError> {
        versions::shelf(&self.connections).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        versions::component(&self.connections, digest).await
    }

    async fn write_shelf(&self, writes: &[ShelfWrite]) -> Result<(), StoreError> {
        let mut script = self.fenced();
        for write in writes {
            versions::add(&mut script, write);
        }
        self.write_fenced(script).await?;
        Ok(())
    }
}

#[async_trait]
impl HistoryStore for PostgresStore {
    async fn note(
        &self,
        writes: &[WriteRecord],
        audit: &[AuditRecord],
        retention: &Retention,
    ) -> Result<(), StoreError> {
        let script = history::note(writes, audit, retention);
        self.connections.write(script, self.epoch).await?;
        Ok(())
    }

    async fn writes(&self, asked: &WritesAsked) -> Result<Vec<(u64, WriteRecord)>, StoreError> {
        history::writes(&self.connections, asked).await
    }

    async fn write_counts(&self, since: WallTime) -> Result<BTreeMap<u16, u64>, StoreError> {
        history::write_counts(&self.connections, since).await
    }

    async fn collection_times(
        &self,
    ) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError> {
        history::collection_times(&self.connections).await
    }

    async fn audit(&self, asked: &AuditAsked) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        history::audit(&self.connections, asked).await
    }
}
