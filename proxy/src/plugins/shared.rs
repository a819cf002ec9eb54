//! State that all slots' versions share: the store, the shelf as it is there, the engine.

use std::{path::PathBuf, sync::Arc};

use achromat_core::policy::{Shelf, ShelfWrite};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::MutexGuard;

use super::LifeError;
use crate::{
    policy::{CompileLimits, EngineError, Plugins, Policies, Trust},
    store::VersionStore,
};

/// State that all slots' versions share.
pub(super) struct Shared {
    policies: Arc<Policies>,
    store: Arc<dyn VersionStore>,
    shelf: ArcSwap<Shelf>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Made when the first plugin wants it: where none runs, no memory is set apart for them.
    engine: Mutex<Option<Plugins>>,
    cache: Option<PathBuf>,
    /// Bounds on compiling a plugin.
    compile: CompileLimits,
    /// Keys and rules by which a plugin's origin is trusted.
    trust: ArcSwap<Trust>,
}

impl Shared {
    pub(super) fn new(
        policies: Arc<Policies>,
        store: Arc<dyn VersionStore>,
        shelf: Shelf,
        (cache, compile): (Option<PathBuf>, CompileLimits),
        trust: Trust,
    ) -> Self {
        Self {
            policies,
            store,
            shelf: ArcSwap::from_pointee(shelf),
            changing: tokio::sync::Mutex::default(),
            engine: Mutex::default(),
            cache,
            compile,
            trust: ArcSwap::from_pointee(trust),
        }
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        self.trust.load_full()
    }

    /// Sets the trust for versions that come from now on. Versions that are kept already stay.
    pub(super) fn set_trust(&self, trust: Trust) {
        self.trust.store(Arc::new(trust));
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn store(&self) -> &dyn VersionStore {
        self.store.as_ref()
    }

    pub(super) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.load_full()
    }

    /// Waits until no other change is under way.
    pub(super) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Makes it durable, then visible.
    pub(super) async fn write(&self, writes: &[ShelfWrite]) -> Result<(), LifeError> {
        self.store.write_shelf(writes).await?;
        let mut shelf = self.shelf.load().as_ref().clone();
        writes.iter().for_each(|write| shelf.write(write));
        self.shelf.store(Arc::new(shelf));
        Ok(())
    }

    /// The engine in which plugins run. Making it may take a while: not for a thread that serves.
    pub(super) fn engine(&self) -> Result<Plugins, EngineError> {
        let mut engine = self.engine.lock();
        if let Some(engine) = engine.as_ref() {
            return Ok(engine.clone());
        }
        let made = Plugins::with_limits(self.cache.clone(), self.compile)?;
        *engine = Some(made.clone());
        Ok(made)
    }
}
