//! Number of records that a delete would hit, for a guard's plugin that wants to know it.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    catalog::Collection,
    guard::Guard,
    ids::InstanceIx,
    log::{Entry, RecordAct, Verb},
    record,
    resolve::resolution,
    route::{Action, Captures},
    view::{Scope, View},
};
use bytes::Bytes;

use super::App;
use crate::{
    instances::past_stale,
    policy::{Counted, Generation, GuardSlot},
};

/// For one instance to say it.
const COUNT_DEADLINE: Duration = Duration::from_secs(10);

impl App {
    /// Counts the records that a delete would hit, as far as that can be found out; other writes hit none.
    pub(super) async fn count(
        &self,
        generation: &Generation<GuardSlot>,
        view: &View,
        entry: &Entry,
    ) -> Counted {
        let Verb::Record {
            collection,
            act: RecordAct::Delete,
        } = entry.verb
        else {
            return Counted::default();
        };
        let wants = generation.version().is_some_and(|v| v.wanted().counts());
        let Some(collection) = view.catalog.get(collection).filter(|_| wants) else {
            return Counted::default();
        };
        let Some(resolution) = resolution(&Guard::default(), &collection.name, &entry.body, true)
        else {
            return Counted::default();
        };
        match self.count_found(view, collection, &resolution.find).await {
            Some((held, hit)) => Counted {
                hit: Some(hit),
                held: Some(held),
            },
            None => Counted::default(),
        }
    }

    /// The number of a collection's records, and of those that a `get` finds, as the first eligible instance
    /// says that answers both; nothing when none does.
    pub(super) async fn count_found(
        &self,
        view: &View,
        collection: &Arc<Collection>,
        find: &Bytes,
    ) -> Option<(u64, u64)> {
        let eligible = view
            .instances()
            .filter(|instance| view.is_eligible(*instance, Scope::Collection(collection)));
        for instance in eligible {
            if let Some(counted) = self.count_found_on(instance, collection, find).await {
                return Some(counted);
            }
        }
        None
    }

    async fn count_found_on(
        &self,
        instance: InstanceIx,
        collection: &Collection,
        find: &Bytes,
    ) -> Option<(u64, u64)> {
        let held = self.ask(instance, collection, Action::Count, None).await?;
        let held = serde_json::from_slice(&held).ok()?;
        let found = self.ask(instance, collection, Action::Get, Some(find.clone()));
        let found = record::ids(&found.await?)?.len();
        Some((held, found.try_into().ok()?))
    }

    /// Asks an instance about its copy of a collection; nothing when it does not say.
    async fn ask(
        &self,
        instance: InstanceIx,
        collection: &Collection,
        action: Action,
        body: Option<Bytes>,
    ) -> Option<Bytes> {
        let id = collection.on(instance)?;
        let copy = Captures::copy(&collection.tenant, &collection.database, id);
        let instances = &self.instances;
        let ask = || instances.ask_about(instance, action, &copy, body.clone(), COUNT_DEADLINE);
        let reply = past_stale(ask).await.ok()?;
        reply.is_success().then_some(reply.body)
    }
}
