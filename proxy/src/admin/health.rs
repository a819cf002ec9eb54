//! `/health` and the reasons for which the service is degraded (rule 18 of the design).

use achromat_core::{health::Standing, reply::Reply};
use serde::Serialize;

use super::{answers::State, json, scripts::ARCHITECTURE};

/// Failures of a job after which it is a reason to call the service degraded.
const JOB_FAILURES_MIN: u32 = 3;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    healthy_instances: usize,
    total_instances: usize,
    pending_writes: u64,
    architecture: &'static str,
    /// Reasons why the service is degraded; empty when it is healthy.
    reasons: Vec<String>,
}

impl State<'_> {
    /// The answer to `/health`.
    pub(super) fn health(&self) -> Reply {
        let reasons = self.reasons();
        let body = Health {
            status: if reasons.is_empty() {
                "healthy"
            } else {
                "degraded"
            },
            service: "achromat",
            version: env!("CARGO_PKG_VERSION"),
            healthy_instances: self.healthy(),
            total_instances: self.instances.len(),
            pending_writes: self.report.pending,
            architecture: ARCHITECTURE,
            reasons,
        };
        json(if self.in_service() > 0 { 200 } else { 503 }, &body)
    }

    /// The reasons for which the service is degraded; none when all is well.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let fleet = self.facts.fleet.as_ref();
        if let Some(loss) = fleet.and_then(|fleet| fleet.loss()) {
            reasons.push(loss.to_string());
        } else if !self.view.store_is_up {
            reasons.push("the log can't be written".to_owned());
        }
        for (place, instance) in self.instances.iter() {
            if self.view.standing(place) != Standing::Up {
                let state = self.state_word(place);
                reasons.push(format!("instance {} is {state}", instance.name));
            }
        }
        let shortage = self.report.shortage;
        let shortages = [
            (shortage.without_copy, "that no instance can serve"),
            (shortage.with_one_copy, "with one sound copy only"),
        ];
        for (count, which) in shortages {
            if count > 0 {
                reasons.push(format!("{count} collection(s) {which}"));
            }
        }
        let failing = self.failing_jobs();
        if failing > 0 {
            let why = format!("{failing} job(s) failed {JOB_FAILURES_MIN} times or more");
            reasons.push(why);
        }
        reasons
    }

    /// Jobs that have failed so often that somebody should look.
    pub(super) fn failing_jobs(&self) -> usize {
        let jobs = self.report.jobs.iter();
        jobs.filter(|job| job.failed.0 >= JOB_FAILURES_MIN).count()
    }
}
