//! The default policies, as the build has made them from `plugins/`.

use std::sync::Arc;

use achromat_core::policy::Slot;

use super::{limits::Budget, version::Source};

/// The component of a slot's default policy.
pub fn default_component(slot: Slot) -> &'static [u8] {
    match slot {
        Slot::Routing => include_bytes!(concat!(env!("OUT_DIR"), "/routing.wasm")),
        Slot::WalEligibility => include_bytes!(concat!(env!("OUT_DIR"), "/wal.wasm")),
        Slot::CleanupGuard => include_bytes!(concat!(env!("OUT_DIR"), "/guard.wasm")),
    }
}

/// A slot's default policy with this configuration.
pub fn default_source(slot: Slot, config: &str) -> Source {
    Source {
        name: format!("default-{}", slot.as_str()).into(),
        bytes: Arc::from(default_component(slot)),
        config: config.into(),
        budget: Budget::default(),
    }
}
