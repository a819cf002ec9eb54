//! Demands of jobs, and the moments at which they are met.

use super::{Engine, Wait};
use crate::{
    body,
    catalog::Change,
    durable::Write,
    engine::{Effect, Gate},
    ids::{InstanceIx, JobId, LaneId, Position},
    jobs::{Cursor, Demand, Grant, Places, Polled},
    lane::Lane,
    limits::REACH_MAX,
    log::{Entry, RecordAct, Verb},
    outcome::Sending,
};

impl Engine {
    /// Lets a job go on until it waits for something that is not there yet.
    pub(super) fn go_on(&mut self, id: JobId) {
        loop {
            let (catalog, abilities) = (self.catalog.clone(), self.abilities.clone());
            let now = self.now;
            let Some(running) = self.jobs.running.get_mut(&id) else {
                return;
            };
            match running.job.poll(catalog, abilities, now) {
                Polled::Ended(result) => {
                    self.end(id, result);
                    return;
                }
                Polled::Demands(demand) => {
                    if !self.demanded(id, demand) {
                        return;
                    }
                }
            }
        }
    }

    /// Begins what a job demands; returns whether that is done already.
    fn demanded(&mut self, id: JobId, demand: Demand) -> bool {
        let now = self.now;
        let Some(running) = self.jobs.running.get_mut(&id) else {
            return false;
        };
        running.until = None;
        match demand {
            Demand::Ask(instance, wire, reply_bytes_max) => {
                running.wait = Wait::Told;
                running.asks = Some(instance);
                self.effects.push(Effect::Ask {
                    job: id,
                    instance,
                    wire,
                    reply_bytes_max,
                });
                false
            }
            Demand::Pause(span) => {
                running.wait = Wait::Until(now + span);
                false
            }
            Demand::Settle(cursors, changes) => {
                running.wait = Wait::Settled;
                self.effects.push(Effect::Write(Write::Settle {
                    job: id,
                    cursors: cursors.clone(),
                    changes: changes.clone(),
                }));
                self.homes_settling(id, &changes);
                self.settled_by_job(&cursors, &changes);
                if !cursors.is_empty() {
                    self.jobs.placed.insert(id, cursors);
                }
                false
            }
            Demand::Watch(lane) => {
                running.watches = Some(lane);
                running.job.grant(Grant::Done);
                self.resolve_what_waits(lane);
                true
            }
            Demand::Release(lane) => {
                running.holds = None;
                running.job.grant(Grant::Done);
                self.open_gate(lane);
                true
            }
            Demand::Decided(lane) => {
                let decided = self.lane(lane).map(Lane::decided).unwrap_or_default();
                if let Some(running) = self.jobs.running.get(&id) {
                    running.job.grant(Grant::Head(decided));
                }
                true
            }
            Demand::Reach(lane, places) => {
                let head = self.lane(lane).map(Lane::head).unwrap_or_default();
                if let Some(running) = self.jobs.running.get_mut(&id) {
                    running.until = Some(now + REACH_MAX);
                    running.wait = Wait::Reach(lane, places, head);
                }
                self.try_grant(id)
            }
            Demand::Hold(lane, places) => {
                let until = now + running.job.task.hold_max();
                running.holds = Some((lane, until));
                running.wait = Wait::Rest(lane, places);
                self.gates.entry(lane).or_default().held = true;
                self.try_grant(id)
            }
        }
    }

    /// Grants what a job waits for from a lane, if it has come. It is granted once: the lane may
    /// move again before the job goes on.
    fn try_grant(&mut self, id: JobId) -> bool {
        let Some(running) = self.jobs.running.get(&id) else {
            return false;
        };
        let granted = match &running.wait {
            Wait::Rest(lane, places) => self.rests(*lane, places),
            Wait::Reach(lane, places, head) => {
                let has_reached = |place: &InstanceIx| {
                    self.lane(*lane)
                        .is_none_or(|lane| lane.has_applied(*place, *head))
                };
                places.iter().all(has_reached).then_some(*head)
            }
            Wait::Told | Wait::Settled | Wait::Until(_) => None,
        };
        let (Some(head), Some(running)) = (granted, self.jobs.running.get_mut(&id)) else {
            return false;
        };
        running.job.grant(Grant::Head(head));
        running.wait = Wait::Told;
        true
    }

