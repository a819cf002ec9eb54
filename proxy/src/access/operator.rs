//! The operator's token: configured, or made at the first start and kept in a file that only the owner
//! can read, where Achromat's own commands find it.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::Rng as _;

use super::hexadecimal;
use crate::dev::default_state;

/// Bytes of a token before they are written in hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// Bytes of a file with a token, at most.
const FILE_BYTES_MAX: u64 = 4096;

/// Failure to read or make the operator's token.
#[derive(Debug, thiserror::Error)]
pub enum OperatorTokenError {
    /// There is no folder for it.
    #[error("no folder for the operator's token is known; set admin.token_file, or admin.token")]
    NoFolder,
    /// The file can't be read or written.
    #[error("{path}: the operator's token can't be kept there: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("{path}: others can read the operator's token; run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It has no token.
    #[error("{path}: there is no token of 16 characters or more in it")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Default file of the operator's token, for the Achromat that listens at this port of this machine.
pub fn default_file(port: u16) -> Option<PathBuf> {
    // A service's own folder, where systemd gives it one.
    let service = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let state = service.or_else(default_state)?;
    Some(state.join(format!("operator-{port}.token")))
}

/// A new token: 256 bits of the system's randomness.
pub(super) fn random() -> String {
    let mut bytes = [0_u8; TOKEN_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    hexadecimal(&bytes)
}

/// The token in a file, which is made when it is not there.
pub fn operator_token(
    file: Option<&Path>,
    address: SocketAddr,
) -> Result<Arc<str>, OperatorTokenError> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => default_file(address.port()).ok_or(OperatorTokenError::NoFolder)?,
    };
    match token_in(&path) {
        Err(OperatorTokenError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            make(&path)
        }
        found => found,
    }
}

/// The token in a file.
pub fn token_in(path: &Path) -> Result<Arc<str>, OperatorTokenError> {
    let wrong = |source| OperatorTokenError::File {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new().read(true).open(path).map_err(wrong)?;
    let mode = file.metadata().map_err(wrong)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(OperatorTokenError::Open {
            path: path.to_owned(),
        });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(wrong)?;
    let token = text.trim();
    if token.len() < 16 {
        return Err(OperatorTokenError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(token.into())
}

fn make(path: &Path) -> Result<Arc<str>, OperatorTokenError> {
    let wrong = |source| OperatorTokenError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(wrong)?;
    }
    let token = random();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(wrong)?;
    writeln!(file, "{token}").map_err(wrong)?;
    tracing::info!(
        file = %path.display(),
        "an operator's token was made; Achromat's commands on this machine find it there"
    );
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/operator.token");
        let address = SocketAddr::from(([127, 0, 0, 1], 8000));
        let made = operator_token(Some(&file), address).expect("a token");
        assert_eq!(made.len(), 2 * TOKEN_BYTES);
        assert_eq!(
            operator_token(Some(&file), address).expect("it is kept"),
            made
        );
        let mode = std::fs::metadata(&file)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        let error = operator_token(Some(&file), address).expect_err("others can read it");
        assert!(matches!(error, OperatorTokenError::Open { .. }), "{error}");
    }
}
