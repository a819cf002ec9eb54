//! The contract as Rust, made from `wit/` by wit-bindgen. The crate's other modules give its types
//! their names.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// The world `routing`.
pub mod routing {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "routing",
        pub_export_macro: true,
        export_macro_name: "export_routing",
        default_bindings_module: "achromat_plugin::bindings::routing",
        additional_derives: [PartialEq, Eq],
    });
}

/// The world `lean-routing`.
pub mod lean {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "lean-routing",
        pub_export_macro: true,
        export_macro_name: "export_lean_routing",
        default_bindings_module: "achromat_plugin::bindings::lean",
        additional_derives: [PartialEq, Eq],
        with: {
            "achromat:policy/types@0.1.1": crate::bindings::routing::achromat::policy::types,
            "achromat:policy/host@0.1.1": crate::bindings::routing::achromat::policy::host,
        },
    });
}

/// The world `wal-eligibility`.
pub mod wal {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wal-eligibility",
        pub_export_macro: true,
        export_macro_name: "export_wal",
        default_bindings_module: "achromat_plugin::bindings::wal",
        additional_derives: [PartialEq, Eq],
        with: {
            "achromat:policy/types@0.1.1": crate::bindings::routing::achromat::policy::types,
            "achromat:policy/host@0.1.1": crate::bindings::routing::achromat::policy::host,
        },
    });
}

/// The world `cleanup-guard`.
pub mod guard {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "cleanup-guard",
        pub_export_macro: true,
        export_macro_name: "export_guard",
        default_bindings_module: "achromat_plugin::bindings::guard",
        additional_derives: [PartialEq, Eq],
        with: {
            "achromat:policy/types@0.1.1": crate::bindings::routing::achromat::policy::types,
            "achromat:policy/host@0.1.1": crate::bindings::routing::achromat::policy::host,
        },
    });
}
