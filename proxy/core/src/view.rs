//! State as requests see it: a snapshot that is replaced whole, and never changes.

use std::sync::Arc;

use imbl::OrdMap;
use smallvec::SmallVec;

use crate::{
    abilities::AllAbilities,
    catalog::{Catalog, Collection},
    health::Standing,
    ids::{CollectionId, InstanceIx, Position},
    limits::TENANT_CHARACTERS_MAX,
    progress::Progress,
    time::Instant,
};

/// Part of the state that an instance must have before it may answer a read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Nothing.
    Any,
    /// Every acknowledged write of tenants, databases and collections.
    Schema,
    /// The same, and a sound copy of every collection of a database of which any instance has one.
    List {
        /// The tenant.
        tenant: &'a str,
        /// The database.
        database: &'a str,
    },
    /// The same, and every acknowledged write of this collection's records: what the collection is
    /// called and made like, which includes the dimension and the keys that its records have brought.
    Description(&'a Collection),
    /// Every acknowledged write of this collection's records.
    Collection(&'a Collection),
}

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The catalog.
    pub catalog: Catalog,
    /// The standing of each instance.
    pub standings: Arc<[Standing]>,
    /// Abilities of each instance.
    pub abilities: AllAbilities,
    /// Tenants that no instance had when it was asked a moment ago, and until when that is remembered.
    pub absent: OrdMap<Arc<str>, Instant>,
    /// The schema lane.
    pub schema: Progress,
    /// The undecided entries of the schema lane that an instance may have been sent, each with the one
    /// collection that it is about, if there is one.
    pub changing: SmallVec<[(Position, Option<CollectionId>); 1]>,
    /// The lanes of collections that have ever been written to since the start.
    pub lanes: OrdMap<CollectionId, Progress>,
    /// Number of changes, since the start, of the policy that says which writes are logged.
    pub policy: u64,
    /// True when the store takes writes.
    pub store_is_up: bool,
    /// True when each instance is known either to be in service or to be out of reach.
    pub has_seen_all: bool,
}

impl View {
    /// All instances.
    pub fn instances(&self) -> impl DoubleEndedIterator<Item = InstanceIx> + use<> {
        InstanceIx::all(self.standings.len())
    }

    /// The standing of an instance.
    pub fn standing(&self, instance: InstanceIx) -> Standing {
        self.standings
            .get(instance.at())
            .copied()
            .unwrap_or(Standing::Down)
    }

    /// Returns true when it is known what the instances have of a tenant. Chroma lists no tenants. So a
    /// tenant that an instance held before it was taken over is looked for when a client names it.
    pub fn has_looked_for(&self, tenant: &str) -> bool {
        self.catalog.knows_tenant(tenant)
            || self.absent.contains_key(tenant)
            || tenant.chars().count() > TENANT_CHARACTERS_MAX
    }

    /// I09: an instance answers a read only when it has every acknowledged write that the read
    /// could see, and has not fallen out of service or been quarantined.
    pub fn is_eligible(&self, instance: InstanceIx, scope: Scope<'_>) -> bool {
        self.standing(instance) != Standing::Down
            && match scope {
                Scope::Any => true,
                Scope::Schema => self.schema.is_current(instance),
                Scope::List { tenant, database } => {
                    self.schema.is_current(instance) && self.lists(instance, tenant, database)
                }
                Scope::Description(collection) => {
                    self.schema.is_current(instance) && self.has_records(instance, collection)
                }
                Scope::Collection(collection) => self.has_records(instance, collection),
            }
    }

    /// Returns true when an instance has a sound copy of every collection of a database of which any
    /// instance has one, in service or not: a list hides nothing. A collection that no instance can serve
    /// keeps no instance from listing the others (rule 14 of the design).
    pub(crate) fn lists(&self, instance: InstanceIx, tenant: &str, database: &str) -> bool {
        self.catalog.is_whole(instance)
            || self
                .catalog
                .unserved(instance)
                .filter_map(|id| self.catalog.get(id))
                .filter(|c| *c.tenant == *tenant && *c.database == *database)
                .all(|collection| !self.is_on_another(collection, instance))
    }

    fn is_on_another(&self, collection: &Collection, instance: InstanceIx) -> bool {
        self.instances()
            .any(|other| other != instance && collection.is_sound_on(other))
    }

    /// Returns true when an instance can't be working on an undecided entry within a read's scope: its
    /// answers can be given at once.
    pub fn is_settled_on(&self, instance: InstanceIx, scope: Scope<'_>) -> bool {
        let has_settled_records = |collection: &Collection| {
            let progress = self.lanes.get(&collection.id);
            progress.is_none_or(|progress| !progress.is_unsettled_on(instance))
        };
        match scope {
            Scope::Any => true,
            Scope::Schema | Scope::List { .. } => !self.schema.is_unsettled_on(instance),
            Scope::Description(collection) => {
                !self.schema.is_unsettled_on(instance) && has_settled_records(collection)
            }
            Scope::Collection(collection) => has_settled_records(collection),
        }
    }

    fn has_records(&self, instance: InstanceIx, collection: &Collection) -> bool {
        let progress = self.lanes.get(&collection.id);
        collection.is_served_by(instance)
            && progress.is_none_or(|progress| progress.is_current(instance))
    }

    /// Returns true when it makes sense to wait for an instance that is not eligible: it is in service, and
    /// the writes that it lacks are on their way.
    pub fn may_become_eligible(&self, instance: InstanceIx, scope: Scope<'_>) -> bool {
        let is_quarantined = match scope {
            Scope::Any | Scope::Schema | Scope::List { .. } => false,
            Scope::Description(collection) | Scope::Collection(collection) => collection
                .copies
                .get(instance.at())
                .is_some_and(|copy| copy.quarantine.is_some()),
        };
        self.standing(instance) != Standing::Down && !is_quarantined
    }
}
