//! What came to nothing after its client was told that nobody knows: it is a letter, until an
//! operator has it written again or dismisses it.

use achromat_core::{ids::EntryId, log::Verdict};

use super::{Noted, Oracle};
use crate::{clients::Operation, oracle::watch, requests::About};

impl Oracle {
    /// An operator finds a letter.
    pub fn letter(&mut self, id: EntryId) {
        let place = self.places.get(&id).copied();
        let noted = place.and_then(|(lane, position)| self.noted(lane, position));
        let is_nothing = |noted: &Noted| {
            let subject = noted.entry.verb.subject();
            // What it did went with the collection.
            let is_deleted = subject.is_some_and(|id| self.is_vanished(id, u64::MAX));
            let is_deleted = is_deleted || self.may_be_void(place);
            let is_nowhere = is_deleted || noted.executed & !noted.lost == 0;
            let is_given_up = noted.verdict == Verdict::Abandoned && is_nowhere;
            is_given_up || matches!(noted.verdict, Verdict::Refused { .. })
        };
        if !noted.is_some_and(is_nothing) {
            let verdict = noted.map(|noted| noted.verdict);
            self.violate(format!("{id:?} is a letter, but is {verdict:?}"));
        }
        self.letters.insert(id);
    }

    /// Whether an entry was a letter before, written again.
    pub fn is_retry(&self, id: EntryId) -> bool {
        let place = self.places.get(&id);
        let noted = place.and_then(|(lane, position)| self.noted(*lane, *position));
        noted.is_some_and(|noted| noted.entry.retries.is_some())
    }

    /// What came to nothing later than its client was told that nobody knows is a letter; and what
    /// an operator had written again is decided.
    pub(super) fn judge_letter(&self, operation: &Operation) -> Result<(), String> {
        let (Some(reply), Some(entry)) = (&operation.reply, operation.entry) else {
            return Ok(());
        };
        if operation.draft.about != About::Write || reply.status < 500 || watch::is_refusal(reply) {
            return Ok(());
        }
        let target = &operation.draft.target;
        if operation.is_closing && !watch::is_level_not_reached(reply) {
            let status = reply.status;
            return Err(format!("all is well, but {target} is answered {status}"));
        }
        let place = self.places.get(&entry);
        let Some(noted) = place.and_then(|(lane, at)| self.noted(*lane, *at)) else {
            return Ok(());
        };
        let came_to_nothing = matches!(noted.verdict, Verdict::Abandoned | Verdict::Refused { .. });
        let was_told_before = operation.ended < noted.decided;
        if came_to_nothing && was_told_before && !self.letters.contains(&entry) {
            let (status, verdict) = (reply.status, noted.verdict);
            return Err(format!(
                "{target} was answered {status}, then {verdict:?}, and is no letter"
            ));
        }
        Ok(())
    }
}
