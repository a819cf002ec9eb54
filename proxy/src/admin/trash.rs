//! The trash: what is in it, got back or deleted for good before its time.

use std::sync::Arc;

use achromat_core::{
    catalog::Collection,
    ids::CollectionId,
    reply::Reply,
    trash::{Trashed, contents, permit_purge, permit_restore},
    write::Permit,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Admin, Asker, Deed, json, problem};
use crate::{clock, replicate::Told};

#[derive(Serialize)]
struct List {
    collection_count: usize,
    /// Those that go first come first.
    collections: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    collection_id: String,
    /// The name that it had.
    collection_name: String,
    tenant: Arc<str>,
    database: Arc<str>,
    /// Time of the final deletion, in milliseconds since 1970.
    until_ms: u64,
    seconds_left: u64,
}

#[derive(Serialize)]
struct Done {
    status: &'static str,
    collection_id: String,
}

impl Line {
    fn new(collection: &Collection, trashed: Trashed<'_>) -> Self {
        let left_ms = trashed.until.0.saturating_sub(clock::wall_time().0);
        Self {
            collection_id: collection.id.to_string(),
            collection_name: trashed.name.to_owned(),
            tenant: Arc::clone(&collection.tenant),
            database: Arc::clone(&collection.database),
            until_ms: trashed.until.0,
            seconds_left: left_ms / 1000,
        }
    }
}

fn parse(text: &str) -> Result<CollectionId, Reply> {
    Uuid::parse_str(text).map(CollectionId).map_err(|_| {
        let detail = format!("{text:?} is not the id of a collection: GET /admin/trash lists them");
        problem(400, "Not an id", &detail)
    })
}

/// A refusal in Chroma's shape, as a problem.
fn refusal(reply: &Reply) -> Reply {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let told = serde_json::from_slice(&reply.body);
    let detail = told.map_or_else(
        |_| String::from_utf8_lossy(&reply.body).into_owned(),
        |told: Message| told.message,
    );
    problem(reply.status, "It was not done", &detail)
}

impl Admin {
    pub(super) fn trash(&self) -> Reply {
        let view = self.replicator.view();
        let lines = contents(&view.catalog).map(|(collection, t)| Line::new(collection, t));
        let mut collections: Vec<_> = lines.collect();
        collections.sort_by_key(|line| line.until_ms);
        let collection_count = collections.len();
        json(
            200,
            &List {
                collection_count,
                collections,
            },
        )
    }

    /// Gives a collection a name again.
    pub(super) async fn restore_trash(&self, text: &str, body: &Bytes) -> Reply {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct As {
            name: Option<String>,
        }
        let name = match serde_json::from_slice(body) {
            Ok(As { name }) => name,
            Err(_) if body.is_empty() => None,
            Err(error) => {
                let detail = format!("The body must be like {{\"name\": \"notes\"}}: {error}");
                return problem(400, "Bad body", &detail);
            }
        };
        let permitted = parse(text).and_then(|id| {
            let view = self.replicator.view();
            let (level, name) = (self.facts.retrying.levels.schema, name.as_deref());
            let permit = permit_restore(&view.catalog, level, id, name, clock::fresh());
            permit.map_err(|reply| refusal(&reply))
        });
        self.submit_trash(text, permitted, "restored").await
    }

    /// Deletes a collection for good, past the guard.
    pub(super) async fn delete_trash(&self, text: &str, asker: Asker<'_>) -> Reply {
        let permitted = parse(text).and_then(|id| {
            let view = self.replicator.view();
            let level = self.facts.retrying.levels.schema;
            let permit = permit_purge(&view.catalog, level, id, clock::fresh());
            let permit = permit.map_err(|reply| refusal(&reply))?;
            let subject = format!("collection {text} in the trash");
            self.asked_guard(Deed::AdminDelete, None, Some(&subject), asker)
                .map_err(|reason| problem(403, "Denied", &reason))?;
            Ok(permit)
        });
        self.submit_trash(text, permitted, "deleted").await
    }

    async fn submit_trash(
        &self,
        text: &str,
        permitted: Result<Permit, Reply>,
        status: &'static str,
    ) -> Reply {
        let permit = match permitted {
            Ok(permit) => permit,
            Err(reply) => return reply,
        };
        let deadline = self.facts.retrying.deadline;
        match self.replicator.submit(permit, deadline).await {
            Told::Reply(reply) if reply.is_success() => {
                tracing::info!(collection = text, status, "an operator changed the trash");
                let collection_id = text.to_owned();
                json(
                    200,
                    &Done {
                        status,
                        collection_id,
                    },
                )
            }
            Told::Reply(reply) => refusal(&reply),
            Told::AskAgain => problem(504, "Not known", "What became of it is not known"),
        }
    }
}
