//! The documents that are answered, field by field as existing scripts read them.

use achromat_core::{
    engine::{InstanceReport, Report},
    health::Standing,
    ids::{InstanceIx, LaneId},
    key::KeyRecord,
    reply::Reply,
    view::View,
};
use serde::Serialize;

use super::{
    Facts, json,
    performance::Performance,
    scripts::{ARCHITECTURE, Capacity, Concurrency, ForStatus, SERVICE, Stats, now},
};
use crate::{
    clock::{wall_time, written},
    instances::Instances,
    store::FlushFigures,
};

/// Age of the oldest owed entry up to which an instance is not called `catching-up`: under a load
/// some entry is always on its way.
const LAG_MS_MAX: u64 = 1000;

#[derive(Serialize)]
pub(super) struct Simple {
    pub(super) status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: &'a str,
    pub(super) status: u16,
    pub(super) detail: &'a str,
}

#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "as scripts read it")]
pub(super) struct Forced<'a> {
    pub(super) success: bool,
    pub(super) instance: &'a str,
    pub(super) healthy: bool,
    pub(super) health_set_to: bool,
    pub(super) original_health: bool,
    /// Null when it holds until it is taken back.
    pub(super) duration_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) will_restore_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) permanent: Option<bool>,
    pub(super) message: &'static str,
}

/// Everything that is known at one moment.
pub(super) struct State<'a> {
    pub(super) facts: &'a Facts,
    pub(super) instances: &'a Instances,
    pub(super) view: &'a View,
    pub(super) report: &'a Report,
    pub(super) flushes: FlushFigures,
}

#[derive(Serialize)]
pub(super) struct Status<'a> {
    service: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    healthy_instances: usize,
    total_instances: usize,
    summary: Summary,
    /// Reasons why the service is degraded; empty when it is healthy.
    degraded_because: Vec<String>,
    load_balancer: LoadBalancer,
    instances: Vec<Instance<'a>>,
    jobs: super::jobs::Jobs<'a>,
    policy: super::policies::Slots,
    wal: LogStatus,
    write_ahead_log: LogStatus,
    #[serde(flatten)]
    for_scripts: ForStatus,
}

#[derive(Serialize)]
struct Summary {
    healthy_instances: usize,
    total_instances: usize,
    collections: usize,
    store_is_up: bool,
}

#[derive(Serialize)]
struct LoadBalancer {
    strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_replica_ratio: Option<f64>,
}

#[derive(Serialize)]
struct Instance<'a> {
    name: &'a str,
    url: String,
    role: &'static str,
    healthy: bool,
    state: &'static str,
    state_is_forced: bool,
    /// The failure of the last connection; left out while connections can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<&'a str>,
    request_count: u64,
    /// The same, as scripts call it.
    total_requests: u64,
    successful_requests: u64,
    /// Time at which the last probe ended.
    last_health_check: Option<String>,
    /// Rank of the instance: the primary has the highest number.
    priority: usize,
    /// Of the requests so far, in percent.
    success_rate: f64,
    consecutive_failures: u64,
    requests_in_flight: u64,
    /// Recent time until an answer began, in microseconds; 0 when there was no answer.
    latency_us: u64,
    pending_writes: u64,
    quarantined_collections: usize,
    /// Copies to be made or compared there.
    copies_due: u64,
}

#[derive(Clone, Serialize)]
pub(super) struct LogStatus {
    pending_writes: u64,
    /// Time at which the oldest pending write was logged, in milliseconds since 1970.
    oldest_pending: Option<u64>,
    oldest_pending_age_seconds: Option<f64>,
    is_replaying: bool,
    /// Entries that an instance fails now, each instance counted for itself.
    failed_replays: usize,
    total_replayed: u64,
    waiting_writes: usize,
}

#[derive(Serialize)]
pub(super) struct LogSystem {
    wal_system: LogSystemState,
    performance_stats: Performance,
    high_volume_config: Capacity,
}

#[derive(Serialize)]
struct LogSystemState {
    pending_writes: u64,
    is_syncing: bool,
    oldest_pending: Option<u64>,
    total_replayed: u64,
    approach: &'static str,
    database: &'static str,
    /// Nothing waits for a turn: an instance is brought what it lacks at once.
    sync_interval_seconds: u64,
}

#[derive(Serialize)]
pub(super) struct InstanceList<'a> {
    healthy_count: usize,
    total_count: usize,
    #[serde(flatten)]
    stats: Stats,
    instances: Vec<Instance<'a>>,
}

