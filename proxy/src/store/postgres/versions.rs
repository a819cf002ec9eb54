//! Versions of plugins as SQL.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    policy::{
        Digest, KeptSwap, KeptVersion, NewSwap, NewVersion, Shelf, ShelfWrite, SwapSeq, VersionId,
    },
    time::WallTime,
};
use bytes::Bytes;
use sqlx::{Row as _, postgres::PgRow};

use super::{
    super::{
        StoreError,
        words::{decider, decider_word, digest, origin, signed, slot, unsigned},
    },
    connection::Connections,
    load::{text, text_if_any},
    script::Script,
};

pub(super) async fn shelf(connections: &Connections) -> Result<Shelf, StoreError> {
    // One statement for each table: who writes meanwhile is another owner, and its proxy reads them anew.
    let versions = connections.read(Script::of(
        "SELECT versions.*, octet_length(components.bytes)::bigint AS bytes
         FROM versions JOIN components ON components.digest = versions.digest",
        &[],
    ));
    let versions: Result<BTreeMap<_, _>, _> = versions.await?.iter().map(version).collect();
    let swaps = connections.read(Script::of("SELECT * FROM swaps", &[]));
    let swaps: Result<BTreeMap<_, _>, _> = swaps.await?.iter().map(swap).collect();
    let said = connections.read(Script::of("SELECT slot, origin, words FROM said", &[]));
    let said = said.await?;
    let said = said.iter().map(|row| {
        Ok((
            (slot(row.get("slot"))?, origin(row.get("origin"))?),
            text(row, "words"),
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
    connections: &Connections,
    digest: Digest,
) -> Result<Option<Bytes>, StoreError> {
    let script = Script::of(
        "SELECT bytes FROM components WHERE digest = ?",
        &[digest.as_bytes().as_slice().into()],
    );
    let rows = connections.read(script).await?;
    let bytes = rows.first().map(|row| row.get::<Vec<u8>, _>("bytes"));
    Ok(bytes.map(Bytes::from))
}

/// Adds one write.
pub(super) fn add(script: &mut Script, write: &ShelfWrite) {
    match write {
        ShelfWrite::Keep(kept, bytes) => keep(script, kept, bytes),
        ShelfWrite::Swap(kept) => record(script, kept),
        ShelfWrite::Said {
            slot,
            origin,
            words,
        } => script.add(
            "INSERT INTO said (slot, origin, words) VALUES (?, ?, ?)
             ON CONFLICT (slot, origin) DO UPDATE SET words = excluded.words",
            &[
                slot.as_str().into(),
                origin.as_str().into(),
                words.as_str().into(),
            ],
        ),
        ShelfWrite::Forget(id) => {
            script.add(
                "DELETE FROM versions WHERE version = ?",
                &[signed(id.0).into()],
            );
            script.add(
                "DELETE FROM components WHERE digest NOT IN (SELECT digest FROM versions)",
                &[],
            );
        }
        ShelfWrite::ForgetSwap(seq) => {
            script.add("DELETE FROM swaps WHERE seq = ?", &[signed(seq.0).into()]);
        }
    }
}

fn keep(script: &mut Script, kept: &KeptVersion, bytes: &Bytes) {
    let version = &kept.version;
    let digest = version.digest.as_bytes().as_slice();
    script.add(
        "INSERT INTO components (digest, bytes) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
        &[digest.into(), bytes.as_ref().into()],
    );
    script.add(
        "INSERT INTO versions (version, slot, name, digest, config, origin, made_at_ms, who, signature)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (version) DO UPDATE
         SET slot = excluded.slot, name = excluded.name, digest = excluded.digest, config = excluded.config,
             origin = excluded.origin, made_at_ms = excluded.made_at_ms, who = excluded.who,
             signature = excluded.signature",
        &[
            signed(kept.id.0).into(),
            version.slot.as_str().into(),
            version.name.as_ref().into(),
            digest.into(),
            version.config.as_ref().into(),
            version.origin.as_str().into(),
            signed(version.at.0).into(),
            version.who.as_ref().into(),
            version.signature.as_deref().into(),
        ],
    );
}

fn record(script: &mut Script, kept: &KeptSwap) {
    let swap = &kept.swap;
    let (decider, version) = decider_word(swap.to);
    script.add(
        "INSERT INTO swaps (seq, slot, decider, version, before, swapped_at_ms, who, why, taken_out)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (seq) DO UPDATE
         SET slot = excluded.slot, decider = excluded.decider, version = excluded.version,
             before = excluded.before, swapped_at_ms = excluded.swapped_at_ms, who = excluded.who,
             why = excluded.why, taken_out = excluded.taken_out",
        &[
            signed(kept.seq.0).into(),
            swap.slot.as_str().into(),
            decider.into(),
            version.into(),
            swap.before.map(|seq| signed(seq.0)).into(),
            signed(swap.at.0).into(),
            swap.who.as_ref().into(),
            swap.why.as_ref().into(),
            swap.taken_out.map(|id| signed(id.0)).into(),
        ],
    );
}

fn version(row: &PgRow) -> Result<(VersionId, KeptVersion), StoreError> {
    let id = VersionId(unsigned(row.get("version")));
    let version = NewVersion {
        slot: slot(row.get("slot"))?,
        name: text(row, "name").into(),
        digest: digest(&row.get::<Vec<u8>, _>("digest"))?,
        config: text(row, "config").into(),
        origin: origin(row.get("origin"))?,
        at: WallTime(unsigned(row.get("made_at_ms"))),
        who: text(row, "who").into(),
        signature: text_if_any(row, "signature").map(Arc::from),
    };
    let bytes = unsigned(row.get("bytes"));
    Ok((id, KeptVersion { id, bytes, version }))
}

fn swap(row: &PgRow) -> Result<(SwapSeq, KeptSwap), StoreError> {
    let seq = SwapSeq(unsigned(row.get("seq")));
    let before: Option<i64> = row.get("before");
    let taken_out: Option<i64> = row.get("taken_out");
    let swap = NewSwap {
        slot: slot(row.get("slot"))?,
        to: decider(row.get("decider"), row.get("version"))?,
        before: before.map(|seq| SwapSeq(unsigned(seq))),
        at: WallTime(unsigned(row.get("swapped_at_ms"))),
        who: text(row, "who").into(),
        why: text(row, "why").into(),
        taken_out: taken_out.map(|id| VersionId(unsigned(id))),
    };
    Ok((seq, KeptSwap { seq, swap }))
}
