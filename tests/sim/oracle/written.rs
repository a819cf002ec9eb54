//! What is written to the log, and what must be so when it is.

use achromat_core::{
    catalog::Change,
    durable::Write,
    ids::{InstanceIx, LaneId, Position},
    log::{Entry, Verdict},
};

use super::{Noted, Oracle, bit, may_have_nothing_to_do, past::held};
use crate::marks::Mark;

impl Oracle {
    /// A write has become durable. `is_owners` says whether the newest proxy wrote it.
    pub fn written(
        &mut self,
        write: &Write,
        position: Option<Position>,
        is_owners: bool,
        now: u64,
    ) -> Vec<Mark> {
        if !is_owners {
            self.violate(format!("a deposed proxy has written {write:?}"));
        }
        let mut marks = Vec::new();
        match write {
            Write::Append(entry) => self.append(entry, position.unwrap_or_default(), now),
            Write::Record {
                lane,
                instance,
                position,
                verdict,
                changes,
                ..
            } => {
                self.record((*lane, *instance, *position), *verdict, now);
                if *verdict == Some(Verdict::Found) {
                    marks.push(Mark::Found);
                }
                self.change(changes, &mut marks);
            }
            Write::Close {
                lane,
                position,
                verdict,
                reason,
                ..
            } => {
                let is_withdrawn = reason.starts_with("no instance took it");
                self.close((*lane, *position), *verdict, is_withdrawn, now);
                match verdict {
                    _ if is_withdrawn => marks.push(Mark::Withdrawn),
                    Verdict::Abandoned => marks.push(Mark::Abandoned),
                    _ => {}
                }
            }
            Write::Change(changes) => self.change(changes, &mut marks),
            // They say nothing of entries.
            Write::ForgetKeys { .. } | Write::Dismiss(_) => {}
            Write::Trim {
                lane,
                through,
                instances,
            } => {
                marks.push(Mark::Trimmed);
                self.trim(*lane, *through, instances);
            }
            Write::Settle {
                cursors, changes, ..
            } => {
                for (lane, instance, position) in cursors {
                    self.place((*lane, *instance), *position);
                }
                self.note_settled(changes, now);
                self.change(changes, &mut marks);
            }
        }
        marks
    }

    /// A proxy wants something written: what a job has made true it may use at once.
    pub fn ordered(&mut self, write: &Write) {
        if let Write::Settle { changes, .. } = write {
            let healed = changes.iter().filter_map(|change| match change {
                Change::Healed {
                    collection,
                    instance,
                } => Some((*collection, *instance)),
                _ => None,
            });
            self.healing.extend(healed);
            // It has been made whole, and is read from now on; that it was will be durable soon.
            for change in changes {
                if let Change::Instance { instance, record } = change
                    && record.quarantine.is_none()
                {
                    self.past.remove(instance);
                }
            }
        }
        if let Write::Change(changes) = write {
            self.held.extend(changes.iter().filter_map(held));
        }
    }

    fn append(&mut self, entry: &Entry, position: Position, now: u64) {
        let lane = entry.verb.lane();
        if position != self.head(lane).next() {
            self.violate(format!(
                "I02: {lane} got {position} after {}",
                self.head(lane)
            ));
        }
        self.check_key(entry);
        self.check_not_local(lane);
        self.places.insert(entry.id, (lane, position));
        self.log.entry(lane).or_default().push(Noted {
            entry: entry.clone(),
            verdict: Verdict::Open,
            at: now,
            decided: None,
            executed: 0,
            lost: 0,
        });
    }

    /// I15: a key has one entry, or one more when the first came to nothing.
    fn check_key(&mut self, entry: &Entry) {
        let Some(keyed) = &entry.key else {
            return;
        };
        let earlier = self.keys.insert(keyed.key.clone(), entry.id);
        let noted = earlier
            .and_then(|id| self.places.get(&id))
            .and_then(|(lane, position)| self.noted(*lane, *position));
        if let Some(noted) = noted
            && (noted.verdict != Verdict::Abandoned || noted.executed != 0)
        {
            let (key, verb) = (keyed.key.as_str(), &noted.entry.verb);
            self.violate(format!("I15: {key} has another entry: {verb:?}"));
        }
    }

    fn judge(&mut self, lane: LaneId, position: Position, verdict: Verdict, now: u64) {
        let Some(noted) = self.noted_mut(lane, position) else {
            self.violate(format!("{lane} {position} is judged and is not in the log"));
            return;
        };
        let before = noted.verdict;
        noted.verdict = verdict;
        noted.decided.get_or_insert(now);
        if before != Verdict::Open && before != verdict {
            self.violate(format!(
                "{lane} {position} was {before:?} and became {verdict:?}"
            ));
        }
    }

    fn record(
        &mut self,
        (lane, instance, position): (LaneId, InstanceIx, Position),
        verdict: Option<Verdict>,
        now: u64,
    ) {
        if let Some(verdict) = verdict {
            self.judge(lane, position, verdict, now);
        }
        let cursor = self.cursor(lane, instance);
        if position <= cursor || self.is_gone(lane) {
            return;
        }
        if let Some(skipped) = self.first_skipped(lane, cursor, position) {
            let who = instance.0;
            self.violate(format!(
                "I06: {lane} {position} is recorded on {who}, but not {skipped}"
            ));
        }
        let is_done = self.noted(lane, position).is_some_and(|noted| {
            noted.executed & bit(instance) != 0 || may_have_nothing_to_do(&noted.entry.verb)
        });
        if !is_done {
            let who = instance.0;
            self.violate(format!(
                "I05: {lane} {position} is recorded on {who}, which has not carried it out"
            ));
        }
        self.cursors.insert((lane, instance), position);
    }

