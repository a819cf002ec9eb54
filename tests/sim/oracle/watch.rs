//! What is sent to the instances, what they are made to do, and what clients are told meanwhile.

use achromat_core::{
    durable::Write,
    ids::{InstanceIx, LaneId, Position},
    log::{Verb, Verdict},
    outcome::Sending,
    reply::Reply,
    route::Method,
};

use super::{Acknowledged, Oracle, bit};
use crate::{
    clients::Operation,
    marks::Mark,
    requests::About,
    wire::{Request, Sender},
};

impl Oracle {
    /// A proxy has started.
    pub fn proxy_started(&mut self) {
        // What ended in silence under another proxy is forgotten; what is on its way is not.
        for seen in self.seen.values_mut() {
            seen.silent = None;
        }
    }

    /// A proxy is about to send an entry. One that was deposed, and has not noticed yet, does not know
    /// what the owner has recorded: of its sendings counts where they land.
    pub fn sending(
        &mut self,
        is_owners: bool,
        (lane, instance, position): (LaneId, InstanceIx, Position),
        method: Method,
        (now, settle): (u64, std::time::Duration),
    ) -> Vec<Mark> {
        self.sendings += 1;
        let mut marks = Vec::new();
        let who = instance.0;
        let Some(noted) = self.noted(lane, position) else {
            self.violate(format!(
                "I01: {lane} {position} is sent before it is logged"
            ));
            return marks;
        };
        let verdict = noted.verdict;
        if verdict == (Verdict::Refused { trace: true }) {
            marks.push(Mark::TraceReplayed);
        }
        if method == Method::Get {
            marks.push(Mark::LookUp);
        }
        let is_elsewhere = InstanceIx::all(self.instances).any(|other| {
            let seen = self.seen.get(&(lane, other));
            other != instance && seen.is_some_and(|s| s.under_way.contains_key(&position))
        });
        if verdict == Verdict::Open && is_elsewhere {
            marks.push(Mark::HedgeSent);
        }
        if is_owners {
            self.check_sending((lane, instance, position));
        }
        let seen = self.seen.entry((lane, instance)).or_default();
        *seen.under_way.entry(position).or_default() += 1;
        if let Some((silent, at)) = seen.silent.take()
            && silent == position
        {
            let waited = u128::from(now - at) >= settle.as_micros();
            marks.push(if waited {
                Mark::Settled
            } else {
                Mark::Restarted
            });
        }
        let other = seen.under_way.keys().find(|other| **other != position);
        if let Some(other) = other.copied().filter(|_| is_owners) {
            self.violate(format!(
                "I07: {lane} {position} is sent to {who} while {other} is on its way"
            ));
        }
        marks
    }

    fn check_sending(&mut self, (lane, instance, position): (LaneId, InstanceIx, Position)) {
        let (who, cursor) = (instance.0, self.cursor(lane, instance));
        if self.is_quarantined(lane, instance) {
            self.violate(format!(
                "{lane} {position} is sent to {who}, quarantined there"
            ));
        }
        if self.is_gone(lane) {
            self.violate(format!(
                "I13: {lane} {position} is sent to {who}, and is gone"
            ));
        } else if position <= cursor {
            self.violate(format!(
                "I06: {lane} {position} is sent to {who}, which has recorded {cursor}"
            ));
        } else if let Some(skipped) = self.first_skipped(lane, cursor, position) {
            self.violate(format!(
                "I07: {lane} {position} is sent to {who}, which has not recorded {skipped}"
            ));
        }
    }

    /// An instance carries a request out.
    pub fn executed(&mut self, request: &Request, reply: &Reply) {
        let Sender::Entry {
            lane,
            position,
            last,
            ..
        } = request.sender
        else {
            return;
        };
        if request.method == Method::Get {
            return;
        }
        let instance = request.instance;
        let who = instance.0;
        let seen = self.seen.entry((lane, instance)).or_default();
        let before = seen.last;
        seen.last = before.max(position);
        if position < before && !self.is_gone(lane) {
            self.violate(format!(
                "rule 5: {lane} {position} lands on {who} after {before}"
            ));
        }
        // An instance without the collection has carried nothing out.
        if lane != LaneId::Schema && reply.status == 404 {
            return;
        }
        for position in (position.0..=last.0).map(Position) {
            self.executed_one((lane, position), instance, reply);
        }
    }

