//! Events of a lane: entries arrive, answers come, records become durable.

use std::time::Duration;

use super::{
    Client, Context, Effect, Lane, Phase, Slot, Trouble,
    answers::{late_refusal, settled},
    bit,
};
use crate::{
    backoff,
    ids::{Attempt, InstanceIx, LaneId, Position},
    limits::ORPHANS_SETTLE,
    log::{Entry, Logged, Verb, Verdict},
    outcome::{Failure, Outcome},
    planted::Bug,
    reply::Reply,
    time::{Instant, WallTime},
    weight::heavy_time,
};

impl Lane {
    /// An entry has become durable. I01: a slot exists only for what the store has confirmed.
    pub fn appended(&mut self, entry: Entry, position: Position, client: Client, now: Instant) {
        assert_eq!(position, self.head().next(), "I02: positions have no gaps");
        let mut slot = Slot::new(entry.verb, entry.logged_at, Verdict::Open, now);
        slot.content_type = entry.content_type;
        slot.bytes = entry.body.len();
        slot.body = Some(entry.body);
        slot.key = entry.key.map(|keyed| keyed.key);
        slot.is_late = entry.retries.is_some();
        slot.executor = client.executor;
        self.push(slot);
        self.clients.insert((position, client.ticket), client);
    }

    /// One more client waits for an entry, under its key. `reply` is what the store remembers of
    /// it, which the lane itself does not know any more after a restart.
    pub fn joined(&mut self, position: Position, client: Client, reply: Option<Reply>) {
        if let Some(slot) = self.slot_mut(position) {
            slot.reply = slot.reply.take().or(reply.map(Box::new));
            self.clients.insert((position, client.ticket), client);
        }
    }

    /// An entry found in the log at the start. Whatever is open may have been sent before, and
    /// may have been acknowledged: so it counts as both.
    pub fn restored(&mut self, entry: Logged, now: Instant) {
        self.restore_head(Position(entry.position.0.saturating_sub(1)), now);
        assert_eq!(
            entry.position,
            self.head().next(),
            "I02: positions have no gaps"
        );
        if !entry.verdict.is_passed_over() {
            self.acknowledged = entry.position;
        }
        let mut slot = Slot::new(entry.verb, entry.logged_at, entry.verdict, now);
        slot.content_type = entry.content_type;
        slot.bytes = entry.bytes;
        // An instance that was asked to show what it found may have gone on to the next entry since.
        let was_found = entry.verdict == Verdict::Found;
        slot.maybe_on = if was_found { 0 } else { u16::MAX };
        slot.key = entry.key;
        slot.is_late = true;
        self.push(slot);
        self.move_decided();
    }

    /// Positions up to this one that the store has trimmed: everybody has done with them.
    pub fn restore_head(&mut self, head: Position, now: Instant) {
        while self.head() < head {
            let nothing = Slot::new(Verb::Reset, WallTime::default(), Verdict::Void, now);
            self.push(nothing);
        }
        self.move_decided();
    }

    /// Sets the position at which an instance stood when the proxy stopped.
    pub fn restore_cursor(&mut self, instance: InstanceIx, position: Position) {
        if let Some(track) = self.track_mut(instance) {
            track.applied = position;
            track.recorded = position;
        }
    }

    /// An answer to one entry has come and was judged.
    pub(super) fn answered_one(
        &mut self,
        instance: InstanceIx,
        position: Position,
        outcome: Outcome,
        context: &mut Context<'_>,
    ) {
        let is_in_vain = matches!(
            outcome,
            Outcome::Refused { .. } | Outcome::Missing(_) | Outcome::Failed(_)
        );
        let is_found = self
            .slot(position)
            .is_some_and(|slot| slot.verdict == Verdict::Found);
        if is_found && matches!(outcome, Outcome::Refused { .. } | Outcome::Missing(_)) {
            // It was only to show what it has.
            self.apply(instance, position, context);
            return;
        }
        if self.is_void && is_in_vain {
            // The collection is deleted: that an instance lacks it, or fails, is no trouble.
            self.land(instance);
            return;
        }
        match outcome {
            Outcome::Done(reply) => {
                self.done(instance, position, reply, Verdict::Accepted, context);
            }
            Outcome::Found(reply) => self.done(instance, position, reply, Verdict::Found, context),
            Outcome::Refused { reply, trace } => {
                self.refused(instance, position, reply, trace, context);
            }
            Outcome::Missing(reply) => self.missing(instance, position, reply, context),
            Outcome::LookUp => self.look_up(instance, position, context),
            Outcome::Failed(failure) => self.failed(instance, position, failure, context),
        }
    }

    pub(super) fn done(
        &mut self,
        instance: InstanceIx,
        position: Position,
        reply: Reply,
        verdict: Verdict,
        context: &mut Context<'_>,
    ) {
        let Some(slot) = self.slot_mut(position) else {
            return;
        };
        match slot.verdict {
            Verdict::Open => {
                slot.is_decided(verdict, reply, context.now);
                // From now on a reader may be shown it.
                self.acknowledged = self.acknowledged.max(position);
            }
            Verdict::Refused { .. } => {
                let reason = format!("answered {} where another instance refused", reply.status);
                self.disagree(instance, position, reason, context);
                return;
            }
            Verdict::Accepted | Verdict::Found | Verdict::Abandoned | Verdict::Void => {}
        }
        self.apply(instance, position, context);
    }

