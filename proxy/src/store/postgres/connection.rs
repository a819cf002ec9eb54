//! Connections to the database. Nothing is waited for without an end.

use std::{io, str::FromStr as _, time::Duration};

use achromat_core::{
    fleet::{Age, Loss},
    ids::Epoch,
    weight::heavy_time,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, PgPool, Postgres, Row as _,
    migrate::MigrateError,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions, PgRow},
};
use tokio::time::timeout;

use super::{super::StoreError, script::Script, witness::Witness};

/// Connections for the log, history and plugins' versions; the log is written by one at a time.
const WRITERS_MAX: u32 = 2;

/// Connections that read meanwhile.
const READERS_MAX: u32 = 4;

/// Time for an answer to a small script.
const DEADLINE: Duration = Duration::from_secs(10);

/// Time for a connection to be there. Clients whose writes are refused wait for so long.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(3);

/// Key of the lock under which the tables are brought to this version's form: "achromat" in ASCII.
const MIGRATING: i64 = 0x6163_6872_6f6d_6174;

/// SQLSTATE of a group that comes from an owner who is not the newest.
const DEPOSED: &str = "AC001";

/// SQLSTATE of a group that comes from an owner who has seen more commits than there are.
const BEHIND: &str = "AC003";

/// The reason why a database can't be used.
type Reason = Box<dyn std::error::Error + Send + Sync>;

fn failed(url: &str) -> impl Fn(Reason) -> StoreError {
    |reason| StoreError::Database {
        database: without_credentials(url),
        reason,
    }
}

/// The pools.
pub(super) struct Connections {
    /// Witness of the database's age.
    pub(super) witness: Witness,
    writers: PgPool,
    readers: PgPool,
}

/// The address of a database without its credentials.
pub fn without_credentials(url: &str) -> String {
    match PgConnectOptions::from_str(url) {
        Ok(options) => {
            let database = options.get_database().unwrap_or("");
            let (host, port) = (options.get_host(), options.get_port());
            match options.get_socket() {
                Some(socket) => format!("{database} at {}", socket.display()),
                None => format!("{database} at {host}:{port}"),
            }
        }
        Err(_) => "that was given".to_owned(),
    }
}

/// Returns what is wrong with the address of a database.
pub fn check_database(url: &str) -> Result<(), sqlx::Error> {
    PgConnectOptions::from_str(url).map(drop)
}

