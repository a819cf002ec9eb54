//! The statements about keys.

use achromat_core::{
    ids::{CollectionId, Key, LaneId, Position},
    key::{KeyOutcome, KeyRecord, Keyed, Settled},
    log::Entry,
    time::WallTime,
};
use sqlx::{Row, SqliteConnection, SqliteExecutor, sqlite::SqliteRow};

use super::{
    super::{
        StoreError,
        words::{fingerprint, position, signed, state_named, unsigned},
    },
    load::lane_id,
    statements::lane_key,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Remembers the key of an entry that is about to get a position. Says no when the key is known,
/// unless what it stands for came to nothing.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    entry: &Entry,
    position: Position,
) -> Result<bool> {
    let Some(Keyed { key, fingerprint }) = &entry.key else {
        return Ok(true);
    };
    let done = sqlx::query(
        "INSERT INTO keys (key, fingerprint, lane, position, logged_at_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE
         SET lane = excluded.lane, position = excluded.position, logged_at_ms = excluded.logged_at_ms,
             state = NULL, status = NULL, content_type = NULL, body = NULL
         WHERE state = 'withdrawn' AND fingerprint = excluded.fingerprint",
    )
    .bind(key.as_str())
    .bind(fingerprint.0.as_slice())
    .bind(lane_key(entry.verb.lane()).as_slice())
    .bind(signed(position.0))
    .bind(signed(entry.logged_at.0))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Remembers the first outcome of an entry under its key.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    lane: LaneId,
    position: Position,
    settled: Option<&Settled>,
) -> Result<()> {
    let Some(Settled { key, outcome }) = settled else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE keys SET state = ?, status = ?, content_type = ?, body = ?
         WHERE key = ? AND lane = ? AND position = ? AND state IS NULL",
    )
    .bind(outcome.state.as_str())
    .bind(outcome.status)
    .bind(outcome.content_type.as_deref())
    .bind(outcome.body.as_ref())
    .bind(key.as_str())
    .bind(lane_key(lane).as_slice())
    .bind(signed(position.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// Settles the open keys of a deleted collection.
pub(super) async fn settle_void(
    connection: &mut SqliteConnection,
    collection: CollectionId,
) -> Result<()> {
    let outcome = KeyOutcome::void(collection);
    sqlx::query(
        "UPDATE keys SET state = ?, status = ?, content_type = ?, body = ?
         WHERE lane = ? AND state IS NULL",
    )
    .bind(outcome.state.as_str())
    .bind(outcome.status)
    .bind(outcome.content_type)
    .bind(outcome.body.as_ref())
    .bind(lane_key(LaneId::Collection(collection)).as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    before: WallTime,
    kept_max: u64,
) -> Result<()> {
    // The number is found by walking the index of ages: 20 ms for a million.
    sqlx::query(
        "DELETE FROM keys WHERE state IS NOT NULL
         AND (logged_at_ms < ? OR logged_at_ms <= (
           SELECT logged_at_ms FROM keys ORDER BY logged_at_ms DESC LIMIT 1 OFFSET ?
         ))",
    )
    .bind(signed(before.0))
    .bind(signed(kept_max))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn find(
    executor: impl SqliteExecutor<'_>,
    key: &Key,
) -> std::result::Result<Option<KeyRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM keys WHERE key = ?")
        .bind(key.as_str())
        .fetch_optional(executor)
        .await
        .map_err(StoreError::NotDone)?;
    row.as_ref().map(record).transpose()
}

fn record(row: &SqliteRow) -> std::result::Result<KeyRecord, StoreError> {
    let state: Option<&str> = row.get("state");
    let outcome = match state {
        None => None,
        Some(word) => Some(KeyOutcome {
            state: state_named(word)?,
            status: row.get("status"),
            content_type: row.get("content_type"),
            body: row.get::<Vec<u8>, _>("body").into(),
        }),
    };
    Ok(KeyRecord {
        fingerprint: fingerprint(row.get("fingerprint"))?,
        lane: lane_id(row)?,
        position: position(row.get("position")),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        outcome,
    })
}
