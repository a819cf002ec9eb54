//! Runs histories: one, or many on all cores; catches broken invariants, and makes a failing
//! history small.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{
    faults::{Counts, Fault},
    marks::Mark,
    mix::Mix,
    plan::{Options, Plan},
    world::World,
};

/// How a history went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was broken, if anything was.
    pub violation: Option<String>,
    /// Faults that happened.
    pub faults: Counts,
    /// Places that were reached.
    pub marks: Counts,
    /// How many operations clients did.
    pub operations: u64,
    /// The hash of the trace and how many lines it had, when it was asked for.
    pub trace: (u64, u64),
}

/// How many histories went.
#[derive(Debug)]
pub struct Summary {
    /// How many.
    pub histories: u64,
    /// Their operations.
    pub operations: u64,
    /// Their faults.
    pub faults: Counts,
    /// Places that they reached.
    pub marks: Counts,
    /// The seeds that failed, with what was broken.
    pub failures: BTreeMap<u64, String>,
    /// How long it took.
    pub seconds: f64,
}

thread_local! {
    /// Whether a panic on this thread is a finding, and not to be told at once.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<Option<String>> = const { Cell::new(None) };
}

static HOOK: Once = Once::new();

/// Has panics of histories kept and not told: they are findings.
fn catch_panics() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHES.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let said = info.payload_as_str().unwrap_or("a panic");
                FOUND.set(Some(format!("{said} ({place})")));
            } else {
                before(info);
            }
        }));
    });
}

/// Runs the history of a seed.
pub fn run(seed: u64, options: &Options, hashes: bool) -> Outcome {
    outcome_of(&mut World::new(Plan::of(seed, options), options), hashes)
}

/// Runs a history.
pub(super) fn outcome_of(world: &mut World, hashes: bool) -> Outcome {
    catch_panics();
    if hashes {
        world.trace.hash_lines();
    }
    CATCHES.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    CATCHES.set(false);
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(_) => Some(FOUND.take().unwrap_or_else(|| "a panic".to_owned())),
    };
    Outcome {
        violation,
        operations: u64::try_from(world.operations.len()).expect("a count"),
        trace: world.trace.sum(),
        faults: world.faults.clone(),
        marks: world.marks.clone(),
    }
}

/// Runs the histories of these seeds on this many threads, and stops after some failures.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    options: &Options,
    threads: usize,
    failures_max: usize,
) -> Summary {
    let summary = Mutex::new(Summary {
        histories: 0,
        operations: 0,
        faults: Counts::new(Fault::ALL.len()),
        marks: Counts::new(Mark::ALL.len()),
        failures: BTreeMap::new(),
        seconds: 0.0,
    });
    let (next, stops) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stops.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, options, false);
                    let mut summary = summary.lock().expect("no panic here");
                    summary.take(seed, outcome);
                    if summary.failures.len() >= failures_max {
                        stops.store(true, Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no panic here");
    summary.seconds = began.elapsed().as_secs_f64();
    summary
}

/// How many histories, from a seed on, it takes until one breaks; and what is broken then.
pub fn until_found(options: &Options, from: u64, most: u64) -> Option<(u64, String)> {
    (0..most).find_map(|count| {
        let violation = run(from + count, options, false).violation?;
        Some((count + 1, violation))
    })
}

impl Summary {
    fn take(&mut self, seed: u64, outcome: Outcome) {
        self.histories += 1;
        self.operations += outcome.operations;
        self.faults.merge(&outcome.faults);
        self.marks.merge(&outcome.marks);
        if let Some(violation) = outcome.violation {
            self.failures.insert(seed, violation);
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.faults.merge(&other.faults);
        self.marks.merge(&other.marks);
        self.failures.extend(other.failures);
        self.seconds += other.seconds;
    }

    /// Histories per second.
    #[allow(clippy::cast_precision_loss, reason = "it is told to people")]
    pub fn per_second(&self) -> f64 {
        self.histories as f64 / self.seconds
    }

    /// The places that were not reached, although histories of this mix come there.
    pub fn unreached(&self, mix: Mix) -> impl Iterator<Item = Mark> {
        let is_unreached = move |mark: &Mark| {
            let is_meant = mix == Mix::Fleet || !mark.is_of_followers();
            is_meant && self.marks.get(*mark as usize) == 0
        };
        Mark::ALL.iter().copied().filter(is_unreached)
    }
}

/// A failing history with as few operations and kinds of faults as still fail.
pub fn shrink(seed: u64, options: &Options) -> (Options, String) {
    let mut least = options.clone();
    let mut said = run(seed, &least, false).violation.unwrap_or_default();
    for fault in Fault::ALL {
        let mut fewer = least.clone();
        fewer.without.insert(*fault);
        if let Some(violation) = run(seed, &fewer, false).violation {
            (least, said) = (fewer, violation);
        }
    }
    let (mut low, mut high) = (0, Plan::of(seed, &least).operations);
    while low < high {
        let middle = low.midpoint(high);
        let mut fewer = least.clone();
        fewer.operations_max = Some(middle);
        match run(seed, &fewer, false).violation {
            Some(violation) => {
                (least, said) = (fewer, violation);
                high = middle;
            }
            None => low = middle + 1,
        }
    }
    (least, said)
}

/// How a history is run again.
pub fn replay(seed: u64, options: &Options) -> String {
    let line = format!("cargo run -p achromat-tests --release -- sim --seed {seed} --trace");
    let most = options
        .operations_max
        .map(|most| format!(" --operations {most}"));
    let without: Vec<_> = options.without.iter().map(|f| format!("{f:?}")).collect();
    let without = (!without.is_empty()).then(|| format!(" --without {}", without.join(",")));
    let mix = (options.mix != Mix::default()).then(|| format!(" --mix {}", options.mix.name()));
    [Some(line), most, without, mix]
        .into_iter()
        .flatten()
        .collect()
}
