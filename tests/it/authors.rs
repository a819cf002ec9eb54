//! What an author of plugins does, with the commands that an author has: a project from a template,
//! its component, its tests, and its first decision in front of real servers. And the examples, which
//! are such projects.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use achromat::dev::default_state;
use achromat_tests::{
    cluster::{Cluster, folder},
    ends::Ends,
    proxy::{achromat, program},
    wait::eventually,
};
use serde_json::{Value, json};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins")
}

/// Where cargo builds all projects: what they depend on is the same. Cargo lets one in at a time.
fn cargo_target() -> PathBuf {
    let profile = program();
    let target = profile
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE");
    target.join("authors")
}

/// Where components were compiled, by `achromat plugin test` and for Achromat alike.
pub(crate) fn compiled() -> PathBuf {
    default_state().expect("a state folder").join("compiled")
}

/// Runs a command of an author's; returns what it printed, and whether it ended well.
pub(crate) fn run(mut command: Command) -> (bool, String) {
    let output = command
        .env("CARGO_TARGET_DIR", cargo_target())
        .output()
        .expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

pub(crate) fn plugin(words: &[&str], folder: &Path) -> (bool, String) {
    let mut command = achromat(&["plugin"]);
    command.args(words).arg("--project").arg(folder);
    run(command)
}

#[track_caller]
pub(crate) fn good((is_good, told): (bool, String)) -> String {
    assert!(is_good, "{told}");
    told
}

/// A copy of an example, built, elsewhere: nothing is written beside what is in the repository.
struct Built {
    folder: tempfile::TempDir,
    name: String,
}

impl Built {
    fn example(name: &str) -> Self {
        let folder = folder();
        copy(&examples().join(name), folder.path());
        // Its paths lead back to the repository.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root
            .canonicalize()
            .expect("the repository")
            .display()
            .to_string();
        for file in ["plugin.toml", "Cargo.toml"] {
            let path = folder.path().join(file);
            if let Ok(text) = std::fs::read_to_string(&path) {
                std::fs::write(&path, text.replace("../../..", &root)).expect("a file");
            }
        }
        good(plugin(&["build"], folder.path()));
        let name = name.to_owned();
        Self { folder, name }
    }

    fn component(&self) -> String {
        let path = self.folder.path().join(format!("{}.wasm", self.name));
        path.display().to_string()
    }

    fn test(&self) -> String {
        good(plugin(&["test"], self.folder.path()))
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name());
        let is_made = ["target", "build", "node_modules"]
            .iter()
            .any(|made| name == *made);
        if path.is_dir() && !is_made {
            copy(&path, &to.join(name));
        } else if path.is_file() {
            std::fs::copy(&path, to.join(name)).expect("a copy");
        }
    }
}

/// A proxy of three servers with a plugin in a slot, which finds it compiled.
pub(crate) fn serve(slot: &str, component: &str, config: &str) -> Cluster {
    let flags = [
        format!("--policy-{slot}-plugin={component}"),
        format!("--policy-{slot}-config={config}"),
        format!("--policy-cache={}", compiled().display()),
    ];
    Cluster::with(3, &flags.each_ref().map(String::as_str))
}

/// Asks for many results, and returns how often the plugin has sent a request somewhere.
fn search(cluster: &Cluster) -> u64 {
    let api = cluster.api();
    let id = api.create("articles");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &body).ok();
    // An instance that lacks it is not asked, whatever a plugin says.
    cluster.settle();
    let body = json!({ "query_embeddings": [[1, 2]], "n_results": 500 });
    let found = api.records(&id, "query", &body).ok();
    assert_eq!(found["ids"], json!([["r"]]));
    let policy = routing(cluster);
    assert_eq!(policy["decides"], "plugin", "{policy}");
    policy["decisions"]["first"].as_u64().expect("a count")
}

fn routing(cluster: &Cluster) -> Value {
    cluster.api().get("/status").ok()["policy"]["routing"].clone()
}

