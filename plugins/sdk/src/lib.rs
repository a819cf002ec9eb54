//! For authors of Achromat's policy plugins.
//!
//! A plugin is a type with a trait, and one line that makes a component of it:
//!
//! ```
//! use achromat_plugin::{Choice, InstanceState, Operation, Order, Parts, Plugin, Route, Wants};
//!
//! /// Sends searches for many results to the last instance.
//! struct BigQueries {
//!     results_min: u32,
//! }
//!
//! impl Plugin for BigQueries {
//!     fn configure(config: &str) -> Result<(Self, Wants), String> {
//!         let results_min = config.trim().parse().map_err(|_| "say how many results are many")?;
//!         Ok((Self { results_min }, Wants::parts(Parts::SIZES)))
//!     }
//! }
//!
//! impl Route for BigQueries {
//!     fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice {
//!         let results = operation.sizes.map_or(0, |sizes| sizes.results);
//!         match states.last() {
//!             Some(last) if results >= self.results_min => Choice::First(Order::of([last.index])),
//!             _ => Choice::Native,
//!         }
//!     }
//! }
//!
//! achromat_plugin::routing!(BigQueries);
//! # let mut plugin = BigQueries::configure("100").unwrap().0;
//! # assert_eq!(plugin.route(&achromat_plugin::testing::query("notes"), &[]), Choice::Native);
//! ```
//!
//! It is built by `cargo build --release --target wasm32-unknown-unknown` as a `cdylib`; Achromat
//! takes what comes out as it is. Elsewhere than in WebAssembly it is an ordinary type, which
//! ordinary tests ask for decisions; [`testing`] makes their arguments.
//!
//! A routing plugin that decides by numbers alone costs half as much: [`lean`].
//!
//! What the types mean is written where they come from, in `wit/`.

mod allocator;
pub mod bindings;
mod exports;
pub mod host;
pub mod lean;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod traits;

pub use self::{
    allocator::Allocator,
    bindings::{
        guard::exports::achromat::policy::guard_policy::{Deed, Permission, Question, Records},
        routing::{
            achromat::policy::types::{
                Action, Class, Header, Operation, Parts, Refusal, RefusalStatus, Sizes, Uuid, Wants,
            },
            exports::achromat::policy::route_policy::{
                Choice, Instance, InstanceState, Order, Role, Standing,
            },
        },
        wal::exports::achromat::policy::wal_policy::{Eligibility, Level, Replication},
    },
    traits::{Judge, Permit, Plugin, Route},
};

#[doc(hidden)]
pub use exports::{Component, Held};

impl Wants {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::parts(Parts::empty())
    }

    /// These parts, and no headers.
    pub fn parts(parts: Parts) -> Self {
        let headers = Vec::new();
        Self { parts, headers }
    }

    /// These headers as well.
    #[must_use]
    pub fn and_headers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.headers.extend(names.into_iter().map(str::to_owned));
        self
    }
}

impl Order {
    /// These instances, then the others.
    pub fn of(instances: impl IntoIterator<Item = u8>) -> Self {
        Self {
            instances: instances.into_iter().collect(),
            then_others: true,
            allow_stale: false,
        }
    }

    /// These instances, and no other.
    #[must_use]
    pub fn only(instances: impl IntoIterator<Item = u8>) -> Self {
        Self {
            then_others: false,
            ..Self::of(instances)
        }
    }
}

impl Operation {
    /// The first value of a wanted header, by its place in [`Wants::headers`].
    pub fn header(&self, index: u8) -> Option<&str> {
        header(self.headers.as_deref().unwrap_or_default(), index)
    }
}

impl Question {
    /// The first value of a wanted header, by its place in [`Wants::headers`].
    pub fn header(&self, index: u8) -> Option<&str> {
        header(&self.headers, index)
    }
}

fn header(headers: &[Header], index: u8) -> Option<&str> {
    let found = headers.iter().find(|header| header.index == index)?;
    Some(&found.value)
}

impl Refusal {
    /// A refusal with a message for the client.
    pub fn new(status: RefusalStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after_s: None,
        }
    }
}

impl Replication {
    /// As it is configured.
    pub fn default_level() -> Self {
        Self {
            level: None,
            accept_when_down: false,
        }
    }
}
