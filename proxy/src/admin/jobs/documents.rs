//! Jobs and findings as documents.

use std::time::Duration;

use achromat_core::{
    engine::{Found, JobReport},
    ids::{CollectionId, InstanceIx},
    jobs::{
        Finding, Task,
        verify::{ComparedCopy, Differences},
    },
};
use serde::Serialize;

use crate::admin::answers::State;

#[derive(Serialize)]
pub(in crate::admin) struct Jobs<'a> {
    /// Jobs that run, or wait to be tried again.
    active: Vec<Job<'a>>,
    /// Findings of jobs, the latest last.
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
    /// The parts in which the collection itself is made differently.
    unlike: &'a [&'static str],
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
        Task::Mark(_) => "mark",
        Task::Rebuild(..) => "rebuild",
        Task::Verify(_) => "verify",
        Task::Home(..) => "home",
        Task::Map(_) => "map",
        Task::Unmap(_) => "unmap",
        Task::Locate(_) => "locate",
        Task::Discover(_) => "discover",
    }
}

fn subject(task: &Task) -> (Option<CollectionId>, Option<InstanceIx>) {
    match task {
        Task::Adopt(place) | Task::Restore(place) | Task::Mark(place) => (None, Some(*place)),
        Task::Rebuild(id, place) | Task::Home(id, place) => (Some(*id), Some(*place)),
        Task::Verify(id) | Task::Unmap(id) | Task::Locate(id) => (Some(*id), None),
        Task::Map(_) | Task::Discover(_) => (None, None),
    }
}

impl State<'_> {
    pub(in crate::admin) fn jobs(&self) -> Jobs<'_> {
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
            unlike,
        } = &copy.differences;
        let ids = |(count, ids): &'a (u64, Vec<String>)| Ids { count: *count, ids };
        Copy {
            instance: self.instances.name(copy.instance),
            checksum: &copy.checksum,
            missing: ids(missing),
            extra: ids(extra),
            different: ids(different),
            unlike,
        }
    }
}
