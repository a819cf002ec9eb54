//! All lanes, the catalog and the instances together: events in, effects out.
//!
//! The engine is what production and the simulator both run. One [`Event`] at a time goes into
//! [`Engine::step`]; [`Engine::effects`] hands out what shall be done, in order: whatever must be
//! durable before something else is an effect of its own, and the other thing comes out only when
//! an event has confirmed it.

mod homes;
mod jobs;
mod kept;
mod keys;
mod lanes;
mod leftovers;
mod messages;
mod peers;
mod probing;
mod report;
mod resolving;
mod restore;
mod schema;
mod sending;
mod submit;
mod suspicion;
#[cfg(test)]
mod tests;
mod troubles;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use imbl::OrdMap;

use self::{homes::Homes, kept::Kept, submit::Gate, troubles::Troubles, turns::Turns};
pub use self::{
    homes::LocalSubmission,
    jobs::{Found, JobReport},
    keys::Join,
    messages::{Effect, Event, Payload, Wire},
    report::{InstanceReport, Report, TroubleReport},
    resolving::Question,
    restore::{RestoredLane, Snapshot},
    submit::Submission,
    troubles::{KnownTrouble, Shortage},
};
use crate::{
    abilities::{Abilities, AllAbilities},
    catalog::{Catalog, Change},
    health::{Health, HealthRules, Sign, Standing, Transition},
    ids::{Attempt, CollectionId, InstanceId, InstanceIx, JobId, LaneId, Position, Ticket},
    jobs::copy::Pace,
    lane::{Lane, Rules},
    limits::{ORPHANS_SETTLE, TRIM_INTERVAL},
    log::Entry,
    outcome::Outcome,
    planted::Bug,
    progress::Progress,
    time::{Instant, WallTime},
    view::View,
};

/// Settings by which the engine decides.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of instances.
    pub instances: usize,
    /// Timing of lanes.
    pub lanes: Rules,
    /// Requests that replicate to one instance at once.
    pub replication_max: usize,
    /// Bytes of bodies that stay in memory when nobody waits for their entries any more.
    pub kept_bytes_max: usize,
    /// Timing of probes.
    pub health: HealthRules,
    /// Time that settled keys are kept.
    pub keys_kept: Duration,
    /// Number of keys beyond which the oldest are forgotten, once they are settled.
    pub keys_max: u64,
    /// Pace at which copies are compared and made.
    pub pace: Pace,
    /// From the comparison of one collection's copies to that of the next one's.
    pub verify_interval: Duration,
    /// From one token of an instance to its next.
    pub token_interval: Duration,
}

struct Instance {
    health: Health,
    /// Abilities of the instance; none before it was met.
    abilities: Option<Abilities>,
    /// Time at which the instance is asked for its abilities again, though it was never away.
    meet_at: Instant,
    /// The marker that the probe under way asks for.
    probed_for: Option<InstanceId>,
    /// Time at which its token is due to be renewed.
    mark_at: Instant,
    turns: Turns,
    /// Before it has been awake for so long no job changes anything there: what an earlier one has sent
    /// may still be carried out.
    jobs_from: Duration,
}

/// An entry on its way into the store.
struct Appending {
    entry: Entry,
    client: crate::lane::Client,
    /// An instance was asked before for the ids that it touches.
    names_ids: bool,
}

/// The whole state.
pub struct Engine {
    settings: Settings,
    now: Instant,
    instances: Vec<Instance>,
    abilities: AllAbilities,
    /// Tenants that no instance has, and until when that is remembered.
    absent: OrdMap<Arc<str>, Instant>,
    /// True when the view has changed, perhaps without an effect that shows it.
    has_news: bool,
    catalog: Catalog,
    schema: Lane,
    lanes: BTreeMap<CollectionId, Lane>,
    gates: BTreeMap<LaneId, Gate>,
    appending: BTreeMap<Ticket, Appending>,
    /// Bytes of the heavy bodies among them.
    appending_heavy_bytes: usize,
    resolving: BTreeMap<Ticket, LaneId>,
    store_is_up: bool,
    progress: OrdMap<CollectionId, Progress>,
    /// The lanes that have something left to do.
    active: BTreeSet<LaneId>,
    /// The lanes whose base has moved since they were trimmed.
    trimmable: BTreeSet<LaneId>,
    wakes: BTreeSet<(Instant, LaneId)>,
    wake_of: BTreeMap<LaneId, Instant>,
    /// Sendings that need not be sent, because what would come of them is known.
    unsent: VecDeque<(LaneId, InstanceIx, Attempt, Outcome)>,
    /// Instances whose silence is to be taken in.
    silences: VecDeque<InstanceIx>,
    /// Jobs whose wait is over.
    unblocked: VecDeque<JobId>,
    jobs: jobs::Jobs,
    homes: Homes,
    trim_at: Instant,
    forget_keys_at: Instant,
    troubles: Troubles,
    kept: Kept,
    replayed: u64,
    effects: Vec<Effect>,
}

