//! The simulator: whole histories of clients, a proxy, its store and its instances, in virtual
//! time, with everything that can go wrong going wrong, decided by a seed.
//!
//! `core` runs here as it runs in production; around it stands what the shell does, step by step.
//! The oracle never asks the proxy: it reads the log, watches what reaches the instances, and
//! compares what clients are told with a model server that was sent the log and nothing else.

#![allow(
    clippy::result_large_err,
    reason = "a read's answer is handed over whole, as the proxy does it"
)]

mod agenda;
pub mod bugs;
pub mod chaos;
pub mod clients;
mod ends;
mod entries;
pub mod faults;
mod followers;
mod heavy;
mod holds;
mod homes;
mod judging;
mod keys;
mod letters;
pub mod marks;
pub mod mix;
pub mod model;
pub mod oracle;
pub mod plan;
mod probes;
pub mod process;
pub mod proxy;
mod questions;
pub mod random;
mod reads;
mod requests;
pub mod runner;
pub mod scopes;
pub mod store;
pub mod trace;
mod trash;
pub mod wire;
pub mod world;
