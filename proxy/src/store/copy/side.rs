//! One of the two stores of a copy.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::super::StoreError;
use super::tables::Table;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Bytes),
    Id(Uuid),
}

/// The values of a row, in the order of its table's columns.
pub(in crate::store) type Row = Vec<Cell>;

/// Rows as they come out of a store.
pub(in crate::store) type Rows<'a> = BoxStream<'a, Result<Row, StoreError>>;

/// A store that nobody else uses, within one transaction.
///
/// # Contract
///
/// - Nothing that is written stays unless [`commit`](Side::commit) returns.
/// - [`rows`](Side::rows) gives what was written before it, and holds a few rows in memory at once.
/// - Statements are given as both engines understand them.
#[async_trait]
pub(in crate::store) trait Side: Send {
    /// All rows of a table, in any order.
    fn rows<'a>(&'a mut self, table: &'static Table) -> Rows<'a>;

    /// The number that a statement returns.
    async fn number(&mut self, sql: String) -> Result<i64, StoreError>;

    /// Carries out a statement.
    async fn run(&mut self, sql: String) -> Result<(), StoreError>;

    /// Adds rows to a table.
    async fn write(&mut self, table: &'static Table, rows: &[Row]) -> Result<(), StoreError>;

    /// Fails when somebody else has taken the store over meanwhile.
    async fn confirm(&mut self) -> Result<(), StoreError>;

    /// Makes all that was written durable.
    async fn commit(&mut self) -> Result<(), StoreError>;

    /// Undoes what was not committed, and gives the store back.
    async fn release(self: Box<Self>);
}

impl Cell {
    /// A value, or null.
    pub(in crate::store) fn of<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, cell)
    }

    /// Bytes of memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let content = match self {
            Self::Null | Self::Number(_) | Self::Id(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        };
        size_of::<Self>() + content
    }
}
