//! The slots of one proxy, filled as its configuration says.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use achromat_core::policy::Slot as SlotName;

use super::{
    check::Unfit,
    embedded::default_source,
    engine::{EngineError, Plugins},
    limits::{Budget, COMPONENT_BYTES_MAX},
    slot::{Generation, Slot},
    version::{Source, Version},
    world::{GuardSlot, Member, RoutingSlot, WalSlot, World},
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
}

/// A slot as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotConfig {
    /// Which plugin.
    pub plugin: Choice,
    /// Its configuration.
    pub config: Arc<str>,
    /// Its bounds.
    pub budget: Budget,
}

/// All slots as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Where requests go.
    pub routing: SlotConfig,
    /// Which writes are logged, and when they are answered.
    pub wal: SlotConfig,
    /// What may be destroyed.
    pub guard: SlotConfig,
    /// Where compiled plugins are kept.
    pub cache: Option<PathBuf>,
}

/// Why a configured plugin does not start.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The machine does not take it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file can't be read.
    #[error("policy.{}.plugin: {path}: {source}", .slot.as_str())]
    Unreadable {
        /// The slot.
        slot: SlotName,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no plugin for this slot.
    #[error("policy.{}.plugin: {name}: {unfit}", .slot.as_str())]
    Unfit {
        /// The slot.
        slot: SlotName,
        /// The plugin.
        name: Arc<str>,
        /// What is wrong.
        unfit: Box<Unfit>,
    },
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

    /// Fills the slots. It compiles: not for a thread that serves.
    pub fn fill(config: &PolicyConfig, members: Vec<Member>) -> Result<Self, PolicyError> {
        let policies = Self {
            routing: Slot::native(Arc::new(members)),
            wal: Slot::native(Arc::new(())),
            guard: Slot::native(Arc::new(())),
        };
        let wanted = [&config.routing, &config.wal, &config.guard];
        // Where no plugin runs, no memory is set apart for them.
        if wanted.iter().any(|slot| slot.plugin != Choice::Native) {
            let plugins = Plugins::new(config.cache.clone())?;
            fill(&policies.routing, &plugins, &config.routing)?;
            fill(&policies.wal, &plugins, &config.wal)?;
            fill(&policies.guard, &plugins, &config.guard)?;
        }
        Ok(policies)
    }
}

fn fill<W: World>(
    slot: &Slot<W>,
    plugins: &Plugins,
    config: &SlotConfig,
) -> Result<(), PolicyError> {
    let Some(source) = source(W::SLOT, config)? else {
        return Ok(());
    };
    let version = Version::load(plugins, &source, &slot.facts());
    let version = version.map_err(|unfit| PolicyError::Unfit {
        slot: W::SLOT,
        name: Arc::clone(&source.name),
        unfit: Box::new(unfit),
    })?;
    tracing::info!(
        slot = W::SLOT.as_str(),
        plugin = source.name.as_ref(),
        digest = %version.digest(),
        "a policy plugin is in service"
    );
    slot.swap(Arc::new(version));
    Ok(())
}

fn source(slot: SlotName, config: &SlotConfig) -> Result<Option<Source>, PolicyError> {
    let budget = config.budget;
    let path = match &config.plugin {
        Choice::Native => return Ok(None),
        Choice::Default => {
            let source = default_source(slot, &config.config);
            return Ok(Some(Source { budget, ..source }));
        }
        Choice::File(path) => path,
    };
    let unreadable = |source| PolicyError::Unreadable {
        slot,
        path: path.clone(),
        source,
    };
    let name: Arc<str> = match path.file_name() {
        Some(name) => name.to_string_lossy().into(),
        None => path.to_string_lossy().into(),
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > COMPONENT_BYTES_MAX {
        let unfit = Box::new(Unfit::TooLarge { bytes });
        return Err(PolicyError::Unfit { slot, name, unfit });
    }
    Ok(Some(Source {
        name,
        bytes: fs::read(path).map_err(unreadable)?.into(),
        config: Arc::clone(&config.config),
        budget,
    }))
}
