//! Certificates and keys in PEM files.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// A file has no certificate or key that can be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PemError {
    path: PathBuf,
    message: String,
}

impl PemError {
    /// The failure of a file, for a reason that PEM's form does not show.
    pub(crate) fn new(path: &Path, message: &dyn ToString) -> Self {
        Self {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| PemError::new(path, &error))?;
    let found: Result<Vec<_>, _> = read.collect();
    let found = found.map_err(|error| PemError::new(path, &error))?;
    if found.is_empty() {
        return Err(PemError::new(path, &"there is no certificate in it"));
    }
    Ok(found)
}

/// The first private key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, &error))
}
