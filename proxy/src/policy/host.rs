//! Calls that a plugin's instance may make to Achromat, and the bounds that hold while it runs.

use std::{sync::Arc, time::Instant};

use wasmtime::ResourceLimiter;

use super::{
    contract::routing::achromat::policy::{
        host::{Full, Host, Level},
        types,
    },
    kept::Shared,
    limits::{
        CORE_INSTANCES_MAX, HOST_CALLS_MAX, LOG_LINE_BYTES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX,
    },
    words_of_plugins,
};
use crate::clock;

/// A bound that a call has met; it ends the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overstep {
    /// Memory.
    #[error("it wanted {wanted} bytes of memory, and may have {max}")]
    Memory {
        /// The requested size, in bytes.
        wanted: usize,
        /// The allowed size, in bytes.
        max: usize,
    },
    /// Elements of a table.
    #[error("it wanted a table of {wanted} elements, and may have {TABLE_ELEMENTS_MAX}")]
    Table {
        /// The requested number of elements.
        wanted: usize,
    },
    /// Calls to the host.
    #[error("it called the host more than {HOST_CALLS_MAX} times")]
    HostCalls,
}

/// The host's state for one instance of a plugin.
pub struct State {
    shared: Arc<Shared>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    host_calls: u32,
    /// The last error that the plugin logged in this call; nothing when it logged none.
    words: String,
}

impl State {
    pub(super) fn new(shared: Arc<Shared>, memory_bytes_max: usize) -> Self {
        Self {
            shared,
            memory_bytes: 0,
            memory_bytes_max,
            host_calls: 0,
            words: String::new(),
        }
    }

    /// Another call begins.
    pub(super) fn begin(&mut self) {
        // A call that has called nobody has said nothing.
        if self.host_calls > 0 {
            self.host_calls = 0;
            self.words.clear();
        }
    }

    /// The last error that the plugin logged in the present call.
    pub(super) fn words(&self) -> &str {
        &self.words
    }

    fn charge(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > HOST_CALLS_MAX {
            return Err(Overstep::HostCalls.into());
        }
        Ok(())
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let wanted = self.memory_bytes.saturating_add(growth);
        let max = self.memory_bytes_max;
        if wanted > max {
            return Err(Overstep::Memory { wanted, max }.into());
        }
        self.memory_bytes = wanted;
        self.shared.saw_memory(wanted);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            return Err(Overstep::Table { wanted: desired }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        usize::try_from(CORE_INSTANCES_MAX).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        self.instances()
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES_MAX).unwrap_or(usize::MAX)
    }
}

impl types::Host for State {}

impl Host for State {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.charge()?;
        let line = words_of_plugins::clipped(&message, LOG_LINE_BYTES_MAX);
        self.shared.log(level, &line);
        if matches!(level, Level::Error) {
            // The rate limit of the log does not keep an author from knowing why a call ended.
            self.words = line;
        }
        Ok(())
    }

    fn count(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        self.charge()?;
        self.shared.count(&name, delta);
        Ok(())
    }

    fn wall_clock_ms(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(clock::wall_time().0)
    }

    fn monotonic_clock_ns(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        let elapsed = Instant::now().saturating_duration_since(self.shared.origin());
        Ok(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.charge()?;
        Ok(self.shared.get(&key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Full>> {
        self.charge()?;
        Ok(self.shared.set(key, value))
    }

    fn add(&mut self, key: String, delta: i64) -> wasmtime::Result<Result<i64, Full>> {
        self.charge()?;
        Ok(self.shared.add(key, delta))
    }

    fn remove(&mut self, key: String) -> wasmtime::Result<()> {
        self.charge()?;
        self.shared.remove(&key);
        Ok(())
    }
}
