//! How many records a delete would hit, for a guard that wants to know.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    catalog::Collection,
    guard::Guard,
    ids::InstanceIx,
    limits::REPLY_BYTES_MAX,
    log::{Entry, RecordAct, Verb},
    record,
    resolve::resolution,
    route::{Action, Captures, route_of},
    view::{Scope, View},
};
use bytes::Bytes;

use super::App;
use crate::{
    instances::Request,
    policy::{Counted, Generation, GuardSlot},
};

/// For one instance to say it.
const COUNT_DEADLINE: Duration = Duration::from_secs(10);

impl App {
    /// What a delete would hit, as far as it can be found out; other writes hit nothing.
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

    async fn ask(
        &self,
        instance: InstanceIx,
        collection: &Collection,
        action: Action,
        body: Option<Bytes>,
    ) -> Option<Bytes> {
        let route = route_of(action)?;
        let id = collection.on(instance)?.0.to_string();
        let captures = Captures {
            tenant: Some(collection.tenant.as_ref().into()),
            database: Some(collection.database.as_ref().into()),
            collection: Some(id.into()),
            ..Captures::default()
        };
        let request = Request {
            method: route.method,
            target: &route.render(&captures, "", None),
            headers: None,
            content_type: body.is_some().then_some("application/json"),
            body,
            is_probe: false,
        };
        let exchange = self.instances.exchange(instance, request, COUNT_DEADLINE);
        let whole = exchange.await.ok()?.whole(REPLY_BYTES_MAX);
        let reply = tokio::time::timeout(COUNT_DEADLINE, whole)
            .await
            .ok()?
            .ok()?;
        reply.is_success().then_some(reply.body)
    }
}
