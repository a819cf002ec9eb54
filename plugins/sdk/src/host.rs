//! What Achromat does for a plugin: log, counters, clocks and the key-value store.
//!
//! Outside of WebAssembly there is no Achromat: lines and counts can be looked at in [`testing`],
//! values are kept within the thread, and the clocks say what the test has set.
//!
//! [`testing`]: crate::testing

#[cfg(target_arch = "wasm32")]
use crate::bindings::routing::achromat::policy::host as there;
pub use crate::bindings::routing::achromat::policy::host::{Full, Level};
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host as there;

/// Writes a line into Achromat's log.
pub fn log(level: Level, message: &str) {
    there::log(level, message);
}

/// Adds to one of the version's own counters.
pub fn count(name: &str, delta: u64) {
    there::count(name, delta);
}

/// Milliseconds since 1970.
pub fn wall_clock_ms() -> u64 {
    there::wall_clock_ms()
}

/// Nanoseconds since some moment; never goes back.
pub fn monotonic_clock_ns() -> u64 {
    there::monotonic_clock_ns()
}

/// What is kept under a key.
pub fn get(key: &str) -> Option<Vec<u8>> {
    there::get(key)
}

/// Keeps a value.
///
/// # Errors
///
/// It is beyond a bound.
pub fn set(key: &str, value: &[u8]) -> Result<(), Full> {
    there::set(key, value)
}

/// Adds to the number that is kept under a key, and returns the sum; nothing comes in between.
///
/// # Errors
///
/// It is beyond a bound, or what is kept there is not a number.
pub fn add(key: &str, delta: i64) -> Result<i64, Full> {
    there::add(key, delta)
}

/// Keeps nothing under a key any more.
pub fn remove(key: &str) {
    there::remove(key);
}
