//! Choice of the next entry to send, and of the instance that it is sent to.

use std::time::Duration;

use smallvec::SmallVec;

use super::{
    Context, Effect, Flight, Lane, Peer, Phase, Slot, Track,
    answers::{closing_reply, settled},
    bit,
};
use crate::{
    health::Standing,
    ids::{Attempt, InstanceIx, Position},
    limits::{
        ABANDON_AGE_MIN, ABANDON_ATTEMPTS_MIN, ABANDON_SILENT_ATTEMPTS_MIN, POISON_CLOSINGS_MIN,
    },
    log::Verdict,
    outcome::Failure,
    planted::Bug,
    weight::heavy_time,
};

impl Lane {
    /// Does whatever can be done now.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        self.settle(context.peers);
        self.pass_over();
        if !self.is_void {
            for instance in self.instances() {
                self.replicate_to(instance, context);
            }
            self.abandon_hopeless(context);
            self.execute_first_open(context);
        }
        self.answer_clients(context);
        self.forget(context.peers);
    }

    /// Ends the settling of each instance that has been awake for long enough since its old sending: that
    /// sending is carried out by now or never will be.
    fn settle(&mut self, peers: &[Peer]) {
        for (track, peer) in self.tracks.iter_mut().zip(peers) {
            if let Some(trouble) = &mut track.trouble {
                trouble.settles = trouble.settles.filter(|until| *until > peer.awake.shown());
            }
        }
    }

    /// Moves idle tracks over entries that nobody needs to do. Where a request may still be carried
    /// out the track waits until it has settled: so the log shows, even to the next proxy, that
    /// there may be one.
    fn pass_over(&mut self) {
        for instance in self.instances() {
            while let Some(next) = self.next_of(instance)
                && self.is_passed_over(next, instance)
                && (self.is_void || !self.is_settling_on(instance))
                && let Some(track) = self.track_mut(instance)
            {
                (track.applied, track.recorded) = (next, next);
                track.trouble = None;
            }
        }
    }

    fn is_passed_over(&self, position: Position, instance: InstanceIx) -> bool {
        self.slot(position).is_some_and(|slot| {
            let needs_it = !slot.verdict.is_passed_over() || slot.must_show(instance);
            slot.verdict_is_recorded && (!needs_it || self.is_void)
        })
    }

    /// The entry that an instance would have to do next, when it is not doing one.
    fn next_of(&self, instance: InstanceIx) -> Option<Position> {
        let track = self.track(instance)?;
        let is_idle = track.flight.is_none() && track.placed.is_none();
        (is_idle && track.applied < self.head()).then(|| track.applied.next())
    }

    fn peer(context: &Context<'_>, instance: InstanceIx) -> Option<Peer> {
        context.peers.get(instance.at()).copied()
    }

    fn is_sendable(context: &Context<'_>, instance: InstanceIx) -> bool {
        Self::peer(context, instance).is_some_and(|peer| {
            peer.standing != Standing::Down && peer.is_ready && !peer.is_quarantined
        })
    }

    /// Returns true when an instance that failed its next entry may be tried again. Asks to be woken when
    /// only the pause before that is not over.
    fn may_retry(&self, instance: InstanceIx, context: &mut Context<'_>) -> bool {
        match self.track(instance).and_then(|track| track.trouble) {
            Some(trouble) if trouble.settles.is_some() => false,
            Some(trouble) if trouble.retry_at > context.now => {
                context.effects.push(Effect::Wake {
                    at: trouble.retry_at,
                });
                false
            }
            _ => true,
        }
    }

    fn replicate_to(&mut self, instance: InstanceIx, context: &mut Context<'_>) {
        let Some(next) = self.next_of(instance) else {
            return;
        };
        let binds = self
            .slot(next)
            .is_some_and(|slot| slot.verdict.binds() || slot.must_show(instance));
        if !binds || !Self::is_sendable(context, instance) || !self.may_retry(instance, context) {
            return;
        }
        match context.replications.get_mut(instance.at()) {
            Some(free) if *free > 0 => *free -= 1,
            _ => {
                context.effects.push(Effect::AwaitTurn { instance });
                return;
            }
        }
        self.send(instance, next, true, context);
    }

    /// The first open entry is sent to its executor; when that is silent for too long, to the next. How
    /// long is too long grows with the entry's bytes.
    fn execute_first_open(&mut self, context: &mut Context<'_>) {
        let open = self.decided.next();
        if open > self.head() {
            return;
        }
        let last_sent = self
            .flights_of(open)
            .map(|(_, flight)| flight.sent_at)
            .max();
        if let Some(sent_at) = last_sent {
            let hedge_at = sent_at + context.rules.hedge;
            if hedge_at > context.now && self.an_up_instance_has(open, context) {
                context.effects.push(Effect::Wake { at: hedge_at });
                return;
            }
            self.tell_silence(open, context);
            let patience = context.rules.hedge + self.heavy_time_of(open);
            let hedges_heavy = context.rules.planted.is(Bug::HedgesHeavy);
            if patience > context.rules.hedge
                && !hedges_heavy
                && sent_at + patience > context.now
                && self.a_live_instance_has(open, context)
            {
                let at = sent_at + patience;
                context.effects.push(Effect::Wake { at });
                return;
            }
        }
        let hedges = last_sent.is_some();
        if let Some(executor) = self.choose_executor(open, hedges, context) {
            self.send(executor, open, false, context);
        }
    }

    pub(super) fn flights_of(
        &self,
        position: Position,
    ) -> impl Iterator<Item = (InstanceIx, Flight)> {
        self.instances()
            .zip(&self.tracks)
            .filter_map(|(instance, track)| Some((instance, track.flight?)))
            .filter(move |(_, flight)| flight.carries(position))
    }

    fn an_up_instance_has(&self, open: Position, context: &Context<'_>) -> bool {
        self.flights_of(open).any(|(instance, _)| {
            Self::peer(context, instance).is_some_and(|peer| peer.standing == Standing::Up)
        })
    }

    /// Time that the requests that carry an entry may take because of their bytes: zero when none of the
    /// bodies in them is heavy.
    fn heavy_time_of(&self, open: Position) -> Duration {
        let positions = self.flights_of(open).flat_map(|(_, flight)| {
            let range = flight.position.0..=flight.last.0;
            range.map(Position)
        });
        let slots = positions.filter_map(|position| self.slot(position));
        heavy_time(slots.map(|slot| slot.bytes).max().unwrap_or(0))
    }

    /// Returns true when an instance that is not down works on an entry. For the time that a heavy body may
    /// take there, it is not sent to a second instance.
    fn a_live_instance_has(&self, open: Position, context: &Context<'_>) -> bool {
        self.flights_of(open).any(|(instance, _)| {
            Self::peer(context, instance)
                .is_some_and(|peer| peer.standing != Standing::Down && !peer.is_quarantined)
        })
    }

    fn tell_silence(&mut self, open: Position, context: &mut Context<'_>) {
        let hedge = context.rules.hedge;
        for (instance, track) in InstanceIx::all(self.tracks.len()).zip(&mut self.tracks) {
            if let Some(flight) = &mut track.flight
                && flight.carries(open)
                && flight.phase == Phase::Sent
                && context.now >= flight.sent_at + hedge
            {
                flight.phase = Phase::Silent;
                context.effects.push(Effect::Silence { instance });
            }
        }
    }

    /// Returns true when an entry that may be poison must wait for probes: they tell whether the instances
    /// that closed their connections lived through it.
    fn awaits_probe(slot: &Slot, context: &Context<'_>) -> bool {
        let is_unknown = |(instance, at)| {
            Self::peer(context, instance).is_some_and(|peer| {
                peer.standing != Standing::Down && peer.lived.is_unknown_since(at)
            })
        };
        slot.closes_connections() && slot.closings.last().any(is_unknown)
    }

    /// The best instance to carry out an open entry: one that did not fail it before one that did,
    /// one that is up before a suspect one, in the order of the configuration.
    fn choose_executor(
        &self,
        open: Position,
        hedges: bool,
        context: &mut Context<'_>,
    ) -> Option<InstanceIx> {
        let slot = self.slot(open)?;
        let mut best = None;
        for instance in self.instances() {
            let failed = slot.failed_on & bit(instance) != 0;
            let suits = self.next_of(instance) == Some(open)
                && Self::is_sendable(context, instance)
                && !slot.is_kept_from(instance)
                && !Self::awaits_probe(slot, context)
                && !(hedges && failed);
            if !suits || !self.may_retry(instance, context) {
                continue;
            }
            let peer = Self::peer(context, instance);
            let is_distrusted = peer.is_some_and(|peer| peer.is_distrusted);
            let rank = (
                is_distrusted,
                failed,
                peer.map(|peer| peer.standing),
                slot.executor != Some(instance),
                instance,
            );
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        best.map(|(.., instance)| instance)
    }

    fn send(
        &mut self,
        instance: InstanceIx,
        position: Position,
        replicates: bool,
        context: &mut Context<'_>,
    ) {
        self.attempts += 1;
        let attempt = Attempt(self.attempts);
        let (sent_at, last) = (context.now, self.last_with(position, instance, context));
        let Some(track) = self.track_mut(instance) else {
            return;
        };
        assert!(
            track.flight.is_none(),
            "I07: one unrecorded request per lane and instance"
        );
        assert_eq!(
            track.applied.next(),
            position,
            "I06: instances apply a lane in order"
        );
        track.sent = track.sent.max(last);
        track.flight = Some(Flight {
            position,
            last,
            attempt,
            sent_at,
            phase: Phase::Sent,
            look_up: false,
            replicates,
        });
        context.effects.push(Effect::Send {
            instance,
            position,
            last,
            attempt,
            look_up: false,
            replicates,
        });
        if !replicates {
            let at = sent_at + context.rules.hedge;
            context.effects.push(Effect::Wake { at });
        }
    }

    /// Returns true when every instance in service that may do an entry keeps failing it. Also returns true
    /// when the entry must be kept from all instances in service, and those that it broke are being made
    /// anew, which waits for the lane.
    fn is_hopeless(&self, slot: &Slot, context: &Context<'_>) -> bool {
        let attempts = match slot.last_failure.as_deref() {
            Some(Failure::Silent) => ABANDON_SILENT_ATTEMPTS_MIN,
            _ => ABANDON_ATTEMPTS_MIN,
        };
        let keeps_failing = |instance: InstanceIx| {
            let trouble = self.track(instance).and_then(|track| track.trouble);
            trouble.map_or(0, |trouble| trouble.tries) >= attempts
        };
        let is_out = |instance: InstanceIx| {
            Self::peer(context, instance).is_some_and(|peer| peer.is_quarantined)
        };
        let in_service = self.instances().filter(|i| Self::is_sendable(context, *i));
        let (kept_from, may_do): (SmallVec<[InstanceIx; 4]>, SmallVec<[InstanceIx; 4]>) =
            in_service.partition(|instance| slot.is_kept_from(*instance));
        if may_do.is_empty() {
            let mut broken = self.instances().filter(|i| !slot.is_kept_from(*i));
            !kept_from.is_empty() && broken.all(is_out)
        } else {
            may_do.into_iter().all(keeps_failing)
        }
    }

    /// Returns true when an entry breaks every instance that carries it out: two instances, or the only one
    /// in service, closed the connection on it several times and lived on (rule 15 of the design). A
    /// connection that is closed because its server died is no such sign. A write that was done although
    /// its answer was lost succeeds when it is sent again.
    fn is_poison(&self, slot: &Slot, context: &Context<'_>) -> bool {
        let mut sendable = self.instances().filter(|i| Self::is_sendable(context, *i));
        let is_last = sendable.all(|instance| slot.closings.has(instance));
        (slot.closes_connections() || is_last)
            && slot.closings.total() >= POISON_CLOSINGS_MIN
            && Self::all_survived(slot, context, |_| false)
    }

    /// Returns true when all instances that closed the connection on an entry are known to have lived on,
    /// or are exempt.
    pub(super) fn all_survived(
        slot: &Slot,
        context: &Context<'_>,
        is_exempt: impl Fn(Peer) -> bool,
    ) -> bool {
        slot.closings.last().all(|(instance, at)| {
            Self::peer(context, instance)
                .is_some_and(|peer| peer.lived.survived(at) || is_exempt(peer))
        })
    }

    /// A hopeless entry is given up, so that it does not block its lane for ever; it is told to the
    /// operator.
    fn abandon_hopeless(&mut self, context: &mut Context<'_>) {
        let open = self.decided.next();
        let Some(slot) = self.slot(open) else {
            return;
        };
        if slot.last_failure.is_none() {
            return;
        }
        let is_old = context.now.since(slot.since) >= ABANDON_AGE_MIN;
        // A 404 says nothing then, and the entry is void as soon as its collection is gone.
        if context.may_have_ended {
            return;
        }
        let is_over = self.is_poison(slot, context) || is_old && self.is_hopeless(slot, context);
        if is_over && !self.may_still_be_carried_out(open) {
            let reason = slot
                .last_failure
                .as_deref()
                .map(Failure::reason)
                .unwrap_or_default();
            let reason = format!("given up, every instance failed it: {reason}");
            self.close(open, Verdict::Abandoned, reason, context);
        }
    }

    /// Returns true when a sending of the entry may be carried out later than now. An instance that is sent
    /// nothing any more settles like the others.
    fn may_still_be_carried_out(&self, position: Position) -> bool {
        let settles = |track: &Track| track.applied < position && track.settles();
        self.is_in_flight(position) || self.tracks.iter().any(settles)
    }

    pub(super) fn close(
        &mut self,
        position: Position,
        verdict: Verdict,
        reason: String,
        context: &mut Context<'_>,
    ) {
        let is_poison = self
            .slot(position)
            .is_some_and(|slot| self.is_poison(slot, context));
        if let Some(slot) = self.slot_mut(position) {
            slot.verdict = verdict;
            slot.reply = Some(Box::new(closing_reply(slot)));
            let may_be_done = slot.maybe_on != 0;
            context.effects.push(Effect::Close {
                position,
                verdict,
                reason,
                settled: settled(slot),
                // The client of a poisonous entry is told so itself.
                is_letter: slot.is_late || may_be_done && !is_poison,
                may_be_done,
            });
            if may_be_done {
                self.undone = self.undone.max(position);
            }
        }
        self.move_decided();
    }

    /// Drops entries that everybody has done and nobody waits for.
    fn forget(&mut self, peers: &[Peer]) {
        let done = self
            .tracks
            .iter()
            .zip(peers)
            .filter(|(_, peer)| !peer.is_quarantined)
            .map(|(track, _)| track.recorded)
            .min()
            .unwrap_or(self.decided);
        while self.base < done
            && self
                .slots
                .front()
                .is_some_and(|slot| slot.verdict_is_recorded)
            && !self.is_awaited(self.base.next())
        {
            self.slots.pop_front();
            self.base = self.base.next();
        }
    }

    /// Frees the bodies of all entries that no client waits for: the store has them.
    pub fn drop_bodies(&mut self) {
        for position in (self.base.0 + 1..=self.head().0).map(Position) {
            self.drop_body(position);
        }
    }

    /// Frees the body of an entry that no client waits for: the store has it.
    pub fn drop_body(&mut self, position: Position) {
        let is_awaited = self.is_awaited(position);
        if let Some(slot) = self.slot_mut(position)
            && !is_awaited
        {
            slot.body = None;
        }
    }
}