    fn refused(
        &mut self,
        instance: InstanceIx,
        position: Position,
        reply: Reply,
        trace: bool,
        context: &mut Context<'_>,
    ) {
        let Some(slot) = self.slot_mut(position) else {
            return;
        };
        match slot.verdict {
            Verdict::Open => slot.is_decided(Verdict::Refused { trace }, reply, context.now),
            Verdict::Accepted | Verdict::Found => {
                let failure = Failure::ServerError(reply);
                let reason = format!("refused what another instance did: {}", failure.reason());
                self.disagree(instance, position, reason, context);
                return;
            }
            Verdict::Refused { .. } | Verdict::Abandoned | Verdict::Void => {}
        }
        self.apply(instance, position, context);
    }

    /// In the schema lane a disagreement is about one collection, which is quarantined there; the
    /// instance goes on with the others. In a collection's lane it is the end of the track.
    fn disagree(
        &mut self,
        instance: InstanceIx,
        position: Position,
        reason: String,
        context: &mut Context<'_>,
    ) {
        context.effects.push(Effect::Disagrees {
            instance,
            position,
            reason,
        });
        if self.id == LaneId::Schema {
            self.apply(instance, position, context);
        } else {
            self.land(instance);
        }
    }

    /// An instance has said that it lacks the collection of an entry.
    pub(crate) fn lacks(&mut self, instance: InstanceIx, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.lacking_on |= bit(instance);
        }
    }

    /// An instance says that it does not have the collection. A collection's own lane tries again while
    /// the instances are asked who has it. In the schema lane nothing that could take the collection
    /// away is under way there, so the answer counts; the instance goes on with the other collections
    /// once the entry is decided.
    fn missing(
        &mut self,
        instance: InstanceIx,
        position: Position,
        reply: Reply,
        context: &mut Context<'_>,
    ) {
        if self.id != LaneId::Schema {
            self.failed(instance, position, Failure::ServerError(reply), context);
            context.effects.push(Effect::Missing);
            return;
        }
        let status = reply.status;
        let reason = format!("answered {status} for a collection that it should have");
        let is_open = self
            .slot(position)
            .is_some_and(|slot| slot.verdict == Verdict::Open);
        if !is_open {
            self.disagree(instance, position, reason, context);
            return;
        }
        self.failed(instance, position, Failure::ServerError(reply), context);
        context.effects.push(Effect::Disagrees {
            instance,
            position,
            reason,
        });
    }

    fn apply(&mut self, instance: InstanceIx, position: Position, context: &mut Context<'_>) {
        let Some(slot) = self.slot_mut(position) else {
            return;
        };
        let is_new = !slot.verdict_is_recorded;
        let verdict = is_new.then_some(slot.verdict);
        let settled = if is_new { settled(slot) } else { None };
        let has_letter = is_new && !context.rules.planted.is(Bug::LosesLetters);
        let letter = if has_letter { late_refusal(slot) } else { None };
        let Some(track) = self.track_mut(instance) else {
            return;
        };
        assert!(
            track.applied < position,
            "I06: an instance never goes back in a lane"
        );
        track.applied = position;
        track.trouble = None;
        if let Some(flight) = &mut track.flight {
            (flight.phase, flight.last) = (Phase::Recording, position);
        }
        if context.rules.planted.is(Bug::TwoUnrecorded) {
            track.flight = None;
        }
        context.effects.push(Effect::Record {
            instance,
            position,
            verdict,
            settled,
            letter,
        });
    }

    fn look_up(&mut self, instance: InstanceIx, position: Position, context: &mut Context<'_>) {
        self.attempts += 1;
        let attempt = Attempt(self.attempts);
        let Some(flight) = self
            .track_mut(instance)
            .and_then(|track| track.flight.as_mut())
        else {
            return;
        };
        flight.attempt = attempt;
        flight.look_up = true;
        context.effects.push(Effect::Send {
            instance,
            position,
            last: position,
            attempt,
            look_up: true,
            replicates: flight.replicates,
        });
    }

    fn failed(
        &mut self,
        instance: InstanceIx,
        position: Position,
        failure: Failure,
        context: &mut Context<'_>,
    ) {
        self.land(instance);
        let may_have_happened = failure.may_have_happened();
        if may_have_happened {
            self.go_alone(position);
        }
        let seed = position.0 ^ u64::from(instance.0) << 56;
        let (settle, stale) = (
            failure == Failure::Silent,
            failure == Failure::Closed { reused: true },
        );
        let reason = failure.reason();
        let planted = context.rules.planted;
        self.note_failure(instance, position, failure, context.now);
        if !may_have_happened {
            self.sent_only(instance, Position(position.0 - 1));
        }
        if planted.is(Bug::ForgetsUnknown)
            && let Some(slot) = self.slot_mut(position)
        {
            slot.maybe_on = 0;
        }
        let Some(track) = self.track_mut(instance) else {
            return;
        };
        let tries = track.trouble.map_or(0, |trouble| trouble.tries) + u32::from(!stale);
        if planted.is(Bug::SkipsFailing) && tries > 2 {
            self.apply(instance, position, context);
            return;
        }
        let settle = settle && !planted.is(Bug::DoesNotSettle);
        let pause = if settle || stale {
            Duration::ZERO
        } else {
            backoff::pause(tries, seed)
        };
        track.trouble = Some(Trouble {
            tries,
            retry_at: context.now + pause,
            settles: settle.then(|| context.settled_from(instance)),
        });
        if !stale {
            context.effects.push(Effect::Trouble {
                instance,
                position,
                tries,
                reason,
            });
        }
    }

    fn note_failure(
        &mut self,
        instance: InstanceIx,
        position: Position,
        failure: Failure,
        now: Instant,
    ) {
        let Some(slot) = self.slot_mut(position) else {
            return;
        };
        if failure.may_have_happened() {
            slot.maybe_on |= bit(instance);
        }
        match &failure {
            Failure::NotSent(_) | Failure::Withheld(_) | Failure::Closed { reused: true } => return,
            Failure::Closed { .. } => slot.closings.note(instance, now),
            Failure::TooLarge | Failure::Silent | Failure::ServerError(_) => {}
        }
        slot.failed_on |= bit(instance);
        slot.failures = slot.failures.saturating_add(1);
        slot.last_failure = Some(Box::new(failure));
    }

    /// Of what an instance may have been sent, nothing went there after `last`, but what it may have
    /// been sent before.
    pub(super) fn sent_only(&mut self, instance: InstanceIx, last: Position) {
        let Some(mut sent) = self.track(instance).map(|track| track.sent) else {
            return;
        };
        let may_be_there = |slot: &Slot| slot.may_be_done_on(instance);
        while sent > last && !self.slot(sent).is_some_and(may_be_there) {
            sent = Position(sent.0 - 1);
        }
        if let Some(track) = self.track_mut(instance) {
            track.sent = sent;
        }
    }

    pub(super) fn land(&mut self, instance: InstanceIx) {
        if let Some(track) = self.track_mut(instance) {
            track.flight = None;
        }
    }

    /// A record has become durable: the instance may be sent the next entry.
    pub fn recorded(&mut self, instance: InstanceIx, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.verdict_is_recorded = true;
        }
        if let Some(track) = self.track_mut(instance) {
            assert!(
                track.applied >= position,
                "I05: nothing is recorded that was not applied"
            );
            track.recorded = track.recorded.max(position);
            track.placed = track.placed.filter(|placed| *placed > position);
            if track
                .flight
                .is_some_and(|f| f.phase == Phase::Recording && f.last == position)
            {
                track.flight = None;
            }
        }
    }

    /// A verdict that no instance stands for has become durable.
    pub fn closed(&mut self, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.verdict_is_recorded = true;
        }
    }

    /// An instance that was away is in service again. What waited for it need not wait longer; a
    /// request that was left with it is dead if it restarted.
    pub fn returned(&mut self, instance: InstanceIx, restarted: bool, now: Instant) {
        let trouble = self
            .track_mut(instance)
            .and_then(|track| track.trouble.as_mut());
        let Some(trouble) = trouble else {
            return;
        };
        trouble.retry_at = now;
        if restarted {
            trouble.settles = None;
        }
    }

    /// The proxy has just started: what the one before it had sent may still be carried out, as
    /// soon as the instance is awake. Chroma carries a heavy body out to its end although the connection
    /// was closed in the middle.
    pub fn settle_orphans(&mut self, now: Instant) {
        let head = self.head();
        for instance in self.instances() {
            let next = self.track(instance).map(|track| track.applied.next());
            let Some(next) = next.filter(|next| *next <= head) else {
                continue;
            };
            let heavy = self.slot(next).map_or(0, |slot| slot.bytes);
            if let Some(track) = self.track_mut(instance) {
                track.trouble = Some(Trouble {
                    tries: 0,
                    retry_at: now,
                    settles: Some(ORPHANS_SETTLE + heavy_time(heavy)),
                });
            }
        }
    }

    /// The collection is deleted: nothing that is owed matters any more.
    pub fn void(&mut self) {
        self.is_void = true;
        for slot in &mut self.slots {
            if slot.verdict == Verdict::Open {
                slot.verdict = Verdict::Void;
                slot.verdict_is_recorded = true;
            }
        }
        self.move_decided();
    }

    pub(super) fn move_decided(&mut self) {
        while let Some(slot) = self.slot(self.decided.next())
            && slot.verdict != Verdict::Open
        {
            self.open_heavy_bytes = self.open_heavy_bytes.saturating_sub(slot.heavy_bytes());
            self.decided = self.decided.next();
        }
    }
}
