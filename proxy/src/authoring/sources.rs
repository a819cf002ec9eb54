//! Finds changes in the files that an author writes.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Pause between two looks at a project. It is short, to build saved files before people look up.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Files of a project that are looked at; the others are most likely not written by anybody.
const FILES_MAX: usize = 10_000;

/// Folders that builds fill.
const MADE_FOLDERS: [&str; 4] = ["target", "build", "node_modules", "__pycache__"];

/// Files that builds write.
const MADE_FILES: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// Marks of a changed file: its time of change, in seconds and nanoseconds, and its size.
type Stamps = BTreeMap<PathBuf, (i64, i64, u64)>;

/// A project's folder, as it was when it was last looked at.
pub struct Sources {
    folder: PathBuf,
    known: Stamps,
}

impl Sources {
    /// Looks at a folder.
    pub fn of(folder: &Path) -> Self {
        let folder = folder.to_owned();
        let known = stamps(&folder);
        Self { folder, known }
    }

    /// Waits until something has changed since it was last looked at, and goes on changing no more:
    /// editors and checkouts write several files. Returns what has changed.
    pub fn wait(&mut self) -> Vec<PathBuf> {
        let mut last = stamps(&self.folder);
        loop {
            thread::sleep(LOOK_AGAIN);
            let now = stamps(&self.folder);
            if now == last && now != self.known {
                let changed = changed(&self.known, &now);
                self.known = now;
                return changed;
            }
            last = now;
        }
    }
}

fn changed(before: &Stamps, now: &Stamps) -> Vec<PathBuf> {
    let written = now.iter().filter(|(path, s)| before.get(*path) != Some(s));
    let gone = before.iter().filter(|(path, _)| !now.contains_key(*path));
    written.chain(gone).map(|(path, _)| path.clone()).collect()
}

/// The files that somebody may have written. What can't be read is as if it were not there: it may
/// be there when it is looked at again.
fn stamps(folder: &Path) -> Stamps {
    let mut found = Stamps::new();
    let mut open = vec![folder.to_owned()];
    while let Some(within) = open.pop() {
        let entries = std::fs::read_dir(within).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            if is_made(&path) {
                continue;
            }
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                open.push(path);
            } else if found.len() < FILES_MAX {
                found.insert(path, (about.mtime(), about.mtime_nsec(), about.len()));
            }
        }
    }
    found
}

/// Returns true for a build's product, and for a name that begins with a dot, which is no part of a
/// project.
fn is_made(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_component = path.extension().is_some_and(|end| end == "wasm");
    let names = MADE_FOLDERS.iter().chain(&MADE_FILES);
    name.starts_with('.') || is_component || names.into_iter().any(|made| name == *made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build's product is no change; a file that somebody writes or takes away is.
    #[test]
    fn what_builds_make_is_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("src")).expect("a folder");
        std::fs::create_dir_all(at("target/debug")).expect("a folder");
        std::fs::write(at("src/lib.rs"), "one").expect("a file");
        let mut sources = Sources::of(folder.path());
        for made in ["target/debug/x.o", "first.wasm", "Cargo.lock", ".swap"] {
            std::fs::write(at(made), "made").expect("a file");
        }
        std::fs::write(at("plugin.toml"), "two").expect("a file");
        assert_eq!(sources.wait(), [at("plugin.toml")]);
        std::fs::write(at("src/lib.rs"), "longer").expect("a file");
        std::fs::remove_file(at("plugin.toml")).expect("it is there");
        assert_eq!(sources.wait(), [at("src/lib.rs"), at("plugin.toml")]);
    }
}
