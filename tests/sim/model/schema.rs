//! Tenants, databases and collections.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::{
    Server,
    answers::{Answer, CollectionAnswer, DatabaseAnswer, Handled, Refused, TenantAnswer},
    bodies::{self, ChangeCollection, ChangeTenant, CreateCollection, Named},
    fields::{Changes, Field, Fields, check_own, merge},
    records::Records,
};

/// A database: its own id, and its collections by name.
#[derive(Clone, Default)]
pub(super) struct Database {
    id: Uuid,
    collections: OrdMap<Arc<str>, Uuid>,
}

/// A collection.
#[derive(Clone)]
pub(super) struct Collection {
    pub(super) id: Uuid,
    pub(super) name: Arc<str>,
    pub(super) tenant: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) metadata: Option<Arc<Fields>>,
    pub(super) dimension: Option<usize>,
    pub(super) records: Records,
    /// Its description, once somebody has asked for it.
    description: OnceLock<Vec<u8>>,
}

/// A part of a list.
pub(super) struct Page {
    pub(super) limit: Option<u32>,
    pub(super) offset: Option<u32>,
}

impl Page {
    pub(super) fn of<T>(&self, items: impl Iterator<Item = T>) -> Vec<T> {
        let most = self.limit.unwrap_or(u32::MAX);
        let items = items.skip(size(self.offset.unwrap_or(0)));
        items.take(size(most)).collect()
    }
}

/// A number of items.
pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The place that a path names.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a str,
    pub(super) database: &'a str,
}

/// What may be the name of a database or a collection.
fn check_name(name: &str, prefix: &str) -> Result<(), Refused> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ends = name.bytes().next().into_iter().chain(name.bytes().last());
    let complaint = if !(3..=512).contains(&name.len())
        || !name.bytes().all(is_inner)
        || !ends.into_iter().all(|byte| byte.is_ascii_alphanumeric())
    {
        "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending with a character in [a-zA-Z0-9]. Got:"
    } else if name.contains("..") {
        "Expected a name that does not contains two consecutive periods (..). Got"
    } else if name.parse::<IpAddr>().is_ok() {
        "Expected a name that is not a valid ip address. Got"
    } else {
        return Ok(());
    };
    Err(Refused::invalid(format!("{prefix}{complaint} {name}")))
}

fn no_collection(name: &str) -> Refused {
    Refused::missing(format!("Collection [{name}] does not exist"))
}

impl Server {
    /// Back to the tenant and the database that every server has.
    pub(super) fn wipe(&mut self) {
        self.tenants = OrdSet::unit("default_tenant".into());
        let databases = OrdMap::unit("default_database".into(), Database::default());
        self.databases = OrdMap::unit("default_tenant".into(), databases);
        self.collections = OrdMap::new();
    }

    pub(super) fn reset(&mut self) -> Handled {
        if !self.reset_allowed {
            let message = "Reset is disabled by config";
            return Err(Refused::new(403, "ChromaError", message));
        }
        self.wipe();
        Ok(Answer::json(200, &true))
    }

    pub(super) fn create_tenant(&mut self, body: &[u8]) -> Handled {
        let Named { name } = bodies::read(body)?;
        if name.chars().count() < 3 {
            return Err(Refused::invalid(format!(
                "Validation error: name: Validation error: length [{{\"min\": Number(3), \"value\": String({name:?})}}]"
            )));
        }
        if self.tenants.insert(Arc::clone(&name)).is_some() {
            return Err(Refused::exists(format!("Tenant [{name}] already exists")));
        }
        Ok(Answer::done(200))
    }

    pub(super) fn get_tenant(&self, name: &str) -> Handled {
        if !self.tenants.contains(name) {
            return Err(Refused::missing(format!("Tenant [{name}] not found")));
        }
        let resource_name = None;
        Ok(Answer::json(
            200,
            &TenantAnswer {
                name,
                resource_name,
            },
        ))
    }

    /// A single node says yes to all tenants, also to those that don't exist, and does nothing.
    pub(super) fn change_tenant(body: &[u8]) -> Handled {
        bodies::read::<ChangeTenant>(body)?;
        Ok(Answer::done(200))
    }

    pub(super) fn create_database(&mut self, tenant: &str, body: &[u8]) -> Handled {
        let Named { name } = bodies::read(body)?;
        check_name(&name, "")?;
        let databases = self.databases.entry(tenant.into()).or_default();
        if databases.contains_key(&name) {
            return Err(Refused::exists(format!("Database [{name}] already exists")));
        }
        let id = self.minting.next();
        let collections = OrdMap::new();
        databases.insert(name, Database { id, collections });
        Ok(Answer::done(200))
    }

