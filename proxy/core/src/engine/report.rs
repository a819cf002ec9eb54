//! Report to the operator on the whole.

use std::sync::Arc;

use super::{Engine, Found, JobReport, KnownTrouble, Shortage};
use crate::{
    health::Standing,
    ids::{InstanceIx, LaneId, Position},
    time::{Instant, WallTime},
};

/// Something that went wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubleReport {
    /// The lane.
    pub lane: LaneId,
    /// The instance that failed it, if it was one.
    pub instance: Option<InstanceIx>,
    /// The entry.
    pub position: Position,
    /// Time at which the entry was logged.
    pub logged_at: WallTime,
    /// Failures in a row.
    pub tries: u32,
    /// Description of the trouble.
    pub reason: String,
}

/// The state of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// Standing of the instance.
    pub standing: Standing,
    /// True when an operator has set the standing.
    pub is_forced: bool,
    /// Reason of the instance's quarantine: it can't be used until it is rebuilt.
    pub quarantine: Option<Arc<str>>,
    /// Entries that it has not applied.
    pub owed: u64,
    /// Time at which the oldest of the owed entries was logged.
    pub oldest_owed: Option<WallTime>,
    /// Copies to be made or compared there, or the instance itself to be taken in.
    pub work: u64,
    /// Collections whose copy on it is quarantined.
    pub quarantined_collections: usize,
}

/// The state of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each instance.
    pub instances: Vec<InstanceReport>,
    /// Entries that at least one instance has not applied, and copies to be made or compared.
    pub pending: u64,
    /// Writes on their way into the log.
    pub waiting: usize,
    /// Time at which the oldest pending entry was logged.
    pub oldest_pending: Option<WallTime>,
    /// Entries that were applied to an instance after another had carried them out.
    pub replayed: u64,
    /// Failures so far.
    pub trouble_count: u64,
    /// Entries that an instance fails now, each instance counted for itself.
    pub failing_entries: usize,
    /// The latest failures, the oldest first.
    pub troubles: Vec<KnownTrouble>,
    /// Collections that have fewer sound copies than they should have.
    pub shortage: Shortage,
    /// Jobs that go on beside the lanes, or wait to be begun again.
    pub jobs: Vec<JobReport>,
    /// Findings of jobs that have ended.
    pub found: Vec<Found>,
    /// Now.
    pub now: Instant,
}

impl Engine {
    /// The state of the whole, as it is now.
    pub fn report(&self) -> Report {
        let active = || self.active.iter().filter_map(|id| self.lane(*id));
        let pending: usize = active().map(crate::lane::Lane::pending).sum();
        let (jobs, found) = self.report_jobs();
        Report {
            jobs,
            found,
            now: self.now,
            instances: InstanceIx::all(self.instances.len())
                .map(|instance| self.report_instance(instance))
                .collect(),
            pending: u64::try_from(pending).unwrap_or(u64::MAX)
                + InstanceIx::all(self.instances.len())
                    .map(|instance| self.work_for(instance))
                    .sum::<u64>(),
            waiting: self.gates.values().map(super::Gate::waiting).sum::<usize>()
                + self.appending.len(),
            oldest_pending: active().filter_map(crate::lane::Lane::oldest_pending).min(),
            replayed: self.replayed,
            trouble_count: self.troubles.count(),
            failing_entries: self.failing_entries(),
            troubles: self.known_troubles(),
            shortage: self.shortage(),
        }
    }

    fn report_instance(&self, instance: InstanceIx) -> InstanceReport {
        let state = self.instances.get(instance.at());
        let owed = |id: &LaneId| self.lane(*id).map_or(0, |lane| lane.owed_to(instance));
        let oldest = |id: &LaneId| self.lane(*id)?.oldest_owed_to(instance);
        InstanceReport {
            standing: self.standing(instance),
            is_forced: state.is_some_and(|state| state.health.is_forced()),
            quarantine: self.catalog.instance(instance).quarantine,
            owed: self.active.iter().map(owed).sum(),
            oldest_owed: self.active.iter().filter_map(oldest).min(),
            work: self.work_for(instance),
            quarantined_collections: self
                .catalog
                .collections()
                .filter(|c| {
                    c.copies
                        .get(instance.at())
                        .is_some_and(|c| c.quarantine.is_some())
                })
                .count(),
        }
    }
}