    /// The head of a lane in which nothing is under way and these instances have everything.
    fn rests(&self, id: LaneId, places: &Places) -> Option<Position> {
        let is_idle = self.gates.get(&id).is_none_or(Gate::has_nothing_under_way);
        let Some(lane) = self.lane(id) else {
            return is_idle.then_some(Position(0));
        };
        let head = lane.head();
        let at_rest = |place: &InstanceIx| lane.has_recorded(*place, head);
        (is_idle && lane.open() == 0 && places.iter().all(at_rest)).then_some(head)
    }

    /// A lane has moved: a job may have waited for that.
    pub(in crate::engine) fn lane_moved(&mut self, lane: LaneId) {
        if self.jobs.running.is_empty() {
            return;
        }
        let waits = |wait: &Wait| match wait {
            Wait::Rest(waited, _) | Wait::Reach(waited, ..) => *waited == lane,
            _ => false,
        };
        let running = self.jobs.running.iter();
        let waiting: Vec<JobId> = running
            .filter(|(_, running)| waits(&running.wait))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            if self.try_grant(id) {
                self.unblocked.push_back(id);
            }
        }
    }

    /// Lets a job go on whose wait is over.
    pub(in crate::engine) fn next_unblocked(&mut self) -> bool {
        let Some(id) = self.unblocked.pop_front() else {
            return false;
        };
        if let Some(running) = self.jobs.running.get_mut(&id) {
            running.wait = Wait::Told;
            running.until = None;
        }
        self.go_on(id);
        true
    }

    /// A job's request has ended, perhaps after the job itself. A request that was never answered may still
    /// be carried out.
    pub(in crate::engine) fn told(&mut self, id: JobId, sending: Sending) {
        let running = self.jobs.running.get_mut(&id);
        let asked = running.and_then(|running| running.asks.take());
        let unanswered = self.jobs.unanswered.remove(&id);
        if sending == Sending::Silent
            && let Some(asked) = asked.or(unanswered)
        {
            self.settle_jobs(asked);
        }
        if let Some(running) = self.jobs.running.get_mut(&id).filter(|_| asked.is_some()) {
            running.job.grant(Grant::Told(sending));
            self.go_on(id);
        } else {
            self.schedule();
        }
    }

    /// Has jobs wait until what an instance has not answered can't be carried out any more.
    pub(in crate::engine) fn settle_jobs(&mut self, instance: InstanceIx) {
        let settle = self.settings.lanes.settle;
        if let Some(state) = self.instances.get_mut(instance.at()) {
            state.jobs_from = state.health.awake().at_most(self.now) + settle;
        }
    }

    pub(in crate::engine) fn settled(&mut self, id: JobId) {
        self.homes_settled(id);
        for (lane, instance, position) in self.jobs.placed.remove(&id).unwrap_or_default() {
            self.recorded(lane, instance, position);
        }
        if let Some(running) = self.jobs.running.get_mut(&id)
            && matches!(running.wait, Wait::Settled)
        {
            running.job.grant(Grant::Done);
            self.go_on(id);
        }
    }

    /// Takes in what a job has made true.
    fn settled_by_job(&mut self, cursors: &[Cursor], changes: &[Change]) {
        for change in changes {
            self.catalog.apply(change);
        }
        for (lane, instance, position) in cursors {
            if let Some(lane) = self.lane_mut(*lane) {
                lane.placed(*instance, *position);
            }
        }
        self.follow_changes(changes);
        for (lane, ..) in cursors {
            self.advance(*lane);
        }
    }

    /// Tells the job that watches the entry's lane which records the entry touches.
    pub(in crate::engine) fn touched(&self, entry: &Entry, names_ids: bool) {
        if let Some(watcher) = self.jobs.watcher(entry.verb.lane()) {
            watcher.job.touch(touched_ids(entry, names_ids));
        }
    }

    /// Returns true when writes of a lane must name the records that they touch.
    pub(in crate::engine) fn is_watched(&self, lane: LaneId) -> bool {
        !self.jobs.running.is_empty() && self.jobs.watcher(lane).is_some()
    }
}

/// The ids of the records that an entry touches; `None` when only an instance can tell. What was
/// asked for ids and has none touches nothing: it was found to hit nothing, or is refused.
fn touched_ids(entry: &Entry, names_ids: bool) -> Option<Vec<String>> {
    let Verb::Record { act, .. } = entry.verb else {
        return Some(Vec::new());
    };
    match body::named_ids(&entry.body) {
        Some(ids) => Some(ids),
        None if act == RecordAct::Delete && !names_ids => None,
        None => Some(Vec::new()),
    }
}
