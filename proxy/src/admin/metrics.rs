//! The status as figures over time, in the text (`OpenMetrics`) that Prometheus and its like read.

mod following;
mod page;

use std::collections::BTreeMap;

use achromat_core::{
    health::Standing,
    ids::CollectionId,
    jobs::{Finding, Task},
    policy::VersionId,
    reply::Reply,
};

pub use self::following::Following;
pub(super) use self::page::count;
use self::page::{Labels, Page, float};
use super::answers::State;
use crate::{
    clock::wall_time,
    policy::{Figures, Policies, Slot, Version, World},
};

impl State<'_> {
    /// The page.
    pub(super) fn metrics(&self) -> Reply {
        let mut page = Page::new();
        self.whole(&mut page);
        self.each_instance(&mut page);
        self.comparisons(&mut page);
        slots(&self.facts.policies, &mut page);
        page.written()
    }

    /// Counts what was turned away, and what was lost of the records.
    fn refusals(&self, page: &mut Page) {
        let none = Labels::new();
        let (_, refused) = self.facts.door.counts();
        page.counter(
            (
                "refused_connections",
                "Connections that were turned away because there were too many",
            ),
            &none,
            float(refused),
        );
        page.counter(
            (
                "denied_requests",
                "Requests that were denied for want of a token or of a grant",
            ),
            &none,
            float(self.facts.access.denied()),
        );
        page.counter(
            (
                "quota_refusals",
                "Requests that were refused because their token or tenant asked for too much",
            ),
            &none,
            float(self.facts.quotas.refused()),
        );
        page.counter(
            (
                "space_refusals",
                "Writes that were refused because their database or collection has as much as its quota allows",
            ),
            &none,
            float(self.facts.quotas.space.refused()),
        );
        page.counter(
            (
                "history_dropped",
                "Records of writes and of changes that were lost, because they came too fast or the store could not be written",
            ),
            &none,
            float(self.facts.history.dropped()),
        );
    }

    fn whole(&self, page: &mut Page) {
        let (view, report, none) = (self.view, self.report, Labels::new());
        let oldest = report.oldest_pending.map(|at| at.0);
        let age_ms = oldest.map_or(0, |at| wall_time().0.saturating_sub(at));
        let uptime = self.facts.started.elapsed().as_secs_f64();
        let (connections, _) = self.facts.door.counts();
        self.refusals(page);
        if self.facts.fleet.is_some() {
            page.leads(true);
        }
        page.process();
        for (what, value) in [
            (("uptime_seconds", "Time since the start"), uptime),
            (
                ("store_up", "Whether the log can be written"),
                f64::from(u8::from(view.store_is_up)),
            ),
            (
                ("collections", "Collections, with those in the trash"),
                count(view.catalog.len()),
            ),
            (
                (
                    "pending_writes",
                    "Entries that at least one instance has not applied, and copies to be made or compared",
                ),
                float(report.pending),
            ),
            (
                (
                    "oldest_pending_seconds",
                    "Age of the oldest pending write; 0 when there is none",
                ),
                float(age_ms) / 1000.0,
            ),
            (
                ("connections", "Connections of clients"),
                count(connections),
            ),
            (
                ("waiting_writes", "Writes on their way into the log"),
                count(report.waiting),
            ),
            (
                ("jobs", "Copies being made or compared"),
                count(report.jobs.len()),
            ),
            (
                ("jobs_failing", "Jobs that have failed three times or more"),
                count(self.failing_jobs()),
            ),
            (
                ("entries_failing", "Entries that an instance fails now"),
                count(report.failing_entries),
            ),
            (
                (
                    "collections_without_copy",
                    "Collections that no instance can serve",
                ),
                count(report.shortage.without_copy),
            ),
            (
                (
                    "collections_with_one_copy",
                    "Collections with one sound copy, where there should be more",
                ),
                count(report.shortage.with_one_copy),
            ),
        ] {
            page.gauge(what, &none, value);
        }
        let replayed = "Entries applied to an instance after another had carried them out";
        page.counter(("replayed_writes", replayed), &none, float(report.replayed));
        let failures = "Writes that an instance did not apply, each time it did not";
        page.counter(
            ("write_failures", failures),
            &none,
            float(report.trouble_count),
        );
        self.flushes(page);
    }

    fn flushes(&self, page: &mut Page) {
        let (flushes, none) = (self.flushes, Labels::new());
        for (what, value) in [
            (
                (
                    "log_flushes",
                    "Groups that were made durable, each with one flush",
                ),
                float(flushes.flushes),
            ),
            (
                ("log_entries", "Clients' entries in them"),
                float(flushes.entries),
            ),
            (
                (
                    "log_other_writes",
                    "What else was in them: cursors, verdicts, what jobs have done",
                ),
                float(flushes.others),
            ),
            (
                ("log_flush_seconds", "How long they took"),
                flushes.took.as_secs_f64(),
            ),
        ] {
            page.counter(what, &none, value);
        }
    }

    fn each_instance(&self, page: &mut Page) {
        for (place, instance) in self.instances.iter() {
            let labels = vec![("instance", instance.name.to_string())];
            let figures = instance.figures.snapshot();
            let standing = self.view.standing(place);
            for word in [Standing::Up, Standing::Suspect, Standing::Down] {
                let mut labels = labels.clone();
                labels.push(("standing", word.as_str().to_owned()));
                let is_it = f64::from(u8::from(standing == word));
                page.gauge(
                    ("instance_standing", "1 at the one that it has"),
                    &labels,
                    is_it,
                );
            }
            page.counter(
                ("instance_requests", "Requests sent to it"),
                &labels,
                float(figures.requests),
            );
            page.counter(
                ("instance_successes", "Those that were answered well"),
                &labels,
                float(figures.successes),
            );
            let report = self.report.instances.get(place.at());
            let owed = report.map_or(0, |report| report.owed);
            let due = report.map_or(0, |report| report.work);
            let broken = report.map_or(0, |report| report.quarantined_collections);
            let quarantined = report.is_some_and(|report| report.quarantine.is_some());
            for (what, value) in [
                (
                    (
                        "instance_requests_in_flight",
                        "Requests that it has not answered",
                    ),
                    float(figures.in_flight),
                ),
                (
                    (
                        "instance_latency_seconds",
                        "How long answers took to begin of late; 0 when there was none",
                    ),
                    float(figures.latency_us) / 1e6,
                ),
                (
                    ("instance_pending_writes", "Entries that it has not applied"),
                    float(owed),
                ),
                (
                    ("instance_copies_due", "Copies to be made or compared there"),
                    float(due),
                ),
                (
                    (
                        "instance_quarantined_collections",
                        "Collections whose copy on it is not used until it is made anew",
                    ),
                    count(broken),
                ),
                (
                    (
                        "instance_quarantined",
                        "Whether nothing of it is used until it is made anew",
                    ),
                    f64::from(u8::from(quarantined)),
                ),
            ] {
                page.gauge(what, &labels, value);
            }
        }
    }

    /// Writes the result of each collection's latest comparison, of those that are remembered.
    fn comparisons(&self, page: &mut Page) {
        let mut latest: BTreeMap<CollectionId, bool> = BTreeMap::new();
        for found in &self.report.found {
            if let (Task::Verify(id), Finding::Compared(comparison)) = (&found.task, &found.finding)
            {
                latest.insert(*id, comparison.is_equal());
            }
        }
        let none = Labels::new();
        let different = latest.values().filter(|is_equal| !**is_equal).count();
        page.gauge(
            (
                "compared_collections",
                "Collections whose copies were compared of late",
            ),
            &none,
            count(latest.len()),
        );
        page.gauge(
            (
                "different_collections",
                "Those of them whose copies differed",
            ),
            &none,
            count(different),
        );
    }
}

