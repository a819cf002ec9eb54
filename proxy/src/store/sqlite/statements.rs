//! One write as SQL.

use std::collections::BTreeMap;

use achromat_core::{
    catalog::{Change, Collection, Copy, InstanceRecord},
    durable::{Appended, Write},
    ids::{CollectionId, Epoch, InstanceId, InstanceIx, LaneId, Position, Token},
    log::{Entry, Verdict},
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{super::InstanceNames, keys};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// SQLite's integers are signed; positions and times stay far below 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn position(number: i64) -> Position {
    Position(unsigned(number))
}

/// The schema lane's key is the nil UUID, which no collection has.
pub(super) fn lane_key(lane: LaneId) -> [u8; 16] {
    match lane {
        LaneId::Schema => Uuid::nil().into_bytes(),
        LaneId::Collection(collection) => collection.0.into_bytes(),
    }
}

pub(super) fn verdict_word(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Open => None,
        Verdict::Accepted => Some("accepted"),
        Verdict::Found => Some("found"),
        Verdict::Refused { trace: false } => Some("refused"),
        Verdict::Refused { trace: true } => Some("refused with a trace"),
        Verdict::Abandoned => Some("abandoned"),
        Verdict::Void => Some("void"),
    }
}

fn name(names: &InstanceNames, instance: InstanceIx) -> Result<&str> {
    names
        .get(instance.at())
        .map(AsRef::as_ref)
        .ok_or(sqlx::Error::RowNotFound)
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
        } => {
            keys::settle(connection, *lane, *position, settled.as_deref()).await?;
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
        } => {
            keys::settle(connection, *lane, *position, settled.as_deref()).await?;
            judge(connection, *lane, *position, *verdict, Some(reason)).await?;
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
        Write::ForgetKeys { logged_before } => {
            keys::forget(connection, *logged_before).await?;
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
    sqlx::query(
        "INSERT INTO entries (lane, position, entry, epoch, logged_at_ms, verb, content_type, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.as_slice())
    .bind(signed(next.0))
    .bind(entry.id.0.as_bytes().as_slice())
    .bind(signed(epoch.0))
    .bind(signed(entry.logged_at.0))
    .bind(verb)
    .bind(entry.content_type.as_deref())
    .bind(entry.body.as_ref())
    .execute(connection)
    .await?;
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

async fn change(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
    changes: &[Change],
) -> Result<()> {
    for change in changes {
        match change {
            Change::Made(collection) => make(connection, names, collection).await?,
            Change::Renamed { collection, name } => {
                sqlx::query("UPDATE collections SET name = ? WHERE collection = ?")
                    .bind(name.as_ref())
                    .bind(key(*collection).as_slice())
                    .execute(&mut *connection)
                    .await?;
            }
            Change::Gone { collection, at } => {
                keys::settle_void(connection, *collection).await?;
                bury(connection, collection.0, *at).await?;
            }
            Change::Forgotten { collection } => forget(connection, collection.0).await?,
            Change::DatabaseMade { .. }
            | Change::DatabaseGone { .. }
            | Change::TenantMade { .. } => change_namespace(connection, change).await?,
            Change::Instance { instance, record } => {
                let instance = name(names, *instance)?;
                know_instance(connection, instance, record).await?;
            }
            Change::Token { instance, token } => {
                renew_token(connection, name(names, *instance)?, *token).await?;
            }
            Change::Copied { .. }
            | Change::Quarantined { .. }
            | Change::Distrusted { .. }
            | Change::Healed { .. }
            | Change::Lost { .. } => change_copy(connection, names, change).await?,
        }
    }
    Ok(())
}

fn key(collection: CollectionId) -> [u8; 16] {
    collection.0.into_bytes()
}

async fn change_namespace(connection: &mut SqliteConnection, change: &Change) -> Result<()> {
    let query = match change {
        Change::DatabaseMade { namespace, id } => sqlx::query(
            "INSERT INTO databases (tenant, name, database) VALUES (?, ?, ?)
             ON CONFLICT (tenant, name) DO UPDATE SET database = excluded.database",
        )
        .bind(namespace.0.as_ref())
        .bind(namespace.1.as_ref())
        .bind(id.0.as_bytes().to_vec()),
        Change::DatabaseGone { namespace } => {
            sqlx::query("DELETE FROM databases WHERE tenant = ? AND name = ?")
                .bind(namespace.0.as_ref())
                .bind(namespace.1.as_ref())
        }
        Change::TenantMade { tenant } => {
            sqlx::query("INSERT OR IGNORE INTO tenants (tenant) VALUES (?)").bind(tenant.as_ref())
        }
        _ => return Ok(()),
    };
    query.execute(connection).await?;
    Ok(())
}

async fn know_instance(
    connection: &mut SqliteConnection,
    instance: &str,
    record: &InstanceRecord,
) -> Result<()> {
    let (id, token) = record
        .marker
        .map_or((None, Token(0)), |marker| (Some(marker.id), marker.token));
    sqlx::query(
        "INSERT OR REPLACE INTO instances (instance, marker, token, quarantine) VALUES (?, ?, ?, ?)",
    )
    .bind(instance)
    .bind(id.map(|id| id.0.into_bytes().to_vec()))
    .bind(signed(token.0))
    .bind(record.quarantine.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

async fn renew_token(
    connection: &mut SqliteConnection,
    instance: &str,
    token: Token,
) -> Result<()> {
    sqlx::query("UPDATE instances SET token = ? WHERE instance = ?")
        .bind(signed(token.0))
        .bind(instance)
        .execute(connection)
        .await?;
    Ok(())
}

/// What becomes of a copy's columns; `None` leaves one as it is.
#[derive(Default)]
struct Columns<'a> {
    id: Option<Option<InstanceId>>,
    quarantine: Option<Option<&'a str>>,
    distrust: Option<Option<&'a str>>,
}

async fn change_copy(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
    change: &Change,
) -> Result<()> {
    let nothing = Columns::default();
    let (collection, instance, columns) = match change {
        Change::Copied {
            collection,
            instance,
            id,
        } => {
            let id = Some(Some(*id));
            (collection, instance, Columns { id, ..nothing })
        }
        Change::Quarantined {
            collection,
            instance,
            reason,
        } => {
            let quarantine = Some(Some(reason.as_ref()));
            let columns = Columns {
                quarantine,
                ..nothing
            };
            (collection, instance, columns)
        }
        Change::Distrusted {
            collection,
            instance,
            reason,
        } => {
            let distrust = Some(Some(reason.as_ref()));
            (
                collection,
                instance,
                Columns {
                    distrust,
                    ..nothing
                },
            )
        }
        Change::Healed {
            collection,
            instance,
        } => {
            let columns = Columns {
                quarantine: Some(None),
                distrust: Some(None),
                ..nothing
            };
            (collection, instance, columns)
        }
        Change::Lost {
            collection,
            instance,
            reason,
        } => {
            let columns = Columns {
                id: Some(None),
                quarantine: Some(Some(reason.as_ref())),
                distrust: Some(None),
            };
            (collection, instance, columns)
        }
        _ => return Ok(()),
    };
    set_copy(connection, *collection, name(names, *instance)?, columns).await
}

async fn set_copy(
    connection: &mut SqliteConnection,
    collection: CollectionId,
    instance: &str,
    columns: Columns<'_>,
) -> Result<()> {
    let id = columns.id.flatten().map(|id| id.0.into_bytes().to_vec());
    sqlx::query(
        "INSERT INTO copies (collection, instance, instance_id, quarantine, distrust)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (collection, instance) DO UPDATE SET
             instance_id = CASE WHEN ?6 THEN ?3 ELSE instance_id END,
             quarantine = CASE WHEN ?7 THEN ?4 ELSE quarantine END,
             distrust = CASE WHEN ?8 THEN ?5 ELSE distrust END",
    )
    .bind(key(collection).as_slice())
    .bind(instance)
    .bind(id)
    .bind(columns.quarantine.flatten())
    .bind(columns.distrust.flatten())
    .bind(columns.id.is_some())
    .bind(columns.quarantine.is_some())
    .bind(columns.distrust.is_some())
    .execute(connection)
    .await?;
    Ok(())
}

async fn make(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
    collection: &Collection,
) -> Result<()> {
    let id = collection.id.0.into_bytes();
    sqlx::query(
        "INSERT OR REPLACE INTO collections (collection, tenant, database, name, made_at, gone_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_slice())
    .bind(collection.tenant.as_ref())
    .bind(collection.database.as_ref())
    .bind(collection.name.as_ref())
    .bind(signed(collection.made_at.0))
    .bind(collection.gone_at.map(|at| signed(at.0)))
    .execute(&mut *connection)
    .await?;
    for (instance, copy) in InstanceIx::all(collection.copies.len()).zip(&collection.copies) {
        let Copy {
            id: copy_id,
            quarantine,
            distrust,
        } = copy;
        if *copy == Copy::default() {
            continue;
        }
        sqlx::query(
            "INSERT OR REPLACE INTO copies (collection, instance, instance_id, quarantine, distrust) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(id.as_slice())
        .bind(name(names, instance)?)
        .bind(copy_id.map(|id| id.0.into_bytes().to_vec()))
        .bind(quarantine.as_deref())
        .bind(distrust.as_deref())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The lane's row stays, so that its positions are never given again.
async fn bury(connection: &mut SqliteConnection, id: Uuid, at: Position) -> Result<()> {
    let key = id.into_bytes();
    sqlx::query("UPDATE collections SET gone_at = ? WHERE collection = ?")
        .bind(signed(at.0))
        .bind(key.as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM entries WHERE lane = ?")
        .bind(key.as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE lanes SET trimmed = head WHERE lane = ?")
        .bind(key.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

async fn forget(connection: &mut SqliteConnection, id: Uuid) -> Result<()> {
    let key = id.into_bytes();
    for statement in [
        "DELETE FROM collections WHERE collection = ?",
        "DELETE FROM copies WHERE collection = ?",
        "DELETE FROM entries WHERE lane = ?",
        "DELETE FROM cursors WHERE lane = ?",
        "DELETE FROM lanes WHERE lane = ?",
    ] {
        sqlx::query(statement)
            .bind(key.as_slice())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
