//! A PostgreSQL database as one of the two stores of a copy.

use std::{io, sync::Arc, time::Duration};

use achromat_core::{
    fleet::{LEASE, RENEWAL_INTERVAL},
    ids::Epoch,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::try_unfold};
use sqlx::{AssertSqlSafe, Postgres, Row as _, pool::PoolConnection, postgres::PgRow};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    super::{
        StoreError,
        copy::{
            side::{Cell, Row, Rows, Side},
            tables::{Kind, TABLES, Table},
        },
        words::unsigned,
    },
    connection::without_credentials,
    lease::{Database, Holder},
    script::{Script, Value, plain},
};
use crate::clock;

/// Time for one statement, or for the next row: tables may be large, and the disk slow.
const PATIENCE: Duration = Duration::from_mins(10);

/// Time for the database to answer about the lease.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The name under which a copy holds the lease.
const NAME: &str = "achromat store copy";

/// The address of its holder. It serves nobody: a proxy that is started meanwhile reaches nobody there, and waits.
const NOWHERE: &str = "http://127.0.0.1:0";

/// A database that nobody else uses, within one transaction.
pub(in crate::store) struct DatabaseSide {
    connection: PoolConnection<Postgres>,
    /// None for a look at a database that is not owned.
    claim: Option<Claim>,
}

impl DatabaseSide {
    /// Takes over a store that is read.
    pub(in crate::store) async fn source(
        database: Database,
        url: &str,
    ) -> Result<Self, StoreError> {
        let claim = Claim::take(Arc::new(database), url).await?;
        // All statements see the same moment.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Self::begin(Arc::clone(&claim.database), Some(claim), begin).await
    }

    /// Takes over a store that is written.
    pub(in crate::store) async fn target(
        database: Database,
        url: &str,
    ) -> Result<Self, StoreError> {
        let claim = Claim::take(Arc::new(database), url).await?;
        let ours = claim.epoch;
        let mut side = Self::begin(Arc::clone(&claim.database), Some(claim), "BEGIN").await?;
        // Nobody else becomes the owner before the end of this transaction.
        let epoch = "SELECT value FROM meta WHERE key = 'epoch' FOR UPDATE";
        let theirs = Epoch(unsigned(side.number(epoch.to_owned()).await?));
        if theirs != ours {
            return Err(StoreError::Deposed { ours, theirs });
        }
        Ok(side)
    }

    /// Looks at a store, and does not take it over.
    pub(in crate::store) async fn look(database: &Database) -> Result<Self, StoreError> {
        let connection = database.connections.hold().await?;
        let mut side = Self {
            connection,
            claim: None,
        };
        side.run("BEGIN READ ONLY".to_owned()).await?;
        Ok(side)
    }

    async fn begin(
        database: Arc<Database>,
        claim: Option<Claim>,
        begin: &str,
    ) -> Result<Self, StoreError> {
        let connection = database.connections.hold().await?;
        let mut side = Self { connection, claim };
        side.run(begin.to_owned()).await?;
        Ok(side)
    }

    async fn fetch(&mut self, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        in_time(sql.fetch_all(&mut *self.connection)).await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let done = timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

#[async_trait]
impl Side for DatabaseSide {
    fn rows<'a>(&'a mut self, table: &'static Table) -> Rows<'a> {
        let sql = table.select(expression);
        // Rows come as they are asked for: the server waits meanwhile.
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut *self.connection);
        let next = move |mut rows: futures_util::stream::BoxStream<'a, _>| async move {
            let row: Option<PgRow> = in_time(rows.try_next()).await?;
            Ok(row.map(|row| (row, rows)))
        };
        try_unfold(rows, next)
            .map_err(StoreError::NotDone)
            .and_then(move |row| async move { read(table, &row) })
            .boxed()
    }

