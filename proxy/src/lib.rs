//! Achromat: one Chroma address in front of many.
//!
//! `README.md` beside this crate holds the map, the glossary and the invariants. `achromat-core`
//! decides; the rooms of this crate do.

pub mod store;
