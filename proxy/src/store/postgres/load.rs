//! The whole state, all but the bodies, as it stands in the database.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    catalog::{Catalog, Change, Collection, Copy, InstanceRecord, Marker},
    engine::{RestoredLane, Snapshot},
    ids::{CollectionId, DatabaseId, EntryId, InstanceId, InstanceIx, LaneId, Position, Token},
    log::Logged,
    time::WallTime,
};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    super::{
        InstanceNames, StoreError,
        words::{key, lane_named, place_of, position, unsigned, verb, verdict},
    },
    connection::Connections,
    script::{Script, plain},
};

type Result<T> = std::result::Result<T, StoreError>;

pub(super) async fn snapshot(connections: &Connections, names: &InstanceNames) -> Result<Snapshot> {
    Ok(Snapshot {
        catalog: catalog(connections, names).await?,
        lanes: lanes(connections, names).await?,
        entries: entries(connections).await?,
    })
}

async fn rows(connections: &Connections, sql: &'static str) -> Result<Vec<PgRow>> {
    connections.read(Script::of(sql, &[])).await
}

pub(super) fn text(row: &PgRow, column: &str) -> String {
    plain(row.get(column))
}

pub(super) fn text_if_any(row: &PgRow, column: &str) -> Option<String> {
    row.get::<Option<&str>, _>(column).map(plain)
}

fn shared(row: &PgRow, column: &str) -> Option<Arc<str>> {
    text_if_any(row, column).map(Arc::from)
}

fn place(names: &InstanceNames, row: &PgRow) -> Option<InstanceIx> {
    place_of(names, &text(row, "instance"))
}

pub(super) fn lane_id(row: &PgRow) -> LaneId {
    lane_named(row.get("lane"))
}

async fn catalog(connections: &Connections, names: &InstanceNames) -> Result<Catalog> {
    let mut copies = copies(connections, names).await?;
    let mut catalog = Catalog::default();
    for row in rows(connections, "SELECT * FROM collections").await? {
        let id: Uuid = row.get("collection");
        let copies = copies
            .remove(&id)
            .unwrap_or_else(|| vec![Copy::default(); names.len()]);
        // None when there is none, or when it is an instance no more: what it alone had is lost then.
        let home = text_if_any(&row, "home").and_then(|home| place_of(names, &home));
        catalog.apply(&Change::Made(Arc::new(Collection {
            id: CollectionId(id),
            tenant: text(&row, "tenant").into(),
            database: text(&row, "database").into(),
            name: text(&row, "name").into(),
            made_at: position(row.get("made_at")),
            gone_at: row.get::<Option<i64>, _>("gone_at").map(position),
            home,
            copies: copies.into(),
        })));
    }
    for row in rows(connections, "SELECT * FROM instances").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let id: Option<Uuid> = row.get("marker");
        let token = Token(unsigned(row.get("token")));
        let record = InstanceRecord {
            marker: id.map(|id| Marker {
                id: InstanceId(id),
                token,
            }),
            quarantine: shared(&row, "quarantine"),
        };
        catalog.apply(&Change::Instance { instance, record });
    }
    for row in rows(connections, "SELECT * FROM tenants").await? {
        let tenant = text(&row, "tenant").into();
        catalog.apply(&Change::TenantMade { tenant });
    }
    for row in rows(connections, "SELECT * FROM databases").await? {
        catalog.apply(&Change::DatabaseMade {
            namespace: (text(&row, "tenant").into(), text(&row, "name").into()),
            id: DatabaseId(row.get("database")),
        });
    }
    Ok(catalog)
}

/// The copies of each collection, in the order of the instances.
async fn copies(
    connections: &Connections,
    names: &InstanceNames,
) -> Result<BTreeMap<Uuid, Vec<Copy>>> {
    let mut copies: BTreeMap<Uuid, Vec<Copy>> = BTreeMap::new();
    for row in rows(connections, "SELECT * FROM copies").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let of_collection = copies
            .entry(row.get("collection"))
            .or_insert_with(|| vec![Copy::default(); names.len()]);
        if let Some(copy) = of_collection.get_mut(instance.at()) {
            copy.id = row.get::<Option<Uuid>, _>("instance_id").map(InstanceId);
            copy.quarantine = shared(&row, "quarantine");
            copy.distrust = shared(&row, "distrust");
            copy.unsure = shared(&row, "unsure");
        }
    }
    Ok(copies)
}

async fn lanes(connections: &Connections, names: &InstanceNames) -> Result<Vec<RestoredLane>> {
    let mut cursors: BTreeMap<LaneId, Vec<Option<Position>>> = BTreeMap::new();
    for row in rows(connections, "SELECT * FROM cursors").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let of_lane = cursors
            .entry(lane_id(&row))
            .or_insert_with(|| vec![None; names.len()]);
        if let Some(cursor) = of_lane.get_mut(instance.at()) {
            *cursor = Some(position(row.get("position")));
        }
    }
    let lanes = rows(connections, "SELECT * FROM lanes").await?;
    let lanes = lanes.iter().map(|row| {
        let id = lane_id(row);
        RestoredLane {
            id,
            head: position(row.get("head")),
            trimmed: position(row.get("trimmed")),
            cursors: cursors
                .remove(&id)
                .unwrap_or_else(|| vec![None; names.len()]),
        }
    });
    Ok(lanes.collect())
}

async fn entries(connections: &Connections) -> Result<Vec<Logged>> {
    let sql = "SELECT entries.lane, entries.position, entry, entries.logged_at_ms, verb,
                      entries.content_type, verdict, keys.key, octet_length(entries.body)::bigint AS bytes
               FROM entries LEFT JOIN keys
                 ON keys.lane = entries.lane AND keys.position = entries.position
                   AND keys.state IS NULL
               ORDER BY entries.lane, entries.position";
    rows(connections, sql).await?.iter().map(logged).collect()
}

fn logged(row: &PgRow) -> Result<Logged> {
    Ok(Logged {
        lane: lane_id(row),
        position: position(row.get("position")),
        id: EntryId(row.get("entry")),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        verb: verb(&text(row, "verb"))?,
        content_type: shared(row, "content_type"),
        bytes: usize::try_from(row.get::<i64, _>("bytes")).unwrap_or(0),
        verdict: verdict(row.get("verdict"))?,
        key: key(text_if_any(row, "key").as_deref())?,
    })
}