/// From nothing to a plugin's first decision in front of real servers, with nothing but the commands
/// that `achromat plugin new` names. Tells how long each took.
fn first_evening(language: &str) {
    let place = folder();
    let project = place.path().join("first");
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut took =
        |what: &str| times.push(format!("{what} {:.1} s", begun.elapsed().as_secs_f64()));
    let mut new = achromat(&[
        "plugin", "new", "first", "--slot", "routing", "--lang", language,
    ]);
    new.arg("--folder").arg(&project);
    let told = good(run(new));
    assert!(told.contains("achromat plugin build"), "{told}");
    took("new");
    let told = good(plugin(&["build"], &project));
    assert!(told.contains("first.wasm: "), "{told}");
    took("build");
    let told = good(plugin(&["test"], &project));
    assert!(told.contains("all good"), "{told}");
    took("test");
    let component = project.join("first.wasm").display().to_string();
    let cluster = serve("routing", &component, "100");
    assert!(search(&cluster) >= 1);
    took("first decision");
    println!("{language}: {}", times.join(", "));
}

/// In Rust; what the machine has of it is enough.
#[test]
fn a_first_evening_in_rust() {
    first_evening("rust");
}

/// In JavaScript, with a Node that is fetched when the machine has none.
#[test]
fn a_first_evening_in_javascript() {
    first_evening("js");
}

/// In Python; what makes components is fetched.
#[test]
fn a_first_evening_in_python() {
    first_evening("python");
}

/// In C; its compiler is fetched.
#[test]
fn a_first_evening_in_c() {
    first_evening("c");
}

/// The templates for the other slots: what they make builds, its cases hold, and it stands what every
/// plugin must.
fn other_slots(language: &str) {
    for slot in ["wal-eligibility", "cleanup-guard"] {
        let begun = Instant::now();
        let place = folder();
        let project = place.path().join("first");
        let mut new = achromat(&["plugin", "new", "first", "--slot", slot, "--lang", language]);
        new.arg("--folder").arg(&project);
        good(run(new));
        good(plugin(&["build"], &project));
        let told = good(plugin(&["test"], &project));
        assert!(
            told.contains("all good") && !told.contains("none:"),
            "{told}"
        );
        let took = begun.elapsed().as_secs_f64();
        println!("{language}, {slot}: {took:.1} s");
    }
}

#[test]
fn the_other_slots_in_rust() {
    other_slots("rust");
}

#[test]
fn the_other_slots_in_javascript() {
    other_slots("js");
}

#[test]
fn the_other_slots_in_python() {
    other_slots("python");
}

#[test]
fn the_other_slots_in_c() {
    other_slots("c");
}

