//! The two worlds of the routing slot: the one in which texts and lists may cross, and the lean one
//! with nothing but numbers.

use achromat_core::{
    limits,
    policy::{Nonsense, Preference, Routing},
};
use smallvec::SmallVec;
use wasmtime::{Store, component::InstancePre};

use super::{
    check,
    contract::{
        lean::{
            LeanRouting, LeanRoutingPre,
            exports::achromat::policy::lean_route_policy::{Choice, Order, States},
        },
        routing::{
            Routing as RoutingWorld, RoutingPre,
            achromat::policy::types::{Parts, Wants},
            exports::achromat::policy::route_policy::Standing,
        },
    },
    host::State,
    world::{Answered, Member, RoutingQuestion, refusal},
};

/// The interface that a component of the lean world exports.
pub(super) const LEAN_INTERFACE: &str = "achromat:policy/lean-route-policy";

/// A component of one of the two worlds, ready to be instantiated.
pub enum RoutingPrepared {
    /// It sees texts and lists.
    Full(RoutingPre<State>),
    /// It sees numbers.
    Lean(LeanRoutingPre<State>),
}

/// The exports of an instance of one of the two worlds.
pub enum RoutingExports {
    /// It sees texts and lists.
    Full(RoutingWorld),
    /// It sees numbers.
    Lean(LeanRouting),
}

impl RoutingPrepared {
    pub(super) fn new(component: InstancePre<State>) -> wasmtime::Result<Self> {
        if check::exports(component.component(), &[LEAN_INTERFACE]) {
            return Ok(Self::Lean(LeanRoutingPre::new(component)?));
        }
        Ok(Self::Full(RoutingPre::new(component)?))
    }

    pub(super) fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<RoutingExports> {
        Ok(match self {
            Self::Full(prepared) => RoutingExports::Full(prepared.instantiate(store)?),
            Self::Lean(prepared) => RoutingExports::Lean(prepared.instantiate(store)?),
        })
    }
}

/// Hands over the configuration. It wants to see nothing: it sees all numbers anyway.
pub(super) fn configure(
    exports: &LeanRouting,
    store: &mut Store<State>,
    config: &str,
) -> wasmtime::Result<Result<Wants, String>> {
    let policy = exports.achromat_policy_lean_route_policy();
    let configured = policy.call_configure(store, config)?;
    Ok(configured.map(|()| Wants {
        parts: Parts::empty(),
        headers: Vec::new(),
    }))
}

/// Tells which instances there are.
pub(super) fn tell(
    exports: &LeanRouting,
    store: &mut Store<State>,
    members: &[Member],
) -> wasmtime::Result<()> {
    let names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
    let primary = (0..).zip(members).filter(|(_, member)| member.is_primary);
    let primary = primary.fold(0, |set, (index, _)| set | place(index));
    let policy = exports.achromat_policy_lean_route_policy();
    policy.call_instances(store, &names, primary)
}

/// Asks.
pub(super) fn ask(
    exports: &LeanRouting,
    store: &mut Store<State>,
    question: &RoutingQuestion<'_>,
) -> Answered<Routing> {
    let policy = exports.achromat_policy_lean_route_policy();
    let operation = &question.operation;
    let choice = policy.call_route(
        &mut *store,
        operation.number,
        operation.action,
        operation.class,
        operation.body_bytes,
        states(question),
    )?;
    Ok(match choice {
        Choice::Native => Ok(Routing::Native),
        Choice::First(order) => preference(order, question.states.len()).map(Routing::Prefer),
        Choice::Refuse => refusal(policy.call_explain(store)?).map(Routing::Refuse),
    })
}

fn place(index: u8) -> u16 {
    1_u16.checked_shl(index.into()).unwrap_or(0)
}

fn states(question: &RoutingQuestion<'_>) -> States {
    let (mut up, mut suspect, mut eligible, mut in_flight) = (0, 0, 0, [0; 4]);
    for state in question.states {
        let place = place(state.index);
        match state.standing {
            Standing::Up => up |= place,
            Standing::Suspect => suspect |= place,
            Standing::Down => {}
        }
        if state.eligible {
            eligible |= place;
        }
        if let Some(four) = in_flight.get_mut(usize::from(state.index / 4)) {
            let count = u16::try_from(state.in_flight).unwrap_or(u16::MAX);
            *four |= u64::from(count) << (16 * (state.index % 4));
        }
    }
    States {
        up,
        suspect,
        eligible,
        in_flight: in_flight.into(),
    }
}

fn preference(order: Order, instances: usize) -> Result<Preference, Nonsense> {
    let count = usize::from(order.count);
    if count > limits::INSTANCES_MAX {
        return Err(Nonsense::TooMany(order.count));
    }
    let at = |nth: usize| u8::try_from(order.instances >> (4 * nth) & 15).unwrap_or(u8::MAX);
    let places: SmallVec<[u8; 16]> = (0..count).map(at).collect();
    Preference::new(&places, order.then_others, order.allow_stale, instances)
}
