//! Files that change while Achromat runs, and that others may have put there.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::OFlags;

/// Identity of a file's version: its inode number, size and time of change.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// The stamp of a file; none of one that is not there.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some((about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}

/// Interval at which followed files are checked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The stamps of files, as they were before the files were read.
pub(crate) fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

/// Has files taken in whenever they have changed since `read_at`, for as long as what they are for is there.
pub(crate) fn follow<T: Send + Sync + 'static>(
    (files, mut read_at): (Vec<PathBuf>, Vec<Option<Stamp>>),
    owner: &Arc<T>,
    take_in: fn(&T),
) {
    let owner = Arc::downgrade(owner);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let Some(owner) = owner.upgrade() else {
                return;
            };
            let now = stamps(&files);
            if read_at != now {
                take_in(&owner);
            }
            read_at = now;
        }
    });
}

/// The contents of a regular file, of which one byte more than `bytes_max` is read at most. A device or a
/// pipe in a folder that others can write to would never end, or never begin.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut contents = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut contents)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "12345").expect("a file");
        assert_eq!(read_regular(&file, 10).expect("its contents"), b"12345");
        assert_eq!(read_regular(&file, 3).expect("its start"), b"1234");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
        assert!(read_regular(&link, 10).is_err());
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        assert!(read_regular(&pipe, 10).is_err(), "and nothing waits");
    }
}
