//! The durable log, the cursors and the catalog.
//!
//! This room alone names sqlx. It keeps what it is given and decides nothing.

mod columns;
#[cfg(test)]
mod conformance;
mod copy;
mod flushes;
mod memory;
mod postgres;
mod sqlite;
mod words;
mod writer;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use achromat_core::{
    durable::{Appended, Write},
    engine::Snapshot,
    fleet::Loss,
    history::{AuditAsked, AuditRecord, Retention, WriteRecord, WritesAsked},
    ids::{CollectionId, EntryId, Epoch, Key, LaneId, Position},
    key::KeyRecord,
    log::Letter,
    policy::{Digest, Shelf, ShelfWrite},
    time::WallTime,
};
use async_trait::async_trait;
use bytes::Bytes;

pub use copy::{ComparedTable, CopyError, CopyProgress, StorePlace, copy_store};
pub use flushes::{FlushFigures, Flushes};
pub use memory::MemoryStore;
pub use postgres::{
    Database, Holder, Lease, PostgresStore, Seen, check_database, without_credentials,
};
pub use sqlite::SqliteStore;
pub use writer::{Listener, Writer, WriterHandle};

/// An error of the store. It says whether the change happened all the same.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not happen.
    #[error("the log could not be written, and nothing was changed: {0}")]
    NotDone(#[source] sqlx::Error),
    /// It may have happened: ask with [`Store::find`].
    #[error("it is not known whether the log was written: {0}")]
    Unknown(#[source] sqlx::Error),
    /// Another owner has taken over; nothing was changed, and nothing will be.
    #[error("the log has passed to another owner (epoch {theirs}, ours is {ours})")]
    Deposed {
        /// The epoch of this store's handle.
        ours: Epoch,
        /// The epoch in the store.
        theirs: Epoch,
    },
    /// The database has gone back; nothing was changed, and nothing will be until an operator has accepted it.
    #[error("{0}")]
    Behind(Loss),
    /// The file is open in another process.
    #[error("another process holds {path}: stop it, or give this one a store of its own")]
    Held {
        /// The lock's path.
        path: PathBuf,
    },
    /// The file can't be opened.
    #[error("the store {path} can't be opened: {reason}")]
    Open {
        /// The store's path.
        path: PathBuf,
        /// The reason.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database can't be opened.
    #[error("the store in the database {database} can't be opened: {reason}")]
    Database {
        /// The database, without credentials.
        database: String,
        /// The reason.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no store.
    #[error("{place} holds no store: look whether its name is right")]
    Absent {
        /// Its place, without credentials.
        place: String,
    },
    /// A proxy uses the database, which must stand still.
    #[error(
        "the proxy {proxy:?} uses the database {database}: stop all of its proxies, and try again"
    )]
    InUse {
        /// The database, without credentials.
        database: String,
        /// Name of the proxy.
        proxy: String,
    },
    /// A stored value can't be read.
    #[error("the store holds something that this version can't read: {0}")]
    Unreadable(String),
}

/// The durable home of the log.
///
/// # Contract
///
/// Every implementation passes the same suite (`conformance.rs`), which is this text as tests.
///
/// - [`commit`](Store::commit) is atomic and durable: when it returns, all of it survives the loss
///   of power; when it fails with [`StoreError::NotDone`] or [`StoreError::Deposed`], none of it
///   has happened or will.
/// - Each [`Write::Append`] gets the position after its lane's last one, in the order of the slice.
///   Positions are given once and never again, be the entry trimmed or its lane deleted.
/// - An append whose key is known appends nothing and takes no position, unless the entry that the
///   key stands for was withdrawn and the request is the same: then the key stands for the new one.
/// - A key is remembered together with its entry; its outcome together with the entry's verdict,
///   or with the deletion of the lane in which it was open. The first outcome of an entry stays. Keys
///   are kept when entries are trimmed, and those that are open are never forgotten.
/// - A letter is kept together with the verdict that makes it one, whatever becomes of its entry. An
///   append that takes up a letter takes it away, and appends nothing when it is not there.
/// - A write that was made durable may be committed again, in the same order, and changes nothing
///   more; except appends, which are told apart by [`find`](Store::find).
/// - Cursors never go back.
/// - [`Change::Gone`](achromat_core::catalog::Change::Gone) deletes what the lane of that collection still holds.
/// - [`load`](Store::load) returns what the commits before it have left: the catalog is the fold of
///   their changes.
/// - A handle whose epoch is not the newest can change nothing.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All but the bodies.
    async fn load(&self) -> Result<Snapshot, StoreError>;

    /// Makes all of it durable, or none of it. Says what became of the appends, in order.
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Appended>, StoreError>;

    /// The position of an entry, if it was made durable and not trimmed since.
    async fn find(&self, entry: EntryId) -> Result<Option<Position>, StoreError>;

    /// The record of a key.
    async fn key(&self, key: &Key) -> Result<Option<KeyRecord>, StoreError>;

    /// The oldest letters, at most `max`, and how many there are.
    async fn letters(&self, max: u32) -> Result<(Vec<Letter>, u64), StoreError>;

    /// One letter with its body.
    async fn letter(&self, id: EntryId) -> Result<Option<(Letter, Bytes)>, StoreError>;

    /// The body of an entry, if it was not trimmed; of one that has more bytes than `bytes_max`, how
    /// many.
    async fn body(
        &self,
        lane: LaneId,
        position: Position,
        bytes_max: usize,
    ) -> Result<Option<Stored>, StoreError>;

    /// The bodies of so many entries from `first` on: of as many in a row as were not trimmed, and have no
    /// more than `bytes_max` together.
    async fn bodies(
        &self,
        lane: LaneId,
        first: Position,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StoreError>;
}

/// A body in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The whole body.
    Body(Bytes),
    /// The size of a body that has more bytes than were asked for.
    Larger(usize),
}

