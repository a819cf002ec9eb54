//! Work beside the lanes: what is under way, what was found, and what an operator wants done.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    catalog::{Collection, Prefer},
    engine::{Found, JobReport},
    ids::{CollectionId, InstanceId, InstanceIx},
    jobs::{
        Finding, Task,
        mapping::Mapping,
        verify::{ComparedCopy, Differences},
    },
    reply::{self, Reply},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Admin, answers::State, json, problem};

/// How long an operator's call waits for the instances' answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the engine is asked whether a job that a call waits for has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Serialize)]
pub(super) struct Jobs<'a> {
    /// What goes on, or waits to be tried again.
    active: Vec<Job<'a>>,
    /// What was found, the latest last.
    findings: Vec<Find<'a>>,
}

#[derive(Serialize)]
struct Job<'a> {
    task: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    doing: Option<&'static str>,
    records: u64,
    records_total: u64,
    bytes: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
}

#[derive(Serialize)]
struct Find<'a> {
    number: u64,
    task: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    seconds_ago: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adopted: Option<Adopted<'a>>,
}

#[derive(Serialize)]
struct Comparison<'a> {
    equal: bool,
    position: u64,
    records: u64,
    copies: Vec<Copy<'a>>,
}

#[derive(Serialize)]
struct Copy<'a> {
    instance: &'a str,
    checksum: &'a str,
    missing: Ids<'a>,
    extra: Ids<'a>,
    different: Ids<'a>,
}

#[derive(Serialize)]
struct Ids<'a> {
    count: u64,
    /// The first of them.
    ids: &'a [String],
}

#[derive(Serialize)]
struct Adopted<'a> {
    new: &'a [String],
    known: &'a [String],
    lacking: &'a [String],
    unlike: &'a [String],
}

fn seconds(span: Duration) -> f64 {
    // Milliseconds are enough for people.
    let ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    f64::from(ms) / 1000.0
}

fn word(task: &Task) -> &'static str {
    match task {
        Task::Adopt(_) => "adopt",
        Task::Restore(_) => "restore",
        Task::Rebuild(..) => "rebuild",
        Task::Verify(_) => "verify",
        Task::Map(_) => "map",
        Task::Unmap(_) => "unmap",
    }
}

fn subject(task: &Task) -> (Option<CollectionId>, Option<InstanceIx>) {
    match task {
        Task::Adopt(place) | Task::Restore(place) => (None, Some(*place)),
        Task::Rebuild(id, place) => (Some(*id), Some(*place)),
        Task::Verify(id) | Task::Unmap(id) => (Some(*id), None),
        Task::Map(_) => (None, None),
    }
}

