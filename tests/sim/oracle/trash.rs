//! The trash: what policy wants undone for a while is a collection as before, under a name that no client
//! finds, until its time is over or an operator has it deleted.

use achromat_core::{
    ids::{CollectionId, EntryId, LaneId},
    log::{Verb, Verdict},
    time::WallTime,
    trash::{Trashed, holds},
};

use super::{Noted, Oracle};
use crate::clients::Operation;

impl Oracle {
    /// What is in the trash is deleted for good, which nobody does before its time.
    pub fn purging(&mut self, collection: CollectionId, entry: EntryId, now: WallTime) {
        self.purges.insert(entry);
        let until = self.trashed_until(collection);
        if let Some(until) = until.filter(|until| now < *until) {
            let (now, until) = (now.0, until.0);
            self.violate(format!(
                "the trash: {collection} is deleted at {now}, and is to stay until {until}"
            ));
        }
    }

    /// Until when a collection is in the trash: the earliest of the times that its last names say, of
    /// which the first is accepted, and the others may be.
    fn trashed_until(&self, collection: CollectionId) -> Option<WallTime> {
        let schema = self.log.get(&LaneId::Schema)?;
        let mut until = None;
        for noted in schema {
            let Some(name) = noted.new_name_of(collection) else {
                continue;
            };
            let time = Trashed::parse(name).map(|trashed| trashed.until);
            match noted.verdict {
                Verdict::Accepted => until = time,
                Verdict::Open => until = until.and_then(|until| Some(time?.min(until))),
                _ => {}
            }
        }
        until
    }

    /// What empties the trash deletes nothing that has come back.
    pub(super) fn check_purge(&self, noted: &Noted, name: &str) -> Result<(), String> {
        if self.purges.contains(&noted.entry.id) && !holds(name) {
            return Err(format!("the trash: {name} has come back, and is deleted"));
        }
        Ok(())
    }

    /// What policy wants undone for a while is not deleted: whatever its client was told, the log has
    /// another name for it.
    pub(super) fn judge_trashing(&self, operation: &Operation) -> Result<(), String> {
        let place = operation.entry.and_then(|entry| self.places.get(&entry));
        let noted = place.and_then(|(lane, position)| self.noted(*lane, *position));
        match noted {
            Some(noted) if operation.is_for_trash && !goes_there(noted) => {
                let verb = &noted.entry.verb;
                Err(format!("the trash: {verb:?} can't be undone"))
            }
            _ => Ok(()),
        }
    }
}

impl Noted {
    fn new_name_of(&self, collection: CollectionId) -> Option<&str> {
        match &self.entry.verb {
            Verb::ModifyCollection {
                collection: renamed,
                new_name: Some(name),
            } if *renamed == collection => Some(name),
            _ => None,
        }
    }
}

fn goes_there(noted: &Noted) -> bool {
    matches!(&noted.entry.verb, Verb::ModifyCollection { new_name: Some(name), .. } if holds(name))
}