    pub(super) fn list_databases(&self, tenant: &str, page: &Page) -> Answer {
        let databases = self.databases.get(tenant).into_iter().flatten();
        let shown = databases.map(|(name, database)| DatabaseAnswer {
            id: database.id,
            name,
            tenant,
        });
        Answer::json(200, &page.of(shown))
    }

    pub(super) fn get_database(&self, place: Place<'_>) -> Handled {
        let Place { tenant, database } = place;
        let found = self.database(place).ok_or_else(|| {
            Refused::missing(format!(
                "Database [{database}] not found. Are you sure it exists?"
            ))
        })?;
        let answer = DatabaseAnswer {
            id: found.id,
            name: database,
            tenant,
        };
        Ok(Answer::json(200, &answer))
    }

    /// Its collections go with it.
    pub(super) fn delete_database(&mut self, Place { tenant, database }: Place<'_>) -> Handled {
        let databases = self.databases.get_mut(tenant);
        let gone = databases.and_then(|databases| databases.remove(database));
        let gone =
            gone.ok_or_else(|| Refused::missing(format!("Database [{database}] not found")))?;
        for id in gone.collections.values() {
            self.collections.remove(id);
        }
        Ok(Answer::done(200))
    }

    fn database(&self, place: Place<'_>) -> Option<&Database> {
        self.databases.get(place.tenant)?.get(place.database)
    }

    fn database_mut(&mut self, tenant: &str, database: &str) -> Option<&mut Database> {
        self.databases.get_mut(tenant)?.get_mut(database)
    }

    pub(super) fn create_collection(&mut self, place: Place<'_>, body: &[u8]) -> Handled {
        let CreateCollection {
            name,
            metadata,
            get_or_create,
            ..
        } = bodies::read(body)?;
        place.check()?;
        check_name(&name, "Validation error: name: ")?;
        if let Some(metadata) = &metadata {
            check_own(&metadata.keys().collect::<Vec<_>>(), "metadata")?;
        }
        let Some(database) = self.database(place) else {
            return Err(Refused::invalid(format!(
                "Database [{}] does not exist",
                place.database
            )));
        };
        if let Some(id) = database.collections.get(&name) {
            return match self.collections.get(id) {
                Some(found) if get_or_create => Ok(shown(found)),
                _ => Err(Refused::exists(format!(
                    "Collection [{name}] already exists"
                ))),
            };
        }
        if metadata.iter().flat_map(Fields::values).any(Field::is_list) {
            return Ok(Answer::CLOSED);
        }
        Ok(shown(&self.make_collection(place, name, metadata)))
    }

    fn make_collection(
        &mut self,
        place: Place<'_>,
        name: Arc<str>,
        metadata: Option<Fields>,
    ) -> Arc<Collection> {
        let made = Arc::new(Collection {
            id: self.minting.next(),
            name: Arc::clone(&name),
            tenant: place.tenant.into(),
            database: place.database.into(),
            metadata: metadata.map(Arc::new),
            dimension: None,
            records: Records::default(),
            description: OnceLock::new(),
        });
        if let Some(database) = self.database_mut(place.tenant, place.database) {
            database.collections.insert(name, made.id);
        }
        self.collections.insert(made.id, Arc::clone(&made));
        made
    }

