//! What clients were told of their writes, against what became of them.

use std::collections::BTreeMap;

use achromat_core::{
    ids::{CollectionId, EntryId, InstanceIx, LaneId},
    log::{Level, Verb, Verdict},
    reply::{Reply, logged},
};

use super::{Noted, Oracle, fold::Fold, registers::Shown, watch};
use crate::{
    clients::Operation,
    model::{Contents, Server},
    requests::About,
};

impl Oracle {
    /// Judges a whole history: the instances' contents, and everything that clients were told.
    pub fn judge_history(
        &self,
        operations: &[Operation],
        servers: &[&Server],
    ) -> Result<(), String> {
        let fold = match Fold::of(self) {
            Ok(fold) => fold,
            // What was decided by an instance that had lost something need not be what a whole
            // server would say.
            Err(_) if !self.tampered.is_empty() => return Ok(()),
            Err(why) => return Err(why),
        };
        let mut shown = Shown::default();
        for (at, operation) in operations.iter().enumerate() {
            self.judge_positional(operation)
                .and_then(|()| self.judge_trashing(operation))
                .and_then(|()| self.judge_local(operation))
                .and_then(|()| self.judge_write(operation))
                .and_then(|()| self.judge_letter(operation))
                .and_then(|()| self.judge_read(operation, &fold, &mut shown))
                .map_err(|why| format!("operation {at}: {why}"))?;
        }
        self.judge_keys(operations)?;
        for (instance, server) in InstanceIx::all(self.instances).zip(servers) {
            self.judge_contents(instance, server, &fold)?;
        }
        Ok(())
    }

    /// I15: all who were told what became of an entry under its key were told the same.
    fn judge_keys(&self, operations: &[Operation]) -> Result<(), String> {
        let mut told: BTreeMap<EntryId, &Reply> = BTreeMap::new();
        for operation in operations.iter().filter(|o| o.draft.key.is_some()) {
            let (Some(entry), Some(reply)) = (operation.entry, &operation.reply) else {
                continue;
            };
            let place = self.places.get(&entry);
            let noted = place.and_then(|(lane, position)| self.noted(*lane, *position));
            let is_outcome = match noted.map(|noted| noted.verdict) {
                Some(Verdict::Accepted | Verdict::Found) => reply.is_success(),
                Some(Verdict::Refused { .. }) => watch::is_refusal(reply),
                _ => false,
            };
            if !is_outcome || self.is_only_logged(noted, reply) {
                continue;
            }
            let first = *told.entry(entry).or_insert(reply);
            if (first.status, &first.body) != (reply.status, &reply.body) {
                let key = operation.draft.key.as_deref().unwrap_or_default();
                let (first, second) = (first.status, reply.status);
                return Err(format!("I15: {key} was answered {first} and {second}"));
            }
        }
        Ok(())
    }

    /// Rule 17: a positional body is refused before anything is logged.
    fn judge_positional(&self, operation: &Operation) -> Result<(), String> {
        let is_logged = operation
            .entry
            .is_some_and(|id| self.places.contains_key(&id));
        let is_done = operation.reply.as_ref().is_some_and(Reply::is_success);
        if operation.draft.is_positional() && (is_logged || is_done) {
            let (target, body) = (&operation.draft.target, &operation.draft.body);
            return Err(format!("rule 17: {target} was not refused: {body}"));
        }
        Ok(())
    }

    /// Whether an answer says that a write is in the log, and nothing of its outcome.
    fn is_only_logged(&self, noted: Option<&Noted>, reply: &Reply) -> bool {
        let Some(Verb::Record { act, .. }) = noted.map(|noted| &noted.entry.verb) else {
            return false;
        };
        let logged = logged(*act);
        self.level == Level::Logged && (logged.status, &logged.body) == (reply.status, &reply.body)
    }

    /// Whether a client was told that its write is in the log, which came to nothing later and is a
    /// letter.
    fn is_logged_letter(&self, noted: Option<&Noted>) -> bool {
        noted.is_some_and(|noted| {
            let is_record = matches!(noted.entry.verb, Verb::Record { .. });
            let is_nothing = matches!(noted.verdict, Verdict::Abandoned | Verdict::Refused { .. });
            let is_letter = self.letters.contains(&noted.entry.id);
            self.level == Level::Logged && is_record && is_nothing && is_letter
        })
    }

