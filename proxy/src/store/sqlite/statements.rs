//! One write as SQL.

use std::collections::BTreeMap;

use achromat_core::{
    durable::{Appended, Write},
    ids::{Epoch, LaneId, Position},
    log::{Entry, Verdict},
};
use sqlx::SqliteConnection;

use super::{
    super::{
        InstanceNames,
        words::{lane_uuid, name, position, signed, unsigned, verdict_word},
    },
    bodies,
    catalog::change,
    keys, letters,
};

pub(super) type Result<T> = std::result::Result<T, sqlx::Error>;

/// The key of a lane: its UUID's bytes.
pub(super) fn lane_key(lane: LaneId) -> [u8; 16] {
    lane_uuid(lane).into_bytes()
}

pub(super) async fn epoch(connection: &mut SqliteConnection) -> Result<Epoch> {
    let epoch: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'epoch'")
        .fetch_one(connection)
        .await?;
    Ok(Epoch(unsigned(epoch)))
}

/// Carries out one write; says what became of an append.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
    epoch: Epoch,
    heads: &mut BTreeMap<LaneId, Position>,
    write: &Write,
) -> Result<Option<Appended>> {
    match write {
        Write::Append(entry) => append(connection, epoch, heads, entry).await.map(Some),
        Write::Record {
            lane,
            instance,
            position,
            verdict,
            settled,
            changes,
            letter,
        } => {
            keys::settle(connection, *lane, *position, settled.as_deref()).await?;
            if let Some(reason) = letter {
                letters::keep(connection, *lane, *position, reason).await?;
            }
            if let Some(verdict) = verdict {
                judge(connection, *lane, *position, *verdict, None).await?;
            }
            let instance = name(names, *instance)?;
            advance(connection, epoch, *lane, instance, *position).await?;
            change(connection, names, changes).await?;
            Ok(None)
        }
        Write::Close {
            lane,
            position,
            verdict,
            reason,
            settled,
            is_letter,
        } => {
            keys::settle(connection, *lane, *position, settled.as_deref()).await?;
            if *is_letter {
                letters::keep(connection, *lane, *position, reason).await?;
            }
            judge(connection, *lane, *position, *verdict, Some(reason)).await?;
            Ok(None)
        }
        Write::Dismiss(letter) => {
            letters::take(connection, *letter).await?;
            Ok(None)
        }
        Write::Change(changes) => {
            change(connection, names, changes).await?;
            Ok(None)
        }
        Write::Trim {
            lane,
            through,
            instances,
        } => {
            for instance in instances {
                advance(connection, epoch, *lane, name(names, *instance)?, *through).await?;
            }
            trim(connection, *lane, *through).await?;
            Ok(None)
        }
        Write::ForgetKeys {
            logged_before,
            kept_max,
        } => {
            keys::forget(connection, *logged_before, *kept_max).await?;
            Ok(None)
        }
        Write::Settle {
            cursors, changes, ..
        } => {
            for (lane, instance, position) in cursors {
                let instance = name(names, *instance)?;
                advance(connection, epoch, *lane, instance, *position).await?;
            }
            change(connection, names, changes).await?;
            Ok(None)
        }
    }
}

async fn append(
    connection: &mut SqliteConnection,
    epoch: Epoch,
    heads: &mut BTreeMap<LaneId, Position>,
    entry: &Entry,
) -> Result<Appended> {
    let lane = entry.verb.lane();
    let key = lane_key(lane);
    let head = match heads.get(&lane) {
        Some(head) => *head,
        None => {
            let head: Option<i64> = sqlx::query_scalar("SELECT head FROM lanes WHERE lane = ?")
                .bind(key.as_slice())
                .fetch_optional(&mut *connection)
                .await?;
            head.map(position).unwrap_or_default()
        }
    };
    let next = head.next();
    if let Some(letter) = entry.retries
        && !letters::take(connection, letter).await?
    {
        return Ok(Appended::Known);
    }
    if !keys::take(connection, entry, next).await? {
        return Ok(Appended::Known);
    }
    sqlx::query(
        "INSERT INTO lanes (lane, head) VALUES (?, ?) ON CONFLICT (lane) DO UPDATE SET head = excluded.head",
    )
    .bind(key.as_slice())
    .bind(signed(next.0))
    .execute(&mut *connection)
    .await?;
    let verb =
        serde_json::to_string(&entry.verb).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let (body, parts) = bodies::split(&entry.body);
    sqlx::query(
        "INSERT INTO entries (lane, position, entry, epoch, logged_at_ms, verb, content_type, body, parts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.as_slice())
    .bind(signed(next.0))
    .bind(entry.id.0.as_bytes().as_slice())
    .bind(signed(epoch.0))
    .bind(signed(entry.logged_at.0))
    .bind(verb)
    .bind(entry.content_type.as_deref())
    .bind(body)
    .bind(parts)
    .execute(&mut *connection)
    .await?;
    if parts > 0 {
        bodies::write_parts(connection, entry.id.0.as_bytes(), &entry.body).await?;
    }
    heads.insert(lane, next);
    Ok(Appended::At(next))
}

async fn judge(
    connection: &mut SqliteConnection,
    lane: LaneId,
    position: Position,
    verdict: Verdict,
    reason: Option<&str>,
) -> Result<()> {
    sqlx::query("UPDATE entries SET verdict = ?, reason = ? WHERE lane = ? AND position = ?")
        .bind(verdict_word(verdict))
        .bind(reason)
        .bind(lane_key(lane).as_slice())
        .bind(signed(position.0))
        .execute(connection)
        .await?;
    Ok(())
}

async fn advance(
    connection: &mut SqliteConnection,
    epoch: Epoch,
    lane: LaneId,
    instance: &str,
    position: Position,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursors (lane, instance, position, epoch) VALUES (?, ?, ?, ?)
         ON CONFLICT (lane, instance) DO UPDATE
         SET position = excluded.position, epoch = excluded.epoch
         WHERE excluded.position > position",
    )
    .bind(lane_key(lane).as_slice())
    .bind(instance)
    .bind(signed(position.0))
    .bind(signed(epoch.0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn trim(connection: &mut SqliteConnection, lane: LaneId, through: Position) -> Result<()> {
    let key = lane_key(lane);
    sqlx::query("DELETE FROM entries WHERE lane = ? AND position <= ?")
        .bind(key.as_slice())
        .bind(signed(through.0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE lanes SET trimmed = max(trimmed, ?) WHERE lane = ?")
        .bind(signed(through.0))
        .bind(key.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}
