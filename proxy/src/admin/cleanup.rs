//! Clean-up: collections that fit the patterns of what may be cleaned up are deleted, one after the
//! other, each past the guard.

use std::{sync::Arc, time::Duration};

use achromat_core::{catalog::Collection, reply::Reply, write::permit_cleanup};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Admin, Asker, json, problem};
use crate::{clock, replicate::Told};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    tenant: Option<String>,
    database: Option<String>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Cleanup {
    dry_run: bool,
    /// Deleted, or, in a dry run, those that would be.
    deleted: Vec<Line>,
    /// Those that fit a pattern, and could not be deleted.
    kept: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    collection_id: String,
    collection_name: Arc<str>,
    tenant: Arc<str>,
    database: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Line {
    fn new(collection: &Collection, reason: Option<String>) -> Self {
        Self {
            collection_id: collection.id.to_string(),
            collection_name: Arc::clone(&collection.name),
            tenant: Arc::clone(&collection.tenant),
            database: Arc::clone(&collection.database),
            reason,
        }
    }
}

impl Which {
    fn has(&self, collection: &Collection) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|w| w == is);
        fits(&self.tenant, &collection.tenant) && fits(&self.database, &collection.database)
    }
}

impl Admin {
    /// Deletes what may be cleaned up, and says of the rest that fits why it is kept.
    pub(super) async fn cleanup(&self, body: &Bytes, asker: Asker<'_>) -> Reply {
        let which: Which = match serde_json::from_slice(body) {
            Ok(which) => which,
            Err(error) => {
                let detail = format!("The body must be like {{\"dry_run\": true}}: {error}");
                return problem(400, "Bad body", &detail);
            }
        };
        let view = Arc::clone(&self.replicator.view());
        let all = view.catalog.collections();
        let fits =
            |c: &&Arc<Collection>| which.has(c) && self.guard.cleans(&c.name) && !c.is_in_trash();
        let mut told = Cleanup {
            dry_run: which.dry_run,
            deleted: Vec::new(),
            kept: Vec::new(),
        };
        for collection in all.filter(fits) {
            let done = match self.may_clean(collection, asker) {
                Ok(trash) if !which.dry_run => self.clean(collection, trash).await,
                judged => judged.map(|_| ()),
            };
            match done {
                Ok(()) => told.deleted.push(Line::new(collection, None)),
                Err(reason) => told.kept.push(Line::new(collection, Some(reason))),
            }
        }
        json(200, &told)
    }

    /// Judges the clean-up of a collection. Returns the time for which it must stay in the trash, where the
    /// guard's plugin wants that, or the reason why the collection is kept.
    fn may_clean(
        &self,
        collection: &Collection,
        asker: Asker<'_>,
    ) -> Result<Option<Duration>, String> {
        self.guard
            .delete(collection)
            .map_err(|denial| denial.to_string())?;
        self.facts.policies.guard.cleans(collection, asker)
    }

    async fn clean(&self, collection: &Collection, trash: Option<Duration>) -> Result<(), String> {
        let why = |reply: &Reply| String::from_utf8_lossy(&reply.body).into_owned();
        let permit = {
            let view = self.replicator.view();
            let permitted = permit_cleanup(self.rules(&view), collection.id, clock::fresh());
            let permitted = match trash {
                Some(time) => permitted
                    .and_then(|permit| permit.into_trash(&view.catalog, clock::wall_time() + time)),
                None => permitted,
            };
            permitted.map_err(|reply| why(&reply))?
        };
        let name = collection.name.as_ref();
        tracing::info!(collection = name, "an operator's clean-up deletes it");
        let deadline = self.facts.retrying.deadline;
        match self.replicator.submit(permit, deadline).await {
            Told::Reply(reply) if reply.is_success() => Ok(()),
            Told::Reply(reply) => Err(why(&reply)),
            Told::AskAgain => Err("what became of it is not known".to_owned()),
        }
    }
}
