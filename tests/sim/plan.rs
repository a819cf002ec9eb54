//! What a seed decides before a history begins: how much of everything, and how often what fails.

use std::{collections::BTreeSet, time::Duration};

use achromat_core::{
    engine::Settings,
    health::HealthRules,
    jobs::copy::Pace,
    lane::Rules,
    limits::COPY_BATCH_BYTES_MAX,
    log::Level,
    planted::Planted,
    read::{ReadRules, Strategy},
    write::Levels,
};

use super::{
    bugs::Planting,
    faults::Fault,
    mix::{Mix, Odds, Theme},
    random::Random,
    scopes::Scope,
};

/// How a history is to be run, beside its seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether each step is told.
    pub trace: bool,
    /// How many operations there are at most.
    pub operations_max: Option<usize>,
    /// Faults that do not happen.
    pub without: BTreeSet<Fault>,
    /// A bug.
    pub planting: Option<Planting>,
    /// The odds.
    pub mix: Mix,
}

/// Deadlines of the proxy's requests.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For a connection to be made.
    pub connect: Duration,
    /// For a probe to be answered.
    pub probe: Duration,
    /// For an entry to be answered.
    pub write: Duration,
}

/// The history that a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What the engine decides by.
    pub settings: Settings,
    /// Timing of reads.
    pub reads: ReadRules,
    /// How reads are spread.
    pub strategy: Strategy,
    /// When a client is answered.
    pub levels: Levels,
    /// When a write is answered at the latest.
    pub write_deadline: Duration,
    /// Deadlines.
    pub timing: Timing,
    /// How many clients there are.
    pub clients: usize,
    /// How many operations they do in all.
    pub operations: usize,
    /// The longest pause of a client.
    pub pause_max: Duration,
    /// How many writes in a thousand have a key.
    pub keyed: u32,
    /// How many writes of records in a thousand are heavy.
    pub heavy: u32,
    /// How many operations in a thousand are legal and odd.
    pub odd: u32,
    /// What most of them are about.
    pub theme: Theme,
    /// Decisions of policy.
    pub odds: Odds,
    /// How long faults happen.
    pub chaos: Duration,
    /// The longest that a flush of the store takes.
    pub flush_max: Duration,
    /// Of each kind of fault, in the order of `Fault::ALL`: how many times in a thousand requests
    /// or commits, or how many thousandths of a time in the history.
    rates: Vec<u32>,
}

impl Plan {
    /// What this seed stands for.
    pub fn of(seed: u64, options: &Options) -> Self {
        let mut random = Random::of(seed, "plan");
        let instances = if random.chance(650) { 2 } else { 3 };
        let operations = usize::try_from(random.between(10, 90)).expect("a number");
        let is_brisk = random.chance(750);
        let ms = Duration::from_millis;
        let write = if is_brisk { ms(4_000) } else { ms(60_000) };
        let settle = if is_brisk { ms(3_000) } else { ms(30_000) };
        let planted = options
            .planting
            .and_then(Planting::in_core)
            .map_or(Planted::NONE, Planted::bug);
        let settings = Settings {
            instances,
            lanes: Rules {
                hedge: ms(150),
                settle,
                all_wait: ms(random.between(1, 4) * 500),
                planted,
            },
            // Few enough for lanes to wait for one another.
            replication_max: Random::of(seed, "replication")
                .between(1, 4)
                .try_into()
                .expect("a number"),
            // Few enough for bodies to be loaded from the log.
            kept_bytes_max: Random::of(seed, "kept")
                .between(0, 2_000)
                .try_into()
                .expect("a number"),
            health: HealthRules {
                interval: ms(1_000),
                silent_max: 2,
            },
            // In some histories a few records are too many for one answer.
            pace: Pace {
                records_per_s: 10_000,
                batch_bytes_max: *Random::of(seed, "batch").pick(&[
                    COPY_BATCH_BYTES_MAX,
                    COPY_BATCH_BYTES_MAX,
                    COPY_BATCH_BYTES_MAX,
                    250,
                ]),
            },
            keys_kept: Duration::from_hours(24),
            keys_max: 1_000_000,
            verify_interval: ms(*random.pick(&[2_000, 60_000, 600_000])),
            token_interval: ms(10_000),
        };
        let records = *random.pick(&[Level::One, Level::One, Level::Majority, Level::All]);
        let is_logged = Random::of(seed, "logged").chance(options.mix.share(150, 250));
        let levels = Levels {
            records: if is_logged { Level::Logged } else { records },
            schema: *random.pick(&[Level::All, Level::All, Level::One]),
        };
        let plan = Self {
            seed,
            settings,
            reads: ReadRules {
                hedge: ms(150),
                deadline: write,
                eligible_wait: ms(random.between(1, 10) * 1_000),
            },
            strategy: *random.pick(&[
                Strategy::RoundRobin,
                Strategy::ReadReplica { ratio: 0.8 },
                Strategy::PrimaryOnly,
            ]),
            levels,
            write_deadline: if is_brisk { ms(3_000) } else { ms(30_000) },
            timing: Timing {
                connect: ms(1_000),
                probe: ms(1_000),
                write,
            },
            clients: usize::try_from(random.between(1, 4)).expect("a number"),
            operations: options
                .operations_max
                .map_or(operations, |max| max.min(operations)),
            pause_max: ms(*random.pick(&[5, 50, 300, 1_000])),
            keyed: *random.pick(&[0, 100, 700]),
            heavy: *Random::of(seed, "heavy rate").pick(options.mix.heavy()),
            odd: *Random::of(seed, "odd rate").pick(&[0, 0, 30, 200]),
            theme: options.mix.theme(seed),
            odds: options.mix.odds(seed),
            chaos: ms(random.between(2, 40) * 1_000),
            flush_max: ms(*random.pick(&[1, 5, 40])),
            rates: rates(&mut random, options),
        };
        match plan.theme {
            Theme::Registers => plan.with_registers(options),
            Theme::Everything | Theme::Writers | Theme::Names => plan,
        }
    }

