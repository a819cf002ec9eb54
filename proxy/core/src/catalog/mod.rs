//! Tenant, database and name ↔ collection id ↔ each instance's own id.
//!
//! The catalog changes only by [`Change`]s, which the store keeps in the same transaction as the
//! cursor that they belong to. Its maps are persistent: a clone costs nothing, so that requests
//! read a catalog that no writer touches.

mod change;
mod difference;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

pub use self::{
    change::{Change, Collection, Copy, InstanceRecord, Marker, Namespace},
    difference::Difference,
};
use crate::{
    ids::{CollectionId, DEFAULT_TENANT, DatabaseId, InstanceId, InstanceIx, Position, Token},
    marker::OWN,
    trash,
};

/// Preference between name and id for the collection in a path: real Chroma wants the name on some routes and
/// the UUID on others, and its clients mix them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// A UUID that is also a name means the name.
    Name,
    /// A UUID that is also a name means the id.
    Id,
}

/// All collections and databases that Achromat knows.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    collections: OrdMap<CollectionId, Arc<Collection>>,
    names: OrdMap<Namespace, OrdMap<Arc<str>, CollectionId>>,
    instance_ids: OrdMap<InstanceId, CollectionId>,
    gone: OrdMap<CollectionId, Arc<Collection>>,
    databases: OrdMap<Namespace, DatabaseId>,
    tenants: OrdSet<Arc<str>>,
    instances: OrdMap<InstanceIx, InstanceRecord>,
    /// The living collections of which an instance has no copy that is used.
    unserved: OrdMap<InstanceIx, OrdSet<CollectionId>>,
    /// Number of changes since the start.
    revision: u64,
}

impl Catalog {
    /// Applies one change.
    pub fn apply(&mut self, change: &Change) {
        self.revision += 1;
        match change {
            Change::Made(collection) => self.insert(collection),
            Change::Copied {
                collection,
                instance,
                id,
            } => {
                self.forget_copy(*collection, *instance);
                self.update(*collection, |c| {
                    let copy = c.copy_mut(*instance);
                    (copy.id, copy.unsure) = (Some(*id), None);
                });
                if self.collections.contains_key(collection) {
                    self.instance_ids.insert(*id, *collection);
                }
            }
            Change::Quarantined {
                collection,
                instance,
                reason,
            } => self.update(*collection, |c| {
                c.copy_mut(*instance).quarantine = Some(Arc::clone(reason));
                c.leave(*instance);
            }),
            Change::Distrusted {
                collection,
                instance,
                reason,
            } => self.update(*collection, |c| {
                c.copy_mut(*instance).distrust = Some(Arc::clone(reason));
            }),
            Change::Unsure {
                collection,
                instance,
                name,
            } => {
                self.forget_copy(*collection, *instance);
                self.update(*collection, |c| {
                    let copy = c.copy_mut(*instance);
                    (copy.id, copy.unsure) = (None, Some(Arc::clone(name)));
                });
            }
            Change::Renamed { collection, name } => self.rename(*collection, name),
            Change::Gone { collection, at } => self.bury(*collection, *at),
            Change::Forgotten { collection } => {
                self.gone.remove(collection);
            }
            Change::DatabaseMade { namespace, id } => {
                self.databases.insert(namespace.clone(), *id);
            }
            Change::DatabaseGone { namespace } => {
                self.databases.remove(namespace);
            }
            Change::TenantMade { tenant } => {
                self.tenants.insert(Arc::clone(tenant));
            }
            Change::Homed { collection, home } => {
                self.update(*collection, |c| c.home = *home);
            }
            Change::Healed {
                collection,
                instance,
            } => self.update(*collection, |c| {
                let copy = c.copy_mut(*instance);
                (copy.quarantine, copy.distrust) = (None, None);
            }),
            Change::Lost {
                collection,
                instance,
                reason,
            } => {
                self.forget_copy(*collection, *instance);
                self.update(*collection, |c| {
                    *c.copy_mut(*instance) = Copy {
                        quarantine: Some(Arc::clone(reason)),
                        ..Copy::default()
                    };
                    c.leave(*instance);
                });
            }
            Change::Instance { instance, record } => {
                self.instances.insert(*instance, record.clone());
            }
            Change::Token { instance, token } => self.renew(*instance, *token),
        }
    }

    fn renew(&mut self, instance: InstanceIx, token: Token) {
        let record = self.instances.get_mut(&instance);
        if let Some(marker) = record.and_then(|record| record.marker.as_mut()) {
            marker.token = token;
        }
    }

