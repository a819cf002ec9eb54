//! Copies that may be on an instance although none is known.

use std::sync::Arc;

use super::Engine;
use crate::{
    catalog::{Change, Collection},
    ids::{CollectionId, InstanceIx},
    log::{Verb, Verdict},
    planted::Bug,
    trash,
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