impl Connections {
    /// Connects, and brings the tables to this version's form.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        let this = Self::to(url).map_err(failed(url))?;
        this.make_ready().await.map_err(failed(url))?;
        Ok(this)
    }

    /// The same for a database that holds a store already; no tables are made in any other.
    pub(super) async fn open_existing(url: &str) -> Result<Self, StoreError> {
        let this = Self::to(url).map_err(failed(url))?;
        if !this.has_tables().await.map_err(failed(url))? {
            return Err(StoreError::Absent {
                place: format!("the database {}", without_credentials(url)),
            });
        }
        this.make_ready().await.map_err(failed(url))?;
        Ok(this)
    }

    /// Pools that connect when they are used.
    fn to(url: &str) -> Result<Self, Reason> {
        // A pooler in transaction mode knows neither statements that outlive their transaction nor this
        // parameter.
        let options = PgConnectOptions::from_str(url)?
            .statement_cache_capacity(0)
            .extra_float_digits(None)
            .application_name("achromat")
            // Statements have clients' records in them.
            .disable_statement_logging();
        let pool = |count, is_tested| {
            PgPoolOptions::new()
                .max_connections(count)
                .acquire_timeout(CONNECTION_DEADLINE)
                .test_before_acquire(is_tested)
                .connect_lazy_with(options.clone())
        };
        // What a dead connection has swallowed of a group is found out; to ask each time first whether it
        // lives would cost a round trip.
        Ok(Self {
            witness: Witness::default(),
            writers: pool(WRITERS_MAX, false),
            readers: pool(READERS_MAX, true),
        })
    }

    async fn has_tables(&self) -> Result<bool, Reason> {
        let look = sqlx::raw_sql("SELECT to_regclass('lanes') IS NOT NULL");
        let row = timeout(DEADLINE, look.fetch_one(&self.readers)).await??;
        Ok(row.try_get(0)?)
    }

    async fn make_ready(&self) -> Result<(), Reason> {
        let migrated = timeout(6 * DEADLINE, self.migrate()).await;
        migrated.map_err(|_| "its tables could not be made in time")??;
        self.check_settings().await
    }

    /// A connection for one long transaction.
    pub(super) async fn hold(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.writers.acquire().await.map_err(StoreError::NotDone)
    }

    /// One proxy at a time makes the tables, in one transaction.
    async fn migrate(&self) -> Result<(), Reason> {
        let mut transaction = self.writers.begin().await?;
        // sqlx's migrations prepare statements under names that others behind the same pooler use too.
        let forget = "DEALLOCATE ALL";
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATING}); {forget}");
        let lock = sqlx::raw_sql(AssertSqlSafe(lock));
        lock.execute(&mut *transaction).await?;
        let mut migrator = sqlx::migrate!("../migrations/postgres");
        migrator.set_locking(false);
        match migrator.run(&mut *transaction).await {
            Ok(()) => {}
            Err(MigrateError::VersionMissing(number)) => {
                let why = format!(
                    "it has migration {number}, which this version does not know: a newer version has written it"
                );
                return Err(why.into());
            }
            Err(error) => return Err(error.into()),
        }
        sqlx::raw_sql(forget).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Refuses a server whose settings would take back what the log promises.
    async fn check_settings(&self) -> Result<(), Reason> {
        const NEEDED: [(&str, &[&str]); 3] = [
            (
                "synchronous_commit",
                &["on", "local", "remote_write", "remote_apply"],
            ),
            ("default_transaction_isolation", &["read committed"]),
            ("server_encoding", &["UTF8"]),
        ];
        for (name, allowed) in NEEDED {
            let script = Script::of("SELECT current_setting(?)", &[name.into()]);
            let rows = self.read(script).await?;
            let found: &str = rows.first().map_or("", |row| row.get(0));
            if !allowed.contains(&found) {
                let why = format!("its {name} is {found:?}, and must be one of {allowed:?}");
                return Err(why.into());
            }
        }
        Ok(())
    }

    /// Carries out a script that changes something; returns the rows of all its statements.
    pub(super) async fn write(
        &self,
        script: Script,
        ours: Epoch,
    ) -> Result<Vec<PgRow>, StoreError> {
        let deadline = DEADLINE + heavy_time(script.bytes());
        let seen = self.witness.seen();
        let connection = self.writers.acquire().await.map_err(StoreError::NotDone)?;
        let rows = fetch(connection, script, deadline).await;
        rows.map_err(|error| failure(error, ours, seen))
    }

    /// Carries out a script that reads.
    pub(super) async fn read(&self, script: Script) -> Result<Vec<PgRow>, StoreError> {
        let connection = self.readers.acquire().await.map_err(StoreError::NotDone)?;
        let rows = fetch(connection, script, 6 * DEADLINE).await;
        rows.map_err(StoreError::NotDone)
    }
}

/// Sends a script, and takes in the rows of all its statements. After an error the connection is not used
/// again: an answer may still come.
async fn fetch(
    mut connection: PoolConnection<Postgres>,
    script: Script,
    deadline: Duration,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql = sqlx::raw_sql(AssertSqlSafe(script.into_sql()));
    let fetched = timeout(deadline, sql.fetch_all(&mut *connection)).await;
    let rows = fetched.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    if rows.is_err() {
        drop(connection.detach());
    }
    rows
}

/// Effect of a failed script: nothing was changed when the server says that it failed; unless the server went
/// down, which it may have done after the commit.
fn failure(error: sqlx::Error, ours: Epoch, seen: Age) -> StoreError {
    let sqlx::Error::Database(database) = &error else {
        return StoreError::Unknown(error);
    };
    let code = database.code().unwrap_or_default();
    let detail = || {
        let detail = database
            .try_downcast_ref::<PgDatabaseError>()
            .and_then(PgDatabaseError::detail);
        detail
            .and_then(|detail| detail.parse().ok())
            .unwrap_or_default()
    };
    if code == DEPOSED {
        let theirs = Epoch(detail());
        let found = Age {
            epoch: theirs,
            ..seen
        };
        return if theirs < ours {
            StoreError::Behind(Loss { seen, found })
        } else {
            StoreError::Deposed { ours, theirs }
        };
    }
    if code == BEHIND {
        let found = Age {
            commits: detail(),
            ..seen
        };
        return StoreError::Behind(Loss { seen, found });
    }
    if code.starts_with("57P") || code.starts_with("08") {
        StoreError::Unknown(error)
    } else {
        StoreError::NotDone(error)
    }
}
