//! The one engine that all plugins run in: what WebAssembly may do here, and the clock of its
//! deadlines.

use std::{path::PathBuf, sync::Arc, thread};

use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{HasSelf, Linker},
};

use super::{
    compiler::{CompileLimits, Compiler},
    contract::routing::achromat::policy::host as contract,
    host::State,
    limits::{
        CORE_INSTANCES_MAX, INSTANCES_MAX, MEMORIES_MAX, MEMORY_BYTES_MAX, STACK_BYTES,
        TABLE_ELEMENTS_MAX, TICK,
    },
};
use crate::program;

/// Compression level of compiled plugins in the cache: zstd's usual one.
const CACHE_COMPRESSION: i32 = 3;

/// The error when WebAssembly can't be run here.
#[derive(Debug, thiserror::Error)]
#[error("WebAssembly can't be run here: {0}")]
pub struct EngineError(String);

/// The engine in which plugins run. Cheap to clone.
#[derive(Clone)]
pub struct Plugins {
    engine: Engine,
    linker: Linker<State>,
    compiler: Option<Arc<Compiler>>,
}

impl Plugins {
    /// An engine. `cache` is a folder for what was compiled; whoever can write to it can run code
    /// here, as whoever can write to the binary.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, EngineError> {
        let cache = cache.and_then(open_cache);
        let engine = Engine::new(&config(cache.clone(), pooling())).or_else(|error| {
            // Where addresses are rationed (`ulimit -v`), instances are made one by one.
            tracing::info!(%error, "plugins run without a pool of memory");
            Engine::new(&config(cache, InstanceAllocationStrategy::OnDemand))
        });
        let wrong = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = engine.map_err(wrong)?;
        let mut linker = Linker::new(&engine);
        contract::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(wrong)?;
        tick(&engine).map_err(|error| EngineError(error.to_string()))?;
        Ok(Self {
            engine,
            linker,
            compiler: None,
        })
    }

    /// An engine for plugins of strangers: each is compiled in a process of its own, within limits. A program
    /// that only uses Achromat's library has no such process, and compiles here.
    pub fn with_limits(cache: Option<PathBuf>, limits: CompileLimits) -> Result<Self, EngineError> {
        if !program::is_known() {
            return Self::new(cache);
        }
        Ok(Self {
            compiler: Some(Arc::new(Compiler::new(limits, cache))),
            ..Self::new(None)?
        })
    }

    /// An engine that only compiles, with the settings of the others.
    pub(super) fn compiling(cache: Option<PathBuf>) -> Result<Self, EngineError> {
        let cache = cache.and_then(open_cache);
        let wrong = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = Engine::new(&config(cache, InstanceAllocationStrategy::OnDemand));
        let engine = engine.map_err(wrong)?;
        Ok(Self {
            linker: Linker::new(&engine),
            engine,
            compiler: None,
        })
    }

    pub(super) fn compiler(&self) -> Option<&Compiler> {
        self.compiler.as_deref()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }
}

fn open_cache(folder: PathBuf) -> Option<Cache> {
    let mut settings = CacheConfig::new();
    settings.with_directory(folder);
    // What is used often would be compressed again, better, with 150 MB of memory for a moment.
    settings.with_optimized_compression_level(CACHE_COMPRESSION);
    settings.with_baseline_compression_level(CACHE_COMPRESSION);
    match Cache::new(settings) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(%error, "compiled plugins can't be kept; each start compiles them anew");
            None
        }
    }
}

fn config(cache: Option<Cache>, strategy: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .cache(cache)
        .allocation_strategy(strategy)
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // The same inputs give the same decision, on every machine.
        .cranelift_nan_canonicalization(true);
    config
}

fn pooling() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 8)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 8)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(CORE_INSTANCES_MAX)
        .max_tables_per_module(CORE_INSTANCES_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Lets the engine's time go on for as long as there is the engine.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("plugin-deadlines".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
    Ok(())
}
