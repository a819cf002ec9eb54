//! Makes the plugins that behave badly, which the tests put into slots.

use std::path::Path;

use achromat_plugin_build::{Guest, components};

const fn hostile(features: &'static str, file: &'static str) -> Guest {
    Guest {
        package: "achromat-hostile-plugins",
        features,
        file,
    }
}

const GUESTS: [Guest; 3] = [
    hostile("routing", "hostile-routing.wasm"),
    hostile("wal", "hostile-wal.wasm"),
    hostile("guard", "hostile-guard.wasm"),
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