impl State<'_> {
    pub(super) fn jobs(&self) -> Jobs<'_> {
        Jobs {
            active: self.report.jobs.iter().map(|job| self.job(job)).collect(),
            findings: self.report.found.iter().map(|f| self.find(f)).collect(),
        }
    }

    fn name_of(&self, id: Option<CollectionId>) -> Option<String> {
        let id = id?;
        let collection = self.view.catalog.get_even_gone(id);
        Some(collection.map_or_else(|| id.to_string(), |c| c.name.to_string()))
    }

    fn job<'a>(&'a self, job: &'a JobReport) -> Job<'a> {
        let (collection, place) = subject(&job.task);
        let now = self.report.now;
        let stage = job.stage.clone().unwrap_or_default();
        let spent = now.since(job.at);
        let left = stage.records_total.saturating_sub(stage.records);
        let is_known = job.stage.is_some() && stage.records > 0 && stage.records_total > 0;
        let per_record = |n: u64| {
            let count = u32::try_from(n.max(1)).unwrap_or(u32::MAX);
            spent / count
        };
        let rest =
            per_record(stage.records).saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        Job {
            task: word(&job.task),
            collection: self.name_of(collection),
            instance: place.map(|place| self.instances.name(place)),
            state: if job.stage.is_some() {
                "running"
            } else {
                "waiting to be tried again"
            },
            doing: job.stage.as_ref().map(|stage| stage.doing),
            records: stage.records,
            records_total: stage.records_total,
            bytes: stage.bytes,
            seconds: seconds(spent),
            seconds_left: is_known.then(|| seconds(rest)),
            failures: job.failed.0,
            last_failure: (job.failed.0 > 0).then(|| job.failed.1.clone()),
        }
    }

    fn find<'a>(&'a self, found: &'a Found) -> Find<'a> {
        let (collection, place) = subject(&found.task);
        let mut find = Find {
            number: found.number,
            task: word(&found.task),
            collection: self.name_of(collection),
            collection_id: collection.map(|id| id.to_string()),
            instance: place.map(|place| self.instances.name(place)),
            seconds_ago: seconds(self.report.now.since(found.at)),
            refused: None,
            comparison: None,
            adopted: None,
        };
        match &found.finding {
            Finding::Done => {}
            Finding::Refused(reason) => find.refused = Some(reason),
            Finding::Compared(comparison) => {
                find.comparison = Some(Comparison {
                    equal: comparison.is_equal(),
                    position: comparison.position.0,
                    records: comparison.records,
                    copies: comparison.copies.iter().map(|c| self.copy(c)).collect(),
                });
            }
            Finding::Adopted(adopted) => {
                find.adopted = Some(Adopted {
                    new: &adopted.new,
                    known: &adopted.known,
                    lacking: &adopted.lacking,
                    unlike: &adopted.unlike,
                });
            }
        }
        find
    }

    fn copy<'a>(&'a self, copy: &'a ComparedCopy) -> Copy<'a> {
        let Differences {
            missing,
            extra,
            different,
        } = &copy.differences;
        let ids = |(count, ids): &'a (u64, Vec<String>)| Ids { count: *count, ids };
        Copy {
            instance: self.instances.name(copy.instance),
            checksum: &copy.checksum,
            missing: ids(missing),
            extra: ids(extra),
            different: ids(different),
        }
    }
}

/// How a body names a collection.
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
    status: &'static str,
    collection_name: &'a str,
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Reply> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| problem(400, "Bad body", &format!("The body can't be read: {error}")))
}

fn stopping() -> Reply {
    problem(503, "Stopping", "Achromat is stopping")
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
                self.check_source(collection, place, source)?;
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

    /// A copy that lacks writes, or is not there, can't be the right one.
    fn check_source(
        &self,
        collection: &Collection,
        place: InstanceIx,
        name: &str,
    ) -> Result<(), Reply> {
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

    /// Makes a collection known under the UUIDs that the body gives.
    pub(super) async fn map(&self, body: &Bytes) -> Reply {
        let wanted = async {
            let body: MapBody = parse(body)?;
            let name = body.collection_name.clone();
            let mapping = self.mapping_of(body)?;
            let refused = self.done(Task::Map(mapping)).await?;
            Ok((name, refused))
        };
        match wanted.await {
            Ok((name, None)) => json(
                200,
                &Mapped {
                    status: "mapped",
                    collection_name: &name,
                },
            ),
            Ok((_, Some(reason))) => problem(409, "Not confirmed by the instances", &reason),
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
    pub(super) async fn unmap(&self, name: &str) -> Reply {
        let which = Which {
            collection: Some(name.to_owned()),
            tenant: default_tenant(),
            database: default_database(),
            source: None,
        };
        let wanted = async {
            let collections = self.collections(&which)?;
            for collection in collections {
                let denied = self.guard.unmap(&collection);
                denied.map_err(|denial| reply::denied(&denial.to_string()))?;
                if let Some(reason) = self.done(Task::Unmap(collection.id)).await? {
                    return Err(problem(409, "Not done", &reason));
                }
            }
            Ok(())
        };
        match wanted.await {
            Ok(()) => json(
                200,
                &Mapped {
                    status: "unmapped",
                    collection_name: name,
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
