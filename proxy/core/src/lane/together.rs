//! Entries that go to an instance together, as one request.

use super::{Awaited, Context, Lane, Slot, bit};
use crate::{
    ids::{InstanceIx, Position},
    limits::MERGED_ENTRIES_MAX,
    log::Verdict,
    merge::is_mergeable,
    outcome::{Failure, Outcome},
    planted::Bug,
    reply::Reply,
    time::Instant,
};

impl Lane {
    /// The last of the entries that may go to an instance with this one, as far as the lane can tell;
    /// what stands in their bodies decides how many do.
    pub(super) fn last_with(
        &self,
        position: Position,
        instance: InstanceIx,
        context: &Context<'_>,
    ) -> Position {
        let merges_all = context.rules.planted.is(Bug::MergesDependent);
        let may_be_first = |slot: &&Slot| {
            let has_verdict = matches!(slot.verdict, Verdict::Open | Verdict::Accepted);
            has_verdict && is_mergeable(&slot.verb)
        };
        let first = self.slot(position).filter(|_| position > self.alone);
        let Some(first) = first.filter(may_be_first) else {
            return position;
        };
        let goes_along = |position: &Position| {
            self.slot(*position).is_some_and(|slot| {
                (slot.verb == first.verb || merges_all && is_mergeable(&slot.verb))
                    && slot.content_type == first.content_type
                    && slot.verdict == first.verdict
                    && slot.executor == first.executor
                    && !slot.is_kept_from(instance)
            })
        };
        let most = u64::try_from(MERGED_ENTRIES_MAX).unwrap_or(u64::MAX);
        let later = (1..most).map(|further| Position(position.0 + further));
        later.take_while(goes_along).last().unwrap_or(position)
    }

    /// Entries up to this one go alone from now on: what fails together says nothing of any of them.
    pub(super) fn go_alone(&mut self, last: Position) {
        self.alone = self.alone.max(last);
    }

    /// An answer has come and was judged. The caller has made sure that it is awaited. Several entries
    /// stand and succeed together; when they fail, or are refused, each is sent again alone.
    pub fn answered(
        &mut self,
        instance: InstanceIx,
        awaited: Awaited,
        outcome: Outcome,
        context: &mut Context<'_>,
    ) {
        let (first, last) = (awaited.position, awaited.last);
        self.sent_only(instance, last);
        match outcome {
            outcome if first == last => self.answered_one(instance, first, outcome, context),
            Outcome::Done(reply) => self.done_together(instance, (first, last), &reply, context),
            Outcome::Refused { .. } => {
                // The refusal may have set the dimension.
                self.note_unknown(instance, (first, last), None);
                self.go_alone(last);
                self.land(instance);
            }
            outcome => {
                if let Outcome::Failed(failure) = &outcome
                    && failure.may_have_happened()
                {
                    let breaks = *failure == (Failure::Closed { reused: false });
                    self.note_unknown(instance, (first, last), breaks.then_some(context.now));
                    self.go_alone(last);
                }
                self.answered_one(instance, first, outcome, context);
            }
        }
        self.move_decided();
    }

    fn done_together(
        &mut self,
        instance: InstanceIx,
        (first, last): (Position, Position),
        reply: &Reply,
        context: &mut Context<'_>,
    ) {
        for position in (first.0..=last.0).map(Position) {
            self.done(
                instance,
                position,
                reply.clone(),
                Verdict::Accepted,
                context,
            );
            if !self.has_applied(instance, position) {
                break;
            }
        }
    }

    /// An instance may have carried these out; and one of them may have made it close the connection at
    /// this time.
    pub(super) fn note_unknown(
        &mut self,
        instance: InstanceIx,
        (first, last): (Position, Position),
        closed: Option<Instant>,
    ) {
        for position in (first.0..=last.0).map(Position) {
            if let Some(slot) = self.slot_mut(position) {
                slot.maybe_on |= bit(instance);
                if let Some(now) = closed {
                    slot.closings.note(instance, now);
                }
            }
        }
    }
}
