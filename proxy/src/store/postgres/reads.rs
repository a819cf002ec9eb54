//! Keys, letters and bodies.

use achromat_core::{
    ids::{EntryId, Key, LaneId, Position},
    key::{KeyOutcome, KeyRecord},
    log::Letter,
    time::WallTime,
};
use bytes::Bytes;
use sqlx::{Row as _, postgres::PgRow};

use super::{
    super::{
        StoreError, Stored,
        words::{fingerprint, lane_uuid, position, signed, state_named, unsigned, verb},
    },
    connection::Connections,
    load::{lane_id, text, text_if_any},
    script::Script,
};

pub(super) async fn key(
    connections: &Connections,
    key: &Key,
) -> Result<Option<KeyRecord>, StoreError> {
    let script = Script::of("SELECT * FROM keys WHERE key = ?", &[key.as_str().into()]);
    let rows = connections.read(script).await?;
    rows.first().map(record).transpose()
}

fn record(row: &PgRow) -> Result<KeyRecord, StoreError> {
    let outcome = match row.get::<Option<&str>, _>("state") {
        None => None,
        Some(word) => Some(KeyOutcome {
            state: state_named(word)?,
            status: u16::try_from(row.get::<i32, _>("status"))
                .map_err(|_| StoreError::Unreadable("the status of a key".to_owned()))?,
            content_type: text_if_any(row, "content_type"),
            body: row.get::<Vec<u8>, _>("body").into(),
        }),
    };
    Ok(KeyRecord {
        fingerprint: fingerprint(&row.get::<Vec<u8>, _>("fingerprint"))?,
        lane: lane_id(row),
        position: position(row.get("position")),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        outcome,
    })
}

pub(super) async fn letters(
    connections: &Connections,
    max: u32,
) -> Result<(Vec<Letter>, u64), StoreError> {
    let script = Script::of(
        "SELECT letter, lane, position, logged_at_ms, verb, content_type, reason,
                octet_length(body)::bigint AS body_bytes, count(*) OVER () AS all_letters
         FROM letters ORDER BY number LIMIT ?",
        &[i64::from(max).into()],
    );
    let rows = connections.read(script).await?;
    let count = rows.first().map_or(0, |row| row.get("all_letters"));
    let letters: Result<_, _> = rows.iter().map(letter_of).collect();
    Ok((letters?, unsigned(count)))
}

pub(super) async fn letter(
    connections: &Connections,
    id: EntryId,
) -> Result<Option<(Letter, Bytes)>, StoreError> {
    let script = Script::of(
        "SELECT *, octet_length(body)::bigint AS body_bytes FROM letters WHERE letter = ?",
        &[id.0.into()],
    );
    let rows = connections.read(script).await?;
    let with_body = |row: &PgRow| Ok((letter_of(row)?, row.get::<Vec<u8>, _>("body").into()));
    rows.first().map(with_body).transpose()
}

fn letter_of(row: &PgRow) -> Result<Letter, StoreError> {
    Ok(Letter {
        id: EntryId(row.get("letter")),
        lane: lane_id(row),
        position: position(row.get("position")),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        verb: verb(&text(row, "verb"))?,
        content_type: text_if_any(row, "content_type").map(Into::into),
        reason: text(row, "reason"),
        body_bytes: unsigned(row.get("body_bytes")),
    })
}

/// The body of an entry; of one that has more bytes than `bytes_max`, how many.
pub(super) async fn body(
    connections: &Connections,
    lane: LaneId,
    position: Position,
    bytes_max: usize,
) -> Result<Option<Stored>, StoreError> {
    let script = Script::of(
        "SELECT octet_length(body)::bigint AS bytes, CASE WHEN octet_length(body) <= ? THEN body END AS body
         FROM entries WHERE lane = ? AND position = ?",
        &[
            bounded(bytes_max).into(),
            lane_uuid(lane).into(),
            signed(position.0).into(),
        ],
    );
    let rows = connections.read(script).await?;
    Ok(rows
        .first()
        .map(|row| match row.get::<Option<Vec<u8>>, _>("body") {
            Some(body) => Stored::Body(body.into()),
            None => {
                Stored::Larger(usize::try_from(row.get::<i64, _>("bytes")).unwrap_or(usize::MAX))
            }
        }))
}

/// The bodies of so many entries from `first` on: of as many in a row as there are, and have no more than
/// `bytes_max` together.
pub(super) async fn bodies(
    connections: &Connections,
    lane: LaneId,
    (first, count): (Position, usize),
    bytes_max: usize,
) -> Result<Vec<Bytes>, StoreError> {
    let script = Script::of(
        "SELECT entries.position, entries.body FROM (
             SELECT position, sum(octet_length(body)) OVER (ORDER BY position) AS all_bytes
             FROM (SELECT position, body FROM entries WHERE lane = ? AND position >= ? ORDER BY position LIMIT ?) AS run
         ) AS sized JOIN entries ON entries.lane = ? AND entries.position = sized.position
         WHERE all_bytes <= ? ORDER BY entries.position",
        &[
            lane_uuid(lane).into(),
            signed(first.0).into(),
            i64::try_from(count).unwrap_or(i64::MAX).into(),
            lane_uuid(lane).into(),
            bounded(bytes_max).into(),
        ],
    );
    let rows = connections.read(script).await?;
    let in_a_row = (first.0..).zip(rows.iter());
    let in_a_row = in_a_row.take_while(|(at, row)| row.get::<i64, _>("position") == signed(*at));
    Ok(in_a_row
        .map(|(_, row)| row.get::<Vec<u8>, _>("body").into())
        .collect())
}

fn bounded(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
