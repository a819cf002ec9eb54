//! Makes the plugins that the tests put into slots.

use std::path::Path;

use achromat_plugin_build::{Guest, components};

const fn guest(features: &'static str, file: &'static str) -> Guest {
    Guest {
        package: "achromat-test-plugins",
        features,
        file,
    }
}

const GUESTS: [Guest; 7] = [
    guest("routing", "hostile-routing.wasm"),
    guest("lean", "hostile-lean.wasm"),
    guest("wal", "hostile-wal.wasm"),
    guest("guard", "hostile-guard.wasm"),
    guest("released,routing", "released-routing.wasm"),
    guest("released,wal", "released-wal.wasm"),
    guest("released,guard", "released-guard.wasm"),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let watched = [
        "plugins/sdk",
        "tests/guests",
        "wit",
        "Cargo.toml",
        "Cargo.lock",
    ];
    if let Err(problem) = components(&root, &watched, &GUESTS) {
        println!("cargo::error={problem}");
    }
}
