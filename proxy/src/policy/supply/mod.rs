//! The supply of plugins, from a file or a registry. It makes sure that a plugin is the one that is
//! meant: by its digest, and by the signature beside it.
//!
//! What is judged is what is handed on: a file is read once. Achromat's own components come with the
//! binary and need neither.

mod registry;
mod signature;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    registry::{Reference, RegistryError, SCHEME, WrongReference},
    signature::{TrustedKey, WrongKey},
};
use achromat_core::policy::Digest;

use super::limits::COMPONENT_BYTES_MAX;
use crate::files::read_regular;

/// Bytes of a signature's file: one has some 300.
const SIGNATURE_BYTES_MAX: u64 = 4096;

/// Keys and rules by which a plugin's origin is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys whose signatures are good. Without any, signatures are not looked at.
    pub keys: Vec<TrustedKey>,
    /// True when plugins without a signature are refused.
    pub is_required: bool,
}

impl Trust {
    /// Returns true when signatures matter at all.
    pub fn judges(&self) -> bool {
        self.is_required || !self.keys.is_empty()
    }
}

/// A plugin as it was supplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// The component, or the core module.
    pub bytes: Arc<[u8]>,
    /// Its signature, when one is beside it.
    pub signature: Option<Arc<str>>,
}

/// The reason why a plugin's origin is refused, whatever the plugin does.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// A file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of reading it.
        source: io::Error,
    },
    /// It is larger than any plugin or signature may be.
    #[error("{path}: it has {bytes} bytes, and may have {bytes_max}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
        /// The allowed size, in bytes.
        bytes_max: u64,
    },
    /// It has another digest than the configured one.
    #[error(
        "it is sha256:{found}, and the configuration wants sha256:{wanted}: it was changed, or `digest` was not"
    )]
    OtherDigest {
        /// The plugin's digest.
        found: Digest,
        /// The configured digest.
        wanted: Digest,
    },
    /// A registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no signature in a registry.
    #[error(
        "policy.require_signature wants a signature, and none is looked for in a registry: fetch the plugin to a file, and its signature beside it"
    )]
    RegistryUnsigned,
    /// It should be signed.
    #[error(
        "it has no signature, and policy.require_signature wants one: `minisign -S -m FILE` makes {path}"
    )]
    Unsigned {
        /// The path where its signature should be.
        path: PathBuf,
    },
    /// It should have come with its signature.
    #[error(
        "it has no signature, and policy.require_signature wants one: `minisign -S -m FILE` makes FILE.minisig, which `achromat plugin push FILE` sends along"
    )]
    UnsignedPush,
    /// Its signature is not good.
    #[error("its signature is not good under any of policy.public_keys: {0}")]
    SignaturePushed(String),
    /// Its signature is not good.
    #[error("its signature {path} is not good under any of policy.public_keys: {why}")]
    Signature {
        /// The signature.
        path: PathBuf,
        /// The fault of the signature.
        why: String,
    },
}

/// Reads a plugin from a file, and makes sure that it is the one that is meant.
pub fn from_file(
    path: &Path,
    digest: Option<Digest>,
    trust: &Trust,
) -> Result<Supplied, SupplyError> {
    let bytes_max = u64::try_from(COMPONENT_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = read(path, bytes_max)?;
    check_digest(&bytes, digest)?;
    let signature = check_signature(path, &bytes, trust)?;
    Ok(Supplied {
        bytes: bytes.into(),
        signature: signature.map(Arc::from),
    })
}

/// Fetches a plugin from a registry. It waits for the network: not for a thread that serves.
pub fn from_registry(
    reference: &Reference,
    digest: Option<Digest>,
    trust: &Trust,
) -> Result<Supplied, SupplyError> {
    if trust.is_required {
        return Err(SupplyError::RegistryUnsigned);
    }
    let bytes = registry::fetch(reference)?;
    check_digest(&bytes, digest)?;
    Ok(Supplied {
        bytes: bytes.into(),
        signature: None,
    })
}

/// Makes sure of a plugin that was handed in, or is kept, together with its signature, or without.
pub fn judge(bytes: &[u8], signature: Option<&str>, trust: &Trust) -> Result<(), SupplyError> {
    match signature {
        None if trust.is_required => Err(SupplyError::UnsignedPush),
        Some(text) if !trust.keys.is_empty() => {
            let judged = signature::judge(bytes, text, &trust.keys);
            judged.map_err(SupplyError::SignaturePushed)
        }
        None | Some(_) => Ok(()),
    }
}

fn check_digest(bytes: &[u8], wanted: Option<Digest>) -> Result<(), SupplyError> {
    let found = Digest::of(bytes);
    match wanted {
        Some(wanted) if wanted != found => Err(SupplyError::OtherDigest { found, wanted }),
        Some(_) | None => Ok(()),
    }
}

/// Judges the signature beside a plugin. Returns it, when there is one.
fn check_signature(
    plugin: &Path,
    bytes: &[u8],
    trust: &Trust,
) -> Result<Option<String>, SupplyError> {
    let mut path = plugin.as_os_str().to_owned();
    path.push(".minisig");
    let path = PathBuf::from(path);
    if !path.exists() {
        return if trust.is_required {
            Err(SupplyError::Unsigned { path })
        } else {
            Ok(None)
        };
    }
    let text = read(&path, SIGNATURE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    if trust.keys.is_empty() {
        return Ok(Some(text));
    }
    match signature::judge(bytes, &text, &trust.keys) {
        Ok(()) => Ok(Some(text)),
        Err(why) => Err(SupplyError::Signature { path, why }),
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SupplyError> {
    let unreadable = |source| SupplyError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let contents = read_regular(path, bytes_max).map_err(unreadable)?;
    let bytes = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    if bytes > bytes_max {
        let path = path.to_owned();
        return Err(SupplyError::TooLarge {
            path,
            bytes,
            bytes_max,
        });
    }
    Ok(contents)
}

#[cfg(test)]
mod tests;
