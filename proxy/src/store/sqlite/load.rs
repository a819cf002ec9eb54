//! The whole state, all but the bodies, as it stands in the file.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    catalog::{Catalog, Change, Collection, Copy, InstanceRecord, Marker},
    engine::{RestoredLane, Snapshot},
    ids::{CollectionId, DatabaseId, EntryId, InstanceId, InstanceIx, LaneId, Position, Token},
    log::Logged,
    time::WallTime,
};
use futures_util::TryStreamExt as _;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    super::{
        InstanceNames, StoreError,
        words::{key, lane_named, place_of, position, unsigned, verb, verdict},
    },
    uuid,
};

type Result<T> = std::result::Result<T, StoreError>;

pub(super) async fn snapshot(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
) -> Result<Snapshot> {
    Ok(Snapshot {
        catalog: catalog(connection, names).await?,
        lanes: lanes(connection, names).await?,
        entries: entries(connection).await?,
    })
}

async fn rows(connection: &mut SqliteConnection, sql: &'static str) -> Result<Vec<SqliteRow>> {
    sqlx::query(sql)
        .fetch_all(connection)
        .await
        .map_err(StoreError::NotDone)
}

fn id_at(row: &SqliteRow, column: &str) -> Result<Uuid> {
    uuid(row.get(column))
}

fn place(names: &InstanceNames, row: &SqliteRow) -> Option<InstanceIx> {
    place_of(names, row.get("instance"))
}

/// None when there is none, or when it is an instance no more: what it alone had is lost then.
fn home(names: &InstanceNames, row: &SqliteRow) -> Option<InstanceIx> {
    let home: Option<&str> = row.get("home");
    place_of(names, home?)
}

pub(super) fn lane_id(row: &SqliteRow) -> Result<LaneId> {
    Ok(lane_named(id_at(row, "lane")?))
}

async fn catalog(connection: &mut SqliteConnection, names: &InstanceNames) -> Result<Catalog> {
    let mut copies: BTreeMap<Uuid, Vec<Copy>> = BTreeMap::new();
    for row in rows(&mut *connection, "SELECT * FROM copies").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let of_collection = copies
            .entry(id_at(&row, "collection")?)
            .or_insert_with(|| vec![Copy::default(); names.len()]);
        if let Some(copy) = of_collection.get_mut(instance.at()) {
            let id: Option<&[u8]> = row.get("instance_id");
            copy.id = id.map(uuid).transpose()?.map(InstanceId);
            copy.quarantine = row.get::<Option<&str>, _>("quarantine").map(Arc::from);
            copy.distrust = row.get::<Option<&str>, _>("distrust").map(Arc::from);
            copy.unsure = row.get::<Option<&str>, _>("unsure").map(Arc::from);
        }
    }
    let mut catalog = Catalog::default();
    for row in rows(&mut *connection, "SELECT * FROM collections").await? {
        let id = id_at(&row, "collection")?;
        let copies = copies
            .remove(&id)
            .unwrap_or_else(|| vec![Copy::default(); names.len()]);
        catalog.apply(&Change::Made(Arc::new(Collection {
            id: CollectionId(id),
            tenant: row.get::<&str, _>("tenant").into(),
            database: row.get::<&str, _>("database").into(),
            name: row.get::<&str, _>("name").into(),
            made_at: position(row.get("made_at")),
            gone_at: row.get::<Option<i64>, _>("gone_at").map(position),
            home: home(names, &row),
            copies: copies.into(),
        })));
    }
    for row in rows(&mut *connection, "SELECT * FROM instances").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let id: Option<&[u8]> = row.get("marker");
        let id = id.map(uuid).transpose()?.map(InstanceId);
        let token = Token(unsigned(row.get("token")));
        let record = InstanceRecord {
            marker: id.map(|id| Marker { id, token }),
            quarantine: row.get::<Option<&str>, _>("quarantine").map(Arc::from),
        };
        catalog.apply(&Change::Instance { instance, record });
    }
    for row in rows(&mut *connection, "SELECT * FROM tenants").await? {
        let tenant = row.get::<&str, _>("tenant").into();
        catalog.apply(&Change::TenantMade { tenant });
    }
    for row in rows(connection, "SELECT * FROM databases").await? {
        catalog.apply(&Change::DatabaseMade {
            namespace: (
                row.get::<&str, _>("tenant").into(),
                row.get::<&str, _>("name").into(),
            ),
            id: DatabaseId(id_at(&row, "database")?),
        });
    }
    Ok(catalog)
}

async fn lanes(
    connection: &mut SqliteConnection,
    names: &InstanceNames,
) -> Result<Vec<RestoredLane>> {
    let mut cursors: BTreeMap<LaneId, Vec<Option<Position>>> = BTreeMap::new();
    for row in rows(&mut *connection, "SELECT * FROM cursors").await? {
        let Some(instance) = place(names, &row) else {
            continue;
        };
        let of_lane = cursors
            .entry(lane_id(&row)?)
            .or_insert_with(|| vec![None; names.len()]);
        if let Some(cursor) = of_lane.get_mut(instance.at()) {
            *cursor = Some(position(row.get("position")));
        }
    }
    let lanes = rows(connection, "SELECT * FROM lanes").await?;
    lanes
        .iter()
        .map(|row| {
            let id = lane_id(row)?;
            Ok(RestoredLane {
                id,
                head: position(row.get("head")),
                trimmed: position(row.get("trimmed")),
                cursors: cursors
                    .remove(&id)
                    .unwrap_or_else(|| vec![None; names.len()]),
            })
        })
        .collect()
}

async fn entries(connection: &mut SqliteConnection) -> Result<Vec<Logged>> {
    let sql = "SELECT entries.lane, entries.position, entry, entries.logged_at_ms, verb,
                      entries.content_type, verdict, keys.key,
                      CASE entries.parts WHEN 0 THEN length(entries.body)
                        ELSE (SELECT sum(length(bytes)) FROM parts
                              WHERE parts.entry = entries.entry) END AS bytes
               FROM entries LEFT JOIN keys
                 ON keys.lane = entries.lane AND keys.position = entries.position
                   AND keys.state IS NULL
               ORDER BY entries.lane, entries.position";
    // One by one: SQLite's rows are copies of their values, which take more room than the entries.
    let mut rows = sqlx::query(sql).fetch(connection);
    let mut entries = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(StoreError::NotDone)? {
        entries.push(logged(&row)?);
    }
    Ok(entries)
}

fn logged(row: &SqliteRow) -> Result<Logged> {
    Ok(Logged {
        lane: lane_id(row)?,
        position: position(row.get("position")),
        id: EntryId(id_at(row, "entry")?),
        logged_at: WallTime(unsigned(row.get("logged_at_ms"))),
        verb: verb(row.get("verb"))?,
        content_type: row.get::<Option<&str>, _>("content_type").map(Arc::from),
        bytes: bytes(row.get("bytes")),
        verdict: verdict(row.get("verdict"))?,
        key: key(row.get("key"))?,
    })
}

/// None for an entry whose body is not kept.
fn bytes(count: Option<i64>) -> usize {
    count
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0)
}
