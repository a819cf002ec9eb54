//! Whether clients saw registers: each record is one, to which clients write unique values, which they
//! delete and read. A history is right when it is linearizable (Herlihy and Wing 1990): every
//! operation takes effect at one moment between its begin and its end.
//!
//! The test is exact. Since values are unique a read names the write that it has seen, which makes the
//! question cheap (Gibbons and Korach, "Testing shared memories", 1997); what deletes leave behind is
//! not unique, so the states are searched as Wing and Gong do ("Testing and verifying concurrent
//! objects", 1993), at each end of an operation only as far as that one needs (Lowe, "Testing for
//! linearizability", 2017). A write of unknown outcome that nobody has read need not have happened; one
//! that was read had happened by the end of the first read of it.

mod clients;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

pub use self::clients::{Goal, Mix, Recorded, record};

/// What an operation does, or has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Writes a value that no other operation writes.
    Write(u64),
    /// Deletes the record.
    Delete,
    /// Has read this; nothing when there was no record.
    Read(Option<u64>),
}

/// Something that a client has done to one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The register.
    pub register: usize,
    /// The client.
    pub client: usize,
    /// What was done.
    pub act: Act,
    /// When it was asked for, on any clock that all clients share.
    pub begun: u64,
    /// When it was answered; `None` when it is not known whether it was done.
    pub ended: Option<u64>,
}

/// A history that no register has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The operation that can't be explained.
    pub operation: Operation,
    /// The operations that had to do with it: those of its register that ended shortly before.
    pub before: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "no register behaves like this: {:?}, after",
            self.operation
        )?;
        self.before
            .iter()
            .try_for_each(|operation| writeln!(f, "  {operation:?}"))
    }
}

/// Operations of the same register that a violation tells of.
const TOLD: usize = 12;

/// Checks a history; registers are independent of each other (Herlihy and Wing: linearizability is
/// local), so there is one violation for each of them at most.
pub fn check(history: &[Operation]) -> Vec<Violation> {
    let mut registers: BTreeMap<usize, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        registers
            .entry(operation.register)
            .or_default()
            .push(*operation);
    }
    let check = |operations: Vec<Operation>| check_register(operations).err();
    registers.into_values().filter_map(check).collect()
}

fn check_register(operations: Vec<Operation>) -> Result<(), Violation> {
    let operations = bounded(operations);
    let mut search = Search::default();
    for (_, event) in events(&operations) {
        match event {
            Event::Begin(at) => search.begin(at, &operations),
            Event::End(at) if search.end(at, &operations) => {}
            Event::End(at) => {
                let end = operations[at].ended;
                let mut before: Vec<_> = operations
                    .iter()
                    .filter(|other| other.ended.is_some() && other.ended < end)
                    .copied()
                    .collect();
                before.sort_by_key(|operation| operation.ended);
                let before = before.split_off(before.len().saturating_sub(TOLD));
                let operation = operations[at];
                return Err(Violation { operation, before });
            }
        }
    }
    Ok(())
}

/// The operations that must have happened, each with an end, and deletes that may have.
fn bounded(mut operations: Vec<Operation>) -> Vec<Operation> {
    let mut read_by: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in &operations {
        if let (Act::Read(Some(value)), Some(ended)) = (operation.act, operation.ended) {
            let first = read_by.entry(value).or_insert(ended);
            *first = ended.min(*first);
        }
    }
    for operation in &mut operations {
        if let (Act::Write(value), None) = (operation.act, operation.ended) {
            let read_by = read_by.get(&value);
            operation.ended = read_by.map(|ended| operation.begun.max(*ended));
        }
    }
    operations.retain(|operation| operation.ended.is_some() || operation.act == Act::Delete);
    operations
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(usize),
    End(usize),
}

