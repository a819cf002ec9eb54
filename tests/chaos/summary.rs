//! What a run tells in the end.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::{
    Options,
    recorder::{Fate, sendings},
    schedule::Kind,
    supervisor::Supervisor,
    world::{Tally, World},
};
use crate::cluster::NAMES;

/// What was sent to one instance.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub requests: usize,
    pub writes: usize,
    pub broken: usize,
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    pub options: Options,
    pub faults: BTreeMap<Kind, u32>,
    pub tally: Tally,
    pub traffic: Vec<Traffic>,
    /// From the end of the last fault until nothing was owed.
    pub converged: Duration,
    /// Operations of which it was found out whether they were those of registers.
    pub registers: usize,
    /// The first violations, with what belongs to them.
    pub violations: Vec<String>,
    pub violation_count: usize,
    /// What was done when.
    pub time_line: Vec<String>,
}

impl Summary {
    /// Collects the figures.
    pub fn new(
        options: Options,
        supervisor: &Supervisor,
        world: &World,
        (converged, registers): (Duration, usize),
    ) -> Self {
        let (violations, violation_count) = world.chronicle.violations();
        let traffic = supervisor.relays.iter().map(|relay| {
            let seen = relay.recorder().all();
            Traffic {
                requests: seen.len(),
                writes: sendings(&seen),
                broken: seen.iter().filter(|e| e.fate == Fate::Broken).count(),
            }
        });
        Self {
            options,
            faults: supervisor.counts.clone(),
            tally: world.tally().clone(),
            traffic: traffic.collect(),
            converged,
            registers,
            violations,
            violation_count,
            time_line: world.chronicle.lines(),
        }
    }

    /// Whether everything held.
    pub fn is_sound(&self) -> bool {
        self.violation_count == 0
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, violation) in self.violations.iter().enumerate() {
            writeln!(f, "--- violation {} ---\n{violation}", number + 1)?;
        }
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(k, n)| format!("{k:?} {n}"))
            .collect();
        let total: u32 = self.faults.values().sum();
        writeln!(f, "faults      {total}: {}", faults.join(", "))?;
        let Tally {
            writes,
            reads,
            refused,
            excused,
            failures,
            worst_write,
            worst_schema_write,
            worst_read,
            slowest,
        } = &self.tally;
        writeln!(
            f,
            "requests    {writes} writes, {refused} to be refused, {reads} reads"
        )?;
        writeln!(f, "failures    {failures}; {excused} with an excuse")?;
        writeln!(
            f,
            "worst       write {worst_write:.3?}, of collections {worst_schema_write:.3?}, read {worst_read:.3?}"
        )?;
        writeln!(f, "slowest     {}", slowest.1.trim())?;
        for (name, traffic) in NAMES.iter().zip(&self.traffic) {
            let Traffic {
                requests,
                writes,
                broken,
            } = traffic;
            writeln!(
                f,
                "instance {name}  {requests} requests, {writes} writes of records, {broken} broken off"
            )?;
        }
        writeln!(f, "converged   in {:.3?}", self.converged)?;
        writeln!(f, "registers   {} operations", self.registers)?;
        writeln!(f, "violations  {}", self.violation_count)?;
        write!(f, "again with  {}", self.options.command())
    }
}
