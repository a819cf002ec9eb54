//! Reasons for which a version is not kept, or not put into service.

use std::{path::PathBuf, sync::Arc};

use achromat_core::policy::{Digest, STEPS_BACK_MAX, Slot};

use crate::{
    policy::{EngineError, SupplyError, Unfit},
    store::StoreError,
};

/// The error of a change. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The machine does not run plugins.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store can't be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configured plugin can't be used.
    #[error("policy.{}.plugin: {error}", .slot.section())]
    Configured {
        /// The slot.
        slot: Slot,
        /// The error of that plugin.
        error: Box<Self>,
    },
    /// A file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of reading it.
        source: std::io::Error,
    },
    /// A configuration is not there any more.
    #[error(
        "{path} was there before and is missing now: put it back, or an empty file when the plugin is to have no configuration"
    )]
    ConfigGone {
        /// The file.
        path: PathBuf,
    },
    /// It is not there, or not the one that is meant.
    #[error("{name}: {source}")]
    Supply {
        /// The plugin.
        name: Arc<str>,
        /// The fault of its supply.
        source: SupplyError,
    },
    /// It is no plugin for this slot.
    #[error("{name}: {unfit}")]
    Unfit {
        /// The plugin.
        name: Arc<str>,
        /// The reason why it does not fit.
        unfit: Box<Unfit>,
    },
    /// Compiling did not end well.
    #[error("a plugin could not be compiled: {0}")]
    Compiler(#[from] tokio::task::JoinError),
    /// It is another component than was meant.
    #[error(
        "its SHA-256 is {is}, and {wanted} was wanted: it was cut or changed on its way, or the digest is another file's"
    )]
    OtherDigest {
        /// The SHA-256 of the bytes that came.
        is: Digest,
        /// The SHA-256 that was wanted.
        wanted: String,
    },
    /// Its name can't be one.
    #[error(
        "{name:?} can't be a version's name: 1 to 128 characters, not a number alone, and neither native nor default"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is no such slot here.
    #[error("the slot {} takes no plugins here", .slot.as_str())]
    NoSlot {
        /// The slot.
        slot: Slot,
    },
    /// No version matches the word.
    #[error(
        "no version of the slot {} has the number, the name, or a digest (8 digits or more) that begins with {word:?}: `achromat plugin list` shows them", .slot.as_str()
    )]
    NoVersion {
        /// The slot.
        slot: Slot,
        /// The word by which a version was named.
        word: String,
    },
    /// Several versions match the word.
    #[error("{word:?} can mean the versions {ids}: say the number")]
    Several {
        /// The word by which a version was named.
        word: String,
        /// Their numbers.
        ids: String,
    },
    /// A version's component is not there any more.
    #[error("the component {digest} is not in the store any more: push it again")]
    Lost {
        /// Its digest.
        digest: Digest,
    },
    /// There is nothing to go back to.
    #[error(
        "there is nothing to go back to in the slot {}: it was never swapped, or was rolled back all the way (up to {STEPS_BACK_MAX} steps)", .slot.as_str()
    )]
    NothingBefore {
        /// The slot.
        slot: Slot,
    },
    /// The version was taken out of service for its troubles.
    #[error(
        "version {id} was taken out of service ({why}): mend it and push it, or say `--again` to put it into service as it is"
    )]
    TakenOut {
        /// Its number.
        id: u64,
        /// The recorded reason.
        why: String,
    },
    /// Another version is on trial.
    #[error(
        "version {id} is on trial: end that first (`--stop`), or say `--replaces {id}` to try another one in its place"
    )]
    OnTrial {
        /// Its number.
        id: u64,
    },
    /// The version that is to be replaced is not on trial.
    #[error(
        "{word:?} is not on trial, so that nothing was replaced: `achromat plugin list` shows which version is"
    )]
    NotOnTrial {
        /// The word by which the version was named.
        word: String,
    },
    /// A trial that makes no sense.
    #[error("{0}")]
    Trial(&'static str),
    /// The deciding version can't be tried.
    #[error("version {0} decides already: push another one to try it")]
    DecidesAlready(u64),
}

impl LifeError {
    /// The error of the store that it comes from, if it does.
    pub fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Configured { error, .. } => error.of_store(),
            _ => None,
        }
    }
}
