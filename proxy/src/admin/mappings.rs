//! Which collection is where, field by field as existing scripts read it.

use std::collections::BTreeMap;

use achromat_core::{catalog::Collection, ids::InstanceIx};
use serde::Serialize;

use super::answers::State;

#[derive(Serialize)]
pub(super) struct Mappings<'a> {
    count: usize,
    collection_mappings: Vec<Mapping<'a>>,
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
    pub(super) fn mappings(&self) -> Mappings<'_> {
        let mut mappings: Vec<_> = self.view.catalog.collections().collect();
        mappings.sort_by_key(|collection| (collection.made_at, collection.id));
        Mappings {
            count: mappings.len(),
            collection_mappings: mappings.into_iter().map(|c| self.mapping(c)).collect(),
        }
    }

    fn mapping<'a>(&'a self, collection: &'a Collection) -> Mapping<'a> {
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