    fn collections_of<'a>(
        &'a self,
        place: Place<'a>,
    ) -> impl Iterator<Item = &'a Arc<Collection>> + 'a {
        let is_here = move |collection: &&Arc<Collection>| {
            (&*collection.tenant, &*collection.database) == (place.tenant, place.database)
        };
        self.collections.values().filter(is_here)
    }

    pub(super) fn list_collections(&self, place: Place<'_>, page: &Page) -> Handled {
        place.check()?;
        let found = self.collections_of(place).map(CollectionAnswer::from);
        Ok(Answer::json(200, &page.of(found)))
    }

    pub(super) fn count_collections(&self, place: Place<'_>) -> Handled {
        place.check()?;
        Ok(Answer::json(200, &self.collections_of(place).count()))
    }

    pub(super) fn get_collection(&self, place: Place<'_>, name: &str) -> Handled {
        place.check()?;
        let database = self.database(place);
        let id = database.and_then(|database| database.collections.get(name));
        let found = id.and_then(|id| self.collections.get(id));
        Ok(shown(found.ok_or_else(|| no_collection(name))?))
    }

    /// The only route by UUID for which tenant and database count.
    pub(super) fn get_collection_by_id(&self, place: Place<'_>, id: &str) -> Handled {
        place.check()?;
        let id = Uuid::try_parse(id).map_err(|_| {
            Refused::invalid(
                "Validation error: collection_id: Invalid collection ID format, expected UUID",
            )
        })?;
        let found = self.collections.get(&id).filter(|collection| {
            (&*collection.tenant, &*collection.database) == (place.tenant, place.database)
        });
        Ok(shown(found.ok_or_else(|| no_collection(&id.to_string()))?))
    }

    pub(super) fn delete_collection(&mut self, place: Place<'_>, name: &str) -> Handled {
        place.check()?;
        let database = self.database_mut(place.tenant, place.database);
        let id = database.and_then(|database| database.collections.remove(name));
        let id = id.ok_or_else(|| no_collection(name))?;
        self.collections.remove(&id);
        Ok(Answer::done(200))
    }

    pub(super) fn change_collection(&mut self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let change: ChangeCollection = bodies::read(body)?;
        place.check()?;
        let collection = self.collection_mut(id)?;
        if let Some(name) = &change.new_name {
            check_name(name, "Validation error: new_name: ")?;
        }
        if let Some(metadata) = &change.new_metadata {
            check_own(&metadata.keys().collect::<Vec<_>>(), "new_metadata")?;
            if metadata.values().flatten().any(Field::is_list) {
                return Ok(Answer::CLOSED);
            }
        }
        let collection = Arc::clone(collection);
        if let Some(name) = change.new_name {
            self.rename(&collection, name)?;
        }
        if let Some(metadata) = change.new_metadata {
            changed(self.collection_mut(id)?).replace_metadata(&metadata);
        }
        Ok(Answer::done(200))
    }

    fn rename(&mut self, collection: &Collection, name: Arc<str>) -> Result<(), Refused> {
        let database = self.database_mut(&collection.tenant, &collection.database);
        let names = &mut database.expect("collections have a database").collections;
        if names.get(&name).is_some_and(|id| *id != collection.id) {
            return Err(Refused::internal(
                "Database error: error returned from database: (code: 2067) UNIQUE constraint failed: collections.name, collections.database_id",
            ));
        }
        names.remove(&collection.name);
        names.insert(Arc::clone(&name), collection.id);
        let renamed = self.collections.get_mut(&collection.id);
        changed(renamed.expect("it was found")).name = name;
        Ok(())
    }

    fn id_of(id: &str) -> Result<Uuid, Refused> {
        Uuid::try_parse(id).map_err(|_| Refused::invalid("Collection ID is not a valid UUIDv4"))
    }

    /// The collection with this id, wherever it is.
    pub(super) fn collection(&self, id: &str) -> Result<&Arc<Collection>, Refused> {
        let id = Self::id_of(id)?;
        self.collections.get(&id).ok_or_else(|| gone(id))
    }

    /// The same, to be changed.
    pub(super) fn collection_mut(&mut self, id: &str) -> Result<&mut Arc<Collection>, Refused> {
        let id = Self::id_of(id)?;
        self.collections.get_mut(&id).ok_or_else(|| gone(id))
    }
}

impl Place<'_> {
    /// Chroma's only demand on the place where a collection is looked for.
    pub(super) fn check(self) -> Result<(), Refused> {
        if self.database.len() < 3 {
            return Err(Refused::invalid(
                "database name must be at least 3 characters",
            ));
        }
        Ok(())
    }
}

impl Collection {
    /// New metadata takes the place of all of the old; what is `null` in it is not there.
    fn replace_metadata(&mut self, changes: &Changes) {
        let mut fields = Fields::new();
        merge(&mut fields, changes);
        self.metadata = (!fields.is_empty()).then(|| Arc::new(fields));
    }
}

/// Unlike a collection that is looked for by name, with a full stop.
fn gone(id: Uuid) -> Refused {
    Refused::missing(format!("Collection [{id}] does not exist."))
}

/// A collection that is about to be changed: another description will be true of it.
pub(super) fn changed(collection: &mut Arc<Collection>) -> &mut Collection {
    let collection = Arc::make_mut(collection);
    collection.description.take();
    collection
}

fn shown(collection: &Arc<Collection>) -> Answer {
    let described = || Answer::json(200, &CollectionAnswer::from(collection)).body;
    let body = collection.description.get_or_init(described).clone();
    Answer { status: 200, body }
}
