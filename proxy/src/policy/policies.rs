//! The slots of one proxy, filled as its configuration says.

use std::{fmt, path::PathBuf, sync::Arc};

use achromat_core::policy::Slot as SlotName;

use super::{
    check::Unfit,
    embedded::default_source,
    engine::{EngineError, Plugins},
    limits::Budget,
    slot::Slot,
    supply::{self, Reference, SupplyError, Trust},
    version::{Digest, Source, Version},
    world::{GuardSlot, Member, RoutingSlot, World},
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Where requests go.
    pub routing: SlotConfig,
    /// What may be destroyed.
    pub guard: SlotConfig,
    /// Whose plugins are taken.
    pub trust: Trust,
    /// Where compiled plugins are kept.
    pub cache: Option<PathBuf>,
}

/// Why a configured plugin does not start.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The machine does not take it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is not there, or not the one that is meant.
    #[error("policy.{}.plugin: {name}: {source}", .slot.as_str())]
    Supply {
        /// The slot.
        slot: SlotName,
        /// The plugin.
        name: Arc<str>,
        /// Why not.
        source: SupplyError,
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
    /// What may be destroyed.
    pub guard: Slot<GuardSlot>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl Policies {
    /// Fills the slots. It compiles: not for a thread that serves.
    pub fn fill(config: &PolicyConfig, members: Vec<Member>) -> Result<Self, PolicyError> {
        let policies = Self {
            routing: Slot::native(Arc::new(members)),
            guard: Slot::native(Arc::new(())),
        };
        let wanted = [&config.routing, &config.guard];
        // Where no plugin runs, no memory is set apart for them.
        if wanted.iter().any(|slot| slot.plugin != Choice::Native) {
            let plugins = Plugins::new(config.cache.clone())?;
            fill(&policies.routing, &plugins, &config.routing, &config.trust)?;
            fill(&policies.guard, &plugins, &config.guard, &config.trust)?;
        }
        Ok(policies)
    }
}

fn fill<W: World>(
    slot: &Slot<W>,
    plugins: &Plugins,
    config: &SlotConfig,
    trust: &Trust,
) -> Result<(), PolicyError> {
    let Some(source) = source(W::SLOT, config, trust)? else {
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

fn source(
    slot: SlotName,
    config: &SlotConfig,
    trust: &Trust,
) -> Result<Option<Source>, PolicyError> {
    let budget = config.budget;
    let (name, bytes) = match &config.plugin {
        Choice::Native => return Ok(None),
        Choice::Default => {
            let source = default_source(slot, &config.config);
            return Ok(Some(Source { budget, ..source }));
        }
        Choice::File(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            (name, supply::from_file(path, config.digest, trust))
        }
        Choice::Registry(reference) => {
            let bytes = supply::from_registry(reference, config.digest, trust);
            (reference.name(), bytes)
        }
    };
    let name: Arc<str> = name.into();
    let bytes = bytes.map_err(|source| PolicyError::Supply {
        slot,
        name: Arc::clone(&name),
        source,
    })?;
    Ok(Some(Source {
        name,
        bytes,
        config: Arc::clone(&config.config),
        budget,
    }))
}
