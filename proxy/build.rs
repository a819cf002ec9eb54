//! Makes the default policies, which the proxy embeds.

use std::path::Path;

use achromat_plugin_build::{Guest, components};

const POLICIES: [Guest; 3] = [
    Guest {
        package: "achromat-policy-routing",
        features: "",
        file: "routing.wasm",
    },
    Guest {
        package: "achromat-policy-wal",
        features: "",
        file: "wal.wasm",
    },
    Guest {
        package: "achromat-policy-guard",
        features: "",
        file: "guard.wasm",
    },
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let watched = ["plugins", "wit", "Cargo.toml", "Cargo.lock"];
    if let Err(problem) = components(&root, &watched, &POLICIES) {
        println!("cargo::error={problem}");
    }
}
