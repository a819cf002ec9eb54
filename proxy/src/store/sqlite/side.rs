//! A SQLite file as one of the two stores of a copy.

use std::{fs::File, path::Path};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{
    super::{
        StoreError,
        copy::{
            side::{Cell, Row, Rows, Side},
            tables::{Kind, Table},
        },
    },
    bodies, connect, options, uuid,
};

/// Rows that are read ahead: each may have a large body.
const ROWS_AHEAD: usize = 1;

/// A file that no other process has.
pub(in crate::store) struct FileSide {
    connection: SqliteConnection,
    _lock: File,
}

impl FileSide {
    /// Opens a store that is there.
    pub(in crate::store) async fn source(path: &Path) -> Result<Self, StoreError> {
        refuse_absent(path).await?;
        let options = options(path).create_if_missing(false);
        Self::begin(path, options, "BEGIN").await
    }

    /// Opens a store, and makes it when it is not there.
    pub(in crate::store) async fn target(path: &Path) -> Result<Self, StoreError> {
        Self::begin(path, options(path), "BEGIN IMMEDIATE").await
    }

    async fn begin(
        path: &Path,
        options: SqliteConnectOptions,
        begin: &str,
    ) -> Result<Self, StoreError> {
        let (lock, connection) = connect(path, &options.row_buffer_size(ROWS_AHEAD)).await?;
        let mut side = Self {
            connection,
            _lock: lock,
        };
        side.run(begin.to_owned()).await?;
        Ok(side)
    }

    async fn add(&mut self, sql: sqlx::SqlStr, table: &Table, row: &Row) -> sqlx::Result<()> {
        let mut query = sqlx::query(sql);
        let mut aside = None;
        for ((_, kind), cell) in table.columns.iter().zip(row) {
            query = match (kind, cell) {
                (Kind::Body(owner), Cell::Bytes(body)) => {
                    let (inline, parts) = bodies::split(body);
                    aside = Some((*owner, body, parts));
                    query.bind(inline)
                }
                (_, Cell::Null) => query.bind(None::<i64>),
                (_, Cell::Number(number)) => query.bind(number),
                (_, Cell::Text(text)) => query.bind(text.as_str()),
                (_, Cell::Bytes(bytes)) => query.bind(bytes.as_ref()),
                (_, Cell::Id(id)) => query.bind(id.as_bytes().as_slice()),
            };
        }
        if let Some((_, _, parts)) = aside {
            query = query.bind(parts);
        }
        query.execute(&mut self.connection).await?;
        match aside {
            Some((owner, body, parts)) if parts > 0 => {
                self.add_parts(cell(table, row, owner), body).await
            }
            _ => Ok(()),
        }
    }

    /// Writes a body's parts, unless they are there: a letter shares those of its entry.
    async fn add_parts(&mut self, owner: Option<&Cell>, body: &Bytes) -> sqlx::Result<()> {
        let Some(Cell::Id(entry)) = owner else {
            return Err(sqlx::Error::RowNotFound);
        };
        let entry = entry.as_bytes().as_slice();
        let are_there = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM parts WHERE entry = ?)");
        let are_there: bool = are_there
            .bind(entry)
            .fetch_one(&mut self.connection)
            .await?;
        if are_there {
            return Ok(());
        }
        bodies::write_parts(&mut self.connection, entry, body).await
    }
}

