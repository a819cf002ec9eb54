//! Achromat: one Chroma address in front of many.
//!
//! `README.md` beside this crate holds the map, the glossary and the invariants. `achromat-core`
//! decides; the rooms of this crate do.

pub mod access;
pub mod admin;
pub mod authoring;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
mod files;
pub mod fleet;
pub mod history;
pub mod instances;
mod leave;
mod pem;
pub mod plugins;
pub mod policy;
mod program;
pub mod replicate;
pub mod run;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod trash;
mod waiting;
