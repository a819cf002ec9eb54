//! The lanes at work: what they want done becomes the engine's effects.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Effect, Engine, trouble};
use crate::{
    catalog::Change,
    durable::Write,
    health::Sign,
    ids::{Attempt, InstanceIx, LaneId, Position},
    jobs::Task,
    lane::{self, Context, Lane},
    log::{Verb, Verdict},
    outcome::{Before, Outcome, Sending, judge, judge_look_up},
    planted::Bug,
    time::Instant,
};

impl Engine {
    /// Lets a lane work, with all that is known now.
    fn with_lane(&mut self, id: LaneId, work: impl FnOnce(&mut Lane, &mut Context<'_>)) {
        let peers = self.peers(id);
        let mut free: SmallVec<[usize; 2]> = self.instances.iter().map(|i| i.turns.free).collect();
        let mut effects = Vec::new();
        let (rules, now) = (self.settings.lanes, self.now);
        let may_have_ended = self.may_have_ended(id);
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        let mut context = Context {
            now,
            peers: &peers,
            rules: &rules,
            replications: &mut free,
            may_have_ended,
            effects: &mut effects,
        };
        work(lane, &mut context);
        for (instance, free) in self.instances.iter_mut().zip(free) {
            instance.turns.free = free;
        }
        let mut wake = None;
        for effect in effects {
            self.carry_out(id, effect, &mut wake);
        }
        if let Some(at) = wake {
            self.wake(id, at);
        }
    }

    /// Does all that can be done in a lane now.
    pub(super) fn advance(&mut self, id: LaneId) {
        if let Some(at) = self.wake_of.remove(&id) {
            self.wakes.remove(&(at, id));
        }
        self.with_lane(id, Lane::advance);
        self.settle(id);
        self.lane_moved(id);
        self.pass_gate(id);
        self.wake_for_gate(id);
    }

    pub(super) fn wake(&mut self, id: LaneId, at: Instant) {
        match self.wake_of.get(&id) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.wakes.remove(&(*later, id));
            }
            None => {}
        }
        self.wake_of.insert(id, at);
        self.wakes.insert((at, id));
    }

    pub(super) fn wake_for_gate(&mut self, id: LaneId) {
        if let Some(at) = self.gates.get(&id).and_then(super::Gate::wakes_at) {
            self.wake(id, at);
        }
    }

    /// Keeps the books after a lane has worked.
    fn settle(&mut self, id: LaneId) {
        let Some(lane) = self.lane(id) else {
            self.active.remove(&id);
            return;
        };
        let (pending, base, mut progress) = (lane.pending(), lane.base(), lane.progress());
        if self.plants(Bug::ServesLagging) {
            progress.acknowledged = Position(0);
        }
        let (is_done_for, is_settling) = (lane.is_void() && !lane.is_busy(), lane.is_settling());
        if pending > 0 || is_settling || self.gates.contains_key(&id) {
            self.active.insert(id);
        } else {
            self.active.remove(&id);
        }
        match id {
            LaneId::Collection(collection) if is_done_for => {
                self.lanes.remove(&collection);
                self.progress.remove(&collection);
                self.active.remove(&id);
                self.trimmable.remove(&id);
                return;
            }
            LaneId::Collection(collection) => {
                if self.progress.get(&collection) != Some(&progress) {
                    self.progress.insert(collection, progress);
                }
            }
            LaneId::Schema => {}
        }
        if base > Position(0) {
            self.trimmable.insert(id);
        }
    }

    /// Keeps a body, and frees the oldest when there is no room.
    fn keep_body(&mut self, id: LaneId, position: Position, bytes: usize) {
        self.kept.add(id, position, bytes);
        while let Some((id, position)) = self.kept.next_to_go() {
            if let Some(lane) = self.lane_mut(id) {
                lane.drop_body(position);
            }
        }
    }

    fn carry_out(&mut self, id: LaneId, effect: lane::Effect, wake: &mut Option<Instant>) {
        match effect {
            lane::Effect::Send {
                instance,
                position,
                last,
                attempt,
                look_up,
                ..
            } => self.send(id, instance, (position, last), attempt, look_up),
            lane::Effect::Keep { position, bytes } => self.keep_body(id, position, bytes),
            lane::Effect::Record {
                instance,
                position,
                verdict,
                settled,
                letter,
            } => {
                let is_awaited = settled.is_some() || letter.is_some();
                let is_awaited = is_awaited || self.awaits_record(id, position, verdict);
                let write = Write::Record {
                    lane: id,
                    instance,
                    position,
                    verdict,
                    settled,
                    changes: Vec::new(),
                    letter,
                };
                self.effects.push(if is_awaited {
                    Effect::Write(write)
                } else {
                    Effect::WriteWithNext(write)
                });
            }
            lane::Effect::Close {
                position,
                verdict,
                reason,
                settled,
                is_letter,
                may_be_done,
            } => {
                let logged_at = self.logged_at(id, position);
                self.warn(trouble(id, None, position, logged_at, 0, reason.clone()));
                self.effects.push(Effect::Write(Write::Close {
                    lane: id,
                    position,
                    verdict,
                    reason,
                    settled,
                    is_letter,
                }));
                let subject = self.lane(id).and_then(|lane| lane.slot(position));
                let subject = subject.and_then(|slot| slot.verb.subject());
                if let (Some(collection), true) = (subject, may_be_done) {
                    self.ask_for(Task::Verify(collection));
                }
            }
            lane::Effect::Answer { ticket, reply } => self.answer(ticket, reply),
            lane::Effect::AskAgain { ticket } => self.effects.push(Effect::AskAgain { ticket }),
            lane::Effect::Disagrees {
                instance,
                position,
                reason,
            } => self.quarantine(id, instance, position, reason),
            lane::Effect::Missing => {
                if let LaneId::Collection(collection) = id {
                    self.suspect(collection);
                }
            }
            lane::Effect::Trouble {
                instance,
                position,
                tries,
                reason,
            } => {
                let logged_at = self.logged_at(id, position);
                self.warn(trouble(
                    id,
                    Some(instance),
                    position,
                    logged_at,
                    tries,
                    reason,
                ));
            }
            lane::Effect::Silence { instance } => self.silences.push_back(instance),
            lane::Effect::AwaitTurn { instance } => {
                if let Some(state) = self.instances.get_mut(instance.at()) {
                    state.turns.wait(id);
                }
            }
            lane::Effect::Wake { at } => *wake = Some(wake.map_or(at, |wake| wake.min(at))),
        }
    }

    /// Returns true when something goes on only after a cursor is recorded: the entry behind it, or a
    /// client who is told of a decision only when that is durable.
    fn awaits_record(&self, id: LaneId, position: Position, verdict: Option<Verdict>) -> bool {
        id == LaneId::Schema
            || verdict.is_some_and(|verdict| !verdict.binds())
            || self.lane(id).is_none_or(|lane| lane.head() > position)
    }

    fn logged_at(&self, id: LaneId, position: Position) -> Option<crate::time::WallTime> {
        Some(self.lane(id)?.slot(position)?.logged_at)
    }

    pub(super) fn answered(
        &mut self,
        id: LaneId,
        instance: InstanceIx,
        attempt: Attempt,
        (count, sending): (usize, Sending),
    ) {
        let Some(mut awaited) = self
            .lane(id)
            .and_then(|lane| lane.awaited(instance, attempt))
        else {
            return;
        };
        awaited.end_after(count);
        let known = self.lane(id).and_then(|lane| {
            if lane.has_applied(instance, awaited.position) {
                // A job has placed the instance behind it.
                return None;
            }
            let slot = lane.slot(awaited.position)?;
            let before = Before {
                maybe_here: slot.may_be_done_on(instance),
                elsewhere: slot.verdict == Verdict::Accepted,
                is_refused: matches!(slot.verdict, Verdict::Refused { .. }),
            };
            let verb = match self.left_over(&slot.verb, instance, slot.verdict) {
                Some((left, _)) => Verb::DeleteCollection {
                    collection: left.id,
                },
                None => slot.verb.clone(),
            };
            Some((verb, before))
        });
        let Some((verb, before)) = known else {
            let is_silent = sending == Sending::Silent;
            self.with_lane(id, |lane, context| {
                lane.ended_late(instance, is_silent, context);
            });
            if awaited.replicates {
                self.end_replication(instance);
            }
            self.advance(id);
            return;
        };
        let sign = match &sending {
            Sending::NotSent(_) => Some(Sign::Refused),
            Sending::Silent => Some(Sign::Silent),
            Sending::Closed { reused: false } => Some(Sign::Closed),
            Sending::Withheld(_)
            | Sending::Closed { reused: true }
            | Sending::TooLarge
            | Sending::Answered(_) => None,
        };
        let outcome = if awaited.look_up {
            self.own_or_older(instance, &verb, judge_look_up(sending))
        } else {
            judge(&verb, sending, before)
        };
        let outcome = self.own_or_anothers(instance, &verb, outcome);
        let outcome = self.weigh_not_found(&verb, outcome);
        let place = (id, awaited.position);
        let outcome = self.spare_last_copy(place, instance, &verb, outcome);
        self.conclude(id, instance, awaited, outcome);
        if let Some(sign) = sign {
            self.noticed(instance, sign);
        }
    }

    /// Takes an outcome into the catalog and the lane.
    fn conclude(
        &mut self,
        id: LaneId,
        instance: InstanceIx,
        awaited: lane::Awaited,
        outcome: Outcome,
    ) {
        let looks_up = outcome == Outcome::LookUp;
        if awaited.replicates && matches!(outcome, Outcome::Done(_)) {
            self.replayed += awaited.last.since(awaited.position) + 1;
        }
        let (outcome, changes) = self.take_in(id, instance, awaited.position, outcome);
        for change in &changes {
            self.catalog.apply(change);
        }
        let from = self.effects.len();
        self.with_lane(id, |lane, context| {
            lane.answered(instance, awaited, outcome, context);
        });
        self.attach(from, changes.clone());
        if awaited.replicates && !looks_up {
            self.end_replication(instance);
        }
        self.advance(id);
        self.follow_changes(&changes);
    }

    /// I08: what an entry changes in the catalog is recorded together with its cursor.
    fn attach(&mut self, from: usize, made: Vec<Change>) {
        if made.is_empty() {
            return;
        }
        let record = self
            .effects
            .iter_mut()
            .skip(from)
            .find_map(|effect| match effect {
                Effect::Write(Write::Record { changes, .. })
                | Effect::WriteWithNext(Write::Record { changes, .. }) => Some(changes),
                _ => None,
            });
        match record {
            Some(changes) => *changes = made,
            None => self.effects.push(Effect::Write(Write::Change(made))),
        }
    }

    fn end_replication(&mut self, instance: InstanceIx) {
        if let Some(state) = self.instances.get_mut(instance.at()) {
            state.turns.end();
        }
        // Whoever has nothing to send any more leaves the turn to the next.
        while let Some(lane) = self.next_to_replicate(instance) {
            self.advance(lane);
        }
    }

    fn next_to_replicate(&mut self, instance: InstanceIx) -> Option<LaneId> {
        self.instances.get_mut(instance.at())?.turns.next()
    }

    /// Does what came up while something else was being done.
    pub(super) fn drain(&mut self) {
        loop {
            if let Some((id, instance, attempt, outcome)) = self.unsent.pop_front() {
                let awaited = self
                    .lane(id)
                    .and_then(|lane| lane.awaited(instance, attempt));
                if let Some(awaited) = awaited {
                    self.conclude(id, instance, awaited, outcome);
                }
            } else if let Some(instance) = self.silences.pop_front() {
                self.noticed(instance, Sign::Silent);
            } else if self.next_unblocked() {
                // It went on as far as it could.
            } else {
                break;
            }
        }
    }

    pub(super) fn recorded(&mut self, id: LaneId, instance: InstanceIx, position: Position) {
        if let Some(lane) = self.lane_mut(id) {
            lane.recorded(instance, position);
        }
        self.advance(id);
    }

    fn quarantine(&mut self, id: LaneId, instance: InstanceIx, position: Position, reason: String) {
        let logged_at = self.logged_at(id, position);
        let subject = self
            .lane(id)
            .and_then(|lane| lane.slot(position))
            .and_then(|slot| slot.verb.subject_or_made());
        self.warn(trouble(
            id,
            Some(instance),
            position,
            logged_at,
            1,
            reason.clone(),
        ));
        let Some(collection) = subject.filter(|id| self.catalog.get_even_gone(*id).is_some())
        else {
            return;
        };
        let known = self.catalog.get_even_gone(collection);
        let unknown = known.filter(|known| known.on(instance).is_none());
        let unsure = unknown.map(|unknown| Change::Unsure {
            collection,
            instance,
            name: Arc::clone(&unknown.name),
        });
        let quarantined = Change::Quarantined {
            collection,
            instance,
            reason: reason.into(),
        };
        self.change(unsure.into_iter().chain([quarantined]).collect());
    }

    /// Deletes from the log what everybody has done.
    pub(super) fn trim(&mut self) {
        for id in std::mem::take(&mut self.trimmable) {
            let peers = self.peers(id);
            let planted = self.settings.lanes.planted;
            let Some(lane) = self.lane_mut(id) else {
                continue;
            };
            let through = if planted.is(Bug::TrimsTooFar) {
                lane.head()
            } else {
                lane.base()
            };
            if !lane.begin_trim() {
                continue;
            }
            let instances = InstanceIx::all(peers.len())
                .zip(&peers)
                .filter(|(_, peer)| !peer.is_quarantined)
                .map(|(instance, _)| instance)
                .collect();
            if id == LaneId::Schema {
                self.forget_collections(through);
            }
            self.effects.push(Effect::WriteWithNext(Write::Trim {
                lane: id,
                through,
                instances,
            }));
        }
    }

    fn forget_collections(&mut self, through: Position) {
        let changes: Vec<_> = self
            .catalog
            .forgettable(through)
            .into_iter()
            .map(|collection| Change::Forgotten { collection })
            .collect();
        if !changes.is_empty() {
            self.change(changes);
        }
    }

    /// Changes the catalog by itself, here and durably.
    pub(super) fn change(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.catalog.apply(change);
        }
        self.effects.push(Effect::Write(Write::Change(changes)));
    }
}
