//! What must hold of each record: the versions in which it may be found, now and at any moment
//! since a reader began.
//!
//! Each id has one writer, which writes one thing after the other, so what a write makes of an id
//! is known from what was there before. A write whose outcome is unknown leaves both possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

/// What an id holds: nothing, or this version.
pub type State = Option<u64>;

type Possible = BTreeSet<State>;

/// A write, as far as it matters to one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Add,
    Upsert,
    Update,
    Delete,
    /// A delete with a limit, which may have left this id alone.
    DeleteSome,
}

/// What became of a write, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    NotDone,
    Unknown,
}

/// A moment in the order of all writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// A write under way.
#[derive(Clone, Debug)]
pub struct Write {
    pub collection: usize,
    pub ids: Vec<String>,
    pub act: Act,
    pub version: u64,
}

#[derive(Debug)]
struct Record {
    possible: Possible,
    /// What a reader may find from each moment on.
    visible: Vec<(Mark, Possible)>,
    /// What was done to it, for people.
    told: Vec<String>,
}

#[derive(Debug, Default)]
struct Book {
    now: u64,
    records: BTreeMap<(usize, String), Record>,
}

/// The book of all records of all collections.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

impl Act {
    /// What it makes of an id.
    fn apply(self, before: State, version: u64) -> Vec<State> {
        match (self, before) {
            (Self::Upsert, _) | (Self::Add, None) | (Self::Update, Some(_)) => vec![Some(version)],
            (Self::Add, _) | (Self::Update, None) => vec![before],
            (Self::Delete, _) => vec![None],
            (Self::DeleteSome, _) => vec![None, before],
        }
    }

    fn apply_all(self, before: &Possible, version: u64) -> Possible {
        let apply = |state: &State| self.apply(*state, version);
        before.iter().flat_map(apply).collect()
    }
}

impl Book {
    fn tick(&mut self) -> Mark {
        self.now += 1;
        Mark(self.now)
    }

    fn record(&mut self, collection: usize, id: &str) -> &mut Record {
        let key = (collection, id.to_owned());
        self.records.entry(key).or_insert_with(|| Record {
            possible: [None].into(),
            visible: vec![(Mark(0), [None].into())],
            told: Vec::new(),
        })
    }
}

impl Record {
    /// What a reader that began at `since` may find.
    fn allowed(&self, since: Mark) -> Possible {
        let later = self.visible.iter().rposition(|(mark, _)| *mark <= since);
        self.visible[later.unwrap_or(0)..]
            .iter()
            .flat_map(|(_, possible)| possible.iter().copied())
            .collect()
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("the ledger")
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        self.book().tick()
    }

    /// A write is about to be sent.
    pub fn begin(&self, write: &Write) {
        let mut book = self.book();
        let now = book.tick();
        for id in &write.ids {
            let record = book.record(write.collection, id);
            let made = write.act.apply_all(&record.possible, write.version);
            let visible = record.possible.union(&made).copied().collect();
            record.visible.push((now, visible));
        }
    }

    /// A write has ended; `told` says how, for people.
    pub fn end(&self, write: &Write, outcome: Outcome, told: &str) {
        let mut book = self.book();
        let now = book.tick();
        for id in &write.ids {
            let record = book.record(write.collection, id);
            let made = write.act.apply_all(&record.possible, write.version);
            match outcome {
                Outcome::Done => record.possible = made,
                Outcome::NotDone => {}
                Outcome::Unknown => record.possible.extend(made),
            }
            record.visible.push((now, record.possible.clone()));
            record.told.push(told.to_owned());
        }
    }

    /// Whether a reader that began at `since` may have found this; if not, what it should have.
    pub fn check(
        &self,
        collection: usize,
        id: &str,
        since: Mark,
        found: State,
    ) -> Result<(), String> {
        let allowed = self.book().record(collection, id).allowed(since);
        if allowed.contains(&found) {
            Ok(())
        } else {
            Err(format!("found {}, not {}", shown(found), all(&allowed)))
        }
    }

    /// What was done to an id.
    pub fn told(&self, collection: usize, id: &str) -> Vec<String> {
        self.book().record(collection, id).told.clone()
    }

    /// Every id that was ever written to, and the others that were asked for.
    pub fn ids(&self, collection: usize) -> Vec<String> {
        let book = self.book();
        let of = |(at, id): &(usize, String)| (*at == collection).then(|| id.clone());
        book.records.keys().filter_map(of).collect()
    }
}

fn shown(state: State) -> String {
    state.map_or_else(
        || "nothing".to_owned(),
        |version| format!("version {version}"),
    )
}

fn all(possible: &Possible) -> String {
    let shown: Vec<_> = possible.iter().copied().map(shown).collect();
    shown.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(act: Act, version: u64) -> Write {
        Write {
            collection: 0,
            ids: vec!["x".to_owned()],
            act,
            version,
        }
    }

    fn done(ledger: &Ledger, act: Act, version: u64, outcome: Outcome) {
        let write = write(act, version);
        ledger.begin(&write);
        ledger.end(&write, outcome, "");
    }

    fn allows(ledger: &Ledger, since: Mark, state: State) -> bool {
        ledger.check(0, "x", since, state).is_ok()
    }

    /// An acknowledged write must be seen, and what was deleted must not come back.
    #[test]
    fn acknowledged_writes_are_demanded() {
        let ledger = Ledger::default();
        done(&ledger, Act::Upsert, 1, Outcome::Done);
        let now = ledger.mark();
        assert!(allows(&ledger, now, Some(1)) && !allows(&ledger, now, None));
        done(&ledger, Act::Delete, 2, Outcome::Done);
        assert!(allows(&ledger, now, Some(1)) && allows(&ledger, now, None));
        let now = ledger.mark();
        assert!(!allows(&ledger, now, Some(1)) && allows(&ledger, now, None));
    }

    /// What is unknown may be either, until the next write settles it.
    #[test]
    fn unknown_outcomes_are_either() {
        let ledger = Ledger::default();
        done(&ledger, Act::Add, 1, Outcome::Unknown);
        done(&ledger, Act::Update, 2, Outcome::Done);
        let now = ledger.mark();
        assert!(allows(&ledger, now, None) && allows(&ledger, now, Some(2)));
        assert!(!allows(&ledger, now, Some(1)));
        done(&ledger, Act::Upsert, 3, Outcome::Done);
        let now = ledger.mark();
        assert!(!allows(&ledger, now, None) && allows(&ledger, now, Some(3)));
    }

    /// What was not done is not there, and a write under way may be seen or not.
    #[test]
    fn refused_writes_are_not_there() {
        let ledger = Ledger::default();
        done(&ledger, Act::Upsert, 1, Outcome::NotDone);
        let now = ledger.mark();
        assert!(allows(&ledger, now, None) && !allows(&ledger, now, Some(1)));
        ledger.begin(&write(Act::Upsert, 2));
        assert!(allows(&ledger, now, None) && allows(&ledger, now, Some(2)));
    }
}
