//! The end of a history: when everything has come to rest, and what is then looked at.

use std::{collections::BTreeSet, time::Duration};

use achromat_core::{engine::Event, ids::CollectionId, jobs::Task};

use super::{
    marks::Mark,
    proxy::Message,
    requests::{all_collections, everything_of},
    world::{Happening, World},
};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long it may take until everything is at rest, beside the deadlines of what is under way:
/// the longest pause between two attempts, and a little.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sendings for each entry and instance, and for each fault, that nobody needs to explain.
const SENDINGS_PER_ENTRY: u64 = 3;
const SENDINGS_PER_FAULT: u64 = 30;

impl World {
    /// Looks whether everything is at rest; then clients look at everything once more, and the
    /// history ends.
    pub(super) fn look(&mut self) {
        let is_asked = self.operations.len() >= self.plan.operations;
        let is_answered = self
            .operations
            .iter()
            .all(|operation| operation.ended.is_some());
        let owed = self.unrest();
        if is_asked && is_answered && owed.is_none() {
            if self.resting == 0 && self.operators_are_busy() {
                self.look_later();
                return;
            }
            match self.resting {
                0 => self.ask_for_everything(),
                _ if self.clients.iter().all(|client| client.closing.is_empty()) => {
                    self.finish();
                    return;
                }
                _ => {}
            }
            self.resting += 1;
        }
        self.look_later();
    }

    /// Looks again after a while, if that is not too late.
    fn look_later(&mut self) {
        let owed = self.unrest();
        let timing = self.plan.timing.write + self.plan.settings.lanes.settle;
        let chaos = self.plan.chaos + self.plan.write_deadline;
        let asking = self.plan.pause_max * u32::try_from(self.plan.operations).expect("a count");
        let latest = chaos + asking + timing * 2 + PATIENCE;
        let latest = latest + self.patience_with_heavy();
        let latest = latest + INTERVAL * self.resting.min(1) * 60 + self.patience_with_poison();
        if u128::from(self.now - self.dawned_at) > latest.as_micros() {
            let what = owed.unwrap_or_else(|| "a client waits".to_owned());
            self.violate(format!("no rest after {latest:?}: {what}"));
            return;
        }
        self.after(INTERVAL, Happening::Look);
    }

    /// What keeps everything from being at rest.
    fn unrest(&self) -> Option<String> {
        let owed = self.oracle.owed().or_else(|| self.pending());
        owed.or_else(|| self.homed())
    }

    fn pending(&self) -> Option<String> {
        let Some((_, proxy)) = self.proxies.last_key_value() else {
            return Some("no proxy runs".to_owned());
        };
        let report = proxy.engine.report();
        let is_pending = report.pending > 0 || report.waiting > 0;
        let is_pending = is_pending || (self.compares && !report.jobs.is_empty());
        is_pending.then(|| {
            let jobs = report.jobs.iter().map(|job| format!("{:?}", job.task));
            let jobs: Vec<String> = jobs.collect();
            let (pending, waiting) = (report.pending, report.waiting);
            format!("{pending} pending, {waiting} waiting, jobs {jobs:?}")
        })
    }

    /// Operators take up letters. When somebody has changed something behind the proxy's back, they
    /// have all copies compared, and say which are right, until all are equal.
    fn operators_are_busy(&mut self) -> bool {
        if self.operators_take_up_letters() {
            return true;
        }
        if !self.oracle.must_compare() {
            return false;
        }
        let wrong = self.oracle.distrusted();
        let events: Vec<Event> = if !wrong.is_empty() {
            self.compares = false;
            let ids: BTreeSet<_> = wrong.into_iter().map(|(id, _)| id).collect();
            ids.into_iter()
                .filter_map(|id| self.repair_of(id))
                .collect()
        } else if self.compares {
            Vec::new()
        } else {
            self.compares = true;
            let living = self.oracle.living().into_iter();
            living.map(|id| Event::Wanted(Task::Verify(id))).collect()
        };
        let is_busy = !events.is_empty();
        if let Some((number, _)) = self.proxies.last_key_value() {
            let number = *number;
            for event in events {
                self.put_to(number, Message::Event(event));
            }
        }
        is_busy
    }

    fn repair_of(&mut self, collection: CollectionId) -> Option<Event> {
        let servers: Vec<_> = self.processes.iter().map(|p| &p.server).collect();
        let source = self.oracle.right_copy(collection, &servers)?;
        self.mark(Mark::Repaired);
        self.say(|| format!("{collection} is right on {}", source.0));
        Some(Event::Repair { collection, source })
    }

    fn ask_for_everything(&mut self) {
        self.say(|| "everything is at rest".to_owned());
        let known = self.oracle.known().to_vec();
        let count = self.clients.len();
        for (at, (database, id)) in known.iter().enumerate() {
            let draft = everything_of(database, id);
            self.clients[at % count].closing.push(draft);
        }
        self.clients[0]
            .closing
            .push(all_collections("default_database"));
        for client in 0..count {
            self.after(Duration::from_millis(1), Happening::Turn(client));
        }
    }

    fn finish(&mut self) {
        let entries = self.oracle.entries();
        let instances = u64::try_from(self.processes.len()).expect("a count");
        let most = SENDINGS_PER_ENTRY * entries * instances
            + SENDINGS_PER_FAULT * self.faults.total()
            + SENDINGS_PER_FAULT;
        let sendings = self.oracle.sendings();
        if sendings > most {
            self.violate(format!(
                "{sendings} sendings for {entries} entries, more than {most}"
            ));
        }
        self.stop();
    }

    pub(super) fn judge(&self) -> Result<(), String> {
        let servers: Vec<_> = self
            .processes
            .iter()
            .map(|process| &process.server)
            .collect();
        self.oracle.judge_history(&self.operations, &servers)
    }
}