#[async_trait]
impl Side for FileSide {
    fn rows<'a>(&'a mut self, table: &'static Table) -> Rows<'a> {
        let sql = table.select(|name, kind| expression(table, name, kind));
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection);
        rows.map_err(StoreError::NotDone)
            .and_then(move |row| async move { read(table, &row) })
            .boxed()
    }

    async fn number(&mut self, sql: String) -> Result<i64, StoreError> {
        let number = sqlx::query_scalar(AssertSqlSafe(sql));
        let number = number.fetch_one(&mut self.connection).await;
        number.map_err(StoreError::NotDone)
    }

    async fn run(&mut self, sql: String) -> Result<(), StoreError> {
        let run = sqlx::query(AssertSqlSafe(sql));
        let run = run.execute(&mut self.connection).await;
        run.map(drop).map_err(StoreError::NotDone)
    }

    async fn write(&mut self, table: &'static Table, rows: &[Row]) -> Result<(), StoreError> {
        let mut columns = table.column_names();
        let mut marks = vec!["?"; table.columns.len()];
        if has_body(table) {
            columns.push_str(", parts");
            marks.push("?");
        }
        let marks = marks.join(", ");
        let sql = format!("INSERT INTO {} ({columns}) VALUES ({marks})", table.name);
        let sql = AssertSqlSafe(sql).into_sql_str();
        for row in rows {
            let added = self.add(sql.clone(), table, row).await;
            added.map_err(StoreError::NotDone)?;
        }
        Ok(())
    }

    /// The lock is held: nobody has.
    async fn confirm(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = sqlx::query("COMMIT").execute(&mut self.connection).await;
        committed.map(drop).map_err(StoreError::Unknown)
    }

    async fn release(self: Box<Self>) {
        // What was not committed is undone with the connection's end.
        let _closed = self.connection.close().await;
    }
}

/// Refuses a path without a store, and changes nothing there.
async fn refuse_absent(path: &Path) -> Result<(), StoreError> {
    let absent = || StoreError::Absent {
        place: path.display().to_string(),
    };
    if !path.is_file() {
        return Err(absent());
    }
    let look = SqliteConnectOptions::new().filename(path).read_only(true);
    let find = async {
        let mut connection = SqliteConnection::connect_with(&look).await?;
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'lanes'";
        let found: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(found)
    };
    let found = find.await.map_err(|error| StoreError::Open {
        path: path.to_owned(),
        reason: error.into(),
    })?;
    if found == 0 { Err(absent()) } else { Ok(()) }
}

fn has_body(table: &Table) -> bool {
    let mut columns = table.columns.iter();
    columns.any(|(_, kind)| matches!(kind, Kind::Body(_)))
}

/// The value of a column.
fn cell<'a>(table: &Table, row: &'a Row, name: &str) -> Option<&'a Cell> {
    let mut cells = table.columns.iter().zip(row);
    let found = cells.find(|((column, _), _)| *column == name);
    found.map(|(_, cell)| cell)
}

/// A column as it is read: a body is put together of its parts.
fn expression(table: &Table, name: &str, kind: Kind) -> String {
    match kind {
        Kind::Body(owner) => format!(
            "CASE parts WHEN 0 THEN \"{name}\" ELSE (
                 SELECT unhex(group_concat(hex(bytes), '' ORDER BY part)) FROM parts WHERE parts.entry = {}.{owner}
             ) END",
            table.name
        ),
        Kind::Number | Kind::Counter | Kind::Text | Kind::Bytes | Kind::Id => {
            format!("\"{name}\"")
        }
    }
}

fn read(table: &Table, row: &SqliteRow) -> Result<Row, StoreError> {
    let columns = table.columns.iter().enumerate();
    let cells = columns.map(|(at, (name, kind))| {
        let unreadable = |error: sqlx::Error| {
            StoreError::Unreadable(format!("the column {name} of {}: {error}", table.name))
        };
        Ok(match kind {
            Kind::Number | Kind::Counter => {
                Cell::of(row.try_get(at).map_err(unreadable)?, Cell::Number)
            }
            Kind::Text => Cell::of(row.try_get(at).map_err(unreadable)?, Cell::Text),
            Kind::Bytes | Kind::Body(_) => {
                let bytes: Option<Vec<u8>> = row.try_get(at).map_err(unreadable)?;
                Cell::of(bytes.map(Bytes::from), Cell::Bytes)
            }
            Kind::Id => {
                let bytes: Option<&[u8]> = row.try_get(at).map_err(unreadable)?;
                Cell::of(bytes.map(uuid).transpose()?, Cell::Id)
            }
        })
    });
    cells.collect()
}
