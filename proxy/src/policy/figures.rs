//! Counters of a version.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::trouble::TroubleKind;

/// The upper bounds of the buckets in which times are counted.
pub const TIMES: [Duration; 10] = [
    Duration::from_micros(1),
    Duration::from_micros(2),
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(50),
    Duration::from_micros(200),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// One decision in so many is timed: two looks at the clock cost as much as a tenth of it.
pub(super) const TIMED_SHARE: u64 = 8;

/// Kinds of answers in the world that has the most.
const KINDS_MAX: usize = 3;

/// Counters of one version. Nothing here waits.
#[derive(Debug, Default)]
pub(super) struct Counters {
    decisions: [AtomicU64; KINDS_MAX],
    troubles: [AtomicU64; TroubleKind::ALL.len()],
    instances: AtomicU64,
    fuel: AtomicU64,
    times: [AtomicU64; TIMES.len() + 1],
    time_ns: AtomicU64,
}

/// The values of a version's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Answers that were taken, by kind.
    pub decisions: Vec<(&'static str, u64)>,
    /// Calls without an answer, by kind.
    pub troubles: Vec<(&'static str, u64)>,
    /// Instances that were made.
    pub instances_made: u64,
    /// Fuel that answers took, in all.
    pub fuel: u64,
    /// Timed answers by duration: one count for each bound of [`TIMES`], and the last for longer ones.
    pub times: Vec<u64>,
    /// Duration of all timed answers together.
    pub timed_ns: u64,
    /// The most memory that an instance has had.
    pub memory_bytes_max: usize,
}

fn add(counter: Option<&AtomicU64>, by: u64) -> u64 {
    counter.map_or(0, |counter| counter.fetch_add(by, Relaxed))
}

impl Counters {
    pub(super) fn decided(&self, kind: usize, fuel: u64) {
        add(self.decisions.get(kind), 1);
        add(Some(&self.fuel), fuel);
    }

    pub(super) fn took(&self, time: Duration) {
        let bucket = TIMES.partition_point(|bound| *bound < time);
        add(self.times.get(bucket), 1);
        add(
            Some(&self.time_ns),
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        );
    }

    pub(super) fn troubled(&self, kind: TroubleKind) {
        let place = TroubleKind::ALL.iter().position(|other| *other == kind);
        add(place.and_then(|place| self.troubles.get(place)), 1);
    }

    pub(super) fn made_instance(&self) {
        add(Some(&self.instances), 1);
    }

    pub(super) fn read(&self, kinds: &[&'static str], memory_bytes_max: usize) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let troubles = TroubleKind::ALL.iter().map(|kind| kind.as_str());
        Figures {
            decisions: kinds
                .iter()
                .copied()
                .zip(self.decisions.iter().map(read))
                .collect(),
            troubles: troubles.zip(self.troubles.iter().map(read)).collect(),
            instances_made: read(&self.instances),
            fuel: read(&self.fuel),
            times: self.times.iter().map(read).collect(),
            timed_ns: read(&self.time_ns),
            memory_bytes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every decision and every time is counted where it belongs.
    #[test]
    fn each_is_counted_in_its_place() {
        let counters = Counters::default();
        counters.decided(1, 40);
        counters.decided(1, 2);
        counters.troubled(TroubleKind::Fuel);
        for us in [0, 1, 3, 20, 5_000_000] {
            counters.took(Duration::from_micros(us));
        }
        let figures = counters.read(&["a", "b", "c"], 7);
        assert_eq!(figures.decisions, [("a", 0), ("b", 2), ("c", 0)]);
        assert_eq!(figures.troubles[0], ("fuel", 1));
        assert_eq!(figures.fuel, 42);
        assert_eq!(figures.times, [2, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }
}
