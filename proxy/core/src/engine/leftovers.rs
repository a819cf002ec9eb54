//! Copies that may be on an instance although none is known, and collections that a create finds there.

use std::sync::Arc;

use super::Engine;
use crate::{
    body::Named,
    catalog::{Change, Collection},
    ids::{CollectionId, InstanceId, InstanceIx},
    log::{Verb, Verdict},
    outcome::Outcome,
    planted::Bug,
    reply, trash,
};

impl Engine {
    /// The collection that a decided delete or change of name is about, and the name of a copy of it that
    /// may be on an instance although none is known: a job had it made, and did not live to say so. It
    /// is deleted by that name: at this place of the lane the name is no other's there.
    pub(super) fn left_over(
        &self,
        verb: &Verb,
        instance: InstanceIx,
        verdict: Verdict,
    ) -> Option<(&Collection, &Arc<str>)> {
        let (subject, new_name) = match verb {
            Verb::DeleteCollection { collection } => (collection, None),
            Verb::ModifyCollection {
                collection,
                new_name: Some(new),
            } => (collection, Some(new)),
            _ => return None,
        };
        let collection = self.catalog.get_even_gone(*subject)?;
        let copy = collection.copies.get(instance.at())?;
        let is_unknown = copy.id.is_none() && copy.quarantine.is_some();
        let name = match new_name {
            None => copy.unsure.as_ref().unwrap_or(&collection.name),
            Some(new) => copy.unsure.as_ref().filter(|name| *name != new)?,
        };
        (verdict == Verdict::Accepted && is_unknown).then_some((collection, name))
    }

    /// A copy that was left over under the name that its collection had is gone with that name.
    pub(super) fn cleared(
        &self,
        verb: &Verb,
        instance: InstanceIx,
        verdict: Verdict,
    ) -> Option<Change> {
        let Verb::ModifyCollection { collection, .. } = verb else {
            return None;
        };
        let (left, _) = self.left_over(verb, instance, verdict)?;
        let reason = left.copies.get(instance.at())?.quarantine.clone()?;
        Some(Change::Lost {
            collection: *collection,
            instance,
            reason,
        })
    }

    /// Judges the collection that was found under the name of one that is to be made, where an earlier
    /// sending may have made it. The copy of an older collection of that name refuses the entry. Any other
    /// collection is the entry's own work, and the older collection's copy was missing.
    pub(super) fn own_or_older(
        &self,
        instance: InstanceIx,
        verb: &Verb,
        outcome: Outcome,
    ) -> Outcome {
        let Verb::CreateCollection {
            tenant,
            database,
            name: Some(name),
            id,
        } = verb
        else {
            return outcome;
        };
        let named = self.catalog.named(tenant, database, name);
        let older = named.filter(|named| named.id != *id);
        match (older.and_then(|older| older.on(instance)), outcome) {
            (Some(copy), Outcome::Done(found))
                if Named::parse(&found.body).is_some_and(|found| found.id == copy.0) =>
            {
                Outcome::Refused {
                    reply: reply::collection_exists(name),
                    trace: false,
                }
            }
            (_, outcome) => outcome,
        }
    }

    /// Judges the collection that a create has made or found. A copy of another living collection, which has
    /// that collection's name on this instance alone, is not the new one: it refuses the entry.
    pub(super) fn own_or_anothers(
        &self,
        instance: InstanceIx,
        verb: &Verb,
        outcome: Outcome,
    ) -> Outcome {
        let (
            Verb::CreateCollection {
                tenant,
                database,
                id,
                ..
            },
            Outcome::Done(reply),
        ) = (verb, &outcome)
        else {
            return outcome;
        };
        let Some(found) = Named::parse(&reply.body) else {
            return outcome;
        };
        let theirs = InstanceId(found.id);
        let known = self.catalog.of_instance_id(theirs);
        let anothers = known.filter(|known| known.id != *id && known.on(instance) == Some(theirs));
        let named = self.catalog.named(tenant, database, &found.name);
        match anothers {
            Some(other) if named.is_none_or(|named| named.id != other.id) => Outcome::Refused {
                reply: reply::collection_exists(&found.name),
                trace: false,
            },
            _ => outcome,
        }
    }

    /// A collection that goes to the trash is one like any other, and its lane goes on.
    pub(super) fn follow_name(&mut self, collection: CollectionId, name: &str) {
        if self.plants(Bug::TrashVoids)
            && trash::holds(name)
            && let Some(lane) = self.lanes.get_mut(&collection)
        {
            lane.void();
        }
    }
}