/// Begins and ends in their order. At the same moment begins come first: what may have overlapped did.
fn events(operations: &[Operation]) -> Vec<((u64, bool), Event)> {
    let mut events = Vec::with_capacity(operations.len() * 2);
    for (at, operation) in operations.iter().enumerate() {
        events.push(((operation.begun, false), Event::Begin(at)));
        events.extend(operation.ended.map(|ended| ((ended, true), Event::End(at))));
    }
    events.sort_unstable();
    events
}

/// A state that the register may be in: its value, and the operations under way that have taken effect
/// already, by their seats.
type State = (Option<u64>, u64);

/// All states that the register may be in.
#[derive(Debug)]
struct Search {
    /// For each state the fewest deletes of unknown outcome that lead to it.
    states: BTreeMap<State, usize>,
    /// The operations under way, by their seats.
    seats: [Option<usize>; 64],
    /// Deletes of unknown outcome that have begun: each may take effect at any time, or never.
    unknown: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            states: [((None, 0), 0)].into(),
            seats: [None; 64],
            unknown: 0,
        }
    }
}

impl Search {
    fn begin(&mut self, at: usize, operations: &[Operation]) {
        if operations[at].ended.is_none() {
            self.unknown += 1;
            return;
        }
        let free = self.seats.iter().position(Option::is_none);
        self.seats[free.expect("at most 64 operations of a register at once")] = Some(at);
        let states = std::mem::take(&mut self.states);
        for (state, used) in states {
            self.add(state, used, operations);
        }
    }

    /// An operation has ended: states remain in which it has taken effect. Returns whether there are any.
    fn end(&mut self, at: usize, operations: &[Operation]) -> bool {
        let seat = self.seats.iter().position(|taken| *taken == Some(at));
        let seat = seat.expect("it has begun");
        let mut ahead: Vec<(State, usize)> = std::mem::take(&mut self.states).into_iter().collect();
        let mut seen: BTreeMap<State, usize> = BTreeMap::new();
        let mut ended = Vec::new();
        while let Some((state, used)) = ahead.pop() {
            match seen.entry(state) {
                Entry::Occupied(known) if *known.get() <= used => continue,
                Entry::Occupied(mut known) => *known.get_mut() = used,
                Entry::Vacant(new) => drop(new.insert(used)),
            }
            if state.1 & 1 << seat == 0 {
                ahead.extend(self.steps(state, used, operations));
            } else {
                ended.push(((state.0, state.1 & !(1 << seat)), used));
            }
        }
        self.seats[seat] = None;
        for (state, used) in ended {
            self.add(state, used, operations);
        }
        !self.states.is_empty()
    }

    fn add(&mut self, state: State, used: usize, operations: &[Operation]) {
        let state = self.with_reads(state, operations);
        let known = self.states.entry(state).or_insert(used);
        *known = used.min(*known);
    }

    /// The same state with every read under way that may take effect in it: reads change nothing, so that
    /// it never helps to wait.
    fn with_reads(&self, (value, done): State, operations: &[Operation]) -> State {
        let mut done = done;
        for (seat, taken) in self.seats.iter().enumerate() {
            if taken.is_some_and(|at| operations[at].act == Act::Read(value)) {
                done |= 1 << seat;
            }
        }
        (value, done)
    }

    /// The states after one more write or delete.
    fn steps(
        &self,
        (value, done): State,
        used: usize,
        operations: &[Operation],
    ) -> Vec<(State, usize)> {
        let mut steps = Vec::new();
        for (seat, taken) in self.seats.iter().enumerate() {
            let Some(at) = taken.filter(|_| done & 1 << seat == 0) else {
                continue;
            };
            let next = match operations[at].act {
                Act::Write(value) => Some(value),
                Act::Delete => None,
                Act::Read(_) => continue,
            };
            let state = self.with_reads((next, done | 1 << seat), operations);
            steps.push((state, used));
        }
        if used < self.unknown && value.is_some() {
            steps.push((self.with_reads((None, done), operations), used + 1));
        }
        steps
    }
}
