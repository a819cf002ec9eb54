//! A single-node Chroma server as a pure function of its seed and of the requests it was sent.
//!
//! It answers what a real server answers: `tests/it/model.rs` sends random histories to both and
//! compares. It never does IO, has no clock, and mints its ids from its seed. A copy shares all
//! that it holds with the original, so that crashes and backups cost nothing.
//!
//! Not modelled: configurations other than the default one, regular expressions, sparse vectors,
//! the fields `chroma:…` in metadata, sizes of bodies, and three mistakes of Chroma 1.5.9 that
//! `tests/it/model/` describes, where it keeps clear of them. Searching is exact here.

mod answers;
mod bodies;
mod fields;
mod filter;
mod minting;
mod reading;
mod records;
mod routing;
mod schema;
mod writing;

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{abilities::Abilities, route::Target};
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

pub use self::{answers::Answer, fields::Field, fields::Fields, records::Record};
use self::{
    minting::Minting,
    schema::{Collection, Database},
};

/// A server.
#[derive(Clone)]
pub struct Server {
    minting: Minting,
    /// Whether it describes collections by their UUID, as servers do since 1.5.7.
    knows_by_id: bool,
    /// Whether it knows functions attached to collections. None can be attached; a single node of Chroma
    /// answers 501 to detaching one, where this one answers, as a distributed one does, that it is missing.
    knows_functions: bool,
    reset_allowed: bool,
    tenants: OrdSet<Arc<str>>,
    /// By tenant, which need not exist, and by name.
    databases: OrdMap<Arc<str>, OrdMap<Arc<str>, Database>>,
    /// In the order in which a real server lists them.
    collections: OrdMap<Uuid, Arc<Collection>>,
}

/// A collection and all its records, without anything that differs between equal servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The collection's own metadata.
    pub metadata: Option<Arc<Fields>>,
    /// The length of its embeddings, once a write has set it.
    pub dimension: Option<usize>,
    /// Its records by their ids.
    pub records: BTreeMap<Arc<str>, Arc<Record>>,
}

impl Server {
    /// An empty server, with the tenant and the database that every server has.
    pub fn new(seed: u64) -> Self {
        let mut server = Self {
            minting: Minting::from_seed(seed),
            knows_by_id: true,
            knows_functions: true,
            reset_allowed: true,
            tenants: OrdSet::new(),
            databases: OrdMap::new(),
            collections: OrdMap::new(),
        };
        server.wipe();
        server
    }

    /// The same, with or without leave to wipe itself.
    #[must_use]
    pub fn with_reset(mut self, allowed: bool) -> Self {
        self.reset_allowed = allowed;
        self
    }

    /// The same, with or without the route that describes a collection by its UUID.
    #[must_use]
    pub fn with_by_id(mut self, known: bool) -> Self {
        self.knows_by_id = known;
        self
    }

    /// The same, with or without the routes of attached functions.
    #[must_use]
    pub fn with_functions(mut self, known: bool) -> Self {
        self.knows_functions = known;
        self
    }

    /// Whether it has a collection.
    pub fn has(&self, id: Uuid) -> bool {
        self.collections.contains_key(&id)
    }

    /// The records of a collection, by their ids; none when it is not there.
    pub fn records_of(&self, id: Uuid) -> BTreeMap<Arc<str>, Arc<Record>> {
        let found = self.collections.get(&id);
        found.map_or_else(BTreeMap::new, |found| found.records.by_id())
    }

    /// The path of a collection, by its name.
    pub fn target_of(&self, id: Uuid) -> Option<String> {
        let found = self.collections.get(&id)?;
        let (tenant, database, name) = (&found.tenant, &found.database, &found.name);
        Some(format!(
            "/api/v2/tenants/{tenant}/databases/{database}/collections/{name}"
        ))
    }

    /// Abilities that it shows when it is met.
    pub fn abilities(&self) -> Abilities {
        Abilities {
            by_id: self.knows_by_id,
            ..Abilities::NEWEST
        }
    }

    /// From now on it mints other ids than it would have: a server that is set back to an earlier
    /// state does not mint the same ones again.
    pub fn mint_from(&mut self, seed: u64) {
        self.minting = Minting::from_seed(seed);
    }

    /// Answers a request, whose body is JSON. The target is a path with an optional query.
    ///
    /// Requests that make a real server panic, so that it closes the connection, are answered with
    /// [`Answer::CLOSED`].
    pub fn handle(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        let Ok(target) = Target::parse(target.as_bytes()) else {
            return Answer::bare(400);
        };
        let segments: Vec<&str> = target.segments.iter().map(AsRef::as_ref).collect();
        let query = target.query.unwrap_or_default();
        self.route(method, &segments, query, body)
            .unwrap_or_else(|refused| refused.answer())
    }

    /// All collections with all their records, by tenant, database and name.
    pub fn contents(&self) -> BTreeMap<(String, String, String), Contents> {
        let named = |collection: &Arc<Collection>| {
            let place = [&collection.tenant, &collection.database, &collection.name];
            let [tenant, database, name] = place.map(|part| part.as_ref().to_owned());
            let contents = Contents {
                metadata: collection.metadata.clone(),
                dimension: collection.dimension,
                records: collection.records.by_id(),
            };
            ((tenant, database, name), contents)
        };
        self.collections.values().map(named).collect()
    }
}
