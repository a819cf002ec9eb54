//! End of a job: with a finding, or to be begun again later.

use std::sync::Arc;

use super::{Engine, Found, JobReport, Retry};
use crate::{
    backoff,
    engine::Effect,
    ids::{InstanceIx, JobId},
    jobs::{Finding, Stopped, Task},
    limits::{ASKED_TRIES_MAX, FINDINGS_KEPT_MAX, LASTING_PAUSE},
};

impl Engine {
    pub(in crate::engine) fn found(&mut self, task: Task, finding: Finding) {
        self.home_found(&task, &finding);
        self.jobs.asked.retain(|asked| *asked != task);
        self.jobs.found.retain(|found| found.task != task);
        if self.jobs.found.len() >= FINDINGS_KEPT_MAX {
            self.jobs.found.pop_front();
        }
        self.jobs.found_count += 1;
        self.jobs.found.push_back(Found {
            number: self.jobs.found_count,
            task,
            at: self.now,
            finding,
        });
    }

    pub(super) fn end(&mut self, id: JobId, result: Result<Finding, Stopped>) {
        let Some(running) = self.jobs.running.remove(&id) else {
            return;
        };
        if let Some(asked) = running.asks {
            self.jobs.unanswered.insert(id, asked);
        }
        let task = running.job.task.clone();
        match result {
            Ok(finding) => {
                self.jobs.retries.remove(&task);
                self.marked(&task);
                match &task {
                    Task::Locate(id) => {
                        self.jobs.located.note(*id, self.now);
                        self.jobs.asked.retain(|asked| *asked != task);
                    }
                    Task::Discover(tenant) => {
                        self.jobs.asked.retain(|asked| *asked != task);
                        if finding == Finding::Done && !self.catalog.knows_tenant(tenant) {
                            self.remember_absent(Arc::clone(tenant));
                        }
                    }
                    _ => {}
                }
                if matches!(finding, Finding::Adopted(_)) || task.is_for_operators() {
                    self.found(task, finding);
                }
            }
            Err(stopped) => {
                if let Some(id) = task.collection().filter(|_| stopped.is_suspicion) {
                    self.suspect(id);
                }
                self.retry_later(task, stopped);
            }
        }
        if let Some((lane, _)) = running.holds {
            self.open_gate(lane);
        }
        self.schedule();
    }

    /// An instance has gone out of service: a job that has to do with it is ended, and begun again with
    /// those that are there then. When the instance is back it may have data from the past.
    pub(in crate::engine) fn end_jobs_with(&mut self, instance: InstanceIx) {
        let running = self.jobs.running.iter();
        let theirs: Vec<JobId> = running
            .filter(|(_, running)| running.job.places.contains(&instance))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            let stopped = Stopped::because("an instance that it needs went out of service");
            self.end(id, Err(stopped));
        }
    }

    /// Ends the jobs that would give a collection a home, and those that are asked for.
    pub(in crate::engine) fn end_home_jobs(&mut self) {
        let is_homeless = |task: &Task| match task {
            Task::Home(id, _) => self.catalog.get(*id).is_none_or(|c| c.home.is_none()),
            _ => false,
        };
        let running = self.jobs.running.iter();
        let theirs: Vec<JobId> = running
            .filter(|(_, running)| is_homeless(&running.job.task))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            let stopped = Stopped::because("policy has changed");
            self.end(id, Err(stopped));
        }
        let gives_home = |task: &Task| matches!(task, Task::Home(..));
        self.jobs.asked.retain(|task| !gives_home(task));
    }

    /// An instance has a new token, if this was about its marker.
    fn marked(&mut self, task: &Task) {
        let at = self.now + self.settings.token_interval;
        let state = task
            .marks()
            .and_then(|instance| self.instances.get_mut(instance.at()));
        if let Some(state) = state {
            state.mark_at = at;
        }
    }

    fn retry_later(&mut self, task: Task, stopped: Stopped) {
        let tries = self.jobs.retries.get(&task).map_or(0, |retry| retry.tries) + 1;
        let pause = if stopped.is_lasting {
            LASTING_PAUSE
        } else {
            backoff::pause(tries, u64::from(tries))
        };
        let at = self.now + pause;
        if matches!(task, Task::Discover(_)) && tries >= ASKED_TRIES_MAX {
            // Whoever still waits for it asks again.
            self.jobs.retries.remove(&task);
            self.jobs.asked.retain(|asked| *asked != task);
            return;
        }
        let is_last =
            tries >= ASKED_TRIES_MAX || stopped.is_lasting || matches!(task, Task::Home(..));
        if is_last && self.jobs.asked.contains(&task) {
            self.jobs.retries.remove(&task);
            self.found(task, Finding::Refused(stopped.reason));
            return;
        }
        self.effects.push(Effect::JobFailed {
            task: task.clone(),
            tries,
            reason: stopped.reason.clone(),
        });
        if matches!(task, Task::Home(..)) {
            // Policy does not want it any more.
            return;
        }
        let retry = Retry {
            tries,
            at,
            reason: stopped.reason,
        };
        self.jobs.retries.insert(task, retry);
    }

    /// The jobs that go on or wait, and what has been found.
    pub(in crate::engine) fn report_jobs(&self) -> (Vec<JobReport>, Vec<Found>) {
        let retry = |task: &Task| {
            let retry = self.jobs.retries.get(task);
            retry.map_or((0, String::new()), |r| (r.tries, r.reason.clone()))
        };
        let running = self.jobs.running.values().map(|running| JobReport {
            task: running.job.task.clone(),
            stage: Some(running.job.stage()),
            at: running.since,
            failed: retry(&running.job.task),
        });
        let waiting = self.jobs.retries.iter();
        let waiting =
            waiting
                .filter(|(task, _)| !self.jobs.is_running(task))
                .map(|(task, retry)| JobReport {
                    task: task.clone(),
                    stage: None,
                    at: retry.at,
                    failed: (retry.tries, retry.reason.clone()),
                });
        let found = self.jobs.found.iter().cloned().collect();
        (running.chain(waiting).collect(), found)
    }
}
