//! The slots of one proxy, and what its configuration says of them.

use std::{fmt, path::PathBuf, sync::Arc};

use achromat_core::policy::{Digest, Slot as SlotName};

use super::{
    compiler::CompileLimits,
    limits::Budget,
    recorder::Recording,
    slot::{Generation, Slot},
    supply::{Reference, Trust},
    world::{GuardSlot, Member, RoutingSlot, WalSlot},
};

/// Which plugin sits in a slot at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// None: Achromat's own rules.
    Native,
    /// The default policy.
    Default,
    /// A component, or a core module, in a file.
    File(PathBuf),
    /// A component in a registry.
    Registry(Reference),
}

/// A slot as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotConfig {
    /// Which plugin.
    pub plugin: Choice,
    /// The only component that it may be.
    pub digest: Option<Digest>,
    /// Its configuration.
    pub config: Arc<str>,
    /// Its bounds.
    pub budget: Budget,
}

/// All slots as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// Where requests go.
    pub routing: SlotConfig,
    /// Which writes are logged, and when they are answered.
    pub wal: SlotConfig,
    /// What may be destroyed.
    pub guard: SlotConfig,
    /// Whose plugins are taken.
    pub trust: Trust,
    /// Where compiled plugins are kept.
    pub cache: Option<PathBuf>,
    /// What compiling a plugin may take.
    pub compile: CompileLimits,
    /// A folder that is watched for plugins.
    pub folder: Option<PathBuf>,
    /// What of the decisions is recorded.
    pub recording: Recording,
}

impl PolicyConfig {
    /// What it says of a slot.
    pub fn slot(&self, slot: SlotName) -> &SlotConfig {
        match slot {
            SlotName::Routing => &self.routing,
            SlotName::WalEligibility => &self.wal,
            SlotName::CleanupGuard => &self.guard,
        }
    }
}

/// The slots.
pub struct Policies {
    /// Where requests go.
    pub routing: Slot<RoutingSlot>,
    /// Which writes are logged, and when they are answered.
    pub wal: Slot<WalSlot>,
    /// What may be destroyed.
    pub guard: Slot<GuardSlot>,
}

/// The policies that a write lives in from its start to its end.
pub struct Generations {
    /// Where it goes.
    pub routing: Arc<Generation<RoutingSlot>>,
    /// Whether it is logged, and when it is answered.
    pub wal: Arc<Generation<WalSlot>>,
    /// What it may destroy.
    pub guard: Arc<Generation<GuardSlot>>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl Policies {
    /// What a write that begins now lives in.
    pub fn generations(&self) -> Generations {
        Generations {
            routing: self.routing.generation(),
            wal: self.wal.generation(),
            guard: self.guard.generation(),
        }
    }

    /// Slots without plugins: Achromat's own rules decide.
    pub fn native(members: Vec<Member>) -> Self {
        Self {
            routing: Slot::native(Arc::new(members)),
            wal: Slot::native(Arc::new(())),
            guard: Slot::native(Arc::new(())),
        }
    }
}
