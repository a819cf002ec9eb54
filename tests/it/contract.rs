//! The contract in `wit/`: what is released does not change, and what was built against it goes on
//! deciding.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use achromat::policy::{
    Action, Class, Digest, GuardSlot, Header, Operation, Plugins, RoutingQuestion, RoutingSlot,
    Source, Version, WalSlot, World, limits::Budget, plain,
};
use achromat_core::{
    log::Level,
    policy::{Eligibility, Permission, Preference, Routing},
};
use achromat_tests::asked::{deletion_of, members, states};

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

fn load<W: World>(plugins: &Plugins, bytes: &[u8], facts: &Arc<W::Facts>) -> Version<W> {
    let source = Source {
        name: "released".into(),
        bytes: bytes.into(),
        config: "".into(),
        budget: Budget::default(),
    };
    match Version::load(plugins, &source, facts) {
        Ok(version) => version,
        Err(unfit) => panic!("{:?}: {unfit}", W::SLOT),
    }
}

fn released_routing_decides(plugins: &Plugins) {
    let facts = members();
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/released-routing.wasm"));
    let version = load::<RoutingSlot>(plugins, bytes, &facts);
    let states = states();
    let headers = [Header {
        index: 0,
        value: "yes",
    }];
    let asked = |collection| {
        let operation = Operation {
            collection: Some(collection),
            headers: Some(&headers),
            ..plain(Action::Query, Class::Read)
        };
        let states = &states;
        version.ask(&facts, RoutingQuestion { operation, states })
    };
    let reversed = Preference::new(&[2, 1, 0], true, false, 3).expect("an order");
    assert_eq!(asked("notes"), Ok(Routing::Prefer(reversed)));
    assert_eq!(asked("other"), Ok(Routing::Native));
    assert_eq!(
        version.own_counters()["instances"],
        3,
        "it reaches the host"
    );
    assert_eq!(version.wanted().headers, ["x-last"]);
}

fn released_wal_decides(plugins: &Plugins) {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/released-wal.wasm"));
    let version = load::<WalSlot>(plugins, bytes, &Arc::new(()));
    let asked = |tenant| {
        let operation = Operation {
            tenant: Some(tenant),
            ..plain(Action::Add, Class::Write)
        };
        version.ask(&Arc::new(()), operation).expect("an answer")
    };
    assert_eq!(asked("other"), Eligibility::LocalOnly);
    let replicated = asked("acme");
    assert!(
        matches!(
            &replicated,
            Eligibility::Replicate {
                level: Some(Level::All),
                ..
            }
        ),
        "{replicated:?}"
    );
}

fn released_guard_decides(plugins: &Plugins) {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/released-guard.wasm"));
    let version = load::<GuardSlot>(plugins, bytes, &Arc::new(()));
    let asked = |collection| {
        let question = deletion_of(collection);
        version.ask(&Arc::new(()), question).expect("an answer")
    };
    assert_eq!(asked("other"), Permission::Allow);
    assert_eq!(asked("notes"), Permission::Deny("notes stay".to_owned()));
}

/// Components that were built against a released text load, see what they want, reach the host and
/// answer, in each slot. `tests/guests` builds them against the text itself.
#[test]
fn what_was_built_against_a_released_text_decides() {
    let plugins = Plugins::new(None).expect("an engine");
    released_routing_decides(&plugins);
    released_wal_decides(&plugins);
    released_guard_decides(&plugins);
}