    fn executed_one(
        &mut self,
        (lane, position): (LaneId, Position),
        instance: InstanceIx,
        reply: &Reply,
    ) {
        let Some(noted) = self.noted_mut(lane, position) else {
            return;
        };
        noted.executed |= bit(instance);
        noted.lost &= !bit(instance);
        let verdict = noted.verdict;
        if verdict == Verdict::Abandoned && reply.is_success() {
            let who = instance.0;
            self.violate(format!(
                "I14: {lane} {position} is carried out on {who} after it was given up"
            ));
        }
    }

    /// The sender of a request has heard how it ended.
    pub fn ended(&mut self, request: &Request, sending: &Sending, now: u64) {
        let Sender::Entry { lane, position, .. } = request.sender else {
            return;
        };
        let seen = self.seen.entry((lane, request.instance)).or_default();
        if let Some(count) = seen.under_way.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                seen.under_way.remove(&position);
            }
        }
        if *sending == Sending::Silent {
            seen.silent = Some((position, now));
        }
    }

    /// A proxy has died; what it was about to commit is known.
    pub fn proxy_died(&mut self, writes: &[Write]) -> Vec<Mark> {
        let mut marks = Vec::new();
        let is_record = |write: &Write| matches!(write, Write::Record { .. });
        if writes.iter().any(is_record) {
            marks.push(Mark::CrashBeforeRecord);
        }
        let is_unsent = |(lane, entries): (&LaneId, &Vec<super::Noted>)| {
            let last = Position(u64::try_from(entries.len()).expect("a count"));
            let is_untouched = |instance| {
                let seen = self.seen.get(&(*lane, instance));
                seen.is_none_or(|s| s.last < last && s.under_way.is_empty())
            };
            let is_open = entries.last().is_some_and(|e| e.verdict == Verdict::Open);
            is_open && !self.is_gone(*lane) && InstanceIx::all(self.instances).all(is_untouched)
        };
        if self.log.iter().any(is_unsent) {
            marks.push(Mark::CrashBeforeSend);
        }
        self.healing.clear();
        for seen in self.seen.values_mut() {
            seen.under_way.clear();
        }
        marks
    }

    /// A proxy is about to answer a client.
    pub fn answering(&mut self, operation: &Operation, reply: &Reply) {
        let Some(entry) = operation.entry else {
            return;
        };
        let place = self.places.get(&entry).copied();
        let verdict = place
            .and_then(|(lane, position)| self.noted(lane, position))
            .map(|noted| noted.verdict);
        let is_gone = place.is_some_and(|(lane, _)| self.is_gone(lane));
        let what = &operation.draft.target;
        let status = reply.status;
        match status {
            200..=299
                if place.is_none()
                    && !is_nothing_to_delete(operation, reply)
                    && !self.is_done_locally(operation) =>
            {
                self.violate(format!("{what} is answered {status} before it is logged"));
            }
            400..=499 => {
                let is_durable = matches!(verdict, None | Some(Verdict::Refused { .. }));
                if !is_durable && !is_gone && !self.may_be_void(place) {
                    self.violate(format!(
                        "I04: {what} is answered {status}, but is {verdict:?}"
                    ));
                }
            }
            503 if is_ours(reply)
                && !is_gone
                && !matches!(verdict, None | Some(Verdict::Abandoned))
                && !self.is_refused_for_lack(verdict) =>
            {
                self.violate(format!("I14: {what} is answered 503, but is {verdict:?}"));
            }
            _ => {}
        }
    }

    /// Whether an entry was durably refused because the only instance in service lacks what somebody has
    /// deleted there.
    pub(super) fn is_refused_for_lack(&self, verdict: Option<Verdict>) -> bool {
        let lacks = self.has_vanished() || !self.tampered.is_empty();
        lacks && verdict == Some(Verdict::Refused { trace: false })
    }

    /// Whether an entry's collection may be deleted without that being durable yet.
    pub(super) fn may_be_void(&self, place: Option<(LaneId, Position)>) -> bool {
        let Some((LaneId::Collection(collection), _)) = place else {
            return false;
        };
        if self.is_vanished(collection, u64::MAX) {
            return true;
        }
        let deletes = |verb: &Verb| match verb {
            Verb::DeleteCollection {
                collection: deleted,
            } => *deleted == collection,
            Verb::DeleteDatabase { .. } | Verb::Reset => true,
            _ => false,
        };
        let schema = self.log.get(&LaneId::Schema).into_iter().flatten();
        let mut deletions = schema.filter(|noted| deletes(&noted.entry.verb));
        deletions.any(|noted| noted.executed != 0)
    }

    /// A client hears.
    pub fn heard(&mut self, operation: &Operation) -> Vec<Mark> {
        let (Some(reply), Some(at)) = (&operation.reply, operation.ended) else {
            return Vec::new();
        };
        let mut marks = Vec::new();
        match reply.status {
            404 if operation.draft.about == About::Absent => marks.push(Mark::LegalMissing),
            422 if operation.draft.is_positional() => marks.push(Mark::Positional),
            504 if is_level_not_reached(reply) => marks.push(Mark::LevelNotReached),
            504 => marks.push(Mark::OutcomeUnknown),
            502 => marks.push(Mark::NoAnswer),
            500 if has(reply, UNIQUE) => marks.push(Mark::RenameRefused),
            _ => {}
        }
        if operation.draft.about != About::Write || !reply.is_success() {
            return marks;
        }
        if operation.is_for_trash {
            marks.push(Mark::Trashed);
        }
        let Some((lane, position)) = operation.entry.and_then(|id| self.places.get(&id).copied())
        else {
            if self.is_done_locally(operation) {
                marks.push(Mark::LocalDone);
                self.acknowledge_locally(operation, at);
            }
            return marks;
        };
        self.acknowledged.push(Acknowledged { lane, position, at });
        let verdict = self.noted(lane, position).map(|noted| noted.verdict);
        if lane != LaneId::Schema && verdict == Some(Verdict::Open) && !self.is_gone(lane) {
            marks.push(Mark::Logged);
        }
        let verb = self.noted(lane, position).map(|noted| &noted.entry.verb);
        if let Some(Verb::CreateCollection { name, .. }) = verb {
            let is_again = self.log[&LaneId::Schema]
                .iter()
                .any(|noted| match &noted.entry.verb {
                    Verb::CreateCollection {
                        name: other, id, ..
                    } => other == name && self.gone.contains(id),
                    _ => false,
                });
            if is_again {
                marks.push(Mark::Recreated);
            }
            if let Some(named) = achromat_core::body::Named::parse(&reply.body) {
                let known = (operation.draft.database, named.id.to_string());
                if !self.known.contains(&known) {
                    self.known.push(known);
                }
            }
        }
        marks
    }
}

/// A delete with a limit that would hit nothing is answered without being logged.
pub(super) fn is_nothing_to_delete(operation: &Operation, reply: &Reply) -> bool {
    operation.draft.body.contains("limit") && has(reply, r#"{"deleted":0}"#)
}

/// Whether a 503 is the proxy's own word that nothing was done.
pub(super) fn is_ours(reply: &Reply) -> bool {
    has(reply, "nothing was done")
}

/// Whether an answer says that a write was refused, and not only that it has failed so far.
pub(super) fn is_refusal(reply: &Reply) -> bool {
    reply.is_answer() || has(reply, UNIQUE)
}

/// Whether an answer says that a write was done, but not on as many instances as it should be.
pub(super) fn is_level_not_reached(reply: &Reply) -> bool {
    has(reply, "LevelNotReached")
}

/// What a refused rename is answered, with a 500.
const UNIQUE: &str = "UNIQUE constraint";

fn has(reply: &Reply, text: &str) -> bool {
    std::str::from_utf8(&reply.body).is_ok_and(|body| body.contains(text))
}
