//! The files of `examples/deploy`, read as data.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{proxy::achromat, tools};

/// Recipe of the image.
pub const CONTAINERFILE: &str = include_str!("../../examples/deploy/Containerfile");

/// Variables that are no keys: of Achromat, and of the `compose.yaml` files themselves.
pub const OTHER_VARIABLES: [&str; 5] = [
    "ACHROMAT_CONFIG",
    "ACHROMAT_STATE",
    "ACHROMAT_URL",
    "ACHROMAT_PORT",
    "ACHROMAT_SECOND_PORT",
];

/// The project's folder.
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the project").to_owned()
}

/// A file of `examples/deploy`.
pub fn deploy(name: &str) -> PathBuf {
    project().join("examples/deploy").join(name)
}

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{told}\n{errors}");
    told
}

/// The documents of a file in YAML, read by the tests' Python.
pub fn yaml(name: &str) -> Vec<Value> {
    let code =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut python = Command::new(tools::python().join("bin/python"));
    let told = run(python.args(["-c", code]).arg(deploy(name)));
    serde_json::from_str(&told).expect("JSON")
}

/// A value that is text.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// The settings of a unit of systemd, each with its values in order.
pub fn settings_of(unit: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings = BTreeMap::<_, Vec<_>>::new();
    let lines = unit.lines().filter(|line| !line.starts_with('#'));
    for (name, value) in lines.filter_map(|line| line.split_once('=')) {
        settings.entry(name).or_default().push(value);
    }
    settings
}

/// A number in a configuration.
#[track_caller]
pub fn number_in(configuration: &str, section: &str, key: &str) -> u64 {
    let (_, rest) = configuration
        .split_once(&format!("[{section}]\n"))
        .expect("the section");
    let start = format!("{key} = ");
    let mut lines = rest.lines();
    let value = lines.find_map(|line| line.strip_prefix(&start));
    value.expect("the key").parse().expect("a number")
}

/// A number of the default configuration.
#[track_caller]
pub fn default_of(section: &str, key: &str) -> u64 {
    let defaults = run(&mut achromat(&["config", "--defaults"]));
    number_in(&defaults, section, key)
}

/// The variables with which the image is made.
pub fn image_variables() -> BTreeMap<&'static str, &'static str> {
    let words = CONTAINERFILE.split_whitespace();
    let pairs = words.filter_map(|word| word.split_once('='));
    pairs
        .filter(|(name, _)| name.starts_with("ACHROMAT_"))
        .collect()
}
