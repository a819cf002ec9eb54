//! The log in one SQLite file: WAL mode, `synchronous=FULL`, one writer, held exclusively.

mod bodies;
mod catalog;
mod history;
mod keys;
mod letters;
mod load;
mod side;
mod statements;
mod versions;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use achromat_core::{
    durable::{Appended, Write},
    engine::Snapshot,
    history::{AuditAsked, AuditRecord, Retention, WriteRecord, WritesAsked},
    ids::{CollectionId, EntryId, Epoch, Key, LaneId, Position},
    key::KeyRecord,
    log::Letter,
    policy::{Digest, Shelf, ShelfWrite},
    time::WallTime,
};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;
use uuid::Uuid;

pub(super) use self::side::FileSide;
use super::{
    HistoryStore, InstanceNames, Store, StoreError, Stored, VersionStore,
    words::{position, unsigned},
};

/// Connections that read while the writer writes.
const READERS_MAX: u32 = 4;

/// Time that a reader waits for the file while another process holds it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store in a file.
pub struct SqliteStore {
    names: InstanceNames,
    epoch: Epoch,
    writer: Mutex<WriterState>,
    readers: SqlitePool,
    /// Held as long as the store is open.
    _lock: File,
}

struct WriterState {
    connection: SqliteConnection,
    /// The last position of each lane that was written to; emptied whenever a commit fails.
    heads: BTreeMap<LaneId, Position>,
}

impl SqliteStore {
    /// Opens the file, makes it when it is not there, and brings it to this version's form.
    pub async fn open(path: &Path, names: InstanceNames) -> Result<Self, StoreError> {
        let options = options(path);
        let (lock, mut connection) = connect(path, &options).await?;
        let epoch: i64 = sqlx::query_scalar(
            "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| StoreError::Open {
            path: path.to_owned(),
            reason: error.into(),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options.read_only(true));
        Ok(Self {
            names,
            epoch: Epoch(unsigned(epoch)),
            writer: Mutex::new(WriterState {
                connection,
                heads: BTreeMap::new(),
            }),
            readers,
            _lock: lock,
        })
    }

    async fn try_commit(
        &self,
        state: &mut WriterState,
        writes: &[Write],
    ) -> Result<Vec<Appended>, StoreError> {
        let WriterState { connection, heads } = state;
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(StoreError::NotDone)?;
        let mut appended = Vec::new();
        let work = async {
            let theirs = statements::epoch(&mut transaction).await?;
            if theirs != self.epoch {
                return Ok(Some(theirs));
            }
            for write in writes {
                let names = &self.names;
                let epoch = self.epoch;
                appended
                    .extend(statements::write(&mut transaction, names, epoch, heads, write).await?);
            }
            Ok::<_, sqlx::Error>(None)
        };
        // Until the commit is asked for, nothing can have happened.
        match work.await.map_err(StoreError::NotDone)? {
            Some(theirs) => Err(StoreError::Deposed {
                ours: self.epoch,
                theirs,
            }),
            None => {
                transaction.commit().await.map_err(StoreError::Unknown)?;
                Ok(appended)
            }
        }
    }
}

#[async_trait]
impl VersionStore for SqliteStore {
    async fn shelf(&self) -> Result<Shelf, StoreError> {
        versions::shelf(&self.readers).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        versions::component(&self.readers, digest).await
    }

    async fn write_shelf(&self, writes: &[ShelfWrite]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        versions::write(&mut writer.connection, self.epoch, writes).await
    }
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn note(
        &self,
        writes: &[WriteRecord],
        audit: &[AuditRecord],
        retention: &Retention,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let noted = history::note(&mut writer.connection, writes, audit, retention).await;
        noted.map_err(StoreError::NotDone)
    }

    async fn writes(&self, asked: &WritesAsked) -> Result<Vec<(u64, WriteRecord)>, StoreError> {
        history::writes(&self.readers, asked).await
    }

    async fn write_counts(&self, since: WallTime) -> Result<BTreeMap<u16, u64>, StoreError> {
        history::write_counts(&self.readers, since).await
    }

    async fn collection_times(
        &self,
    ) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError> {
        history::collection_times(&self.readers).await
    }

    async fn audit(&self, asked: &AuditAsked) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        history::audit(&self.readers, asked).await
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Takes the lock, connects, and brings the tables to this version's form.
async fn connect(
    path: &Path,
    options: &SqliteConnectOptions,
) -> Result<(File, SqliteConnection), StoreError> {
    let failed = |reason: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
        path: path.to_owned(),
        reason,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
    }
    let lock = lock(path)?;
    let mut connection = SqliteConnection::connect_with(options)
        .await
        .map_err(|error| failed(error.into()))?;
    sqlx::migrate!("../migrations/sqlite")
        .run(&mut connection)
        .await
        .map_err(|error| failed(error.into()))?;
    Ok((lock, connection))
}

/// Takes the lock beside the file. SQLite's own exclusive mode would shut out our readers too.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |error: std::io::Error| StoreError::Open {
        path: path.clone(),
        reason: error.into(),
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Held { path }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        let mut writer = self.writer.lock().await;
        load::snapshot(&mut writer.connection, &self.names).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Appended>, StoreError> {
        let mut writer = self.writer.lock().await;
        let result = self.try_commit(&mut writer, writes).await;
        if result.is_err() {
            writer.heads.clear();
        }
        result
    }

    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError> {
        // On the writer's connection: what a commit has left there is what counts.
        let mut writer = self.writer.lock().await;
        let found: Option<i64> = sqlx::query_scalar("SELECT position FROM entries WHERE entry = ?")
            .bind(entry.0.as_bytes().as_slice())
            .fetch_optional(&mut writer.connection)
            .await
            .map_err(StoreError::NotDone)?;
        Ok(found.map(position))
    }

    async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError> {
        keys::find(&self.readers, key).await
    }

    async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
        letters::list(&self.readers, max).await
    }

    async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError> {
        letters::find(&self.readers, id).await
    }

    async fn body(
        &self,
        lane: LaneId,
        position: Position,
        bytes_max: usize,
    ) -> Result<Option<Stored>, StoreError> {
        let found = bodies::find(&self.readers, lane, position, bytes_max).await;
        found.map_err(StoreError::NotDone)
    }

    async fn bodies(
        &self,
        lane: LaneId,
        first: Position,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let found = bodies::run(&self.readers, lane, (first, count), bytes_max).await;
        found.map_err(StoreError::NotDone)
    }
}

fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|error| StoreError::Unreadable(error.to_string()))
}
