//! The test suite that the `chromadb` wheel carries, through Achromat: what passes against one
//! Chroma server passes against two behind Achromat.

use std::{path::PathBuf, process::Command};

use achromat_tests::{cluster::Cluster, tools};

/// Where the wheel's tests are.
fn suite() -> PathBuf {
    let python = tools::python().join("bin/python");
    let script = "import chromadb, os; print(os.path.dirname(chromadb.__file__))";
    let output = Command::new(python)
        .args(["-c", script])
        .output()
        .expect("python");
    let path = String::from_utf8(output.stdout).expect("UTF-8");
    PathBuf::from(path.trim()).join("test")
}

/// Runs some files of the suite, and returns how many tests passed.
fn run(name: &str, files: &[&str], left_out: &[&str]) -> u32 {
    let cluster = Cluster::with(2, &["--guard-protected="]);
    let suite = suite();
    let mut pytest = Command::new(tools::python().join("bin/python"));
    pytest.args([
        "-m",
        "pytest",
        "-p",
        "achromat_suite",
        "-p",
        "no:cacheprovider",
    ]);
    pytest.args([
        "--import-mode=importlib",
        "-k",
        "integration",
        "-q",
        "--timeout=600",
    ]);
    pytest.args([
        "-W",
        "ignore",
        "--no-header",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]);
    // The suite's own fixtures stand in its top folder.
    pytest.arg("--rootdir").arg(&suite);
    pytest.arg("--confcutdir").arg(&suite);
    for file in files {
        pytest.arg(suite.join(file));
    }
    for file in left_out {
        pytest.arg("--ignore").arg(suite.join(file));
    }
    let output = pytest
        .env(
            "PYTHONPATH",
            format!("{}/it/suite", env!("CARGO_MANIFEST_DIR")),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ACHROMAT_SUITE_PART", name)
        .env("CHROMA_INTEGRATION_TEST_ONLY", "1")
        .env("CHROMA_SERVER_HOST", "localhost")
        .env("CHROMA_SERVER_HTTP_PORT", cluster.proxy.port.to_string())
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            cluster.folder().join("hypothesis"),
        )
        .current_dir(cluster.folder())
        .output()
        .expect("pytest runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let tail: Vec<_> = said.lines().rev().take(200).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    assert!(output.status.success(), "{}", tail.join("\n"));
    println!("{name}: {last}");
    cluster.settle();
    cluster.proxy.assert_calm();
    let mut words = last.split(' ');
    let mut before = "";
    words
        .find_map(|word| {
            let found = word.starts_with("passed").then(|| before.parse().ok());
            before = word;
            found
        })
        .flatten()
        .expect("a count of passed tests")
}

/// The API and its clients.
#[test]
fn the_wheels_api_tests_pass() {
    let files = [
        "api",
        "test_api.py",
        "test_client.py",
        "test_chroma.py",
        "client",
        "configurations",
        "test_multithreaded.py",
    ];
    let passed = run("api", &files, &[]);
    assert!(passed >= 336, "only {passed} tests ran");
}

/// Random histories of operations, each compared with a model by the suite.
#[test]
fn the_wheels_property_tests_pass() {
    let left_out = [
        // They start servers of their own, of several versions, and restart them.
        "property/test_cross_version_persist.py",
        "property/test_persist.py",
        "property/test_restart_persist.py",
    ];
    let passed = run("property", &["property"], &left_out);
    assert!(passed >= 38, "only {passed} tests ran");
}
