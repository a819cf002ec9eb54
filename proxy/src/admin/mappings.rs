//! Which collection is where, field by field as existing scripts read it.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    catalog::Collection,
    ids::{CollectionId, InstanceIx},
    reply::Reply,
    route::Target,
    time::WallTime,
};
use serde::Serialize;

use super::{
    answers::State,
    json,
    query::{number, parameter},
    scripts::Times,
};
use crate::clock::written;

/// Mappings of one answer, unless `?limit=` says otherwise. One has some 500 bytes.
const LIMIT_DEFAULT: usize = 1000;

/// Mappings of one answer at most.
const LIMIT_MAX: usize = 10_000;

/// The part of the list that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    offset: usize,
    /// Of this tenant alone.
    tenant: Option<String>,
    /// True when the answer repeats the list under a second name, for scripts.
    is_twice: bool,
}

/// Times at which each collection was made, and at which one of its copies last got another id.
pub(super) type AllTimes = BTreeMap<CollectionId, (WallTime, WallTime)>;

impl Page {
    /// Parses `?limit=…&offset=…&tenant=…`. Fails with a description of the mistake.
    pub(super) fn asked(target: &Target<'_>) -> Result<Self, String> {
        Ok(Self {
            limit: number(target, "limit")?
                .unwrap_or(LIMIT_DEFAULT)
                .min(LIMIT_MAX),
            offset: number(target, "offset")?.unwrap_or(0),
            tenant: parameter(target, "tenant"),
            is_twice: target.path == "/collection/mappings",
        })
    }
}

#[derive(Serialize)]
pub(super) struct Mappings<'a> {
    count: usize,
    /// Of all pages together.
    #[serde(rename = "total_mappings")]
    total: usize,
    /// Offset of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
    #[serde(rename = "collection_mappings")]
    list: Vec<Mapping<'a>>,
}

/// The same list under the name that `/collection/mappings` has for it as well.
#[derive(Serialize)]
struct Twice<'a> {
    #[serde(flatten)]
    mappings: &'a Mappings<'a>,
    #[serde(rename = "mappings")]
    list: &'a [Mapping<'a>],
}

#[derive(Serialize)]
struct Mapping<'a> {
    collection_name: &'a str,
    collection_id: String,
    tenant: &'a str,
    database: &'a str,
    primary_collection_id: Option<String>,
    replica_collection_id: Option<String>,
    primary_uuid: Option<String>,
    replica_uuid: Option<String>,
    status: &'static str,
    #[serde(flatten)]
    times: Times,
    /// The instance that alone has its records.
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<&'a str>,
    instances: BTreeMap<&'a str, Option<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    quarantined: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    distrusted: BTreeMap<&'a str, &'a str>,
}

impl State<'_> {
    /// The mappings of a page, the oldest collection first.
    pub(super) fn mappings(&self, page: &Page, times: &AllTimes) -> Reply {
        let tenant = page.tenant.as_deref();
        let of_tenant = |c: &&Arc<Collection>| tenant.is_none_or(|tenant| tenant == &*c.tenant);
        let mut all: Vec<_> = self.view.catalog.collections().filter(of_tenant).collect();
        all.sort_by_key(|collection| (collection.made_at, collection.id));
        let total = all.len();
        let mappings: Vec<_> = all
            .into_iter()
            .skip(page.offset)
            .take(page.limit)
            .map(|c| self.mapping(c, times))
            .collect();
        let end = page.offset.saturating_add(mappings.len());
        let mappings = Mappings {
            count: mappings.len(),
            total,
            next_offset: (end < total && !mappings.is_empty()).then_some(end),
            list: mappings,
        };
        let list = &mappings.list;
        if page.is_twice {
            return json(
                200,
                &Twice {
                    mappings: &mappings,
                    list,
                },
            );
        }
        json(200, &mappings)
    }

    fn mapping<'a>(&'a self, collection: &'a Collection, times: &AllTimes) -> Mapping<'a> {
        let known = times.get(&collection.id);
        let on = |place| collection.on(InstanceIx(place)).map(|id| id.to_string());
        let names = || {
            self.instances
                .iter()
                .map(|(place, i)| (place, i.name.as_ref()))
        };
        Mapping {
            collection_name: &collection.name,
            collection_id: collection.id.to_string(),
            tenant: &collection.tenant,
            database: &collection.database,
            primary_collection_id: on(0),
            replica_collection_id: on(1),
            primary_uuid: on(0),
            replica_uuid: on(1),
            status: if collection.is_complete() {
                "complete"
            } else {
                "partial"
            },
            times: Times {
                created_at: known.map(|(created, _)| written(created.0)),
                updated_at: known.map(|(_, updated)| written(updated.0)),
            },
            home: collection
                .home
                .and_then(|home| self.instances.get(home))
                .map(|instance| instance.name.as_ref()),
            instances: names()
                .map(|(place, name)| (name, collection.on(place).map(|id| id.to_string())))
                .collect(),
            quarantined: names()
                .filter_map(|(place, name)| {
                    let copy = collection.copies.get(place.at())?;
                    Some((name, copy.quarantine.as_deref()?))
                })
                .collect(),
            distrusted: names()
                .filter_map(|(place, name)| {
                    let copy = collection.copies.get(place.at())?;
                    Some((name, copy.distrust.as_deref()?))
                })
                .collect(),
        }
    }
}
