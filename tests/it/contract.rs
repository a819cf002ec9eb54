//! The contract in `wit/`: what is released does not change.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use achromat::policy::Digest;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// The texts of a folder, by name.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let texts = files.filter(|path| path.extension().is_some_and(|ending| ending == "wit"));
    texts
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect()
}

fn digest(texts: &BTreeMap<String, String>) -> String {
    let mut all = String::new();
    for (name, text) in texts {
        all.extend([name, "\n", text]);
    }
    Digest::of(all.as_bytes()).to_string()
}

/// Released texts are what they were on the day of their release, and there is one of the version
/// that `wit/` says it is.
#[test]
fn a_released_text_does_not_change() {
    let released = folder().join("released");
    let list = fs::read_to_string(released.join("digests.txt")).expect("the list");
    let mut versions = Vec::new();
    for line in list.lines() {
        let (version, expected) = line.split_once(' ').expect("a version and its digest");
        let golden = texts(&released.join(version));
        assert_eq!(
            digest(&golden),
            expected,
            "wit/released/{version} has changed"
        );
        versions.push(version);
    }
    let folders = fs::read_dir(&released).expect("a folder");
    let folders = folders.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().is_dir()));
    assert_eq!(
        folders.count(),
        versions.len(),
        "each released text has its line"
    );
    let current = texts(&folder());
    for (name, text) in &current {
        let package = text
            .lines()
            .find_map(|line| line.strip_prefix("package achromat:policy@"));
        let version = package.expect("a package").trim_end_matches(';');
        if versions.contains(&version) {
            let golden = texts(&released.join(version));
            assert_eq!(
                Some(text),
                golden.get(name),
                "wit/{name} differs from what was released as {version}: give it a new version"
            );
        }
    }
}