impl Engine {
    /// Takes in one event at a time; what is to be done about it collects in [`Self::effects`].
    pub fn step(&mut self, event: Event, now: Instant) {
        self.now = self.now.max(now);
        match event {
            Event::Submitted(submission) => self.submitted(*submission),
            Event::SubmittedLocally(submission) => self.submitted_locally(*submission),
            Event::DoneLocally { ticket, sending } => self.done_locally(ticket, sending),
            Event::PolicyChanged => self.end_homes(),
            Event::Appended { ticket, position } => self.appended(ticket, position),
            Event::AppendKnown { ticket } => self.append_known(ticket),
            Event::Joined(join) => self.joined(*join),
            Event::AppendFailed { ticket, reply } => self.append_failed(ticket, reply),
            Event::Resolved {
                ticket,
                instance,
                found,
            } => self.resolved(ticket, instance, found),
            Event::Answered {
                lane,
                instance,
                attempt,
                count,
                sending,
            } => self.answered(lane, instance, attempt, (count, sending)),
            Event::Recorded {
                lane,
                instance,
                position,
            } => self.recorded(lane, instance, position),
            Event::Closed { lane, position } => {
                if let Some(lane) = self.lane_mut(lane) {
                    lane.closed(position);
                }
                self.advance(lane);
            }
            Event::Told { job, sending } => self.told(job, sending),
            Event::Settled { job } => self.settled(job),
            Event::Wanted(task) => self.ask_for(task),
            Event::Repair { collection, source } => self.repair(collection, source),
            Event::Missed { instance, id } => self.missed(instance, id),
            Event::Noticed { instance, sign } => {
                self.noticed(instance, sign);
            }
            Event::Probed {
                instance,
                probe,
                abilities,
                vitals,
            } => {
                self.met(instance, abilities);
                self.probed(instance, probe, vitals);
            }
            Event::Forced {
                instance,
                standing,
                span,
            } => {
                let now = self.now;
                self.health(instance, |health| health.force(standing, now + span, now));
            }
            Event::StoreIs { up } => self.store_is_up = up,
            Event::ClearTroubles => self.clear_troubles(),
            Event::Tick => self.tick(),
        }
        self.drain();
        while self.move_homes() {
            self.drain();
        }
    }

    /// Takes the effects that are to be carried out, in order.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns true when the view has changed since the last call, although nothing is to be done about it.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Time at which [`Event::Tick`] is due.
    pub fn wakes_at(&self) -> Option<Instant> {
        let lanes = self.wakes.first().map(|(at, _)| *at);
        let health = self.instances.iter().filter_map(|i| i.health.wakes_at());
        let trim = (!self.trimmable.is_empty()).then_some(self.trim_at);
        let others = trim.into_iter().chain([self.forget_keys_at]);
        let others = others.chain(self.homes.wakes_at());
        health
            .chain(lanes)
            .chain(others)
            .chain(self.jobs.wakes_at())
            .min()
    }

    /// State that requests may see now.
    pub fn view(&self) -> View {
        View {
            catalog: self.catalog.clone(),
            standings: InstanceIx::all(self.instances.len())
                .map(|instance| self.standing(instance))
                .collect(),
            abilities: self.abilities.clone(),
            absent: self.absent.clone(),
            schema: self.schema.progress(),
            changing: self
                .schema
                .unsettled()
                .map(|(position, verb)| (position, verb.subject_or_made()))
                .collect(),
            lanes: self.progress.clone(),
            policy: self.homes.policy(),
            store_is_up: self.store_is_up,
            has_seen_all: InstanceIx::all(self.instances.len())
                .zip(&self.instances)
                .all(|(instance, state)| match state.health.standing() {
                    Standing::Up => !self.catalog.is_out(instance),
                    Standing::Suspect => false,
                    Standing::Down => true,
                }),
        }
    }

