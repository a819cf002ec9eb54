//! A whole store copied into an empty one of either engine, while no proxy uses them.
//!
//! Everything goes in one transaction of the target, which ends only when the target, read back, is equal: a copy
//! that was cut off leaves nothing behind. Rows go as they are, with their ids, positions and times. This file
//! knows tables and rows alone, and never what they mean.

mod comparison;
pub(super) mod side;
pub(super) mod tables;

use std::{fmt, path::Path};

use futures_util::TryStreamExt as _;

use self::{
    comparison::Sum,
    side::{Cell, Row, Side},
    tables::{TABLES, Table},
};
use super::{
    StoreError,
    postgres::{Database, DatabaseSide, without_credentials},
    sqlite::FileSide,
};

/// Bytes of the rows that are written at once. A single row may have more.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Rows that are written at once.
const BATCH_ROWS_MAX: usize = 500;

/// Rows that are compared from one report of progress to the next.
const COMPARED_ROWS: u64 = 1000;

/// Place of a store.
#[derive(Clone, Copy, Debug)]
pub enum StorePlace<'a> {
    /// A file of SQLite's.
    File(&'a Path),
    /// Address of a PostgreSQL database, maybe with credentials, which are not shown.
    Database(&'a str),
}

/// The reason why a store is not copied. The target has not changed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both are one.
    #[error("{0} is the store to copy from and the store to copy to: name another one to copy to")]
    Same(String),
    /// The target holds something.
    #[error(
        "the store to copy to, {store}, is not empty: its table {table:?} has rows. Name a new file, or a new database"
    )]
    NotEmpty {
        /// The target.
        store: String,
        /// A table that has rows.
        table: &'static str,
    },
    /// The source can't be used.
    #[error("the store to copy from: {0}")]
    Source(#[source] StoreError),
    /// The target can't be used.
    #[error("the store to copy to: {0}")]
    Target(#[source] StoreError),
    /// The answer to the last statement was lost.
    #[error(
        "the copy may be there or not: {0}. Run the command again: if it then says that the store to copy to is not empty, the copy is there, whole and compared"
    )]
    Unknown(#[source] StoreError),
}

/// Progress of a copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress {
    /// True when the rows are read back and compared.
    pub is_comparison: bool,
    /// The table.
    pub table: &'static str,
    /// Rows that are done.
    pub rows: u64,
    /// Rows in all.
    pub of: u64,
}

/// A table in both stores.
#[derive(Clone, Copy, Debug)]
pub struct ComparedTable {
    /// Its name.
    pub name: &'static str,
    /// Its rows in the source.
    pub rows: u64,
    /// Its rows in the target.
    pub copied_rows: u64,
    /// True when all rows are the same.
    pub is_equal: bool,
}

/// Copies everything; returns the comparison of all tables. The copy stays only when all are equal.
pub async fn copy_store(
    from: StorePlace<'_>,
    to: StorePlace<'_>,
    tell: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Vec<ComparedTable>, CopyError> {
    refuse_same(from, to).await?;
    let mut source = open_source(from).await.map_err(CopyError::Source)?;
    let mut target = match open_target(to).await {
        Ok(target) => target,
        Err(error) => {
            source.release().await;
            return Err(error);
        }
    };
    let compared = copy_between(&mut *source, &mut *target, tell).await;
    target.release().await;
    source.release().await;
    compared
}

/// Files are known by their paths, databases by the secret that each has of its own.
async fn refuse_same(from: StorePlace<'_>, to: StorePlace<'_>) -> Result<(), CopyError> {
    let is_same = match (from, to) {
        (StorePlace::File(from), StorePlace::File(to)) => {
            let (from, to) = (from.canonicalize(), to.canonicalize());
            from.is_ok_and(|from| to.is_ok_and(|to| from == to))
        }
        (StorePlace::Database(from), StorePlace::Database(to)) => {
            let from = Database::open_existing(from).await;
            let from = from.map_err(CopyError::Source)?.secret().await;
            let to = Database::open(to).await.map_err(CopyError::Target)?;
            let to = to.secret().await.map_err(CopyError::Target)?;
            from.map_err(CopyError::Source)? == to
        }
        _ => false,
    };
    if is_same {
        return Err(CopyError::Same(from.to_string()));
    }
    Ok(())
}

async fn open_source(place: StorePlace<'_>) -> Result<Box<dyn Side>, StoreError> {
    Ok(match place {
        StorePlace::File(path) => Box::new(FileSide::source(path).await?),
        StorePlace::Database(url) => {
            let database = Database::open_existing(url).await?;
            Box::new(DatabaseSide::source(database, url).await?)
        }
    })
}

async fn open_target(place: StorePlace<'_>) -> Result<Box<dyn Side>, CopyError> {
    let failed = CopyError::Target;
    let mut side: Box<dyn Side> = match place {
        StorePlace::File(path) => Box::new(FileSide::target(path).await.map_err(failed)?),
        StorePlace::Database(url) => {
            let database = Database::open(url).await.map_err(failed)?;
            // To own it changes its epoch: one that is not empty is refused before.
            let look = DatabaseSide::look(&database).await.map_err(failed)?;
            let mut look = Box::new(look);
            let refused = refuse_filled(&mut *look, place).await;
            look.release().await;
            refused?;
            Box::new(DatabaseSide::target(database, url).await.map_err(failed)?)
        }
    };
    match refuse_filled(&mut *side, place).await {
        Ok(()) => Ok(side),
        Err(error) => {
            side.release().await;
            Err(error)
        }
    }
}

async fn refuse_filled(side: &mut dyn Side, place: StorePlace<'_>) -> Result<(), CopyError> {
    for table in TABLES {
        let name = table.name;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT 1) AS a_row");
        if side.number(sql).await.map_err(CopyError::Target)? > 0 {
            return Err(CopyError::NotEmpty {
                store: place.to_string(),
                table: name,
            });
        }
    }
    Ok(())
}

