//! Work beside the lanes: what is under way, what was found, and what an operator wants done.

mod documents;

use std::{sync::Arc, time::Duration};

use achromat_core::{
    catalog::{Collection, Prefer},
    ids::{InstanceId, InstanceIx},
    jobs::{Finding, Task, mapping::Mapping},
    reply::Reply,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(super) use self::documents::Jobs;
use super::{Admin, Asker, Deed, json, problem};

/// Time that an operator's call waits for the instances' answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Interval at which a waiting call asks the engine about the end of its job.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Body of a call that names a collection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    collection: Option<String>,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_database")]
    database: String,
    /// For a repair: the instance whose copy is right.
    #[serde(default)]
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MapBody {
    collection_name: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_database")]
    database: String,
    #[serde(default)]
    primary_id: Option<InstanceId>,
    #[serde(default)]
    replica_id: Option<InstanceId>,
    #[serde(default)]
    instances: std::collections::BTreeMap<String, InstanceId>,
}

fn default_tenant() -> String {
    "default_tenant".to_owned()
}

fn default_database() -> String {
    "default_database".to_owned()
}

#[derive(Serialize)]
struct Wanted {
    /// Findings with a higher number answer this.
    after: u64,
    collections: Vec<String>,
}

#[derive(Serialize)]
struct Mapped<'a> {
    success: bool,
    status: &'static str,
    message: &'static str,
    collection_name: &'a str,
    /// The collection's id on the first instance.
    primary_id: Option<String>,
    /// The collection's id on the second instance.
    replica_id: Option<String>,
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Reply> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| problem(400, "Bad body", &format!("The body can't be read: {error}")))
}

fn stopping() -> Reply {
    problem(503, "Stopping", "Achromat is stopping")
}

/// A copy that lacks writes, or is not there, can't be the right one.
fn check_source(collection: &Collection, place: InstanceIx, name: &str) -> Result<(), Reply> {
    let copy = collection.copies.get(place.at());
    if copy.is_some_and(|copy| copy.id.is_some() && copy.quarantine.is_none()) {
        return Ok(());
    }
    let detail = format!(
        "The copy of {} on {name} is not complete, so it can't be the source",
        collection.name
    );
    Err(problem(409, "Not a source", &detail))
}

impl Admin {
    /// The collections that a body means: one, or all.
    fn collections(&self, which: &Which) -> Result<Vec<Arc<Collection>>, Reply> {
        let view = self.replicator.view();
        let Some(reference) = &which.collection else {
            return Ok(view.catalog.collections().map(Arc::clone).collect());
        };
        let (tenant, database) = (&which.tenant, &which.database);
        let found = view
            .catalog
            .resolve(tenant, database, reference, Prefer::Name);
        found.map(|found| vec![Arc::clone(found)]).ok_or_else(|| {
            let detail = format!(
                "There is no collection {reference:?} in the database {database:?} of the tenant {tenant:?}"
            );
            problem(404, "No such collection", &detail)
        })
    }

    async fn last_finding(&self) -> Result<u64, Reply> {
        let report = self.replicator.report().await.ok_or_else(stopping)?;
        Ok(report.found.iter().map(|f| f.number).max().unwrap_or(0))
    }

    /// Has copies compared; what is found stands in `/admin/jobs`.
    pub(super) async fn verify(&self, body: &Bytes) -> Reply {
        let wanted = async {
            let which: Which = parse(body)?;
            let collections = self.collections(&which)?;
            let after = self.last_finding().await?;
            for collection in &collections {
                self.replicator.want(Task::Verify(collection.id));
            }
            let collections = collections.iter().map(|c| c.id.to_string()).collect();
            Ok(Wanted { after, collections })
        };
        wanted
            .await
            .map_or_else(|reply| reply, |wanted| json(202, &wanted))
    }

    /// Has all other copies of a collection made equal to that of the source.
    pub(super) async fn repair(&self, body: &Bytes) -> Reply {
        let wanted = async {
            let which: Which = parse(body)?;
            if which.collection.is_none() {
                let detail = "A repair needs \"collection\"";
                return Err(problem(400, "Which collection?", detail));
            }
            let source = which.source.as_deref().ok_or_else(|| {
                let detail =
                    "A repair needs \"source\": the name of the instance whose copy is right";
                problem(400, "Which copy is right?", detail)
            })?;
            let place = self.instances.named(source).ok_or_else(|| {
                problem(
                    404,
                    "No such instance",
                    &format!("No instance is called {source:?}"),
                )
            })?;
            let collections = self.collections(&which)?;
            let after = self.last_finding().await?;
            for collection in &collections {
                check_source(collection, place, source)?;
                tracing::info!(
                    collection = collection.name.as_ref(),
                    source,
                    "an operator wants a repair"
                );
                self.replicator.repair(collection.id, place);
            }
            let collections = collections.iter().map(|c| c.id.to_string()).collect();
            Ok(Wanted { after, collections })
        };
        wanted
            .await
            .map_or_else(|reply| reply, |wanted| json(202, &wanted))
    }

