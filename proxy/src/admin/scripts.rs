//! Fields and calls of the load balancer that Achromat replaces, as its operators' scripts read them. Each has
//! a true value, and is null where nothing is known.

use std::{collections::BTreeMap, time::Duration};

use achromat_core::{history::WriteOutcome, ids::LaneId, reply::Reply, time::WallTime};
use serde::Serialize;

use super::{
    Admin,
    answers::{State, TransactionSafety},
    json,
    performance::Performance,
    problem,
};
use crate::clock::{wall_time, written};

/// Short description of the architecture that keeps writes safe.
pub(super) const ARCHITECTURE: &str =
    "Write-Ahead Log: each write is durable in order, then replicated to every instance";

/// Name by which scripts recognise the service.
pub(super) const SERVICE: &str = "Achromat (Write-Ahead Log)";

/// The time that `recent_transactions` covers.
const RECENT: Duration = Duration::from_hours(2);

/// The time that `timing_gap_failures_24h` covers.
const DAY: Duration = Duration::from_hours(24);

/// Limits of the service, and its kind of store, which stay the same while the proxy runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Capacity {
    /// Memory in all, in MiB.
    pub max_memory_mb: usize,
    /// Requests that are served at once.
    pub max_concurrent_requests: usize,
    /// Requests that wait to be served.
    pub max_queued_requests: usize,
    /// Bytes of one request's body.
    pub max_body_bytes: usize,
    /// Writes that one instance has at once.
    pub instance_writes_max: usize,
    /// Of these, how many bring it what others have done.
    pub instance_replication_max: usize,
    /// Kind of the store that keeps the log: `sqlite` or `memory`.
    pub database: &'static str,
}

/// Additional fields of `/status` for scripts.
#[derive(Serialize)]
pub(super) struct ForStatus {
    unified_wal: UnifiedLog,
    performance_stats: Performance,
    high_volume_config: Capacity,
    concurrency_details: Concurrency,
    stats: Stats,
    architecture: &'static str,
    timestamp: String,
}

#[derive(Serialize)]
struct UnifiedLog {
    approach: &'static str,
    database: &'static str,
    pending_writes: u64,
    is_syncing: bool,
    oldest_pending: Option<u64>,
    total_replayed: u64,
    failed_replays: usize,
}

#[derive(Serialize)]
pub(super) struct Concurrency {
    pub(super) requests_in_flight: u64,
    max_concurrent_requests: usize,
    connections: usize,
}

/// Requests to instances since the start.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Stats {
    #[serde(rename = "total_requests")]
    total: u64,
    #[serde(rename = "successful_requests")]
    successful: u64,
    #[serde(rename = "failed_requests")]
    failed: u64,
}

/// Additional fields of the two lists of mappings for scripts.
#[derive(Serialize)]
pub(super) struct Times {
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
}

/// `/admin/transaction_safety_status`.
#[derive(Serialize)]
struct SafetyStatus {
    #[serde(flatten)]
    safety: TransactionSafety,
    transaction_safety_service: SafetyService,
    /// Null when no writes are kept.
    recent_transactions: Option<RecentTransactions>,
    pending_recovery: u64,
    /// Writes of the last day that a client was answered with a 5xx; null when no writes are kept.
    timing_gap_failures_24h: Option<u64>,
}

#[derive(Serialize)]
struct SafetyService {
    available: bool,
    running: bool,
}

#[derive(Serialize)]
struct RecentTransactions {
    total_last_2_hours: u64,
    by_status: BTreeMap<&'static str, u64>,
}

impl State<'_> {
    pub(super) fn for_status(&self) -> ForStatus {
        let capacity = self.facts.capacity;
        ForStatus {
            unified_wal: UnifiedLog {
                approach: ARCHITECTURE,
                database: capacity.database,
                pending_writes: self.report.pending,
                is_syncing: self.is_replaying(),
                oldest_pending: self.report.oldest_pending.map(|at| at.0),
                total_replayed: self.report.replayed,
                failed_replays: self.report.failing_entries,
            },
            performance_stats: self.facts.meter.read(),
            high_volume_config: capacity,
            concurrency_details: self.concurrency(),
            stats: self.stats(),
            architecture: ARCHITECTURE,
            timestamp: now(),
        }
    }

    pub(super) fn concurrency(&self) -> Concurrency {
        let in_flight = self
            .instances
            .iter()
            .map(|(_, i)| i.figures.snapshot().in_flight);
        Concurrency {
            requests_in_flight: in_flight.sum(),
            max_concurrent_requests: self.facts.requests_max,
            connections: self.facts.door.counts().0,
        }
    }

    /// Requests to all instances together.
    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for (_, instance) in self.instances.iter() {
            let figures = instance.figures.snapshot();
            stats.total += figures.requests;
            stats.successful += figures.successes;
        }
        stats.failed = stats.total.saturating_sub(stats.successful);
        stats
    }

    /// The path below which what belongs to a lane is asked for.
    pub(super) fn lane_path(&self, lane: LaneId) -> String {
        let known = match lane {
            LaneId::Schema => None,
            LaneId::Collection(id) => self.view.catalog.get_even_gone(id),
        };
        match known {
            None => "/api/v2/tenants".to_owned(),
            Some(collection) => format!(
                "/api/v2/tenants/{}/databases/{}/collections/{}",
                collection.tenant, collection.database, collection.id
            ),
        }
    }
}