    fn insert(&mut self, collection: &Arc<Collection>) {
        if collection.gone_at.is_some() {
            self.gone.insert(collection.id, Arc::clone(collection));
            return;
        }
        self.names
            .entry((
                Arc::clone(&collection.tenant),
                Arc::clone(&collection.database),
            ))
            .or_default()
            .insert(Arc::clone(&collection.name), collection.id);
        for id in collection.copies.iter().filter_map(|copy| copy.id) {
            self.instance_ids.insert(id, collection.id);
        }
        self.index_served(collection);
        self.collections
            .insert(collection.id, Arc::clone(collection));
    }

    fn update(&mut self, id: CollectionId, change: impl FnOnce(&mut Collection)) {
        let place = match self.collections.get_mut(&id) {
            Some(place) => Some(place),
            None => self.gone.get_mut(&id),
        };
        if let Some(place) = place {
            change(Arc::make_mut(place));
            let changed = Arc::clone(place);
            if changed.gone_at.is_none() {
                self.index_served(&changed);
            }
        }
    }

    /// Keeps the index of copies that are not used.
    fn index_served(&mut self, collection: &Collection) {
        for instance in InstanceIx::all(collection.copies.len()) {
            let unserved = self.unserved.entry(instance).or_default();
            if collection.is_sound_on(instance) {
                unserved.remove(&collection.id);
            } else {
                unserved.insert(collection.id);
            }
        }
    }

    /// Takes a copy's UUID out of the index, before it is replaced by another.
    fn forget_copy(&mut self, collection: CollectionId, instance: InstanceIx) {
        let old = self
            .collections
            .get(&collection)
            .and_then(|c| c.on(instance));
        if let Some(old) = old
            && self.instance_ids.get(&old) == Some(&collection)
        {
            self.instance_ids.remove(&old);
        }
    }

    fn rename(&mut self, id: CollectionId, name: &Arc<str>) {
        let Some(old) = self.take_name(id) else {
            return;
        };
        let mut renamed = Collection::clone(&old);
        renamed.name = Arc::clone(name);
        self.insert(&Arc::new(renamed));
    }

