//! From entries to changes of the catalog, and from the catalog to requests.

use std::{borrow::Cow, sync::Arc};

use super::{Engine, Payload, Wire};
use crate::{
    body::{self, Named},
    catalog::{Change, Collection, Copy, Marker, Namespace},
    ids::{CollectionId, DatabaseId, InstanceId, InstanceIx, LaneId, Position},
    jobs::locate::MADE_EMPTY,
    lane::{Lane, Slot},
    log::{Verb, Verdict},
    outcome::{Failure, Outcome},
    planted::Bug,
    reply::{self, Reply, with_collection_id},
    route::{Action, Captures, route_of},
};

impl Engine {
    /// Builds the request to an instance for an entry. When there is nothing to send, the error is the
    /// entry's outcome on that instance.
    pub(super) fn wire(
        &self,
        id: LaneId,
        instance: InstanceIx,
        position: Position,
        look_up: bool,
    ) -> Result<Wire, Outcome> {
        let gone = || Outcome::Failed(Failure::NotSent("the lane is gone".to_owned()));
        let slot = self
            .lane(id)
            .and_then(|lane| lane.slot(position))
            .ok_or_else(gone)?;
        let (action, captures) = self.address(&slot.verb, instance, slot.verdict, look_up)?;
        let route = route_of(action).ok_or_else(gone)?;
        let has_body = !matches!(
            action,
            Action::GetCollection
                | Action::DeleteCollection
                | Action::DeleteDatabase
                | Action::Reset
        );
        let creates = matches!(slot.verb, Verb::CreateCollection { .. });
        let must_create = creates && slot.verdict == Verdict::Accepted;
        let is_record = matches!(slot.verb, Verb::Record { .. });
        let as_arrays = is_record && !self.abilities.of(instance).base64;
        let body = match &slot.body {
            _ if !has_body => Payload::None,
            Some(bytes) if must_create => Payload::Entry {
                body: Some(body::without_get_or_create(bytes)),
                must_create: false,
                as_arrays,
            },
            bytes => Payload::Entry {
                body: bytes.clone(),
                must_create,
                as_arrays,
            },
        };
        Ok(Wire {
            method: route.method,
            target: route.render(&captures, "", None),
            content_type: slot.content_type.clone().filter(|_| has_body),
            body,
        })
    }

