//! Plugins for the tests: those that behave badly, and those that were built long ago.
//!
//! One crate for all of them, chosen by feature: a component has one world. Outside of WebAssembly
//! there is nothing here.

#![cfg(target_arch = "wasm32")]

#[cfg(not(feature = "released"))]
mod hostile;
#[cfg(feature = "released")]
mod released;