/// Now, for people.
pub(super) fn now() -> String {
    written(wall_time().0)
}

impl Admin {
    /// `/admin/transaction_safety_status`, with what is known of recent writes.
    pub(super) async fn safety_status(&self, safety: TransactionSafety) -> Reply {
        let (recent, day) = tokio::join!(self.counts(RECENT), self.counts(DAY));
        let failed = |counts: &BTreeMap<&str, u64>| {
            counts
                .get(WriteOutcome::Failed.as_str())
                .copied()
                .unwrap_or(0)
        };
        let status = SafetyStatus {
            transaction_safety_service: SafetyService {
                available: true,
                running: safety.store_is_up,
            },
            pending_recovery: safety.pending_recovery_operations,
            timing_gap_failures_24h: day.as_ref().map(failed),
            recent_transactions: recent.map(|by_status| RecentTransactions {
                total_last_2_hours: by_status.values().sum(),
                by_status,
            }),
            safety,
        };
        json(200, &status)
    }

    /// Counts recent writes by outcome; returns none when writes are not kept or can't be read.
    async fn counts(&self, span: Duration) -> Option<BTreeMap<&'static str, u64>> {
        let history = &self.facts.history;
        if !history.keeps_writes() {
            return None;
        }
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let since = WallTime(wall_time().0.saturating_sub(span));
        let counted = history.records().write_counts(since).await;
        let counted = counted
            .inspect_err(|error| tracing::warn!(%error, "recent writes can't be counted"))
            .ok()?;
        let mut counts = BTreeMap::new();
        for (status, count) in counted {
            *counts.entry(WriteOutcome::of(status).as_str()).or_default() += count;
        }
        Some(counts)
    }
}

/// Calls of the old load balancer that mean nothing here, with what to use instead.
const GONE: [(&str, &str); 12] = [
    (
        "/admin/wal_debug",
        "GET /admin/writes lists recent writes, GET /admin/wal_errors what instances fail, and GET /status the log",
    ),
    (
        "/admin/sync_collections",
        "collections are on every instance by themselves; POST /admin/verify compares them",
    ),
    (
        "/admin/complete_mappings",
        "mappings complete themselves; GET /admin/jobs shows copies that are being made",
    ),
    (
        "/admin/force_delete_sync",
        "a delete is replicated in order with every other write; POST /admin/verify compares",
    ),
    (
        "/admin/reset_stuck_transactions",
        "no transaction sticks: GET /admin/letters lists writes that came to nothing, and POST /admin/letters/ID/retry has one done",
    ),
    (
        "/admin/test_wal",
        "any write goes through the log; GET /transactions/KEY tells what became of one with a key",
    ),
    (
        "/admin/optimize_connection_pool",
        "connections are pooled and bounded by themselves; limits.instance_reads_max and limits.instance_writes_max say how many there are",
    ),
    (
        "/admin/upgrade_transaction_schema",
        "the store's form is brought up to date at each start",
    ),
    (
        "/wal/cleanup",
        "the log is trimmed as soon as every instance has an entry",
    ),
    (
        "/transaction/safety/cleanup",
        "recent writes are deleted by age: history.writes_kept_ms",
    ),
    (
        "/transaction/safety/transactions",
        "GET /admin/writes lists recent writes",
    ),
    (
        "/transaction/safety/recovery/trigger",
        "what an instance is owed is brought to it at once when it returns; GET /status shows how much that is",
    ),
];

/// The answer to a call that means nothing here any more, if it is one.
pub(super) fn gone(path: &str) -> Option<Reply> {
    let known = GONE.iter().find(|(gone, _)| *gone == path);
    let below = path.starts_with("/transaction/safety/");
    let instead = match known {
        Some((_, instead)) => instead,
        None if below => {
            "GET /admin/writes lists recent writes, and GET /transactions/KEY one with a key"
        }
        None => return None,
    };
    let detail = format!("{path} was a call of the old load balancer and is not needed: {instead}");
    Some(problem(410, "Gone", &detail))
}
