//! Writes that are not logged: one instance, the collection's home, does them and nobody else hears
//! of them. They are sent once and never again; what is lost with that instance is lost.

use crate::{
    abilities::Abilities,
    catalog::Collection,
    engine::{Payload, Wire},
    guard::Guard,
    ids::{CollectionId, InstanceIx},
    log::{RecordAct, Verb},
    outcome::{Failure, Sending},
    reply::{self, Reply},
    route::{Action, Captures, route_of},
    view::View,
    write::Permit,
};

/// A write that is not to be logged.
#[derive(Clone, Debug)]
pub struct LocalWrite {
    collection: CollectionId,
    act: RecordAct,
    permit: Permit,
    /// Number of changes of policy before policy was asked about this write.
    policy: u64,
}

impl Permit {
    /// The same write, to be done by one instance alone. Only writes of records can be, and none to a
    /// collection that is protected; otherwise the permit comes back.
    /// `view` is the one by which policy was asked.
    pub fn locally(self, guard: &Guard, view: &View) -> Result<LocalWrite, Box<Self>> {
        let Verb::Record { collection, act } = self.entry.verb else {
            return Err(Box::new(self));
        };
        let named = view.catalog.get(collection);
        if named.is_some_and(|named| guard.rule_for(&named.name).is_some()) {
            return Err(Box::new(self));
        }
        Ok(LocalWrite {
            collection,
            act,
            permit: self,
            policy: view.policy,
        })
    }
}

impl LocalWrite {
    /// The collection whose records it changes.
    pub(crate) fn collection(&self) -> CollectionId {
        self.collection
    }

    /// Number of changes of policy before it kept this write out of the log.
    pub(crate) fn policy(&self) -> u64 {
        self.policy
    }

    /// The instance that policy would have do it.
    pub(crate) fn wished(&self) -> Option<InstanceIx> {
        self.permit.executor
    }

    /// The same write, to be logged.
    pub(crate) fn into_permit(self) -> Permit {
        self.permit
    }

    /// The request to the home.
    pub(crate) fn wire(
        &self,
        collection: &Collection,
        home: InstanceIx,
        abilities: Abilities,
    ) -> Option<Wire> {
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
                body: Some(self.permit.entry.body.clone()),
                must_create: false,
                as_arrays: !abilities.base64,
            },
        })
    }
}

/// 503: the home is not in service.
pub(crate) fn nobody() -> Reply {
    let message =
        "The one instance that has this collection's records is not in service; nothing was done";
    reply::unavailable(message, 1)
}

/// Reply to the client of a local write.
pub(crate) fn told(sending: Sending) -> Reply {
    let failure = match sending {
        Sending::Answered(reply) => return reply,
        Sending::NotSent(_) | Sending::Withheld(_) => return nobody(),
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
