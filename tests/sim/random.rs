//! Randomness that a seed decides: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
//! Number Generators, 2014), with a stream of its own for each part of the world, so that leaving
//! out some faults does not change what the clients want.

use uuid::Uuid;

/// One stream.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this name in the history of this seed.
    pub fn of(seed: u64, stream: &str) -> Self {
        let name = stream.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = Self(seed ^ name);
        random.any();
        random
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `count`; 0 when that is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        self.any() % count.max(1)
    }

    /// A number from `low` to `high`, both of them included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let at = self.below(u64::try_from(list.len()).expect("a length"));
        &list[usize::try_from(at).expect("an index")]
    }

    /// A UUID that looks like any other.
    pub fn uuid(&mut self) -> Uuid {
        let bits = (u128::from(self.any()) << 64) | u128::from(self.any());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}
