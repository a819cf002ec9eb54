//! The decisions of Achromat.
//!
//! This crate turns requests into operations, operations into log entries, and events into
//! effects. It never does IO: no clock, no randomness, no environment, no threads, no runtime, no
//! `HashMap` whose order could show. Time and fresh ids are arguments, so that a simulator runs
//! exactly what production runs.

pub mod abilities;
pub mod access;
pub mod awake;
pub mod backoff;
pub mod body;
pub mod catalog;
pub mod chunks;
pub mod durable;
pub mod embeddings;
pub mod engine;
pub mod fleet;
pub mod guard;
pub mod head;
pub mod health;
pub mod history;
pub mod ids;
pub mod jobs;
pub mod key;
pub mod lane;
pub mod limits;
pub mod local;
pub mod log;
pub mod lookup;
mod marker;
pub mod merge;
pub mod outcome;
mod own;
pub mod planted;
pub mod policy;
pub mod progress;
pub mod read;
pub mod record;
pub mod reply;
pub mod resolve;
pub mod route;
pub mod time;
pub mod trash;
pub mod view;
pub mod weight;
pub mod write;
pub mod writing;
