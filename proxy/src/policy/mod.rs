//! Policy plugins: WebAssembly components that decide where requests go, which writes are logged
//! and what may be destroyed.
//!
//! The one room that names wasmtime. A plugin is checked (`check`), made a [`Version`] with
//! instances that wait to be asked, and put into a [`Slot`], which a request asks through the
//! [`Generation`] that it took at its start. What an answer means, and which one is safe when there
//! is none, `core` says ([`achromat_core::policy`]). Nothing here waits: calls are synchronous, and
//! are stopped by fuel, or at last by the clock.

mod check;
mod contract;
mod embedded;
mod engine;
mod figures;
mod guarding;
mod host;
mod kept;
pub mod limits;
mod policies;
mod request;
mod routing;
mod slot;
mod supply;
#[cfg(test)]
mod tests;
mod trouble;
mod version;
mod words;
mod world;

pub use self::{
    check::{Inspection, Unfit, component_of, inspect},
    contract::{
        guard::exports::achromat::policy::guard_policy::{Deed, Question, Records},
        routing::{
            achromat::policy::types::{Action, Class, Header, Operation, Parts, Sizes, Uuid},
            exports::achromat::policy::route_policy::{InstanceState, Standing},
        },
    },
    embedded::{default_component, default_source},
    engine::{EngineError, Plugins},
    figures::{Figures, TIMES},
    guarding::Asker,
    host::Overstep,
    policies::{Choice, Policies, PolicyConfig, PolicyError, SlotConfig},
    request::{Request, chosen},
    routing::Conditions,
    slot::{Generation, Slot},
    supply::{
        Reference, RegistryError, SCHEME, SupplyError, Trust, TrustedKey, WrongKey, WrongReference,
        from_file, from_registry,
    },
    trouble::{Trouble, TroubleKind},
    version::{Digest, Source, Version, Wanted, WrongDigest},
    words::{ACTIONS, CLASSES, DEEDS, PARTS, STANDINGS, named, word},
    world::{GuardSlot, Member, RoutingQuestion, RoutingSlot, WalSlot, World},
};