    /// The route of an entry on one instance, and what stands in it.
    fn address<'a>(
        &'a self,
        verb: &'a Verb,
        instance: InstanceIx,
        verdict: Verdict,
        look_up: bool,
    ) -> Result<(Action, Captures<'a>), Outcome> {
        let some = |name: &'a Arc<str>| Some(Cow::Borrowed(name.as_ref()));
        if let Some(subject) = verb.subject() {
            if let Some((collection, name)) = self.left_over(verb, instance, verdict) {
                if !self.is_quiet(instance) {
                    let why = "a request that makes the collection may still be on its way";
                    return Err(Outcome::Failed(Failure::Withheld(why)));
                }
                let captures = Captures {
                    tenant: some(&collection.tenant),
                    database: some(&collection.database),
                    collection: some(name),
                    name: None,
                };
                return Ok((Action::DeleteCollection, captures));
            }
            let (collection, id) = self.copy_to_address(subject, instance, verdict)?;
            self.name_is_free(verb, collection, verdict)?;
            return Ok(address_within(verb, collection, id));
        }
        let (mut action, mut captures) = (verb.action(), Captures::default());
        match verb {
            Verb::UpdateTenant { tenant } | Verb::CreateDatabase { tenant, .. } => {
                captures.tenant = some(tenant);
            }
            Verb::DeleteDatabase { tenant, database } => {
                captures.tenant = some(tenant);
                captures.database = some(database);
            }
            Verb::CreateCollection {
                tenant,
                database,
                name,
                ..
            } => {
                let named = name.as_ref();
                let named = named.and_then(|name| self.catalog.named(tenant, database, name));
                if verdict == Verdict::Open {
                    may_decide(named, instance)?;
                }
                captures.tenant = some(tenant);
                captures.database = some(database);
                if look_up {
                    captures.collection = name.as_ref().and_then(some);
                    action = Action::GetCollection;
                }
            }
            // Nothing of theirs stands in a path.
            _ => {}
        }
        Ok((action, captures))
    }

    /// The copy that an entry about a collection goes to. An open entry about a collection that is
    /// gone by now is refused as Chroma would refuse it, and is otherwise decided by an instance
    /// that has a copy; one about a copy that an instance never had has nothing to do there.
    fn copy_to_address(
        &self,
        subject: CollectionId,
        instance: InstanceIx,
        verdict: Verdict,
    ) -> Result<(&Collection, InstanceId), Outcome> {
        if verdict == Verdict::Open && self.catalog.get(subject).is_none() {
            let name = self
                .catalog
                .get_even_gone(subject)
                .map(|c| c.name.to_string());
            return Err(Outcome::Refused {
                reply: reply::no_such_collection(&name.unwrap_or_else(|| subject.to_string())),
                trace: false,
            });
        }
        let collection = self.catalog.get_even_gone(subject);
        if verdict == Verdict::Open {
            may_decide(collection, instance)?;
        }
        collection
            .and_then(|collection| Some((collection.as_ref(), collection.on(instance)?)))
            .ok_or_else(|| Outcome::Done(Reply::json(200, "{}")))
    }

    /// An open rename onto a name that another collection has is refused as Chroma would refuse it,
    /// and not sent: an instance that has lost the other one would do it.
    fn name_is_free(
        &self,
        verb: &Verb,
        collection: &Collection,
        verdict: Verdict,
    ) -> Result<(), Outcome> {
        let Verb::ModifyCollection {
            new_name: Some(name),
            ..
        } = verb
        else {
            return Ok(());
        };
        let (tenant, database) = (&collection.tenant, &collection.database);
        match self.catalog.named(tenant, database, name) {
            Some(other) if verdict == Verdict::Open && other.id != collection.id => {
                Err(Outcome::Refused {
                    reply: reply::name_is_taken(),
                    trace: false,
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the outcome as the entry's client is to see it, and the changes of the catalog that it
    /// causes.
    pub(super) fn take_in(
        &self,
        id: LaneId,
        instance: InstanceIx,
        position: Position,
        outcome: Outcome,
    ) -> (Outcome, Vec<Change>) {
        let Some(slot) = self.lane(id).and_then(|lane| lane.slot(position)) else {
            return (outcome, Vec::new());
        };
        let (verb, is_first) = (&slot.verb, slot.verdict == Verdict::Open);
        match outcome {
            Outcome::Done(reply) => match verb {
                Verb::CreateCollection { .. } => self.created(slot, instance, position, reply),
                _ => {
                    let mut changes = if is_first {
                        self.changes_of(verb, position)
                    } else {
                        Vec::new()
                    };
                    changes.extend(self.unmarked(verb, instance));
                    changes.extend(self.cleared(verb, instance, slot.verdict));
                    (Outcome::Done(reply), changes)
                }
            },
            Outcome::Refused { reply, trace } => {
                let reply = self.as_client_sees(verb, instance, reply);
                (Outcome::Refused { reply, trace }, Vec::new())
            }
            Outcome::Missing(reply) => {
                let reply = self.as_client_sees(verb, instance, reply);
                (Outcome::Missing(reply), Vec::new())
            }
            Outcome::Failed(Failure::ServerError(reply)) => {
                let reply = self.as_client_sees(verb, instance, reply);
                (Outcome::Failed(Failure::ServerError(reply)), Vec::new())
            }
            other => (other, Vec::new()),
        }
    }

    /// A reset takes the instance's marker away too.
    fn unmarked(&self, verb: &Verb, instance: InstanceIx) -> Option<Change> {
        let mut record = self.catalog.instance(instance);
        let token = record.marker.map(|marker| marker.token);
        record.marker = Some(Marker::to_be_made(token.unwrap_or_default()));
        (*verb == Verb::Reset).then_some(Change::Instance { instance, record })
    }

    fn as_client_sees(&self, verb: &Verb, instance: InstanceIx, reply: Reply) -> Reply {
        let copy = verb
            .subject()
            .and_then(|id| Some((id, self.catalog.get_even_gone(id)?.on(instance)?)));
        match copy {
            Some((id, copy)) => with_collection_id(reply, copy, id.0),
            None => reply,
        }
    }

    /// An instance has made a collection, or has found it.
    fn created(
        &self,
        slot: &Slot,
        instance: InstanceIx,
        position: Position,
        reply: Reply,
    ) -> (Outcome, Vec<Change>) {
        let Verb::CreateCollection {
            tenant,
            database,
            id,
            ..
        } = &slot.verb
        else {
            return (Outcome::Done(reply), Vec::new());
        };
        let is_first = slot.verdict == Verdict::Open;
        let Some(named) = Named::parse(&reply.body) else {
            return (Outcome::Failed(Failure::ServerError(reply)), Vec::new());
        };
        let theirs = InstanceId(named.id);
        let found = self.catalog.named(tenant, database, &named.name);
        if is_first && let Some(found) = found {
            let body = named.with_id(&reply.body, found.id.0);
            let changes = remade(found, instance, theirs);
            return (Outcome::Found(Reply { body, ..reply }), changes);
        }
        if slot.verdict == Verdict::Found {
            // It was sent here as well before another instance had found the collection.
            let known = self.catalog.of_instance_id(theirs);
            let is_known = known.is_some_and(|known| known.on(instance) == Some(theirs));
            let found = self.found_by(slot).filter(|_| !is_known);
            let changes = found.map(|found| remade(found, instance, theirs));
            return (Outcome::Done(reply), changes.unwrap_or_default());
        }
        let old = |name| self.catalog.gone_of_name(name).map(|old| &old.id);
        let reuses = self.plants(Bug::RecreatesOldIdentity);
        let id = reuses.then(|| old(&named.name)).flatten().unwrap_or(id);
        let body = named.with_id(&reply.body, id.0);
        let change = if is_first {
            let mut copies: smallvec::SmallVec<[Copy; 2]> =
                smallvec::smallvec![Copy::default(); self.instances.len()];
            if let Some(copy) = copies.get_mut(instance.at()) {
                copy.id = Some(theirs);
            }
            Change::Made(Arc::new(Collection {
                id: *id,
                tenant: Arc::clone(tenant),
                database: Arc::clone(database),
                name: named.name.as_str().into(),
                made_at: position,
                gone_at: None,
                home: None,
                copies,
            }))
        } else {
            Change::Copied {
                collection: *id,
                instance,
                id: theirs,
            }
        };
        (Outcome::Done(Reply { body, ..reply }), vec![change])
    }

    /// The collection that a create has found, whatever its name is by now.
    fn found_by(&self, slot: &Slot) -> Option<&Arc<Collection>> {
        let named = Named::parse(&slot.reply()?.body)?;
        self.catalog.get(CollectionId(named.id))
    }

    /// Changes of the catalog that the first success of an entry causes.
    fn changes_of(&self, verb: &Verb, at: Position) -> Vec<Change> {
        let bury = |collection: &Arc<Collection>| Change::Gone {
            collection: collection.id,
            at,
        };
        match verb {
            Verb::ModifyCollection {
                collection,
                new_name: Some(name),
            } => vec![Change::Renamed {
                collection: *collection,
                name: Arc::clone(name),
            }],
            Verb::DeleteCollection { collection } => vec![Change::Gone {
                collection: *collection,
                at,
            }],
            Verb::CreateTenant { name: Some(name) } => vec![Change::TenantMade {
                tenant: Arc::clone(name),
            }],
            Verb::CreateDatabase {
                tenant,
                name: Some(name),
                id,
            } => self.database_made((Arc::clone(tenant), Arc::clone(name)), *id),
            Verb::DeleteDatabase { tenant, database } => self
                .catalog
                .collections_in(tenant, database)
                .map(bury)
                .chain([Change::DatabaseGone {
                    namespace: (Arc::clone(tenant), Arc::clone(database)),
                }])
                .collect(),
            Verb::Reset => self
                .catalog
                .collections()
                .map(bury)
                .chain(
                    self.catalog
                        .databases()
                        .map(|namespace| Change::DatabaseGone {
                            namespace: namespace.clone(),
                        }),
                )
                .collect(),
            _ => Vec::new(),
        }
    }

    fn database_made(&self, namespace: Namespace, id: DatabaseId) -> Vec<Change> {
        if self.catalog.database(&namespace.0, &namespace.1).is_some() {
            return Vec::new();
        }
        vec![Change::DatabaseMade { namespace, id }]
    }

    /// Makes and ends lanes as the catalog changes.
    pub(super) fn follow_changes(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Made(made) => {
                    let lane = LaneId::Collection(made.id);
                    self.lanes
                        .insert(made.id, Lane::new(lane, self.instances.len(), Position(0)));
                }
                Change::Copied { collection, .. } => {
                    self.advance(LaneId::Collection(*collection));
                }
                Change::Gone { collection, .. } => {
                    if let Some(lane) = self.lanes.get_mut(collection) {
                        lane.void();
                        self.advance(LaneId::Collection(*collection));
                    }
                }
                Change::Quarantined { .. } => self.follow_quarantine(change),
                Change::Renamed { collection, name } => self.follow_name(*collection, name),
                _ => {}
            }
        }
    }
}

/// An instance that lacks a collection which others have says nothing of it: neither whether it may
/// be changed, nor whether its name is free.
fn may_decide(collection: Option<&Arc<Collection>>, instance: InstanceIx) -> Result<(), Outcome> {
    let is_elsewhere = |c: &&Arc<Collection>| c.copies.iter().any(|copy| copy.id.is_some());
    match collection.filter(is_elsewhere) {
        Some(collection) if collection.on(instance).is_none() => {
            let why = "it does not have the collection yet";
            Err(Outcome::Failed(Failure::Withheld(why)))
        }
        _ => Ok(()),
    }
}

/// A create found a collection in the catalog, but the instance says another UUID than it had: it
/// had lost the collection and has made an empty one, which is not served.
fn remade(found: &Collection, instance: InstanceIx, theirs: InstanceId) -> Vec<Change> {
    if found.on(instance) == Some(theirs) {
        return Vec::new();
    }
    vec![
        Change::Copied {
            collection: found.id,
            instance,
            id: theirs,
        },
        Change::Quarantined {
            collection: found.id,
            instance,
            reason: MADE_EMPTY.into(),
        },
    ]
}

fn address_within<'a>(
    verb: &'a Verb,
    collection: &'a Collection,
    id: InstanceId,
) -> (Action, Captures<'a>) {
    let mut captures = Captures {
        tenant: Some(Cow::Borrowed(collection.tenant.as_ref())),
        database: Some(Cow::Borrowed(collection.database.as_ref())),
        collection: Some(Cow::Owned(id.to_string())),
        name: None,
    };
    match verb {
        Verb::DeleteCollection { .. } => {
            captures.collection = Some(Cow::Borrowed(collection.name.as_ref()));
        }
        Verb::DetachFunction { function, .. } => {
            captures.name = Some(Cow::Borrowed(function.as_ref()));
        }
        // Nothing more stands in a path.
        _ => {}
    }
    (verb.action(), captures)
}
