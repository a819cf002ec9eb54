//! Policy plugins: WebAssembly components that decide where requests go, which writes are logged
//! and what may be destroyed.
//!
//! The one room that names wasmtime. A plugin is checked (`check`), made a [`Version`] with
//! instances that wait to be asked, and put into a [`Slot`], which a request asks through the
//! [`Generation`] that it took at its start. What an answer means, and which one is safe when there
//! is none, `core` says ([`achromat_core::policy`]). Nothing here waits: calls are synchronous, and
//! are stopped by fuel, or at last by the clock.

mod asked;
mod check;
mod compiler;
mod contract;
mod embedded;
mod engine;
mod figures;
mod guarding;
mod host;
mod judging;
mod kept;
mod lean;
pub mod limits;
mod policies;
mod recorded;
mod recorder;
mod replay;
mod request;
mod routing;
mod slot;
mod supply;
#[cfg(test)]
mod tests;
mod trial;
mod trouble;
mod version;
pub mod words;
mod words_of_plugins;
mod world;

pub use achromat_core::policy::{Digest, WrongDigest};

pub use self::{
    asked::Asked,
    check::{Inspection, Unfit, component_of, inspect},
    compiler::{COMMAND as COMPILE_COMMAND, CompileLimits, compile_for_parent},
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
    guarding::{Asker, Counted},
    host::Overstep,
    policies::{Choice, Generations, Policies, PolicyConfig, SlotConfig},
    recorder::{Decision, Recording},
    replay::{Change, ReplayError, Replayed, replay},
    request::{Request, chosen},
    routing::{Conditions, Load},
    slot::{Follower, Generation, Listener, Notice, Retired, Slot},
    supply::{
        Reference, RegistryError, SCHEME, Supplied, SupplyError, Trust, TrustedKey, WrongKey,
        WrongReference, from_file, from_registry, judge,
    },
    trial::{Difference, Tried},
    trouble::{Trouble, TroubleKind},
    version::{Source, Version, Wanted},
    words::{ACTIONS, DEEDS, PARTS},
    world::{GuardSlot, Member, RoutingQuestion, RoutingSlot, WalSlot, World, plain},
};