    /// Number of changes since the start: two catalogs of one process with the same number are the same, and have
    /// been so all the time in between.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn bury(&mut self, id: CollectionId, at: Position) {
        let Some(old) = self.remove(id) else {
            return;
        };
        let mut buried = Collection::clone(&old);
        buried.gone_at = Some(at);
        self.gone.insert(id, Arc::new(buried));
    }

    /// Takes a living collection out of all indices and returns it.
    fn remove(&mut self, id: CollectionId) -> Option<Arc<Collection>> {
        let old = self.take_name(id)?;
        self.collections.remove(&id);
        for instance in InstanceIx::all(old.copies.len()) {
            if let Some(unserved) = self.unserved.get_mut(&instance) {
                unserved.remove(&id);
            }
        }
        for copy in old.copies.iter().filter_map(|copy| copy.id) {
            if self.instance_ids.get(&copy) == Some(&id) {
                self.instance_ids.remove(&copy);
            }
        }
        Some(old)
    }

    /// Takes a living collection's name away from the index and returns the collection.
    fn take_name(&mut self, id: CollectionId) -> Option<Arc<Collection>> {
        let old = Arc::clone(self.collections.get(&id)?);
        let namespace = (Arc::clone(&old.tenant), Arc::clone(&old.database));
        if let Some(names) = self.names.get_mut(&namespace) {
            names.remove(&old.name);
            if names.is_empty() {
                self.names.remove(&namespace);
            }
        }
        Some(old)
    }

    /// A living collection.
    pub fn get(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.collections.get(&id)
    }

    /// A collection that lives, or that some instance has not deleted yet.
    pub fn get_even_gone(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.collections.get(&id).or_else(|| self.gone.get(&id))
    }

    /// The living collection of a name.
    pub fn named(&self, tenant: &str, database: &str, name: &str) -> Option<&Arc<Collection>> {
        let id = self.names_in(tenant, database)?.get(name)?;
        self.collections.get(id)
    }

    fn names_in(&self, tenant: &str, database: &str) -> Option<&OrdMap<Arc<str>, CollectionId>> {
        self.names.get(&(Arc::from(tenant), Arc::from(database)))
    }

    /// The collection that a path means: by id, by any instance's id, or by name, but only if it
    /// belongs to the path's tenant and database. What is in the trash is not meant by anybody.
    pub fn resolve(
        &self,
        tenant: &str,
        database: &str,
        reference: &str,
        prefer: Prefer,
    ) -> Option<&Arc<Collection>> {
        let by_id = || {
            let uuid = Uuid::try_parse(reference).ok()?;
            let id = CollectionId(uuid);
            let found = self
                .collections
                .get(&id)
                .or_else(|| self.of_instance_id(InstanceId(uuid)))?;
            (*found.tenant == *tenant && *found.database == *database).then_some(found)
        };
        let by_name = || self.named(tenant, database, reference);
        let found = match prefer {
            Prefer::Name => by_name().or_else(by_id),
            Prefer::Id => by_id().or_else(by_name),
        };
        found.filter(|collection| !collection.is_in_trash())
    }

    /// The living collection to which an instance gave this UUID.
    pub fn of_instance_id(&self, id: InstanceId) -> Option<&Arc<Collection>> {
        self.collections.get(self.instance_ids.get(&id)?)
    }

    /// All living collections, by id.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    /// The living collections of a database, by name.
    pub fn collections_in<'a>(
        &'a self,
        tenant: &str,
        database: &str,
    ) -> impl Iterator<Item = &'a Arc<Collection>> + use<'a> {
        self.names_in(tenant, database)
            .into_iter()
            .flat_map(|names| names.values())
            .filter_map(|id| self.collections.get(id))
    }

    /// Number of living collections in a database, without those in the trash.
    pub fn count_in(&self, tenant: &str, database: &str) -> usize {
        let Some(names) = self.names_in(tenant, database) else {
            return 0;
        };
        let from_trash = names.range(Arc::<str>::from(trash::PREFIX)..);
        let in_trash = from_trash.take_while(|(name, _)| trash::holds(name));
        names.len() - in_trash.count()
    }

    /// Number of living collections.
    pub fn len(&self) -> usize {
        self.collections.len()
    }

    /// Returns true when there is no living collection.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// Deleted collections whose deletion every instance has applied, `through` being the
    /// position that all have reached.
    pub fn forgettable(&self, through: Position) -> Vec<CollectionId> {
        self.gone
            .values()
            .filter(|c| c.gone_at.is_some_and(|at| at <= through))
            .map(|c| c.id)
            .collect()
    }

    /// A deleted collection of this name, if it is not forgotten yet.
    pub(crate) fn gone_of_name(&self, name: &str) -> Option<&Arc<Collection>> {
        self.gone.values().find(|gone| *gone.name == *name)
    }

    /// The id that clients see for a database, when Achromat made it.
    pub fn database(&self, tenant: &str, database: &str) -> Option<DatabaseId> {
        self.databases
            .get(&(Arc::from(tenant), Arc::from(database)))
            .copied()
    }

    /// The living collections of which an instance has no copy that is used.
    pub fn unserved(&self, instance: InstanceIx) -> impl Iterator<Item = CollectionId> {
        let unserved = self.unserved.get(&instance);
        unserved.into_iter().flatten().copied()
    }

    /// Returns true when an instance has a copy in service of every living collection.
    pub fn is_whole(&self, instance: InstanceIx) -> bool {
        self.unserved.get(&instance).is_none_or(OrdSet::is_empty)
    }

    /// Facts about an instance as a whole.
    pub fn instance(&self, instance: InstanceIx) -> InstanceRecord {
        self.instances.get(&instance).cloned().unwrap_or_default()
    }

    /// Returns true when an instance is not used at all until a job has taken it in or restored it.
    pub fn is_out(&self, instance: InstanceIx) -> bool {
        let record = self.instances.get(&instance);
        record.is_none_or(|record| record.marker.is_none() || record.quarantine.is_some())
    }

    /// All that is known of instances as a whole.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceIx, &InstanceRecord)> {
        self.instances
            .iter()
            .map(|(instance, record)| (*instance, record))
    }

    /// Returns true when anything is known of a tenant: when it was discovered, every instance in service was
    /// asked for it.
    pub fn knows_tenant(&self, tenant: &str) -> bool {
        let from = || (Arc::from(tenant), Arc::from(""));
        let is_its = |found: Option<&Namespace>| found.is_some_and(|(owner, _)| **owner == *tenant);
        [DEFAULT_TENANT, OWN].contains(&tenant)
            || self.tenants.contains(tenant)
            || is_its(self.databases.range(from()..).next().map(|(key, _)| key))
            || is_its(self.names.range(from()..).next().map(|(key, _)| key))
    }

    /// All tenants that Achromat made.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tenants.iter()
    }

    /// All databases that Achromat made.
    pub fn databases(&self) -> impl Iterator<Item = &Namespace> {
        self.databases.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(id: u128, name: &str, copies: [u128; 2]) -> Change {
        Change::Made(Arc::new(Collection::sample(id, name, copies)))
    }

    fn id(number: u128) -> CollectionId {
        CollectionId(Uuid::from_u128(number))
    }

    fn catalog(changes: &[Change]) -> Catalog {
        let mut catalog = Catalog::default();
        for change in changes {
            catalog.apply(change);
        }
        catalog
    }

    fn found(catalog: &Catalog, reference: &str, prefer: Prefer) -> Option<CollectionId> {
        catalog
            .resolve("t", "d", reference, prefer)
            .map(|found| found.id)
    }

    /// A path may say the id, any instance's id, in any spelling, or the name; not from elsewhere.
    #[test]
    fn a_collection_is_found_by_each_of_its_names() {
        let catalog = catalog(&[made(1, "abc", [11, 12])]);
        for uuid in [1u128, 11, 12].map(Uuid::from_u128) {
            let spellings = [
                uuid.to_string(),
                uuid.simple().to_string(),
                uuid.to_string().to_uppercase(),
            ];
            for spelling in spellings {
                assert_eq!(found(&catalog, &spelling, Prefer::Id), Some(id(1)));
                assert!(catalog.resolve("t", "x", &spelling, Prefer::Id).is_none());
            }
        }
        assert_eq!(found(&catalog, "abc", Prefer::Id), Some(id(1)));
        assert!(catalog.resolve("x", "d", "abc", Prefer::Name).is_none());
        assert_eq!(found(&catalog, "abcd", Prefer::Name), None);
    }

    /// A UUID is a legal name: routes by name find the name first, routes by id the id.
    #[test]
    fn a_name_that_is_anothers_id_is_not_confused() {
        let name = Uuid::from_u128(1).to_string();
        let catalog = catalog(&[made(1, "abc", [11, 12]), made(2, &name, [21, 22])]);
        assert_eq!(found(&catalog, &name, Prefer::Name), Some(id(2)));
        assert_eq!(found(&catalog, &name, Prefer::Id), Some(id(1)));
    }

    /// A deleted collection is found by none of its names, but its mapping is kept until it is
    /// forgotten; a new one of the same name is another collection.
    #[test]
    fn a_deleted_collection_is_gone_but_not_forgotten() {
        let (one, at) = (id(1), Position(7));
        let changes = [
            made(1, "abc", [11, 0]),
            Change::Gone {
                collection: one,
                at,
            },
            Change::Copied {
                collection: one,
                instance: InstanceIx(1),
                id: InstanceId(Uuid::from_u128(12)),
            },
            made(2, "abc", [21, 22]),
        ];
        let mut catalog = catalog(&changes);
        for reference in [11, 12, 1].map(|n| Uuid::from_u128(n).to_string()) {
            assert_eq!(found(&catalog, &reference, Prefer::Id), None);
        }
        assert_eq!(found(&catalog, "abc", Prefer::Name), Some(id(2)));
        let gone = catalog.get_even_gone(one).unwrap();
        assert_eq!(gone.on(InstanceIx(1)).unwrap().0, Uuid::from_u128(12));
        assert!(catalog.forgettable(Position(6)).is_empty());
        assert_eq!(catalog.forgettable(at), [one]);
        catalog.apply(&Change::Forgotten { collection: one });
        assert!(catalog.get_even_gone(one).is_none());
    }

    /// Each change may be applied twice: a record that was written but not confirmed comes again.
    #[test]
    fn changes_are_idempotent() {
        let once = [
            made(1, "abc", [11, 0]),
            Change::Renamed {
                collection: id(1),
                name: "xyz".into(),
            },
            Change::Gone {
                collection: id(1),
                at: Position(3),
            },
        ];
        for count in 1..=once.len() {
            let plain = catalog(&once[..count]);
            let mut again = plain.clone();
            again.apply(&once[count - 1]);
            assert_eq!(plain.len(), again.len());
            assert_eq!(plain.get_even_gone(id(1)), again.get_even_gone(id(1)));
            assert_eq!(plain.count_in("t", "d"), again.count_in("t", "d"));
        }
    }
}
