//! Ids that follow from a seed, by Sebastiano Vigna's splitmix64.

use uuid::{Builder, Uuid};

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of ids.
#[derive(Clone, Debug)]
pub(super) struct Minting(u64);

impl Minting {
    /// The stream of a seed. The seed is mixed first, so that the streams of neighbouring seeds
    /// are not one stream from different places on.
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(mixed(seed ^ STEP))
    }

    /// The next id.
    pub(super) fn next(&mut self) -> Uuid {
        let (high, low) = (self.next_word(), self.next_word());
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Builder::from_random_bytes(bytes).into_uuid()
    }

    fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }
}

fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64) -> Vec<Uuid> {
        let mut minting = Minting::from_seed(seed);
        (0..100).map(|_| minting.next()).collect()
    }

    /// One seed gives the same ids again, and no two seeds share any.
    #[test]
    fn ids_follow_from_the_seed() {
        assert_eq!(first(7), first(7));
        let mut all: Vec<Uuid> = (0..50).flat_map(first).collect();
        all.extend(first(STEP));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 51 * 100);
    }
}
