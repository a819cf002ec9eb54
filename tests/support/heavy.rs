//! Large upserts: texts whose index Chroma has to work on.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Records of such an upsert.
const RECORDS: usize = 38;

/// An upsert of so many bytes. Its ids are always the same, and `round` makes its texts others.
pub fn heavy(bytes: usize, round: usize) -> Value {
    let numbers = || 0..RECORDS;
    json!({
        "ids": numbers().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": numbers().map(|n| json!([n, 1])).collect::<Vec<_>>(),
        "documents": numbers().map(|n| text(bytes / RECORDS, round * RECORDS + n)).collect::<Vec<_>>(),
    })
}

/// Words of a linear congruential generator (Knuth's MMIX constants).
fn text(bytes: usize, seed: usize) -> String {
    let mut state = u64::try_from(seed).expect("a number");
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        write!(text, "{:x} ", state >> 34).expect("a string takes it");
    }
    text.truncate(bytes);
    text
}