/// Each example is a project that builds, with cases that hold, and stands what every plugin must.
#[test]
fn every_example_holds() {
    let names = std::fs::read_dir(examples()).expect("the examples");
    let names = names.filter_map(|entry| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        entry.path().is_dir().then_some(name)
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in names {
        let begun = Instant::now();
        let told = Built::example(&name).test();
        assert!(
            told.contains("all good") && !told.contains("none:"),
            "{told}"
        );
        println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// The example in Rust decides in the live path: big queries go to the instance that is named, as
/// the instances' own counts say, and small ones stay where they were.
#[test]
fn an_example_decides_in_the_live_path() {
    let built = Built::example("big-queries-rust");
    let cluster = serve("routing", &built.component(), "100 c");
    let before = cluster.api().request_counts();
    let first = search(&cluster);
    let id = cluster.api().create("articles-too");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
    cluster.api().records(&id, "add", &body).ok();
    cluster.settle();
    let settled = cluster.api().request_counts();
    for _ in 0..20 {
        let body = json!({ "query_embeddings": [[1, 2]], "n_results": 500 });
        cluster.api().records(&id, "query", &body).ok();
    }
    let after = cluster.api().request_counts();
    assert!(
        after[2] - settled[2] >= 20,
        "{before:?} {settled:?} {after:?}"
    );
    let decisions = routing(&cluster)["decisions"]["first"].as_u64();
    assert_eq!(decisions, Some(first + 20));
}

/// What is wrong with a component, a case or a plugin's answers is told, and the exit code says so;
/// what is right is described.
#[test]
fn what_is_wrong_is_told_to_the_author() {
    let built = Built::example("ticket-guard");
    let told = good(plugin(&["check"], built.folder.path()));
    for part in [
        "world     achromat:policy/cleanup-guard",
        "imports   achromat:policy/host@0.1.1",
        "wants     header x-ticket",
        "digest    sha256:",
        "fit for the slot cleanup-guard",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let unfit = plugin(&["check", "--config", "nonsense"], built.folder.path());
    assert!(
        !unfit.0 && unfit.1.contains("unfit: it refuses its configuration"),
        "{unfit:?}"
    );

    let wrong = json!({
        "about": "this does not hold",
        "question": { "deed": "reset" },
        "expect": "allow",
    });
    let cases = built.folder.path().join("cases/wrong.json");
    std::fs::write(&cases, wrong.to_string()).expect("a file");
    let (is_good, told) = plugin(&["test"], built.folder.path());
    assert!(
        !is_good && told.contains("FAIL  wrong.json: this does not hold"),
        "{told}"
    );
    assert!(
        told.contains(r#"expected "allow""#) && told.contains("1 FAILED"),
        "{told}"
    );
    std::fs::remove_file(&cases).expect("it was there");

    let told = good(plugin(&["bench"], built.folder.path()));
    for part in [
        "native",
        "default-cleanup-guard",
        "a decision, median",
        "compiled and started",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let again = achromat(&[
        "plugin", "new", "x", "--slot", "routing", "--lang", "c", "--folder",
    ])
    .arg(built.folder.path())
    .output()
    .expect("it runs");
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}

/// The battery finds what the hostile plugins do: those that trap, that never end, that eat memory,
/// that answer nonsense, and those whose answers follow from what they remember.
#[test]
fn the_battery_finds_bad_plugins() {
    let folder = folder();
    let component = folder.path().join("hostile.wasm");
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile-routing.wasm"));
    std::fs::write(&component, bytes).expect("a file");
    let begun = Instant::now();
    for (deed, part) in [
        ("loop", "it used up its fuel"),
        ("trap", "it trapped"),
        ("hog", "bytes of memory, and may have"),
        ("twice", "its answer makes no sense"),
        ("state", "in a fresh instance"),
        ("well", "all good"),
    ] {
        let mut command = achromat(&["plugin", "test", "--config", deed]);
        command.arg(&component);
        let (is_good, told) = run(command);
        assert_eq!(is_good, deed == "well", "{deed}: {told}");
        assert!(told.contains(part), "{deed}: {told}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
}

/// `plugin dev` puts what an author saves into service when it builds and its tests hold, and
/// otherwise leaves what decides.
#[test]
fn what_is_saved_decides() {
    let project = Built::example("big-queries-rust").folder;
    let cluster = Cluster::with(3, &[&format!("--policy-cache={}", compiled().display())]);
    let printed = project.path().join(".printed");
    let _dev = {
        let mut dev = achromat(&["plugin", "dev", "--url", cluster.api().base()]);
        dev.env("ACHROMAT_ADMIN_TOKEN_FILE", cluster.proxy.token_file());
        dev.arg("--project").arg(project.path());
        dev.env("CARGO_TARGET_DIR", cargo_target());
        dev.stdout(std::fs::File::create(&printed).expect("a file"));
        Ends(dev.spawn().expect("it runs"))
    };
    let told = |part: &str, times: usize| {
        eventually("it is told", Duration::from_secs(300), || {
            let all = std::fs::read_to_string(&printed).expect("it is there");
            if all.matches(part).count() >= times {
                Ok(())
            } else {
                Err(all)
            }
        });
    };
    told("decides now", 1);
    assert_eq!(search(&cluster), 1);
    let first = routing(&cluster);

    let path = project.path().join("src/lib.rs");
    let source = std::fs::read_to_string(&path).expect("the source");
    std::fs::write(&path, format!("{source}\nno Rust at all\n")).expect("a file");
    told("Nothing was changed", 1);
    assert_eq!(routing(&cluster)["version_id"], first["version_id"]);

    let never = source.replace("results < self.results_min", "results < u64::MAX");
    std::fs::write(&path, never).expect("a file");
    told("FAILED", 1);
    told("Nothing was changed", 2);
    assert_eq!(routing(&cluster)["version_id"], first["version_id"]);

    let other = source.replace("say how many", "tell how many");
    std::fs::write(&path, other).expect("a file");
    told("decides now", 2);
    assert_ne!(routing(&cluster)["version_id"], first["version_id"]);
}