    /// Several clients that read and write the same records without a pause, while answers are lost: a
    /// write that nobody has decided yet is read at one instance, and the next read goes to another.
    fn with_registers(mut self, options: &Options) -> Self {
        let mut random = Random::of(self.seed, "registers");
        let operations = usize::try_from(random.between(60, 120)).expect("a number");
        let is_on = |fault: &Fault| !options.without.contains(fault);
        for fault in Fault::ALL {
            let rate = match fault {
                Fault::AnswerSilent => 200,
                Fault::AnswerReset => 30,
                _ if random.chance(150) => self.rate(*fault),
                _ => 0,
            };
            self.rates[*fault as usize] = if is_on(fault) { rate } else { 0 };
        }
        Self {
            clients: 6,
            operations: options
                .operations_max
                .map_or(operations, |max| max.min(operations)),
            pause_max: Duration::from_millis(1),
            keyed: 0,
            heavy: 0,
            odd: 0,
            levels: Levels {
                records: *random.pick(&[Level::One, Level::Majority]),
                ..self.levels
            },
            strategy: *random.pick(&[
                Strategy::RoundRobin,
                Strategy::ReadReplica { ratio: 0.8 },
                Strategy::ReadReplica { ratio: 0.5 },
            ]),
            ..self
        }
    }

    /// The history of a scope, in which nothing goes wrong by chance.
    pub fn of_scope(scope: &Scope, options: &Options) -> Self {
        let ms = Duration::from_millis;
        let drafts: usize = scope.clients.iter().map(Vec::len).sum();
        let mut plan = Self::of(0, options);
        plan.settings.instances = 2;
        plan.settings.lanes.settle = ms(3_000);
        plan.settings.verify_interval = Duration::from_hours(1);
        Self {
            timing: Timing {
                write: ms(4_000),
                ..plan.timing
            },
            reads: ReadRules {
                deadline: ms(4_000),
                ..plan.reads
            },
            levels: Levels {
                records: Level::One,
                schema: Level::One,
            },
            write_deadline: ms(3_000),
            clients: scope.clients.len(),
            operations: scope.first.len() + drafts,
            pause_max: ms(5),
            keyed: 0,
            heavy: 0,
            odd: 0,
            theme: Theme::Everything,
            odds: Odds::default(),
            chaos: ms(20_000),
            flush_max: ms(1),
            rates: vec![0; Fault::ALL.len()],
            ..plan
        }
    }

    /// How often a fault happens.
    pub fn rate(&self, fault: Fault) -> u32 {
        self.rates[fault as usize]
    }
}

/// Some kinds not at all, some now and then, some often: what never meets in one history with
/// everything in it may meet in one with little.
fn rates(random: &mut Random, options: &Options) -> Vec<u32> {
    let kinds = *random.pick(&[150, 400, 700]);
    let rate = |fault: &Fault| {
        let is_on = random.chance(match fault {
            Fault::Tamper | Fault::Flip => 80,
            Fault::Join => 100,
            Fault::Poison => 30,
            Fault::Vanish => options.mix.share(120, 220),
            Fault::Wipe | Fault::Past => kinds / 2,
            _ => kinds,
        });
        let of_requests = Fault::OF_REQUESTS.contains(fault);
        let of_commits = Fault::OF_COMMITS.contains(fault);
        let often: [u64; 2] = if of_requests || of_commits {
            [5, 60]
        } else if *fault == Fault::CrashAtEffect {
            [1, 10]
        } else {
            [400, 3_000]
        };
        let rate = random.between(often[0], often[1]);
        let is_off = !is_on || options.without.contains(fault);
        if is_off {
            0
        } else {
            u32::try_from(rate).expect("a rate")
        }
    };
    Fault::ALL.iter().map(rate).collect()
}
