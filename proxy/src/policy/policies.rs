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
    /// The plugin.
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
    /// The slot that says where requests go.
    pub routing: SlotConfig,
    /// The slot that says which writes are logged, and when they are answered.
    pub wal: SlotConfig,
    /// The slot that says what may be destroyed.
    pub guard: SlotConfig,
    /// Keys and rules by which a plugin's origin is trusted.
    pub trust: Trust,
    /// The folder of compiled plugins.
    pub cache: Option<PathBuf>,
    /// Bounds on compiling a plugin.
    pub compile: CompileLimits,
    /// A folder that is watched for plugins.
    pub folder: Option<PathBuf>,
    /// The share and the parts of decisions that are recorded.
    pub recording: Recording,
}

impl PolicyConfig {
    /// The configuration of a slot.
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
    /// The slot that says where requests go.
    pub routing: Slot<RoutingSlot>,
    /// The slot that says which writes are logged, and when they are answered.
    pub wal: Slot<WalSlot>,
    /// The slot that says what may be destroyed.
    pub guard: Slot<GuardSlot>,
}

/// The policies that a write lives in from its start to its end.
pub struct Generations {
    /// Policy that says where the write goes.
    pub routing: Arc<Generation<RoutingSlot>>,
    /// Policy that says if the write is logged, and when it is answered.
    pub wal: Arc<Generation<WalSlot>>,
    /// Policy that says what the write may destroy.
    pub guard: Arc<Generation<GuardSlot>>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl Policies {
    /// The generations for a write that begins now.
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
