//! The contract as Rust, made from `wit/` by wasmtime: what crosses to a plugin and back.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]

/// The world `routing`, and what all worlds share.
pub mod routing {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "routing",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: { default: trappable },
    });
}

/// The world `lean-routing`.
pub mod lean {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "lean-routing",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: { default: trappable },
        with: {
            "achromat:policy/types": super::routing::achromat::policy::types,
            "achromat:policy/host": super::routing::achromat::policy::host,
        },
    });
}

/// The world `wal-eligibility`.
pub mod wal {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wal-eligibility",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: { default: trappable },
        with: {
            "achromat:policy/types": super::routing::achromat::policy::types,
            "achromat:policy/host": super::routing::achromat::policy::host,
        },
    });
}

/// The world `cleanup-guard`.
pub mod guard {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "cleanup-guard",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: { default: trappable },
        with: {
            "achromat:policy/types": super::routing::achromat::policy::types,
            "achromat:policy/host": super::routing::achromat::policy::host,
        },
    });
}
