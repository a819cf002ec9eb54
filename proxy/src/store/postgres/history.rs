//! Recent writes and audited events as SQL.

use std::collections::BTreeMap;

use achromat_core::{
    history::{
        AuditAsked, AuditKind, AuditRecord, Retention, WriteOutcome, WriteRecord, WritesAsked,
    },
    ids::CollectionId,
    time::WallTime,
};
use sqlx::{Row as _, postgres::PgRow};

use super::{
    super::{
        HISTORY_PRUNED_MAX, StoreError,
        words::{signed, unsigned},
    },
    connection::Connections,
    load::text,
    script::Script,
};

/// Adds records, and deletes some of what is not kept any more.
pub(super) fn note(writes: &[WriteRecord], audit: &[AuditRecord], retention: &Retention) -> Script {
    let mut script = Script::default();
    let rows = writes.iter().map(|write| {
        vec![
            signed(write.begun_at.0).into(),
            signed(write.took_ms).into(),
            write.who.as_str().into(),
            write.client.as_str().into(),
            write.action.as_str().into(),
            write.tenant.as_str().into(),
            write.database.as_str().into(),
            write.collection.as_str().into(),
            i64::from(write.status).into(),
            write.key.as_str().into(),
        ]
    });
    script.add_rows(
        "INSERT INTO recent_writes
           (begun_at_ms, took_ms, who, client, action, tenant, database, collection, status, key) VALUES",
        rows,
    );
    let rows = audit.iter().map(|record| {
        vec![
            signed(record.at.0).into(),
            record.kind.as_str().into(),
            record.who.as_str().into(),
            record.client.as_str().into(),
            record.what.as_str().into(),
            i64::from(record.status).into(),
            record.detail.as_str().into(),
        ]
    });
    script.add_rows(
        "INSERT INTO audit (at_ms, kind, who, client, what, status, detail) VALUES",
        rows,
    );
    prune(&mut script, retention);
    script
}

/// Looks at the oldest records alone, so that its cost does not grow with what is kept.
fn prune(script: &mut Script, retention: &Retention) {
    let pruned_max = i64::from(HISTORY_PRUNED_MAX);
    script.add(
        "DELETE FROM recent_writes WHERE number IN (
           SELECT number FROM (SELECT number, begun_at_ms FROM recent_writes ORDER BY number LIMIT ?) AS oldest
           WHERE begun_at_ms < ? OR number <= (SELECT max(number) FROM recent_writes) - ?
         )",
        &[
            pruned_max.into(),
            signed(retention.writes_since.0).into(),
            signed(retention.writes_max).into(),
        ],
    );
    script.add(
        "DELETE FROM audit WHERE number IN (
           SELECT number FROM (SELECT number, at_ms FROM audit ORDER BY number LIMIT ?) AS oldest WHERE at_ms < ?
         )",
        &[pruned_max.into(), signed(retention.audit_since.0).into()],
    );
    let denial = AuditKind::Denial.as_str();
    script.add(
        "DELETE FROM audit WHERE kind = ? AND number <= (
           SELECT number FROM audit WHERE kind = ? ORDER BY number DESC LIMIT 1 OFFSET ?
         )",
        &[
            denial.into(),
            denial.into(),
            signed(retention.denials_max).into(),
        ],
    );
}

pub(super) async fn writes(
    connections: &Connections,
    asked: &WritesAsked,
) -> Result<Vec<(u64, WriteRecord)>, StoreError> {
    let (from, to) = asked.outcome.map_or((0, u16::MAX), WriteOutcome::statuses);
    let (collection, who) = (asked.collection.as_deref(), asked.who.as_deref());
    let script = Script::of(
        "SELECT * FROM recent_writes
         WHERE number < ? AND status >= ? AND status < ?
           AND (?::text IS NULL OR collection = ?) AND (?::text IS NULL OR who = ?)
         ORDER BY number DESC LIMIT ?",
        &[
            signed(asked.before).into(),
            i64::from(from).into(),
            i64::from(to).into(),
            collection.into(),
            collection.into(),
            who.into(),
            who.into(),
            i64::from(asked.limit).into(),
        ],
    );
    let rows = connections.read(script).await?;
    Ok(rows.iter().map(write).collect())
}

fn status(row: &PgRow) -> u16 {
    u16::try_from(row.get::<i64, _>("status")).unwrap_or(u16::MAX)
}

fn write(row: &PgRow) -> (u64, WriteRecord) {
    let record = WriteRecord {
        begun_at: WallTime(unsigned(row.get("begun_at_ms"))),
        took_ms: unsigned(row.get("took_ms")),
        who: text(row, "who"),
        client: text(row, "client"),
        action: text(row, "action"),
        tenant: text(row, "tenant"),
        database: text(row, "database"),
        collection: text(row, "collection"),
        status: status(row),
        key: text(row, "key"),
    };
    (unsigned(row.get("number")), record)
}

pub(super) async fn write_counts(
    connections: &Connections,
    since: WallTime,
) -> Result<BTreeMap<u16, u64>, StoreError> {
    let script = Script::of(
        "SELECT status, count(*) AS count FROM recent_writes WHERE begun_at_ms >= ? GROUP BY status",
        &[signed(since.0).into()],
    );
    let rows = connections.read(script).await?;
    let count = |row: &PgRow| (status(row), unsigned(row.get("count")));
    Ok(rows.iter().map(count).collect())
}

pub(super) async fn audit(
    connections: &Connections,
    asked: &AuditAsked,
) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
    let kind = asked.kind.map(AuditKind::as_str);
    let script = Script::of(
        "SELECT * FROM audit WHERE number < ? AND (?::text IS NULL OR kind = ?)
         ORDER BY number DESC LIMIT ?",
        &[
            signed(asked.before).into(),
            kind.into(),
            kind.into(),
            i64::from(asked.limit).into(),
        ],
    );
    let rows = connections.read(script).await?;
    rows.iter().map(audited).collect()
}

fn audited(row: &PgRow) -> Result<(u64, AuditRecord), StoreError> {
    let kind = AuditKind::parse(row.get("kind"));
    let record = AuditRecord {
        at: WallTime(unsigned(row.get("at_ms"))),
        kind: kind
            .ok_or_else(|| StoreError::Unreadable("the kind of an audited event".to_owned()))?,
        who: text(row, "who"),
        client: text(row, "client"),
        what: text(row, "what"),
        status: status(row),
        detail: text(row, "detail"),
    };
    Ok((unsigned(row.get("number")), record))
}

pub(super) async fn collection_times(
    connections: &Connections,
) -> Result<BTreeMap<CollectionId, (WallTime, WallTime)>, StoreError> {
    let script = Script::of("SELECT * FROM collection_times", &[]);
    let rows = connections.read(script).await?;
    let time = |row: &PgRow, name: &str| WallTime(unsigned(row.get(name)));
    let times = rows.iter().map(|row| {
        let id = CollectionId(row.get("collection"));
        (id, (time(row, "created_at_ms"), time(row, "updated_at_ms")))
    });
    Ok(times.collect())
}