    fn judge_write(&self, operation: &Operation) -> Result<(), String> {
        let (Some(reply), Some(entry)) = (&operation.reply, operation.entry) else {
            return Ok(());
        };
        if operation.draft.about != About::Write {
            return Ok(());
        }
        let place = self.places.get(&entry);
        let noted = place.and_then(|(lane, position)| self.noted(*lane, *position));
        let is_gone = place.is_some_and(|(lane, _)| self.is_gone(*lane));
        let verdict = noted.map(|noted| noted.verdict);
        let is_right = match reply.status {
            // What is not logged is judged by what its home has done.
            _ if noted.is_none() && operation.local.is_some() => true,
            200..=299 => {
                matches!(verdict, Some(Verdict::Accepted | Verdict::Found))
                    || (is_gone && verdict == Some(Verdict::Open))
                    || self.is_logged_letter(noted)
                    || (verdict.is_none() && watch::is_nothing_to_delete(operation, reply))
            }
            400..=499 => {
                matches!(verdict, None | Some(Verdict::Refused { .. }))
                    || (is_gone && reply.status == 404)
            }
            503 if watch::is_ours(reply) => match noted {
                None => true,
                Some(noted) => {
                    is_gone
                        || self.is_refused_for_lack(verdict)
                        || (noted.verdict == Verdict::Abandoned && noted.executed == 0)
                }
            },
            _ => true,
        };
        if is_right {
            return Ok(());
        }
        let (target, status) = (&operation.draft.target, reply.status);
        Err(format!(
            "{target} was answered {status}, but is {verdict:?}"
        ))
    }

    /// An instance whose copy of a collection is what it should be.
    pub fn right_copy(&self, id: CollectionId, servers: &[&Server]) -> Option<InstanceIx> {
        let fold = Fold::of(self).ok()?;
        let contents = fold.contents();
        let (place, (_, expected)) = contents.iter().find(|(_, (other, _))| *other == id)?;
        let mut all = InstanceIx::all(self.instances).zip(servers);
        let found = all.find(|(_, server)| {
            let theirs = server.contents().remove(place);
            theirs
                .map(|theirs| self.as_made(id, theirs, expected))
                .as_ref()
                == Some(expected)
        });
        found.map(|(instance, _)| instance)
    }

    /// A copy as it is compared with what it should be: one that was made anew by a client, after somebody had
    /// deleted it, has the metadata that this client gave it.
    fn as_made(&self, id: CollectionId, mut theirs: Contents, expected: &Contents) -> Contents {
        if self.is_vanished(id, u64::MAX) {
            theirs.metadata.clone_from(&expected.metadata);
        }
        theirs
    }

    /// Every copy in service is equal to the fold, and there is nothing else.
    fn judge_contents(
        &self,
        instance: InstanceIx,
        server: &Server,
        fold: &Fold,
    ) -> Result<(), String> {
        let mut theirs = server.contents();
        theirs.retain(|(tenant, ..), _| tenant == "default_tenant");
        let who = instance.0;
        for (place, (id, expected)) in fold.contents() {
            let found = theirs.remove(&place);
            let found = found.map(|found| self.as_made(id, found, &expected));
            let is_elsewhere = self.home_of(id).is_some_and(|home| home != instance);
            if self.is_quarantined(LaneId::Collection(id), instance) || is_elsewhere {
                continue;
            }
            let (_, database, name) = &place;
            match found {
                None => return Err(format!("{database}/{name} is missing on {who}")),
                Some(found) if found != expected => {
                    return Err(format!(
                        "{database}/{name} ({id}) differs on {who}:\n  it has {found:?}\n  and should have {expected:?}"
                    ));
                }
                Some(_) => {}
            }
        }
        match theirs.into_keys().next() {
            Some((_, database, name)) => Err(format!("{database}/{name} is left over on {who}")),
            None => Ok(()),
        }
    }

    /// The last position of a lane whose client knew before a moment that it was done.
    pub(super) fn acknowledged_before(&self, lane: LaneId, moment: u64) -> usize {
        let known = self
            .acknowledged
            .iter()
            .filter(|a| a.lane == lane && a.at <= moment);
        let last = known.map(|a| a.position.0).max().unwrap_or(0);
        usize::try_from(last).expect("a position")
    }

    /// The last position of a lane that was appended by a moment.
    pub(super) fn appended_by(&self, lane: LaneId, moment: u64) -> usize {
        let entries = self.log.get(&lane);
        entries.map_or(0, |entries| {
            entries.partition_point(|noted| noted.at <= moment)
        })
    }
}
