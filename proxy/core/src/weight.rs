//! Time that large bodies cost, so that an instance that works on one is not held to be dead, and is not
//! sent the same work twice.

use std::time::Duration;

use crate::limits::{
    BUSY_SILENCE_MAX, HEAVY_BYTES_MIN, HEAVY_TIME_MAX, HEAVY_TIME_PER_MIB, READ_HEAVY_TIME_PER_MIB,
};

const MIB: u64 = 1024 * 1024;

/// Time that an instance may need for a body of so many bytes, beyond what any request may take. Zero
/// for a body that is not heavy.
pub fn heavy_time(bytes: usize) -> Duration {
    time_at(bytes, HEAVY_TIME_PER_MIB)
}

/// The same for the body of a read.
pub fn heavy_read_time(bytes: usize) -> Duration {
    time_at(bytes, READ_HEAVY_TIME_PER_MIB)
}

/// Longest silence of an instance that works on bodies of so many bytes in all, before it counts as down.
pub fn silence_max(bytes: usize) -> Duration {
    heavy_time(bytes).min(BUSY_SILENCE_MAX)
}

/// Returns true when a body is heavy.
pub fn is_heavy(bytes: usize) -> bool {
    bytes >= HEAVY_BYTES_MIN
}

fn time_at(bytes: usize, per_mib: Duration) -> Duration {
    if !is_heavy(bytes) {
        return Duration::ZERO;
    }
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let per_mib_us = u64::try_from(per_mib.as_micros()).unwrap_or(u64::MAX);
    let time = Duration::from_micros(bytes.saturating_mul(per_mib_us) / MIB);
    time.min(HEAVY_TIME_MAX)
}

/// Signs of life that an instance has shown beside its probes, as its connections know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Time since it last answered any request.
    pub answered_ago: Option<Duration>,
    /// Bytes of the heavy bodies that it was sent and has not answered.
    pub heavy_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 39 * 1024 * 1024;

    /// A light body costs nothing, a larger one more, and none without bound.
    #[test]
    fn time_grows_with_bytes_up_to_a_bound() {
        assert_eq!(heavy_time(HEAVY_BYTES_MIN - 1), Duration::ZERO);
        assert_eq!(heavy_time(1024 * 1024), HEAVY_TIME_PER_MIB);
        assert_eq!(heavy_time(LARGEST), HEAVY_TIME_PER_MIB * 39);
        assert_eq!(heavy_time(usize::MAX), HEAVY_TIME_MAX);
        assert!(heavy_read_time(LARGEST) < heavy_time(LARGEST));
    }

    /// Chroma 1.5.9 took up to 67 s for 39 MiB on a loaded machine, and answered no probe for up to 20 s.
    #[test]
    fn the_times_measured_fit() {
        assert!(heavy_time(LARGEST) > Duration::from_secs(67) * 2);
        assert!(silence_max(LARGEST) > Duration::from_secs(20) * 2);
        assert!(silence_max(LARGEST) <= BUSY_SILENCE_MAX);
    }
}
