//! Chroma's own clients, unchanged, through Achromat with two instances.

use std::process::Command;

use achromat_tests::{cluster::Cluster, tools};

/// Runs a client's script with the ports of a cluster, and shows its words when it fails.
fn session(mut script: Command) {
    let cluster = Cluster::start();
    script.arg(cluster.proxy.port.to_string());
    for instance in &cluster.instances {
        script.arg(instance.port.to_string());
    }
    let output = script.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.ends_with("all is well\n"), "{said}");
    cluster.settle();
    cluster.proxy.assert_calm();
}

fn script(name: &str) -> String {
    format!("{}/it/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The Python client does all that it can do, and after each step both instances hold the same.
#[test]
fn the_python_client_works_unchanged() {
    let mut python = Command::new(tools::python().join("bin/python"));
    python.arg(script("session.py"));
    session(python);
}

/// The npm client does all that it can do, and after each step both instances hold the same.
#[test]
fn the_npm_client_works_unchanged() {
    let (folder, program) = tools::node();
    // Node looks for packages beside the script.
    let copy = tempfile::Builder::new()
        .suffix(".mjs")
        .tempfile_in(folder)
        .expect("a script");
    std::fs::copy(script("session.mjs"), copy.path()).expect("a copy");
    let mut node = Command::new(program);
    node.arg(copy.path());
    session(node);
}
