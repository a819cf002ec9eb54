//! The operators' Unix socket: a file that its owner alone can open, in the place of a token.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};

/// Time for a process that listens at a socket to take a connection.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Its owner reads and writes: nobody else can connect.
const MODE: u32 = 0o600;

/// Failure to listen at a Unix socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error(
        "{path}: another process listens there; stop it, or choose another socket with --admin-listen"
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// There is a file that is no socket.
    #[error("{path}: there is a file that is no socket; choose another path with --admin-listen")]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// It can't be made.
    #[error("{path}: it can't be listened to: {source}")]
    File {
        /// The socket.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
}

/// A socket that is listened to. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct OperatorSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file: another process may have replaced it.
    file: (u64, u64),
}

impl OperatorSocket {
    /// Makes the socket, in the place of one that a dead process has left.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        look(path).await?;
        // It comes to its place with its mode.
        let mut new = OsString::from(path);
        new.push(format!(".{}", std::process::id()));
        let made = Self::make(path, Path::new(&new));
        made.map_err(|source| {
            // It may not have been made.
            let _removed = fs::remove_file(&new);
            SocketError::File {
                path: path.to_owned(),
                source,
            }
        })
    }

    fn make(path: &Path, new: &Path) -> io::Result<Self> {
        match fs::remove_file(new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(new)?;
        fs::set_permissions(new, Permissions::from_mode(MODE))?;
        let file = identity(new)?;
        fs::rename(new, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its listener.
    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        if !identity(&self.path).is_ok_and(|file| file == self.file) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the operators' socket can't be removed");
        }
    }
}

/// Looks for what stands in the way: a process that listens there, or a file that is no socket.
async fn look(path: &Path) -> Result<(), SocketError> {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::File { path, source }),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NoSocket { path }),
        Ok(_) => {}
    }
    match timeout(PROBE_DEADLINE, UnixStream::connect(&path)).await {
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Ok(()),
            ErrorKind::PermissionDenied => Err(SocketError::File {
                path,
                source: error,
            }),
            // Its queue is full, say: it has a process.
            _ => Err(SocketError::Taken { path }),
        },
        Ok(Ok(_)) | Err(_) => Err(SocketError::Taken { path }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket is its owner's alone, and is gone with its process's hold on it. One that nobody listens at is
    /// replaced; one that somebody listens at, and a file of another kind, stay.
    #[tokio::test]
    async fn a_socket_is_made_in_the_place_of_a_dead_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("operators.sock");
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists(), "nobody has removed it");
        let socket = OperatorSocket::bind(&path).await.expect("it is replaced");
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, MODE);
        let error = OperatorSocket::bind(&path).await.expect_err("it is taken");
        assert!(matches!(error, SocketError::Taken { .. }), "{error}");
        assert!(path.exists(), "the first one's stays");
        drop(socket);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{left:?}");
        fs::write(&path, "notes").expect("a file");
        let error = OperatorSocket::bind(&path).await.expect_err("a file");
        assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
        assert!(path.exists(), "the file stays");
    }

    /// A socket that another process has put in the place of this one's is not removed with it.
    #[tokio::test]
    async fn anothers_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("operators.sock");
        let socket = OperatorSocket::bind(&path).await.expect("a socket");
        fs::remove_file(&path).expect("it is removed");
        let _other = UnixListener::bind(&path).expect("another one");
        drop(socket);
        assert!(path.exists());
    }
}
