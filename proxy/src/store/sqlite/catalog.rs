//! Changes of the catalog as SQL.

use achromat_core::{
    catalog::{Change, Collection, Copy, InstanceRecord},
    ids::{CollectionId, InstanceIx, Position, Token},
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    super::{
        InstanceNames,
        columns::{Column, Columns, columns_of},
        words::{name, signed},
    },
    keys,
    statements::Result,
};

/// Takes changes of the catalog in.
pub(super) async fn change(
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
            Change::Homed { collection, home } => {
                let home = home.map(|home| name(names, home)).transpose()?;
                set_home(connection, *collection, home).await?;
            }
            Change::Copied {
                collection,
                instance,
                ..
            }
            | Change::Quarantined {
                collection,
                instance,
                ..
            }
            | Change::Distrusted {
                collection,
                instance,
                ..
            }
            | Change::Unsure {
                collection,
                instance,
                ..
            }
            | Change::Healed {
                collection,
                instance,
            }
            | Change::Lost {
                collection,
                instance,
                ..
            } => {
                let instance = name(names, *instance)?;
                set_copy(connection, *collection, instance, columns_of(change)).await?;
            }
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

async fn set_home(
    connection: &mut SqliteConnection,
    collection: CollectionId,
    home: Option<&str>,
) -> Result<()> {
    sqlx::query("UPDATE collections SET home = ? WHERE collection = ?")
        .bind(home)
        .bind(key(collection).as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// A collection's home is none any more when its copy there is lost.
async fn leave_home(
    connection: &mut SqliteConnection,
    collection: CollectionId,
    instance: &str,
) -> Result<()> {
    sqlx::query("UPDATE collections SET home = NULL WHERE collection = ? AND home = ?")
        .bind(key(collection).as_slice())
        .bind(instance)
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_copy(
    connection: &mut SqliteConnection,
    collection: CollectionId,
    instance: &str,
    columns: Columns<'_>,
) -> Result<()> {
    if matches!(columns.quarantine, Column::Set(_)) {
        leave_home(connection, collection, instance).await?;
    }
    let Columns {
        id,
        quarantine,
        distrust,
        unsure,
    } = columns;
    sqlx::query(
        "INSERT INTO copies (collection, instance, instance_id, quarantine, distrust, unsure)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (collection, instance) DO UPDATE SET
             instance_id = CASE WHEN ?7 THEN instance_id ELSE ?3 END,
             quarantine = CASE WHEN ?8 THEN quarantine ELSE ?4 END,
             distrust = CASE WHEN ?9 THEN distrust ELSE ?5 END,
             unsure = CASE WHEN ?10 THEN unsure ELSE ?6 END",
    )
    .bind(key(collection).as_slice())
    .bind(instance)
    .bind(id.value().map(|id| id.0.into_bytes().to_vec()))
    .bind(quarantine.value())
    .bind(distrust.value())
    .bind(unsure.value())
    .bind(id.is_kept())
    .bind(quarantine.is_kept())
    .bind(distrust.is_kept())
    .bind(unsure.is_kept())
    .execute(&mut *connection)
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
        "INSERT OR REPLACE INTO collections (collection, tenant, database, name, made_at, gone_at, home) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_slice())
    .bind(collection.tenant.as_ref())
    .bind(collection.database.as_ref())
    .bind(collection.name.as_ref())
    .bind(signed(collection.made_at.0))
    .bind(collection.gone_at.map(|at| signed(at.0)))
    .bind(collection.home.map(|home| name(names, home)).transpose()?)
    .execute(&mut *connection)
    .await?;
    for (instance, copy) in InstanceIx::all(collection.copies.len()).zip(&collection.copies) {
        let Copy {
            id: copy_id,
            quarantine,
            distrust,
            unsure,
        } = copy;
        if *copy == Copy::default() {
            continue;
        }
        sqlx::query(
            "INSERT OR REPLACE INTO copies (collection, instance, instance_id, quarantine, distrust, unsure)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_slice())
        .bind(name(names, instance)?)
        .bind(copy_id.map(|id| id.0.into_bytes().to_vec()))
        .bind(quarantine.as_deref())
        .bind(distrust.as_deref())
        .bind(unsure.as_deref())
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