    fn tick(&mut self) {
        for instance in InstanceIx::all(self.instances.len()) {
            let now = self.now;
            let (mut is_due, mut was_away) = (false, false);
            self.health(instance, |health| {
                was_away = !health.is_continuous();
                let (due, transition) = health.tick(now);
                is_due = due;
                transition
            });
            if is_due {
                let marker = self.catalog.instance(instance).marker;
                let mut meets = false;
                if let Some(state) = self.instances.get_mut(instance.at()) {
                    state.probed_for = marker.map(|marker| marker.id);
                    meets = was_away || state.abilities.is_none() || state.meet_at <= now;
                }
                self.effects.push(Effect::Probe {
                    instance,
                    marker,
                    meets,
                });
            }
        }
        while let Some((at, lane)) = self.wakes.first().copied()
            && at <= self.now
        {
            self.wakes.remove(&(at, lane));
            self.wake_of.remove(&lane);
            self.advance(lane);
        }
        let now = self.now;
        if self.absent.values().any(|until| *until <= now) {
            let remembered = self.absent.iter().filter(|(_, until)| **until > now);
            self.absent = remembered
                .map(|(t, until)| (Arc::clone(t), *until))
                .collect();
        }
        self.tick_jobs();
        if self.trim_at <= self.now {
            self.trim_at = self.now + TRIM_INTERVAL;
            self.trim();
        }
        self.forget_keys();
    }

    fn noticed(&mut self, instance: InstanceIx, sign: Sign) {
        let now = self.now;
        self.health(instance, |health| health.noticed(sign, now));
    }

    /// Takes an instance out of service until a job has made it whole again.
    fn exclude(&mut self, instance: InstanceIx, reason: &str) {
        let mut record = self.catalog.instance(instance);
        record.quarantine = Some(reason.into());
        self.change(vec![Change::Instance { instance, record }]);
        self.end_jobs_with(instance);
        for id in self.active.clone() {
            self.advance(id);
        }
    }

    /// Changes what is known of an instance, and goes on wherever that matters.
    fn health(
        &mut self,
        instance: InstanceIx,
        change: impl FnOnce(&mut Health) -> Option<Transition>,
    ) {
        let Some(state) = self.instances.get_mut(instance.at()) else {
            return;
        };
        let Some(transition) = change(&mut state.health) else {
            return;
        };
        if (transition.from, transition.to) == (Standing::Down, Standing::Up) {
            state.mark_at = self.now;
        }
        if transition.to == Standing::Up && transition.was_away {
            // It may have what the others lack.
            self.absent.clear();
        }
        if transition.restarted {
            // What was left with it is dead.
            state.jobs_from = Duration::ZERO;
        }
        self.effects.push(Effect::Tell {
            instance,
            transition,
        });
        for id in self.active.clone() {
            let now = self.now;
            if let Some(lane) = self.lane_mut(id) {
                match transition.to {
                    Standing::Up if transition.was_away => {
                        lane.returned(instance, transition.restarted, now);
                    }
                    Standing::Down => lane.drop_bodies(),
                    Standing::Up | Standing::Suspect => {}
                }
            }
            self.advance(id);
        }
        if transition.to == Standing::Down {
            self.end_jobs_with(instance);
        }
        self.schedule();
    }

    /// Standing of an instance: down while it waits for a job to see to it, otherwise as its health says.
    fn standing(&self, instance: InstanceIx) -> Standing {
        if self.catalog.is_out(instance) {
            return Standing::Down;
        }
        let state = self.instances.get(instance.at());
        state.map_or(Standing::Down, |state| state.health.usable())
    }

    fn plants(&self, bug: Bug) -> bool {
        self.settings.lanes.planted.is(bug)
    }

    fn lane(&self, id: LaneId) -> Option<&Lane> {
        match id {
            LaneId::Schema => Some(&self.schema),
            LaneId::Collection(collection) => self.lanes.get(&collection),
        }
    }

    fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        match id {
            LaneId::Schema => Some(&mut self.schema),
            LaneId::Collection(collection) => self.lanes.get_mut(&collection),
        }
    }

    fn warn(&mut self, trouble: TroubleReport) {
        self.troubles.note(trouble.clone());
        self.effects.push(Effect::Warn(trouble));
    }
}

impl Instance {
    /// An instance of which nothing is known yet. One that was known before the start may be doing
    /// what a job of the proxy before has sent.
    fn new(now: Instant, is_known: bool, replication_max: usize) -> Self {
        let jobs_from = if is_known {
            ORPHANS_SETTLE
        } else {
            Duration::ZERO
        };
        Self {
            jobs_from,
            health: Health::new(now),
            abilities: None,
            meet_at: now,
            probed_for: None,
            mark_at: now,
            turns: Turns::new(replication_max),
        }
    }
}

/// An entry's logging time and what is wrong with it, for the operator.
pub(crate) fn trouble(
    lane: LaneId,
    instance: Option<InstanceIx>,
    position: Position,
    logged_at: Option<WallTime>,
    tries: u32,
    reason: String,
) -> TroubleReport {
    TroubleReport {
        lane,
        instance,
        position,
        logged_at: logged_at.unwrap_or_default(),
        tries,
        reason,
    }
}