#[derive(Serialize)]
pub(super) struct LogCount {
    pending_writes: u64,
    wal_system_ready: bool,
}

#[derive(Serialize)]
pub(super) struct TransactionSafety {
    pub(super) enabled: bool,
    pub(super) pending_recovery_operations: u64,
    pub(super) store_is_up: bool,
}

/// Outcome of the write under a key.
#[derive(Serialize)]
pub(super) struct Transaction<'a> {
    key: &'a str,
    /// `attempting`, `completed`, `recovered`, `failed` or `abandoned`.
    state: &'static str,
    lane: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_name: Option<&'a str>,
    position: u64,
    /// Time at which the write was logged, in milliseconds since 1970.
    logged_at_ms: u64,
    /// The HTTP status that repeats are answered, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(key: &'a str, record: &KeyRecord, view: &'a View) -> Self {
        Self {
            key,
            state: record.state(),
            lane: record.lane.to_string(),
            collection_name: lane_name(view, record.lane),
            position: record.position.0,
            logged_at_ms: record.logged_at.0,
            status: record.outcome.as_ref().map(|outcome| outcome.status),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Scalability {
    requests_max: usize,
    requests_in_flight: u64,
    lanes: usize,
    collections: usize,
    proxies: usize,
    #[serde(rename = "scalability_features")]
    features: ScalabilityFeatures,
    performance_stats: Performance,
    current_load: Concurrency,
    timestamp: String,
}

/// Features that let the service scale, and their present use.
#[derive(Serialize)]
struct ScalabilityFeatures {
    connection_pooling: bool,
    parallel_replication: bool,
    merged_writes: bool,
    read_distribution: &'static str,
}

impl State<'_> {
    pub(super) fn healthy(&self) -> usize {
        let standings = self.view.standings.iter();
        standings.filter(|s| **s == Standing::Up).count()
    }

    pub(super) fn in_service(&self) -> usize {
        let standings = self.view.standings.iter();
        standings.filter(|s| **s != Standing::Down).count()
    }

    pub(super) fn ready(&self) -> Reply {
        if !self.view.store_is_up {
            return json(
                503,
                &Simple {
                    status: "the log can't be written",
                },
            );
        }
        if self.in_service() == 0 {
            return json(
                503,
                &Simple {
                    status: "no instance is in service",
                },
            );
        }
        json(200, &Simple { status: "ok" })
    }

    pub(super) fn status(&self) -> Status<'_> {
        Status {
            service: SERVICE,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.facts.started.elapsed().as_secs(),
            healthy_instances: self.healthy(),
            total_instances: self.instances.len(),
            summary: Summary {
                healthy_instances: self.healthy(),
                total_instances: self.instances.len(),
                collections: self.view.catalog.len(),
                store_is_up: self.view.store_is_up,
            },
            degraded_because: self.reasons(),
            load_balancer: LoadBalancer {
                strategy: self.facts.strategy,
                read_replica_ratio: self.facts.replica_ratio,
            },
            instances: self.instance_list().instances,
            jobs: self.jobs(),
            policy: super::policies::Slots::of(&self.facts.policies),
            wal: self.log(),
            write_ahead_log: self.log(),
            for_scripts: self.for_status(),
        }
    }

    pub(super) fn instance_list(&self) -> InstanceList<'_> {
        InstanceList {
            healthy_count: self.healthy(),
            total_count: self.instances.len(),
            stats: self.stats(),
            instances: self
                .instances
                .iter()
                .map(|(place, instance)| self.instance(place, instance))
                .collect(),
        }
    }

    fn instance<'a>(
        &'a self,
        place: InstanceIx,
        instance: &'a crate::instances::Instance,
    ) -> Instance<'a> {
        let figures = instance.figures.snapshot();
        let report = self.report.instances.get(place.at());
        let standing = self.view.standing(place);
        Instance {
            name: &instance.name,
            url: instance.address.to_string(),
            role: if place == InstanceIx(0) {
                "primary"
            } else {
                "replica"
            },
            healthy: standing == Standing::Up,
            state: self.state_word(place),
            state_is_forced: report.is_some_and(|report| report.is_forced),
            unreachable_because: instance.unreachable.load_full().as_deref().cloned(),
            quarantine: report.and_then(|report| report.quarantine.as_deref()),
            request_count: figures.requests,
            total_requests: figures.requests,
            successful_requests: figures.successes,
            last_health_check: figures.probed_at.map(|at| written(at.0)),
            priority: self.instances.len().saturating_sub(place.at()),
            success_rate: percent(figures.successes, figures.requests),
            consecutive_failures: figures.failures_in_a_row,
            requests_in_flight: figures.in_flight,
            latency_us: figures.latency_us,
            pending_writes: report.map_or(0, |report| report.owed),
            quarantined_collections: report.map_or(0, |report| report.quarantined_collections),
            copies_due: report.map_or(0, |report| report.work),
        }
    }

    pub(super) fn state_word(&self, place: InstanceIx) -> &'static str {
        let report = self.report.instances.get(place.at());
        match self.view.standing(place) {
            _ if report.is_some_and(|report| report.quarantine.is_some()) => "quarantined",
            Standing::Up if report.is_some_and(is_catching_up) => "catching-up",
            standing => standing.as_str(),
        }
    }

    fn log(&self) -> LogStatus {
        let now = wall_time().0;
        let oldest = self.report.oldest_pending.map(|at| at.0);
        // A clock that was set back must not make an age negative.
        let age_ms = oldest.map(|at| u32::try_from(now.saturating_sub(at)).unwrap_or(u32::MAX));
        LogStatus {
            pending_writes: self.report.pending,
            oldest_pending: oldest,
            oldest_pending_age_seconds: age_ms.map(|age| f64::from(age) / 1000.0),
            is_replaying: self.is_replaying(),
            failed_replays: self.report.failing_entries,
            total_replayed: self.report.replayed,
            waiting_writes: self.report.waiting,
        }
    }

    /// Returns true while an instance in service is being brought up to date.
    pub(super) fn is_replaying(&self) -> bool {
        InstanceIx::all(self.instances.len()).any(|place| {
            let report = self.report.instances.get(place.at());
            let owed = report.map_or(0, |i| i.owed + i.work);
            owed > 0 && self.view.standing(place) != Standing::Down
        })
    }

    pub(super) fn log_status(&self) -> LogSystem {
        LogSystem {
            wal_system: LogSystemState {
                pending_writes: self.report.pending,
                is_syncing: self.is_replaying(),
                oldest_pending: self.report.oldest_pending.map(|at| at.0),
                total_replayed: self.report.replayed,
                approach: ARCHITECTURE,
                database: self.facts.capacity.database,
                sync_interval_seconds: 0,
            },
            performance_stats: self.facts.meter.read(),
            high_volume_config: self.facts.capacity,
        }
    }

    pub(super) fn log_count(&self) -> LogCount {
        LogCount {
            pending_writes: self.report.pending,
            wal_system_ready: self.view.store_is_up,
        }
    }

    pub(super) fn transaction_safety(&self) -> TransactionSafety {
        TransactionSafety {
            enabled: true,
            pending_recovery_operations: self.report.pending,
            store_is_up: self.view.store_is_up,
        }
    }

    pub(super) fn scalability(&self) -> Scalability {
        let current_load = self.concurrency();
        Scalability {
            requests_max: self.facts.requests_max,
            requests_in_flight: current_load.requests_in_flight,
            lanes: self.view.lanes.len(),
            collections: self.view.catalog.len(),
            proxies: 1,
            features: ScalabilityFeatures {
                connection_pooling: true,
                parallel_replication: true,
                merged_writes: true,
                read_distribution: self.facts.strategy,
            },
            performance_stats: self.facts.meter.read(),
            current_load,
            timestamp: now(),
        }
    }
}

/// Returns true when an instance has work beside the lanes to do, or lags by more than `LAG_MS_MAX`.
fn is_catching_up(report: &InstanceReport) -> bool {
    let oldest = report.oldest_owed.map_or(u64::MAX, |at| at.0);
    report.work > 0 || oldest.saturating_add(LAG_MS_MAX) < wall_time().0
}

pub(super) fn lane_name(view: &View, lane: LaneId) -> Option<&str> {
    match lane {
        LaneId::Schema => None,
        LaneId::Collection(id) => view.catalog.get_even_gone(id).map(|c| c.name.as_ref()),
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 100.0;
    }
    // In tenths of a percent, so that the conversion is exact.
    let tenths = part.saturating_mul(1000) / whole;
    f64::from(u32::try_from(tenths).unwrap_or(1000)) / 10.0
}
