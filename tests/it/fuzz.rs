//! Bytes that once were interesting, and small changes of them, for each target of `tests/fuzz`.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::{fs, panic::catch_unwind, path::Path};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Changed forms of each file of a corpus that are tried.
const CHANGES: usize = 40;

/// Every file of the corpus, and changes of it that follow from its place, keep each target's properties.
#[test]
fn the_corpus_breaks_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, check) in targets::TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpus.join(name))
            .expect("a folder")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        assert!(files.len() >= 3, "{name} has a corpus");
        for (place, file) in files.iter().enumerate() {
            let bytes = fs::read(file).expect("bytes");
            let mut random = SmallRng::seed_from_u64(place as u64);
            let changed = (0..CHANGES).map(|_| change(&bytes, &mut random));
            for tried in std::iter::once(bytes.clone()).chain(changed) {
                let kept = catch_unwind(|| check(&tried));
                assert!(
                    kept.is_ok(),
                    "{name}, {}: {:?}",
                    file.display(),
                    String::from_utf8_lossy(&tried)
                );
            }
        }
    }
}

/// Bytes that parsers tell apart.
const TELLING: &[u8] = b"\r\n \",:{}[]\\/%0\0";

/// One or a few bytes changed, left out, doubled, or the rest cut off.
fn change(bytes: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        if changed.is_empty() {
            break;
        }
        let at = random.random_range(0..changed.len());
        match random.random_range(0..5) {
            0 => changed[at] = random.random(),
            1 => drop(changed.remove(at)),
            2 => changed.insert(at, TELLING[random.random_range(0..TELLING.len())]),
            3 => changed.extend_from_within(at..),
            _ => changed.truncate(at),
        }
    }
    changed
}

/// A target whose property does not hold fails: the checks can.
#[test]
fn a_broken_property_is_seen() {
    let check: targets::Check = |bytes| assert!(bytes.len() < 3);
    assert!(catch_unwind(|| check(b"ab")).is_ok());
    assert!(catch_unwind(|| check(b"abc")).is_err());
}
