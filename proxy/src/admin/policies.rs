//! Policy plugins as the status tells of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plugins::OneTrial;
use crate::policy::{Figures, Policies, Slot, Version, World};

/// Each slot.
#[derive(Serialize)]
pub(super) struct Slots {
    routing: SlotStatus,
    wal: SlotStatus,
    guard: SlotStatus,
}

#[derive(Serialize)]
struct SlotStatus {
    /// The decider: `native`, `plugin`, or `none` when the last version was taken out of service.
    decides: &'static str,
    /// Versions that were taken out of service since the start.
    quarantined_versions: u64,
    #[serde(flatten)]
    version: Option<VersionStatus>,
    /// Trial of another version beside the one in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialStatus>,
}

#[derive(Serialize)]
struct TrialStatus {
    #[serde(flatten)]
    trial: OneTrial,
    figures: VersionStatus,
}

#[derive(Serialize)]
struct VersionStatus {
    /// Its number in the store.
    version_id: Option<u64>,
    plugin: String,
    digest: String,
    calls: u64,
    decisions: BTreeMap<&'static str, u64>,
    /// Calls without an answer, by what was wrong.
    troubles: BTreeMap<&'static str, u64>,
    /// Of a decision that was taken.
    mean_fuel: u64,
    /// Of those that were timed, in microseconds.
    mean_time_us: f64,
    memory_bytes_max: usize,
    instances_made: u64,
    /// The plugin's own.
    counters: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_trouble: Option<TroubleStatus>,
}

/// The last call without an answer.
#[derive(Serialize)]
struct TroubleStatus {
    at_ms: u64,
    kind: &'static str,
    message: String,
}

impl Slots {
    pub(super) fn of(policies: &Policies) -> Self {
        Self {
            routing: slot(&policies.routing),
            wal: slot(&policies.wal),
            guard: slot(&policies.guard),
        }
    }
}

fn slot<W: World>(slot: &Slot<W>) -> SlotStatus {
    let generation = slot.generation();
    let version = generation.version();
    SlotStatus {
        decides: match (version, generation.is_vacant()) {
            (Some(_), _) => "plugin",
            (None, false) => "native",
            (None, true) => "none",
        },
        quarantined_versions: slot.quarantined(),
        version: version.map(|version| status(version)),
        trial: generation.trial().map(|tried| TrialStatus {
            trial: OneTrial::going(tried.version().id(), tried.trial(), tried.tally()),
            figures: status(tried.version()),
        }),
    }
}

fn status<W: World>(version: &Version<W>) -> VersionStatus {
    VersionStatus {
        version_id: version.id().map(|id| id.0),
        plugin: version.name().to_string(),
        digest: version.digest().to_string(),
        counters: version.own_counters(),
        last_trouble: version.last_trouble().map(|(at, trouble)| TroubleStatus {
            at_ms: at.0,
            kind: trouble.kind().as_str(),
            message: trouble.to_string(),
        }),
        ..figures(version.figures())
    }
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a mean for people; counts beyond 2^53 are not met"
)]
fn figures(figures: Figures) -> VersionStatus {
    let sum = |counts: &[(&str, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    let taken = sum(&figures.decisions);
    let timed: u64 = figures.times.iter().sum();
    VersionStatus {
        version_id: None,
        plugin: String::new(),
        digest: String::new(),
        calls: taken + sum(&figures.troubles),
        mean_fuel: figures.fuel / taken.max(1),
        mean_time_us: figures.timed_ns as f64 / 1e3 / timed.max(1) as f64,
        decisions: figures.decisions.into_iter().collect(),
        troubles: figures.troubles.into_iter().collect(),
        memory_bytes_max: figures.memory_bytes_max,
        instances_made: figures.instances_made,
        counters: BTreeMap::new(),
        last_trouble: None,
    }
}
