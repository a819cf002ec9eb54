//! The operator's settings: from file, environment and flags to one checked configuration.
//!
//! Two stages: as it is *written* (`written.rs`: every key optional, unknown keys refused) and as it
//! is *meant* ([`Config`]: everything there, everything checked). Flags, environment variables and
//! keys of the file are one list of names, made from the written form's schema: the key
//! `reads.strategy` is the flag `--reads-strategy` and the variable `ACHROMAT_READS_STRATEGY`.
//!
//! Precedence: a flag over the environment, the environment over the file, the file over the
//! defaults.

mod edge;
mod fleet;
mod history;
mod keys;
mod layers;
mod meant;
mod memory;
mod policies;
mod show;
mod values;
mod written;

use std::path::PathBuf;

pub use self::{
    edge::{OperatorAddress, OperatorConfig, TlsFiles},
    fleet::FleetConfig,
    keys::{Key, KeyKind, keys},
    layers::{Layers, Override},
    meant::{Config, DatabaseUrl, InstanceConfig, LogFormat, StoreUrl},
    show::{defaults_toml, schema_json},
    values::Keys,
};

/// Mistake in a configuration, with its place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or a value that there is not.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// Description of the mistake, with line and column.
        message: String,
    },
    /// A flag or a variable has a value that its key does not take.
    #[error("{origin}: {message}")]
    Override {
        /// The flag or the variable.
        origin: String,
        /// Description of the mistake.
        message: String,
    },
    /// Each value is one that its key takes, but together they make no sense.
    #[error("{}", problem_list(.0))]
    Problems(Vec<Problem>),
}

/// One thing that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// Description of the mistake, and of the right value.
    pub message: String,
}

fn problem_list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