fn slots(policies: &Policies, page: &mut Page) {
    slot(&policies.routing, page);
    slot(&policies.wal, page);
    slot(&policies.guard, page);
}

fn slot<W: World>(slot: &Slot<W>, page: &mut Page) {
    let generation = slot.generation();
    let labels = vec![("slot", W::SLOT.as_str().to_owned())];
    let quarantined = "Versions that were taken out of service since the start";
    page.counter(
        ("policy_quarantined_versions", quarantined),
        &labels,
        float(slot.quarantined()),
    );
    let safe = "Whether nobody decides, and the safe answer holds";
    let is_vacant = f64::from(u8::from(generation.is_vacant()));
    page.gauge(("policy_vacant", safe), &labels, is_vacant);
    if let Some(version) = generation.version() {
        of_version(version, "active", page);
    }
    if let Some(tried) = generation.trial() {
        of_version(tried.version(), "trial", page);
    }
    // What a version had counted when it was taken out of service is read by the next scrapes.
    for retired in slot.retired() {
        let labels = labels_of::<W>(&retired.name, retired.id, "retired");
        figures(&labels, &retired.figures, retired.own_counters, page);
    }
}

fn labels_of<W: World>(name: &str, id: Option<VersionId>, part: &str) -> Labels {
    vec![
        ("slot", W::SLOT.as_str().to_owned()),
        ("plugin", name.to_owned()),
        (
            "version",
            id.map_or_else(String::new, |id| id.0.to_string()),
        ),
        ("part", part.to_owned()),
    ]
}

fn of_version<W: World>(version: &Version<W>, part: &str, page: &mut Page) {
    let labels = labels_of::<W>(version.name(), version.id(), part);
    figures(&labels, &version.figures(), version.own_counters(), page);
}

fn figures(
    labels: &Labels,
    figures: &Figures,
    own_counters: BTreeMap<String, u64>,
    page: &mut Page,
) {
    let with = |name, value: &str| {
        let mut labels = labels.clone();
        labels.push((name, value.to_owned()));
        labels
    };
    for (kind, value) in &figures.decisions {
        let what = ("policy_decisions", "Answers that were taken, by kind");
        page.counter(what, &with("kind", kind), float(*value));
    }
    for (kind, value) in &figures.troubles {
        let what = (
            "policy_troubles",
            "Calls without an answer, by what was wrong",
        );
        page.counter(what, &with("kind", kind), float(*value));
    }
    for (name, value) in own_counters {
        let what = (
            "policy_plugin_counter",
            "What the plugin itself has counted",
        );
        page.counter(what, &with("counter", &name), float(value));
    }
    let timed: u64 = figures.times.iter().sum();
    for (what, value) in [
        (
            ("policy_fuel", "Fuel that answers took"),
            float(figures.fuel),
        ),
        (
            (
                "policy_instances_made",
                "Instances of the plugin that were made",
            ),
            float(figures.instances_made),
        ),
        (
            (
                "policy_timed_decisions",
                "Decisions that were timed, a sample",
            ),
            float(timed),
        ),
        (
            ("policy_timed_seconds", "How long those took in all"),
            float(figures.timed_ns) / 1e9,
        ),
    ] {
        page.counter(what, labels, value);
    }
    let memory = "The most memory that an instance has had";
    page.gauge(
        ("policy_memory_bytes_max", memory),
        labels,
        count(figures.memory_bytes_max),
    );
}
