//! Looks for bytes that break a target of `targets.rs`, the one that `ACHROMAT_FUZZ` names:
//!
//! ```sh
//! ACHROMAT_FUZZ=head cargo +nightly fuzz run any tests/fuzz/corpus/head --fuzz-dir tests/fuzz
//! ```

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static CHECK: LazyLock<targets::Check> = LazyLock::new(|| {
    let name = std::env::var("ACHROMAT_FUZZ").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(target, _)| *target == name);
    let names = targets::TARGETS.map(|(target, _)| target).join(", ");
    found
        .unwrap_or_else(|| panic!("ACHROMAT_FUZZ must be one of {names}"))
        .1
});

fuzz_target!(|bytes: &[u8]| CHECK(bytes));
