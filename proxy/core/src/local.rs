//! Writes that are not logged: one instance, the collection's home, does them and nobody else hears
//! of them. They are sent once and never again; what is lost with that instance is lost.

use bytes::Bytes;

use crate::{
    catalog::{Catalog, Collection},
    engine::{Payload, Wire},
    guard::Guard,
    ids::{CollectionId, InstanceIx},
    log::{RecordAct, Verb},
    outcome::{Failure, Sending},
    reply::{self, Reply},
    route::{Action, Captures, route_of},
    view::{Scope, View},
    write::Permit,
};

/// A write that is not to be logged.
#[derive(Clone, Debug)]
pub struct LocalWrite {
    collection: CollectionId,
    act: RecordAct,
    permit: Permit,
}

/// Where a local write can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereto {
    /// To the collection's home.
    Home(InstanceIx, Wire),
    /// Nowhere yet: the collection needs a home, and this instance can be it.
    Needs(CollectionId, InstanceIx),
    /// Nowhere now.
    Nowhere(Reply),
}

impl Permit {
    /// The same write, to be done by one instance alone. Only writes of records can be, and none to a
    /// collection that is protected; otherwise the permit comes back.
    pub fn locally(self, guard: &Guard, catalog: &Catalog) -> Result<LocalWrite, Box<Self>> {
        let Verb::Record { collection, act } = self.entry.verb else {
            return Err(Box::new(self));
        };
        let named = catalog.get(collection);
        if named.is_some_and(|named| guard.rule_for(&named.name).is_some()) {
            return Err(Box::new(self));
        }
        Ok(LocalWrite {
            collection,
            act,
            permit: self,
        })
    }
}

impl LocalWrite {
    /// The body that is sent.
    pub fn body(&self) -> &Bytes {
        &self.permit.entry.body
    }

    /// Where it can go now.
    pub fn whereto(&self, view: &View) -> Whereto {
        let Some(collection) = view.catalog.get(self.collection) else {
            return Whereto::Nowhere(reply::no_such_collection_id(&self.collection.to_string()));
        };
        let scope = Scope::Collection(collection);
        let is_eligible = |instance: &InstanceIx| view.is_eligible(*instance, scope);
        match collection.home {
            Some(home) if is_eligible(&home) => match self.wire(collection, home) {
                Some(wire) => Whereto::Home(home, wire),
                None => Whereto::Nowhere(nobody()),
            },
            Some(_) => Whereto::Nowhere(nobody()),
            None => {
                let wished = self.permit.executor.filter(is_eligible);
                let best = || {
                    let eligible = view.instances().filter(is_eligible);
                    eligible.min_by_key(|instance| (view.standing(*instance), *instance))
                };
                match wished.or_else(best) {
                    Some(instance) => Whereto::Needs(self.collection, instance),
                    None => Whereto::Nowhere(nobody()),
                }
            }
        }
    }

    fn wire(&self, collection: &Collection, home: InstanceIx) -> Option<Wire> {
        let action = match self.act {
            RecordAct::Add => Action::Add,
            RecordAct::Update => Action::Update,
            RecordAct::Upsert => Action::Upsert,
            RecordAct::Delete => Action::DeleteRecords,
        };
        let route = route_of(action)?;
        let Collection {
            tenant, database, ..
        } = collection;
        let copy = Captures::copy(tenant, database, collection.on(home)?);
        Some(Wire {
            method: route.method,
            target: route.render(&copy, "", None),
            content_type: self.permit.entry.content_type.clone(),
            body: Payload::Entry {
                body: None,
                must_create: false,
            },
        })
    }
}

fn nobody() -> Reply {
    let message =
        "The one instance that has this collection's records is not in service; nothing was done";
    reply::unavailable(message, 1)
}

/// What the client of a local write is told.
pub fn told(sending: Sending) -> Reply {
    let failure = match sending {
        Sending::Answered(reply) => return reply,
        Sending::NotSent(_) => return nobody(),
        Sending::Closed { reused } => Failure::Closed { reused },
        Sending::TooLarge => Failure::TooLarge,
        Sending::Silent => Failure::Silent,
    };
    let message = format!(
        "Whether the write was done is not known ({}): it is not logged, and is not sent again; read before you repeat it",
        failure.reason()
    );
    Reply::error(504, "OutcomeUnknown", &message)
}

/// 409: the records of a collection are on one instance alone, and a write is to be replicated.
pub(crate) fn refusal(collection: &str) -> Reply {
    let message = format!(
        "The WAL policy wants this write replicated, but one instance alone has the records of [{collection}]: they were kept out of the log. `achromat repair --source INSTANCE` gives them to all instances; nothing was done"
    );
    Reply::error(409, "ConflictError", &message)
}
