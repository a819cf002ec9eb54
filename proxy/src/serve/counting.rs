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
        let eligible = view
            .instances()
            .filter(|instance| view.is_eligible(*instance, Scope::Collection(collection)));
        for instance in eligible {
            if let Some(counted) = self.count_on(instance, collection, &entry.body).await {
                return counted;
            }
        }
        Counted::default()
    }

    async fn count_on(
        &self,
        instance: InstanceIx,
        collection: &Arc<Collection>,
        delete: &Bytes,
    ) -> Option<Counted> {
        let held = self.ask(instance, collection, Action::Count, None).await?;
        let held: u64 = serde_json::from_slice(&held).ok()?;
        let find = resolution(&Guard::default(), &collection.name, delete, true)?.find;
        let found = self.ask(instance, collection, Action::Get, Some(find));
        let hit = record::ids(&found.await?)?.len();
        Some(Counted {
            hit: hit.try_into().ok(),
            held: Some(held),
        })
    }

    /// Asks an instance about its copy of a collection; nothing when it does not say.
    pub(super) async fn ask(
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
