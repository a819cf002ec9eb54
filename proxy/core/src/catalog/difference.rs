//! The catalog as it goes to another proxy.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::{Catalog, Collection, InstanceRecord, Namespace};
use crate::ids::{CollectionId, DatabaseId, InstanceIx};

/// All that is other in a later catalog, but for what is gone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Difference {
    revision: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    collections: Vec<Arc<Collection>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    collections_gone: Vec<CollectionId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    databases: Vec<(Namespace, DatabaseId)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    databases_gone: Vec<Namespace>,
    /// Tenants never go away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instances: Vec<(InstanceIx, InstanceRecord)>,
}

impl Difference {
    /// The steps from an earlier catalog to a later one.
    pub(crate) fn between(earlier: &Catalog, later: &Catalog) -> Self {
        let mut difference = Self {
            revision: later.revision,
            ..Self::default()
        };
        if earlier.revision == later.revision {
            return difference;
        }
        for change in earlier.collections.diff(&later.collections) {
            match change {
                DiffItem::Add(_, collection)
                | DiffItem::Update {
                    new: (_, collection),
                    ..
                } => {
                    difference.collections.push(Arc::clone(collection));
                }
                DiffItem::Remove(id, _) => difference.collections_gone.push(*id),
            }
        }
        for change in earlier.databases.diff(&later.databases) {
            match change {
                DiffItem::Add(namespace, id)
                | DiffItem::Update {
                    new: (namespace, id),
                    ..
                } => {
                    difference.databases.push((namespace.clone(), *id));
                }
                DiffItem::Remove(namespace, _) => difference.databases_gone.push(namespace.clone()),
            }
        }
        for change in earlier.tenants.diff(&later.tenants) {
            if let imbl::ordset::DiffItem::Add(tenant) = change {
                difference.tenants.push(Arc::clone(tenant));
            }
        }
        for change in earlier.instances.diff(&later.instances) {
            if let DiffItem::Add(place, record)
            | DiffItem::Update {
                new: (place, record),
                ..
            } = change
            {
                difference.instances.push((*place, record.clone()));
            }
        }
        difference
    }
}

impl Catalog {
    /// Becomes the later catalog of a difference.
    pub(crate) fn take_over(&mut self, difference: Difference) {
        for id in difference.collections_gone {
            self.remove(id);
        }
        // All of them first: two may have exchanged their names.
        for collection in &difference.collections {
            self.remove(collection.id);
        }
        for collection in &difference.collections {
            self.insert(collection);
        }
        for namespace in &difference.databases_gone {
            self.databases.remove(namespace);
        }
        self.databases.extend(difference.databases);
        self.tenants.extend(difference.tenants);
        self.instances.extend(difference.instances);
        self.revision = difference.revision;
    }
}
