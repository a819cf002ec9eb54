//! Dead letters as SQL.

use achromat_core::{
    ids::{EntryId, LaneId, Position},
    log::Letter,
    time::WallTime,
};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    super::{
        StoreError,
        words::{position, signed, unsigned, verb},
    },
    bodies::{LETTER_BYTES, read_parts},
    load::lane_id,
    statements::lane_key,
};

/// Keeps an entry as a letter.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    lane: LaneId,
    position: Position,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR IGNORE INTO letters (letter, lane, position, logged_at_ms, verb, content_type, reason, body, parts)
         SELECT entry, lane, position, logged_at_ms, verb, content_type, ?, body, parts
         FROM entries WHERE lane = ? AND position = ?",
    )
    .bind(reason)
    .bind(lane_key(lane).as_slice())
    .bind(signed(position.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a letter away; says whether it was there.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    letter: EntryId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM letters WHERE letter = ?")
        .bind(letter.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn list(readers: &SqlitePool, max: u32) -> Result<(Vec<Letter>, u64), StoreError> {
    let sql = format!(
        "SELECT letter, lane, position, logged_at_ms, verb, content_type, reason, {LETTER_BYTES} AS body_bytes,
                count(*) OVER () AS all_letters
         FROM letters ORDER BY number LIMIT ?"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(max)
        .fetch_all(readers)
        .await
        .map_err(StoreError::NotDone)?;
    let count = rows.first().map_or(0, |row| row.get("all_letters"));
    let letters: Result<_, _> = rows.iter().map(letter).collect();
    Ok((letters?, unsigned(count)))
}

pub(super) async fn find(
    readers: &SqlitePool,
    id: EntryId,
) -> Result<Option<(Letter, Bytes)>, StoreError> {
    let sql = format!("SELECT *, {LETTER_BYTES} AS body_bytes FROM letters WHERE letter = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0.as_bytes().as_slice())
        .fetch_optional(readers)
        .await
        .map_err(StoreError::NotDone)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let letter = letter(&row)?;
    let bytes = usize::try_from(letter.body_bytes).unwrap_or(usize::MAX);
    let body = match row.get("parts") {
        0 => Some(row.get::<Vec<u8>, _>("body").into()),
        parts => read_parts(readers, letter.id.0.as_bytes(), parts, bytes)
            .await
            .map_err(StoreError::NotDone)?,
    };
    Ok(body.map(|body| (letter, body)))
}

fn letter(row: &SqliteRow) -> Result<Letter, StoreError> {
    let id: &[u8] = row.get("letter");
    let id = Uuid::from_slice(id).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    Ok(Letter {
        id: EntryId(id),
        lane: lane_id(row)?,
        position: position(row.get("position")),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        verb: verb(row.get("verb"))?,
        content_type: row.get::<Option<&str>, _>("content_type").map(Into::into),
        reason: row.get("reason"),
        body_bytes: unsigned(row.get("body_bytes")),
    })
}
