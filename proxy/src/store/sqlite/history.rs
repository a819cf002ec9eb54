//! Recent writes and audited events as SQL.

use std::collections::BTreeMap;

use achromat_core::{
    history::{
        AuditAsked, AuditKind, AuditRecord, Retention, WriteOutcome, WriteRecord, WritesAsked,
    },
    ids::CollectionId,
    time::WallTime,
};
use serde_json::json;
use sqlx::{Connection as _, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    super::{
        HISTORY_PRUNED_MAX, StoreError,
        words::{signed, unsigned},
    },
    uuid,
};

/// Adds records, and deletes some of what is not kept any more.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    writes: &[WriteRecord],
    audit: &[AuditRecord],
    retention: &Retention,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !writes.is_empty() {
        add_writes(&mut transaction, writes).await?;
    }
    for record in audit {
        add_audit(&mut transaction, record).await?;
    }
    prune(&mut transaction, retention).await?;
    transaction.commit().await
}

/// All in one statement: the log waits meanwhile.
async fn add_writes(
    connection: &mut SqliteConnection,
    writes: &[WriteRecord],
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = writes
        .iter()
        .map(|write| {
            json!([
                write.begun_at.0,
                write.took_ms,
                write.who,
                write.client,
                write.action,
                write.tenant,
                write.database,
                write.collection,
                write.status,
                write.key,
            ])
        })
        .collect();
    sqlx::query(
        "INSERT INTO recent_writes
           (begun_at_ms, took_ms, who, client, action, tenant, database, collection, status, key)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                value ->> 7, value ->> 8, value ->> 9
         FROM json_each(?)",
    )
    .bind(serde_json::Value::from(rows).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_audit(
    connection: &mut SqliteConnection,
    record: &AuditRecord,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit (at_ms, kind, who, client, what, status, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(record.at.0))
    .bind(record.kind.as_str())
    .bind(&record.who)
    .bind(&record.client)
    .bind(&record.what)
    .bind(record.status)
    .bind(&record.detail)
    .execute(connection)
    .await?;
    Ok(())
}

/// Looks at the oldest records alone, so that its cost does not grow with what is kept.
async fn prune(
    connection: &mut SqliteConnection,
    retention: &Retention,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM recent_writes WHERE number IN (
           SELECT number FROM (SELECT number, begun_at_ms FROM recent_writes ORDER BY number LIMIT ?1)
           WHERE begun_at_ms < ?2 OR number <= (SELECT max(number) FROM recent_writes) - ?3
         )",
    )
    .bind(HISTORY_PRUNED_MAX)
    .bind(signed(retention.writes_since.0))
    .bind(signed(retention.writes_max))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM audit WHERE number IN (
           SELECT number FROM (SELECT number, at_ms FROM audit ORDER BY number LIMIT ?1)
           WHERE at_ms < ?2
         )",
    )
    .bind(HISTORY_PRUNED_MAX)
    .bind(signed(retention.audit_since.0))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM audit WHERE kind = ?1 AND number <= (
           SELECT number FROM audit WHERE kind = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
         )",
    )
    .bind(AuditKind::Denial.as_str())
    .bind(signed(retention.denials_max))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn writes(
    readers: &SqlitePool,
    asked: &WritesAsked,
) -> Result<Vec<(u64, WriteRecord)>, StoreError> {
    let (from, to) = asked.outcome.map_or((0, u16::MAX), WriteOutcome::statuses);
    let rows = sqlx::query(
        "SELECT * FROM recent_writes
         WHERE number < ?1 AND status >= ?2 AND status < ?3
           AND (?4 IS NULL OR collection = ?4) AND (?5 IS NULL OR who = ?5)
         ORDER BY number DESC LIMIT ?6",
    )
    .bind(signed(asked.before))
    .bind(from)
    .bind(to)
    .bind(asked.collection.as_deref())
    .bind(asked.who.as_deref())
    .bind(asked.limit)
    .fetch_all(readers)
    .await
    .map_err(StoreError::NotDone)?;
    Ok(rows.iter().map(write).collect())
}

fn write(row: &SqliteRow) -> (u64, WriteRecord) {
    let record = WriteRecord {
        begun_at: WallTime(unsigned(row.get("begun_at_ms"))),
        took_ms: unsigned(row.get("took_ms")),
        who: row.get("who"),
        client: row.get("client"),
        action: row.get("action"),
        tenant: row.get("tenant"),
        database: row.get("database"),
        collection: row.get("collection"),
        status: row.get("status"),
        key: row.get("key"),
    };
    (unsigned(row.get("number")), record)
}

pub(super) async fn write_counts(
    readers: &SqlitePool,
    since: WallTime,
) -> Result<BTreeMap<u16, u64>, StoreError> {
    let rows = sqlx::query(
        "SELECT status, count(*) AS count FROM recent_writes WHERE begun_at_ms >= ? GROUP BY status",
    )
    .bind(signed(since.0))
    .fetch_all(readers)
    .await
    .map_err(StoreError::NotDone)?;
    let count = |row: &SqliteRow| (row.get("status"), unsigned(row.get("count")));
    Ok(rows.iter().map(count).collect())
}

pub(super) async fn audit(
    readers: &SqlitePool,
    asked: &AuditAsked,
) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM audit WHERE number < ?1 AND (?2 IS NULL OR kind = ?2)
         ORDER BY number DESC LIMIT ?3",
    )
    .bind(signed(asked.before))
    .bind(asked.kind.map(AuditKind::as_str))
    .bind(asked.limit)
    .fetch_all(readers)
    .await
    .map_err(StoreError::NotDone)?;
    rows.iter().map(audited).collect()
}

pub(super) async fn collection_times(
    readers: &SqlitePool,
) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError> {
    let rows = sqlx::query("SELECT * FROM collection_times")
        .fetch_all(readers)
        .await
        .map_err(StoreError::NotDone)?;
    let time = |row: &SqliteRow, name| WallTime(unsigned(row.get(name)));
    let times = rows.iter().map(|row| {
        let id = CollectionId(uuid(row.get("collection"))?);
        Ok((id, (time(row, "created_at_ms"), time(row, "updated_at_ms"))))
    });
    times.collect()
}

fn audited(row: &SqliteRow) -> Result<(u64, AuditRecord), StoreError> {
    let kind = AuditKind::parse(row.get("kind"));
    let record = AuditRecord {
        at: WallTime(unsigned(row.get("at_ms"))),
        kind: kind
            .ok_or_else(|| StoreError::Unreadable("the kind of an audited event".to_owned()))?,
        who: row.get("who"),
        client: row.get("client"),
        what: row.get("what"),
        status: row.get("status"),
        detail: row.get("detail"),
    };
    Ok((unsigned(row.get("number")), record))
}