    async fn number(&mut self, sql: String) -> Result<i64, StoreError> {
        let rows = self.fetch(sql).await.map_err(StoreError::NotDone)?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound);
        let number = row.and_then(|row| row.try_get(0));
        number.map_err(StoreError::NotDone)
    }

    async fn run(&mut self, sql: String) -> Result<(), StoreError> {
        let done = self.fetch(sql).await;
        done.map(drop).map_err(StoreError::NotDone)
    }

    async fn write(&mut self, table: &'static Table, rows: &[Row]) -> Result<(), StoreError> {
        let (name, columns) = (table.name, table.column_names());
        // The clause is about numbers that the database would give out itself.
        let sql = format!("INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE VALUES");
        let mut script = Script::default();
        script.add_rows(&sql, rows.iter().map(|row| row.iter().map(value).collect()));
        self.run(script.into_sql()).await
    }

    async fn confirm(&mut self) -> Result<(), StoreError> {
        match &self.claim {
            Some(claim) => claim.database.renew(&claim.me, claim.epoch).await,
            None => Ok(()),
        }
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        for table in TABLES {
            if let Some(counter) = table.counter() {
                let name = table.name;
                let next = format!(
                    "SELECT setval(pg_get_serial_sequence('{name}', '{counter}'), max({counter}))
                     FROM {name} HAVING max({counter}) IS NOT NULL"
                );
                self.run(next).await?;
            }
        }
        let committed = self.fetch("COMMIT".to_owned()).await;
        committed.map(drop).map_err(StoreError::Unknown)
    }

    async fn release(mut self: Box<Self>) {
        if timeout(ANSWER_MAX, self.run("ROLLBACK".to_owned()))
            .await
            .is_err()
        {
            tracing::debug!("the database undoes what was begun when the connection ends");
        }
        drop(self.connection.detach());
        if let Some(claim) = self.claim {
            claim.renewing.abort();
            let given = claim.database.give_back(&claim.me, None);
            if !matches!(timeout(ANSWER_MAX, given).await, Ok(Ok(()))) {
                tracing::debug!("the lease can't be given back, and runs out");
            }
        }
    }
}

/// The lease of a database, held while it is copied.
struct Claim {
    database: Arc<Database>,
    me: Holder,
    epoch: Epoch,
    renewing: JoinHandle<()>,
}

impl Claim {
    /// Takes the lease, unless a proxy is there, or holds it.
    async fn take(database: Arc<Database>, url: &str) -> Result<Self, StoreError> {
        let in_use = |proxy: String| StoreError::InUse {
            database: without_credentials(url),
            proxy,
        };
        let mut members = database.members().await?.into_iter();
        if let Some(seen) = members.find(super::Seen::is_there) {
            return Err(in_use(seen.proxy.name));
        }
        let lease = database.look().await?;
        let holder = |holder: Option<Holder>| holder.map_or_else(String::new, |holder| holder.name);
        if lease.state.is_held {
            // A holder that lives renews it meanwhile.
            sleep(LEASE).await;
            let later = database.look().await?;
            if later.state != lease.state {
                return Err(in_use(holder(later.holder)));
            }
        }
        let me = Holder {
            id: clock::fresh_id(),
            name: NAME.to_owned(),
            address: NOWHERE.to_owned(),
        };
        let Some(epoch) = database.take(&me, lease.state).await? else {
            return Err(in_use(holder(database.look().await?.holder)));
        };
        let renewing = tokio::spawn(renew(Arc::clone(&database), me.clone(), epoch));
        Ok(Self {
            database,
            me,
            epoch,
            renewing,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews the lease again and again. One that is lost is found at the end, before anything is committed.
async fn renew(database: Arc<Database>, me: Holder, epoch: Epoch) {
    let mut ticks = interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let renewed = timeout(ANSWER_MAX, database.renew(&me, epoch)).await;
        if matches!(renewed, Ok(Err(StoreError::Deposed { .. }))) {
            return;
        }
    }
}

/// A column as it is read: numbers of all sizes are one type.
fn expression(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Number | Kind::Counter => format!("\"{name}\"::bigint"),
        Kind::Text | Kind::Bytes | Kind::Id | Kind::Body(_) => format!("\"{name}\""),
    }
}

fn read(table: &Table, row: &PgRow) -> Result<Row, StoreError> {
    let columns = table.columns.iter().enumerate();
    let cells = columns.map(|(at, (name, kind))| {
        let cell = match kind {
            Kind::Number | Kind::Counter => {
                row.try_get(at).map(|value| Cell::of(value, Cell::Number))
            }
            Kind::Text => {
                let text = row.try_get::<Option<&str>, _>(at);
                text.map(|text| Cell::of(text.map(plain), Cell::Text))
            }
            Kind::Bytes | Kind::Body(_) => {
                let bytes = row.try_get::<Option<Vec<u8>>, _>(at);
                bytes.map(|bytes| Cell::of(bytes.map(Bytes::from), Cell::Bytes))
            }
            Kind::Id => row.try_get(at).map(|id| Cell::of(id, Cell::Id)),
        };
        cell.map_err(|error| {
            StoreError::Unreadable(format!("the column {name} of {}: {error}", table.name))
        })
    });
    cells.collect()
}

fn value(cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Null => Value::Null,
        Cell::Number(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Bytes(bytes) => bytes.as_ref().into(),
        Cell::Id(id) => (*id).into(),
    }
}