async fn copy_between(
    source: &mut dyn Side,
    target: &mut dyn Side,
    tell: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Vec<ComparedTable>, CopyError> {
    for table in TABLES {
        copy_table(source, target, table, tell).await?;
    }
    let mut compared = vec![raise_epoch(source, target).await?];
    for table in TABLES {
        compared.push(compare_table(source, target, table, tell).await?);
    }
    source.confirm().await.map_err(CopyError::Source)?;
    if compared.iter().all(|table| table.is_equal) {
        target.commit().await.map_err(|error| match error {
            StoreError::Unknown(_) => CopyError::Unknown(error),
            error => CopyError::Target(error),
        })?;
    }
    Ok(compared)
}

async fn copy_table(
    source: &mut dyn Side,
    target: &mut dyn Side,
    table: &'static Table,
    tell: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<(), CopyError> {
    let name = table.name;
    let count = source.number(format!("SELECT count(*) FROM {name}")).await;
    let count = count.map_err(CopyError::Source)?;
    let mut progress = CopyProgress {
        is_comparison: false,
        table: name,
        rows: 0,
        of: super::words::unsigned(count),
    };
    // Triggers have made rows of their own.
    let cleared = target.run(format!("DELETE FROM {name}")).await;
    cleared.map_err(CopyError::Target)?;
    let mut rows = source.rows(table);
    let (mut batch, mut bytes): (Vec<Row>, usize) = (Vec::new(), 0);
    loop {
        let row = rows.try_next().await.map_err(CopyError::Source)?;
        let is_last = row.is_none();
        if let Some(row) = row {
            bytes += row.iter().map(Cell::bytes).sum::<usize>();
            progress.rows += 1;
            batch.push(row);
        }
        if is_last || bytes >= BATCH_BYTES_MAX || batch.len() >= BATCH_ROWS_MAX {
            let written = target.write(table, &batch).await;
            written.map_err(CopyError::Target)?;
            batch.clear();
            bytes = 0;
            tell(progress);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Owners of the target have epochs after those of the source. The highest epoch stays where the target's own is
/// higher.
async fn raise_epoch(
    source: &mut dyn Side,
    target: &mut dyn Side,
) -> Result<ComparedTable, CopyError> {
    const EPOCH: &str = "SELECT value FROM meta WHERE key = 'epoch'";
    let epoch = source.number(EPOCH.to_owned()).await;
    let epoch = epoch.map_err(CopyError::Source)?;
    let raise = format!("UPDATE meta SET value = {epoch} WHERE key = 'epoch' AND value < {epoch}");
    target.run(raise).await.map_err(CopyError::Target)?;
    let raised = target.number(EPOCH.to_owned()).await;
    Ok(ComparedTable {
        name: "meta",
        rows: 1,
        copied_rows: 1,
        is_equal: raised.map_err(CopyError::Target)? >= epoch,
    })
}

async fn compare_table(
    source: &mut dyn Side,
    target: &mut dyn Side,
    table: &'static Table,
    tell: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<ComparedTable, CopyError> {
    let source = Sum::of(source, table, |_| {}).await;
    let source = source.map_err(CopyError::Source)?;
    let mut count = |rows| {
        if rows % COMPARED_ROWS == 0 {
            tell(CopyProgress {
                is_comparison: true,
                table: table.name,
                rows,
                of: source.rows,
            });
        }
    };
    let target = Sum::of(target, table, &mut count).await;
    let target = target.map_err(CopyError::Target)?;
    Ok(ComparedTable {
        name: table.name,
        rows: source.rows,
        copied_rows: target.rows,
        is_equal: source == target,
    })
}

impl fmt::Display for StorePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Database(url) => write!(f, "the database {}", without_credentials(url)),
        }
    }
}
