//! The trash: a collection that a policy wants kept for a while is not deleted, but gets a name
//! under which no client finds it. So it stays a collection like any other: replicated, compared,
//! rebuilt. It is got back by its name, and deleted when its time is over.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    catalog::{Catalog, Collection},
    ids::CollectionId,
    log::{Entry, Level, Verb},
    reply::{self, Reply},
    time::WallTime,
    write::{Fresh, Permit},
};

/// Prefix of the names in the trash; clients can't give such names.
pub const PREFIX: &str = "achromat-trash.";

/// Bytes of Chroma's longest collection name.
const NAME_BYTES_MAX: usize = 512;

/// Content of a name in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trashed<'a> {
    /// Time when the collection is deleted for good.
    pub until: WallTime,
    /// The name that it had.
    pub name: &'a str,
}

/// Returns true when a name belongs to the trash.
pub fn holds(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl<'a> Trashed<'a> {
    /// Reads `achromat-trash.MILLISECONDS.ID.NAME`.
    pub fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '.');
        let until = WallTime(parts.next()?.parse().ok()?);
        let _id = parts.next()?;
        let name = parts.next()?;
        Some(Self { until, name })
    }
}

/// The name of a collection in the trash; none when that would be too long.
fn name_in_trash(collection: &Collection, until: WallTime) -> Option<Arc<str>> {
    // Its id, because others of its name may be there.
    let id = collection.id.0.simple();
    let name = format!("{PREFIX}{}.{id}.{}", until.0, collection.name);
    (name.len() <= NAME_BYTES_MAX).then(|| name.into())
}

/// Collections in the trash, in no order that means anything.
pub fn contents(catalog: &Catalog) -> impl Iterator<Item = (&Arc<Collection>, Trashed<'_>)> {
    let all = catalog.collections();
    all.filter_map(|collection| Some((collection, Trashed::parse(&collection.name)?)))
}

/// Collections that have been in the trash for their time.
pub fn due(catalog: &Catalog, now: WallTime) -> impl Iterator<Item = CollectionId> {
    let due = contents(catalog).filter(move |(_, trashed)| trashed.until <= now);
    due.map(|(collection, _)| collection.id)
}

/// The change of a name, as an entry's verb and body.
fn renaming(collection: CollectionId, name: &Arc<str>) -> (Verb, Bytes) {
    #[derive(Serialize)]
    struct Body<'a> {
        new_name: &'a str,
    }
    let body = serde_json::to_vec(&Body { new_name: name }).unwrap_or_default();
    let verb = Verb::ModifyCollection {
        collection,
        new_name: Some(Arc::clone(name)),
    };
    (verb, body.into())
}

impl Permit {
    /// Has the write put a collection into the trash instead of deleting it; what can't be undone is
    /// denied.
    pub fn into_trash(mut self, catalog: &Catalog, until: WallTime) -> Result<Self, Reply> {
        let denied = |why| Err(reply::denied(why));
        let Verb::DeleteCollection { collection } = self.entry.verb else {
            return denied(
                "The clean-up guard wants this to be undone for a while; only collections can be, so it is denied",
            );
        };
        let Some(found) = catalog.get(collection) else {
            return Err(reply::no_such_collection_id(&collection.to_string()));
        };
        let Some(name) = name_in_trash(found, until) else {
            return denied(
                "The clean-up guard wants this to be undone for a while; the collection's name is too long for the trash, so it is denied",
            );
        };
        let (verb, body) = renaming(collection, &name);
        (self.entry.verb, self.entry.body) = (verb, body);
        self.entry.content_type = Some("application/json".into());
        Ok(self)
    }
}

fn entry(fresh: Fresh, verb: Verb, body: Bytes) -> Entry {
    Entry {
        id: fresh.entry,
        logged_at: fresh.logged_at,
        verb,
        content_type: Some("application/json".into()),
        body,
        key: None,
        retries: None,
    }
}

/// A collection in the trash; otherwise it is 404.
pub(crate) fn find(
    catalog: &Catalog,
    id: CollectionId,
) -> Result<(&Arc<Collection>, Trashed<'_>), Reply> {
    let found = catalog.get(id);
    let found = found.and_then(|found| Some((found, Trashed::parse(&found.name)?)));
    found.ok_or_else(|| {
        let message = format!("Collection [{id}] is not in the trash");
        Reply::error(404, "NotFoundError", &message)
    })
}

/// Gets a collection back out of the trash, under its own name or another one. A name that is taken
/// is 409.
pub fn permit_restore(
    catalog: &Catalog,
    level: Level,
    id: CollectionId,
    name: Option<&str>,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    let (collection, trashed) = find(catalog, id)?;
    let name = name.unwrap_or(trashed.name);
    if holds(name) {
        return Err(reply::name_is_reserved());
    }
    let (tenant, database) = (&collection.tenant, &collection.database);
    if catalog.named(tenant, database, name).is_some() {
        let message = format!("There is a collection [{name}]; say another name");
        return Err(Reply::error(409, "ConflictError", &message));
    }
    let (verb, body) = renaming(id, &name.into());
    Ok(Permit::unguarded(entry(fresh, verb, body), level))
}

/// Deletes a collection in the trash for good, unless it has come back when its turn comes.
pub fn permit_purge(
    catalog: &Catalog,
    level: Level,
    id: CollectionId,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    find(catalog, id)?;
    let verb = Verb::DeleteCollection { collection: id };
    Ok(Permit {
        is_purge: true,
        ..Permit::unguarded(entry(fresh, verb, Bytes::new()), level)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name in the trash says what it was and until when; no other name does.
    #[test]
    fn names_in_the_trash_are_read_again() {
        let read = |name| Trashed::parse(name).map(|trashed| (trashed.until.0, trashed.name));
        let id = "0123456789abcdef0123456789abcdef";
        let name = format!("{PREFIX}1794000000000.{id}.a.b-c");
        assert_eq!(read(&name), Some((1_794_000_000_000, "a.b-c")));
        for other in ["notes", "achromat-trash.", "achromat-trash.x.y.z"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
