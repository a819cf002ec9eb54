//! Bodies as SQL: a small one stands in the row of its entry, a larger one in parts beside it.
//!
//! A row is written anew when its entry gets a verdict, with all that stands in it: measured for a body
//! of 884 KB, 6 ms in which the log takes nothing else, and 0.2 ms when the body stands aside; at 9 KB
//! there is no difference. And SQLite copies what it is given: so it is given a part at a time.

use achromat_core::ids::{LaneId, Position};
use bytes::{Bytes, BytesMut};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    super::{Stored, words::signed},
    statements::lane_key,
};

/// Bytes of a body that stands in its entry's row.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a part of a larger one.
const PART_BYTES: usize = 1024 * 1024;

/// Bytes of the body of a row of `letters`. No body is read for it.
pub(super) const LETTER_BYTES: &str = "CASE parts WHEN 0 THEN length(body)
     ELSE (SELECT sum(length(bytes)) FROM parts WHERE parts.entry = letters.letter) END";

/// Entries, and how many bytes their bodies have.
macro_rules! sized_entries {
    () => {
        "(SELECT lane, position, entry, parts, body, CASE parts WHEN 0 THEN length(body)
          ELSE (SELECT sum(length(bytes)) FROM parts WHERE parts.entry = entries.entry) END AS bytes
          FROM entries)"
    };
}

/// Splits a body: returns the part that stands in the row, and the number of parts beside it.
pub(super) fn split(body: &Bytes) -> (&[u8], i64) {
    if body.len() <= INLINE_BYTES_MAX {
        return (body, 0);
    }
    let parts = body.len().div_ceil(PART_BYTES);
    (&[], i64::try_from(parts).unwrap_or(i64::MAX))
}

/// Writes the parts of a body, by the name of its entry.
pub(super) async fn write_parts(
    connection: &mut SqliteConnection,
    entry: &[u8],
    body: &Bytes,
) -> Result<(), sqlx::Error> {
    for (number, part) in (1_i64..).zip(body.chunks(PART_BYTES)) {
        sqlx::query("INSERT INTO parts (entry, part, bytes) VALUES (?, ?, ?)")
            .bind(entry)
            .bind(number)
            .bind(part)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The body of an entry; of one that has more bytes than `bytes_max`, how many.
pub(super) async fn find(
    readers: &SqlitePool,
    lane: LaneId,
    position: Position,
    bytes_max: usize,
) -> Result<Option<Stored>, sqlx::Error> {
    let found = sqlx::query(concat!(
        "SELECT entry, parts, bytes, CASE WHEN bytes <= ? THEN body END AS body FROM ",
        sized_entries!(),
        " WHERE lane = ? AND position = ?"
    ))
    .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
    .bind(lane_key(lane).as_slice())
    .bind(signed(position.0))
    .fetch_optional(readers)
    .await?;
    let Some(row) = found else {
        return Ok(None);
    };
    if bytes(&row) > bytes_max {
        return Ok(Some(Stored::Larger(bytes(&row))));
    }
    Ok(whole(readers, &row).await?.map(Stored::Body))
}

/// The bodies of so many entries from `first` on: of as many in a row as there are, and have no more than
/// `bytes_max` together.
pub(super) async fn run(
    readers: &SqlitePool,
    lane: LaneId,
    (first, count): (Position, usize),
    bytes_max: usize,
) -> Result<Vec<Bytes>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT * FROM (
                 SELECT *, sum(bytes) OVER (ORDER BY position) AS all_bytes
                 FROM (SELECT * FROM ",
        sized_entries!(),
        " WHERE lane = ? AND position >= ? ORDER BY position LIMIT ?))
             WHERE all_bytes <= ?"
    ))
    .bind(lane_key(lane).as_slice())
    .bind(signed(first.0))
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
    .fetch_all(readers)
    .await?;
    let mut bodies = Vec::with_capacity(rows.len());
    for (at, row) in (first.0..).zip(&rows) {
        if row.get::<i64, _>("position") != signed(at) {
            break;
        }
        let Some(body) = whole(readers, row).await? else {
            break;
        };
        bodies.push(body);
    }
    Ok(bodies)
}

/// The body of a row.
async fn whole(readers: &SqlitePool, row: &SqliteRow) -> Result<Option<Bytes>, sqlx::Error> {
    match row.get("parts") {
        0 => Ok(Some(row.get::<Vec<u8>, _>("body").into())),
        parts => read_parts(readers, row.get("entry"), parts, bytes(row)).await,
    }
}

fn bytes(row: &SqliteRow) -> usize {
    usize::try_from(row.get::<i64, _>("bytes")).unwrap_or(usize::MAX)
}

/// Reads a body of so many bytes in so many parts; none when some have been deleted meanwhile.
pub(super) async fn read_parts(
    readers: &SqlitePool,
    entry: &[u8],
    parts: i64,
    bytes: usize,
) -> Result<Option<Bytes>, sqlx::Error> {
    let mut body = BytesMut::with_capacity(bytes);
    for number in 1..=parts {
        let part: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT bytes FROM parts WHERE entry = ? AND part = ?")
                .bind(entry)
                .bind(number)
                .fetch_optional(readers)
                .await?;
        match part {
            Some(part) => body.extend_from_slice(&part),
            None => return Ok(None),
        }
    }
    Ok(Some(body.freeze()))
}
