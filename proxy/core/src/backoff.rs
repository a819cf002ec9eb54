//! Pause before the next attempt: exponential, bounded, spread.

use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// The pause after `failures` failures in a row (from 1): doubled each time up to
/// [`BACKOFF_MAX`], less up to a quarter so that lanes do not knock all at once. `seed` stands
/// for the randomness that `core` does not have.
pub fn pause(failures: u32, seed: u64) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let full = doubled.min(BACKOFF_MAX);
    let share = u32::try_from(mix(seed ^ u64::from(failures)) % 256).unwrap_or(0);
    full.saturating_sub(full / 4 * share / 256)
}

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses grow, stay within their bound, and differ between lanes.
    #[test]
    fn pauses_grow_to_the_bound_and_are_spread() {
        assert!(pause(1, 7) <= BACKOFF_FIRST && pause(1, 7) >= BACKOFF_FIRST * 3 / 4);
        assert!(pause(5, 7) > pause(3, 7));
        assert!(pause(60, 7) <= BACKOFF_MAX && pause(60, 7) >= BACKOFF_MAX * 3 / 4);
        assert!((0..20).any(|seed| pause(8, seed) != pause(8, 20)));
    }
}