    /// Makes a collection known under the UUIDs that the body gives.
    pub(super) async fn map(&self, body: &Bytes) -> Reply {
        let wanted = async {
            let body: MapBody = parse(body)?;
            let name = body.collection_name.clone();
            let mapping = self.mapping_of(body)?;
            let id = |place| {
                let mut copies = mapping.copies.iter();
                let copy = copies.find(|(instance, _)| *instance == InstanceIx(place));
                copy.map(|(_, id)| id.to_string())
            };
            let ids = (id(0), id(1));
            let refused = self.done(Task::Map(mapping)).await?;
            Ok((name, ids, refused))
        };
        match wanted.await {
            Ok((name, ids, None)) => json(
                200,
                &Mapped {
                    success: true,
                    status: "mapped",
                    message: "The instances have confirmed the mapping",
                    collection_name: &name,
                    primary_id: ids.0,
                    replica_id: ids.1,
                },
            ),
            Ok((_, _, Some(reason))) => problem(409, "Not confirmed by the instances", &reason),
            Err(reply) => reply,
        }
    }

    fn mapping_of(&self, body: MapBody) -> Result<Mapping, Reply> {
        let mut copies = Vec::new();
        let by_role = [(0, body.primary_id), (1, body.replica_id)];
        copies.extend(
            by_role
                .into_iter()
                .filter_map(|(place, id)| Some((InstanceIx(place), id?))),
        );
        for (name, id) in body.instances {
            let place = self.instances.named(&name).ok_or_else(|| {
                problem(
                    404,
                    "No such instance",
                    &format!("No instance is called {name:?}"),
                )
            })?;
            copies.push((place, id));
        }
        copies.sort();
        copies.dedup();
        let count = self.instances.len();
        let mut places: Vec<_> = copies.iter().map(|(place, _)| *place).collect();
        places.dedup();
        if copies.is_empty()
            || places.len() != copies.len()
            || places.iter().any(|p| p.at() >= count)
        {
            let detail = "The body must give one UUID for each instance that it names: \"primary_id\", \"replica_id\" or \"instances\": {NAME: UUID}";
            return Err(problem(400, "Which copies?", detail));
        }
        Ok(Mapping {
            tenant: body.tenant.into(),
            database: body.database.into(),
            name: body.collection_name.into(),
            copies,
        })
    }

    /// Makes a collection unknown, unless it is protected. Its copies stay where they are.
    pub(super) async fn unmap(&self, name: &str, asker: Asker<'_>) -> Reply {
        let which = Which {
            collection: Some(name.to_owned()),
            tenant: default_tenant(),
            database: default_database(),
            source: None,
        };
        let wanted = async {
            let collections = self.collections(&which)?;
            let mut ids = (None, None);
            for collection in collections {
                let id = |place| collection.on(InstanceIx(place)).map(|id| id.to_string());
                ids = (id(0), id(1));
                let denied = self.guard.unmap(&collection);
                denied.map_err(|denial| problem(403, "Denied", &denial.to_string()))?;
                let deed = Deed::DeleteMapping;
                let asked = self.asked_guard(deed, Some(&collection), None, asker);
                asked.map_err(|reason| problem(403, "Denied", &reason))?;
                if let Some(reason) = self.done(Task::Unmap(collection.id)).await? {
                    return Err(problem(409, "Not done", &reason));
                }
            }
            Ok(ids)
        };
        match wanted.await {
            Ok(ids) => json(
                200,
                &Mapped {
                    success: true,
                    status: "unmapped",
                    message: "Achromat has forgotten the collection; the instances still have it",
                    collection_name: name,
                    primary_id: ids.0,
                    replica_id: ids.1,
                },
            ),
            Err(reply) => reply,
        }
    }

    /// Has a job done and waits for its end; returns why it was refused, if it was.
    async fn done(&self, task: Task) -> Result<Option<String>, Reply> {
        let after = self.last_finding().await?;
        self.replicator.want(task.clone());
        let ended = async {
            loop {
                let report = self.replicator.report().await.ok_or_else(stopping)?;
                let found = report
                    .found
                    .into_iter()
                    .find(|found| found.number > after && found.task == task);
                match found.map(|found| found.finding) {
                    Some(Finding::Refused(reason)) => return Ok(Some(reason)),
                    Some(_) => return Ok(None),
                    None => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .unwrap_or_else(|_| {
                let detail = "It is not done yet, and goes on: look at /admin/jobs";
                Err(problem(504, "Not done yet", detail))
            })
    }
}
