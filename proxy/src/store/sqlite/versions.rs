//! Versions of plugins as SQL.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    ids::Epoch,
    policy::{
        Digest, KeptSwap, KeptVersion, NewSwap, NewVersion, Shelf, ShelfWrite, SwapSeq, VersionId,
    },
    time::WallTime,
};
use bytes::Bytes;
use sqlx::{Connection, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    super::{
        StoreError,
        words::{decider, decider_word, digest, origin, signed, slot, unsigned},
    },
    statements,
};

pub(super) async fn shelf(readers: &SqlitePool) -> Result<Shelf, StoreError> {
    // One reading of all three tables, between two writes.
    let mut transaction = readers.begin().await.map_err(StoreError::NotDone)?;
    let rows = sqlx::query(
        "SELECT version, slot, name, digest, config, origin, made_at_ms, who, signature,
                (SELECT length(bytes) FROM components WHERE components.digest = versions.digest) AS bytes
         FROM versions",
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(StoreError::NotDone)?;
    let versions: Result<BTreeMap<_, _>, _> = rows.iter().map(version).collect();
    let rows = sqlx::query("SELECT * FROM swaps")
        .fetch_all(&mut *transaction)
        .await
        .map_err(StoreError::NotDone)?;
    let swaps: Result<BTreeMap<_, _>, _> = rows.iter().map(swap).collect();
    let rows = sqlx::query("SELECT slot, origin, words FROM said")
        .fetch_all(&mut *transaction)
        .await
        .map_err(StoreError::NotDone)?;
    let said = rows.iter().map(|row| {
        Ok((
            (slot(row.get("slot"))?, origin(row.get("origin"))?),
            row.get("words"),
        ))
    });
    let said: Result<BTreeMap<_, _>, StoreError> = said.collect();
    Ok(Shelf {
        versions: versions?,
        swaps: swaps?,
        said: said?,
    })
}

pub(super) async fn component(
    readers: &SqlitePool,
    digest: Digest,
) -> Result<Option<Bytes>, StoreError> {
    let bytes: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT bytes FROM components WHERE digest = ?")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(readers)
            .await
            .map_err(StoreError::NotDone)?;
    Ok(bytes.map(Bytes::from))
}

pub(super) async fn write(
    connection: &mut SqliteConnection,
    ours: Epoch,
    writes: &[ShelfWrite],
) -> Result<(), StoreError> {
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(StoreError::NotDone)?;
    let theirs = statements::epoch(&mut transaction).await;
    let theirs = theirs.map_err(StoreError::NotDone)?;
    if theirs != ours {
        return Err(StoreError::Deposed { ours, theirs });
    }
    for write in writes {
        let done = write_one(&mut transaction, write).await;
        done.map_err(StoreError::NotDone)?;
    }
    transaction.commit().await.map_err(StoreError::Unknown)
}

async fn write_one(
    connection: &mut SqliteConnection,
    write: &ShelfWrite,
) -> Result<(), sqlx::Error> {
    match write {
        ShelfWrite::Keep(kept, bytes) => keep(connection, kept, bytes).await,
        ShelfWrite::Swap(kept) => record(connection, kept).await,
        ShelfWrite::Said {
            slot,
            origin,
            words,
        } => {
            sqlx::query(
                "INSERT INTO said (slot, origin, words) VALUES (?, ?, ?)
                 ON CONFLICT (slot, origin) DO UPDATE SET words = excluded.words",
            )
            .bind(slot.as_str())
            .bind(origin.as_str())
            .bind(words)
            .execute(connection)
            .await?;
            Ok(())
        }
        ShelfWrite::Forget(id) => forget(connection, *id).await,
        ShelfWrite::ForgetSwap(seq) => {
            sqlx::query("DELETE FROM swaps WHERE seq = ?")
                .bind(signed(seq.0))
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

async fn keep(
    connection: &mut SqliteConnection,
    kept: &KeptVersion,
    bytes: &Bytes,
) -> Result<(), sqlx::Error> {
    let version = &kept.version;
    sqlx::query("INSERT OR IGNORE INTO components (digest, bytes) VALUES (?, ?)")
        .bind(version.digest.as_bytes().as_slice())
        .bind(bytes.as_ref())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT OR REPLACE INTO versions (version, slot, name, digest, config, origin, made_at_ms, who, signature)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(kept.id.0))
    .bind(version.slot.as_str())
    .bind(version.name.as_ref())
    .bind(version.digest.as_bytes().as_slice())
    .bind(version.config.as_ref())
    .bind(version.origin.as_str())
    .bind(signed(version.at.0))
    .bind(version.who.as_ref())
    .bind(version.signature.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

async fn record(connection: &mut SqliteConnection, kept: &KeptSwap) -> Result<(), sqlx::Error> {
    let swap = &kept.swap;
    let (decider, version) = decider_word(swap.to);
    sqlx::query(
        "INSERT OR REPLACE INTO swaps (seq, slot, decider, version, before, swapped_at_ms, who, why, taken_out)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(kept.seq.0))
    .bind(swap.slot.as_str())
    .bind(decider)
    .bind(version)
    .bind(swap.before.map(|seq| signed(seq.0)))
    .bind(signed(swap.at.0))
    .bind(swap.who.as_ref())
    .bind(swap.why.as_ref())
    .bind(swap.taken_out.map(|id| signed(id.0)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget(connection: &mut SqliteConnection, id: VersionId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM versions WHERE version = ?")
        .bind(signed(id.0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM components WHERE digest NOT IN (SELECT digest FROM versions)")
        .execute(connection)
        .await?;
    Ok(())
}

fn version(row: &SqliteRow) -> Result<(VersionId, KeptVersion), StoreError> {
    let id = VersionId(unsigned(row.get("version")));
    let version = NewVersion {
        slot: slot(row.get("slot"))?,
        name: row.get::<&str, _>("name").into(),
        digest: digest(row.get("digest"))?,
        config: row.get::<&str, _>("config").into(),
        origin: origin(row.get("origin"))?,
        at: WallTime(unsigned(row.get("made_at_ms"))),
        who: row.get::<&str, _>("who").into(),
        signature: row.get::<Option<&str>, _>("signature").map(Arc::from),
    };
    let bytes = unsigned(row.get("bytes"));
    Ok((id, KeptVersion { id, bytes, version }))
}

fn swap(row: &SqliteRow) -> Result<(SwapSeq, KeptSwap), StoreError> {
    let seq = SwapSeq(unsigned(row.get("seq")));
    let before: Option<i64> = row.get("before");
    let taken_out: Option<i64> = row.get("taken_out");
    let swap = NewSwap {
        slot: slot(row.get("slot"))?,
        to: decider(row.get("decider"), row.get("version"))?,
        before: before.map(|seq| SwapSeq(unsigned(seq))),
        at: WallTime(unsigned(row.get("swapped_at_ms"))),
        who: row.get::<&str, _>("who").into(),
        why: row.get::<&str, _>("why").into(),
        taken_out: taken_out.map(|id| VersionId(unsigned(id))),
    };
    Ok((seq, KeptSwap { seq, swap }))
}
