//! What can go wrong, by name, and how often it did.

macro_rules! names {
    ($(#[$doc:meta])* $type:ident, $($variant:ident => $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each has its name in words beside it")]
        pub enum $type { $($variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use names;

names! {
    /// A kind of fault. A new kind is a variant here, a rate in `plan`, and what it does in
    /// `wire`, `process`, `store` or `chaos`.
    Fault,
    Unsent => "request not sent",
    LostReset => "request lost, connection reset",
    LostStale => "request lost on a connection used before",
    LostSilent => "request lost in silence",
    AnswerReset => "answer lost, connection reset",
    AnswerStale => "answer lost on a connection used before",
    AnswerSilent => "answer lost in silence",
    Late => "request delayed",
    ErrorDone => "5xx though applied",
    ErrorNotDone => "5xx and not applied",
    Garbage => "200 with garbage",
    Crash => "instance crashed",
    Freeze => "instance frozen",
    Cut => "instance cut off",
    Slow => "instance slow",
    FullDisk => "instance's disk full",
    Wipe => "instance's disk wiped",
    Tamper => "collection lost on an instance",
    Flip => "record changed on an instance",
    Join => "new instance joined",
    Forced => "standing forced by an operator",
    StoreNotDone => "commit failed",
    StoreUnknownDone => "commit done, outcome unknown",
    StoreUnknownNot => "commit not done, outcome unknown",
    StoreDown => "store down",
    StoreFull => "store's disk full",
    ProxyCrash => "proxy crashed",
    CrashAtEffect => "proxy crashed between two effects",
    Depose => "proxy deposed",
    Poison => "entry failed by every instance",
    Past => "instance's disk replaced by an old backup",
    Vanish => "collection deleted on every instance directly",
}

impl Fault {
    /// Those that befall a single request.
    pub const OF_REQUESTS: &[Self] = &[
        Self::Unsent,
        Self::LostReset,
        Self::LostStale,
        Self::LostSilent,
        Self::AnswerReset,
        Self::AnswerStale,
        Self::AnswerSilent,
        Self::Late,
        Self::ErrorDone,
        Self::ErrorNotDone,
        Self::Garbage,
    ];

    /// Those that befall a single commit.
    pub const OF_COMMITS: &[Self] = &[
        Self::StoreNotDone,
        Self::StoreUnknownDone,
        Self::StoreUnknownNot,
    ];

    /// Those that happen so many times in a history.
    pub const OF_HISTORIES: &[Self] = &[
        Self::Crash,
        Self::Freeze,
        Self::Cut,
        Self::Slow,
        Self::FullDisk,
        Self::Wipe,
        Self::Tamper,
        Self::Flip,
        Self::Join,
        Self::Forced,
        Self::StoreDown,
        Self::StoreFull,
        Self::ProxyCrash,
        Self::Depose,
        Self::Poison,
        Self::Past,
    ];
}

/// How often each happened.
#[derive(Clone, Debug)]
pub struct Counts(Vec<u64>);

impl Counts {
    /// None yet, of this many kinds.
    pub fn new(kinds: usize) -> Self {
        Self(vec![0; kinds])
    }

    /// One more of a kind.
    pub fn add(&mut self, at: usize) {
        self.0[at] += 1;
    }

    /// How many of a kind.
    pub fn get(&self, at: usize) -> u64 {
        self.0[at]
    }

    /// All of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}