    /// A job has made an instance stand where a lane stands.
    fn place(&mut self, (lane, instance): (LaneId, InstanceIx), position: Position) {
        let is_right =
            position == self.head(lane) || self.may_be_placed_before_head(lane, position);
        if !is_right && !self.is_gone(lane) {
            let (who, head) = (instance.0, self.head(lane));
            self.violate(format!("{lane} is placed at {position} of {head} on {who}"));
        }
        self.cursors.insert((lane, instance), position);
        self.seen.entry((lane, instance)).or_default().last = position;
    }

    /// The first entry between two positions that may not be passed over.
    pub(super) fn first_skipped(
        &self,
        lane: LaneId,
        after: Position,
        before: Position,
    ) -> Option<Position> {
        (after.0 + 1..before.0).map(Position).find(|position| {
            self.noted(lane, *position)
                .is_none_or(|noted| !noted.verdict.is_passed_over())
        })
    }

    fn close(
        &mut self,
        (lane, position): (LaneId, Position),
        verdict: Verdict,
        withdrawn: bool,
        now: u64,
    ) {
        self.judge(lane, position, verdict, now);
        let executed = self.noted(lane, position).map_or(0, |noted| noted.executed);
        if withdrawn && executed != 0 {
            self.violate(format!(
                "I14: {lane} {position} is withdrawn, but was carried out on {executed:#b}"
            ));
        }
    }

    fn change(&mut self, changes: &[Change], marks: &mut Vec<Mark>) {
        for change in changes {
            match change {
                Change::Quarantined {
                    collection,
                    instance,
                    ..
                } => {
                    self.quarantined.insert((*collection, *instance));
                    marks.push(Mark::Quarantined);
                    self.may_lose_home((*collection, *instance), marks);
                }
                Change::Gone { collection, .. } => {
                    self.gone.insert(*collection);
                    let lane = LaneId::Collection(*collection);
                    let is_busy = |instance| {
                        let seen = self.seen.get(&(lane, instance));
                        seen.is_some_and(|seen| !seen.under_way.is_empty())
                    };
                    if InstanceIx::all(self.instances).any(is_busy) {
                        marks.push(Mark::VoidInFlight);
                    }
                }
                Change::Lost {
                    collection,
                    instance,
                    ..
                } => {
                    self.quarantined.insert((*collection, *instance));
                    self.may_lose_home((*collection, *instance), marks);
                }
                Change::Homed { collection, home } => {
                    self.homed(*collection, *home, marks);
                }
                Change::Healed {
                    collection,
                    instance,
                } => {
                    self.quarantined.remove(&(*collection, *instance));
                    self.remade.insert(*collection);
                    self.distrusted.remove(&(*collection, *instance));
                    marks.push(Mark::Healed);
                }
                Change::Distrusted {
                    collection,
                    instance,
                    ..
                } => {
                    self.distrusted.insert((*collection, *instance));
                    marks.push(Mark::Distrusted);
                }
                Change::Token { instance, token } => {
                    if let Some(marker) = self.markers.get_mut(instance) {
                        marker.token = *token;
                    }
                }
                Change::Instance { instance, record } => {
                    self.markers
                        .extend(record.marker.map(|marker| (*instance, marker)));
                    if record.quarantine.as_deref() == Some("its data is from the past") {
                        marks.push(Mark::PastHeld);
                    }
                    if record.quarantine.is_some() || record.marker.is_none() {
                        self.out.insert(*instance);
                    } else {
                        self.out.remove(instance);
                        self.wiped.remove(instance);
                        self.past.remove(instance);
                        marks.push(Mark::Restored);
                    }
                }
                Change::Forgotten { .. } => marks.push(Mark::Forgotten),
                Change::Made(made) if self.gone.contains(&made.id) => {
                    self.violate(format!("I13: {} is made again", made.id));
                }
                Change::Made(made) => {
                    self.made.insert(made.id);
                }
                _ => {}
            }
        }
    }

    /// Rule 11: what an instance in service still needs is not trimmed.
    fn trim(&mut self, lane: LaneId, through: Position, instances: &[InstanceIx]) {
        let from = self.trimmed.get(&lane).copied().unwrap_or_default();
        for position in (from.0 + 1..=through.0).map(Position) {
            if self.is_gone(lane) {
                break;
            }
            let Some(noted) = self.noted(lane, position) else {
                self.violate(format!(
                    "{lane} {position} is trimmed and is not in the log"
                ));
                return;
            };
            let is_owed = |instance: &InstanceIx| {
                !noted.verdict.is_passed_over()
                    && !self.is_quarantined(lane, *instance)
                    && self.cursor(lane, *instance) < position
            };
            let owed = InstanceIx::all(self.instances).find(is_owed);
            if let Some(instance) = owed {
                let who = instance.0;
                self.violate(format!(
                    "{lane} {position} is trimmed, {who} still needs it"
                ));
            }
        }
        for instance in instances {
            let cursor = self.cursors.entry((lane, *instance)).or_default();
            *cursor = (*cursor).max(through);
        }
        self.trimmed.insert(lane, from.max(through));
    }
}
