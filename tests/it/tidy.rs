//! The house rules that a machine can keep.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the project")
        .to_owned()
}

/// Every Rust file of the project, with its path from the root and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = ["proxy", "plugins", "tests"]
        .map(|folder| root().join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path
                    .strip_prefix(root())
                    .expect("within")
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the sources are there");
    found
}

/// The text without its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod").next().expect("text")
}

/// Every file says first what it does.
#[test]
fn every_file_opens_with_its_purpose() {
    for (name, text) in sources() {
        assert!(text.starts_with("//!"), "{name} does not say what it does");
    }
}

/// One room for each outsider.
#[test]
fn outsiders_stay_in_their_rooms() {
    let rooms = [
        ("sqlx::", &["proxy/src/store/"][..]),
        ("wasmtime::", &["proxy/src/policy/"]),
        ("notify::recommended", &["proxy/src/plugins/"]),
        (
            "use pingora_",
            &[
                "proxy/src/serve/",
                "proxy/src/instances/",
                "tests/bin/bench/bare.rs",
            ],
        ),
        ("clap::", &["proxy/src/cli/", "tests/bin/"]),
        (
            "indicatif::",
            &["proxy/src/dev/", "proxy/src/cli/", "tests/support/"],
        ),
        ("Uuid::now_v7", &["proxy/src/clock.rs"]),
        ("Uuid::new_v4", &["proxy/src/clock.rs"]),
        ("SystemTime", &["proxy/src/clock.rs"]),
    ];
    for (name, text) in sources() {
        for (outsider, allowed) in &rooms {
            let is_here = code(&text).contains(outsider) && !name.ends_with("tidy.rs");
            let may_be = allowed.iter().any(|room| name.starts_with(room));
            assert!(!is_here || may_be, "{name} names {outsider}");
        }
    }
}

/// `core` decides and never does: no clock, no IO, no threads, no order that is not said.
#[test]
fn core_does_nothing() {
    let forbidden = [
        "tokio",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::io",
        "HashMap",
        "HashSet",
        "Instant::now",
        "rand::",
        "async fn",
        "println!",
    ];
    for (name, text) in sources() {
        if !name.starts_with("proxy/core/src/") {
            continue;
        }
        let lines = code(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        // A job is a state machine that is written as an `async fn`; the engine alone polls it.
        let is_job = name.starts_with("proxy/core/src/jobs/");
        for line in lines {
            for word in forbidden {
                if is_job && word == "async fn" {
                    continue;
                }
                assert!(!line.contains(word), "{name} says {word}: {line}");
            }
        }
    }
}

/// Files stay small enough to be read in one go; long tests stand in files of their own.
#[test]
fn files_stay_small() {
    for (name, text) in sources() {
        let is_test =
            name.contains("/tests.rs") || name.contains("/it/") || name.contains("conformance");
        let lines = code(&text).lines().count();
        assert!(is_test || lines <= 500, "{name} has {lines} lines");
    }
}

/// Nothing is left half done, and no test is skipped.
#[test]
fn nothing_is_left_half_done() {
    let words = [
        "TODO",
        "FIXME",
        "XXX",
        "todo!",
        "unimplemented!",
        "#[ignore",
    ];
    for (name, text) in sources() {
        if name.ends_with("tidy.rs") {
            continue;
        }
        for word in words {
            assert!(!text.contains(word), "{name} says {word}");
        }
    }
}

/// Every invariant that the code names stands in the table, and the other way round.
#[test]
fn invariants_are_numbered_once() {
    let readme = fs::read_to_string(root().join("proxy/README.md")).expect("the map");
    let table: Vec<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| I")?.split(' ').next())
        .map(|number| format!("I{number}"))
        .collect();
    assert!(table.len() >= 14, "{table:?}");
    for (name, text) in sources() {
        for (at, _) in text.match_indices("I0").chain(text.match_indices("I1")) {
            let number: String = text[at..].chars().take(3).collect();
            let is_number = number.len() == 3 && number[1..].chars().all(|c| c.is_ascii_digit());
            if is_number && text[at + 3..].starts_with(':') {
                assert!(
                    table.contains(&number),
                    "{name} names {number}, which is not in the table"
                );
            }
        }
    }
}

/// Words that make the reader wait for the noun.
const QUESTION_WORDS: [&str; 9] = [
    "What", "Whether", "How", "Who", "Whom", "Whose", "Why", "When", "Where",
];

/// Doc comments open with a noun or a verb: of a hundred, five at most with a question word.
#[test]
fn doc_comments_name_their_subject_first() {
    let (mut all, mut questions) = (0, Vec::new());
    for (name, text) in sources() {
        if !name.starts_with("proxy/") {
            continue;
        }
        let mut is_within = false;
        for line in text.lines().map(str::trim_start) {
            let comment = ["/// ", "//! "]
                .iter()
                .find_map(|mark| line.strip_prefix(mark));
            if let (Some(comment), false) = (comment, is_within) {
                all += 1;
                let first = comment.split(|c: char| !c.is_alphabetic()).next();
                if first.is_some_and(|first| QUESTION_WORDS.contains(&first)) {
                    questions.push(format!("{name}: {comment}"));
                }
            }
            is_within = line.starts_with("///") || line.starts_with("//!");
        }
    }
    assert!(all > 1000, "the comments are there");
    assert!(
        questions.len() * 20 <= all,
        "{} of {all}: {questions:#?}",
        questions.len()
    );
}