impl Stored {
    fn of(body: Bytes, bytes_max: usize) -> Self {
        if body.len() > bytes_max {
            Self::Larger(body.len())
        } else {
            Self::Body(body)
        }
    }
}

/// The durable home of plugins' versions: in the same place as the log.
///
/// # Contract
///
/// - [`write_shelf`](VersionStore::write_shelf) is atomic and durable, as [`Store::commit`] is, and
///   a handle whose epoch is not the newest can change nothing. What is written again changes
///   nothing more.
/// - [`shelf`](VersionStore::shelf) is the fold of all that was written.
/// - The bytes of a component are kept once, whatever number of versions has it, and go with the
///   last of them.
#[async_trait]
pub trait VersionStore: Send + Sync + 'static {
    /// All but the components' bytes.
    async fn shelf(&self) -> Result<Shelf, StoreError>;

    /// The bytes of a component.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;

    /// Makes all of it durable, or none of it.
    async fn write_shelf(&self, writes: &[ShelfWrite]) -> Result<(), StoreError>;
}

/// Records that one call of [`HistoryStore::note`] deletes of each kind, at most: twice as many as it adds.
pub const HISTORY_PRUNED_MAX: u32 = 2 * HISTORY_NOTED_MAX;

/// Records that one call of [`HistoryStore::note`] adds, at most.
pub const HISTORY_NOTED_MAX: u32 = 512;

/// The durable home of recent writes and audited events: in the same place as the log.
///
/// # Contract
///
/// - [`note`](HistoryStore::note) is atomic and durable. Records get numbers that rise, and never one that a
///   kept record has.
/// - Of what the retention leaves out, each call deletes the oldest, [`HISTORY_PRUNED_MAX`] of each kind at
///   most; denials beyond their number go whatever else is kept.
/// - Lists have the newest first.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// Adds records, and deletes some of what is not kept any more.
    async fn note(
        &self,
        writes: &[WriteRecord],
        audit: &[AuditRecord],
        retention: &Retention,
    ) -> Result<(), StoreError>;

    /// Recent writes with their numbers.
    async fn writes(&self, asked: &WritesAsked) -> Result<Vec<(u64, WriteRecord)>, StoreError>;

    /// Number of writes since then, by the status of their answer.
    async fn write_counts(&self, since: WallTime) -> Result<BTreeMap<u16, u64>, StoreError>;

    /// Audited events with their numbers.
    async fn audit(&self, asked: &AuditAsked) -> Result<Vec<(u64, AuditRecord)>, StoreError>;

    /// Times at which each collection was made and at which one of its copies last got another id, as far
    /// as known.
    async fn collection_times(
        &self,
    ) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError>;
}

/// The names of the instances, by place: what is stored is stored by name, so that the
/// configuration may list them in another order.
pub type InstanceNames = Arc<[Arc<str>]>;
