//! Waiting for a condition, with a deadline; never for a time.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// Waits until a check succeeds. Panics with its last words when it does not in time.
pub fn eventually<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match check() {
            Ok(value) => return value,
            Err(error) if Instant::now() > end => {
                panic!("{what}: not within {deadline:?}: {error}")
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
