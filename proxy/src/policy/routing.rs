//! A routing plugin's question, made of what Achromat sees.

use achromat_core::{
    health::Standing as CoreStanding,
    ids::InstanceIx,
    policy::{Routing, Subject, lag_entries},
    read::Tried,
    view::{Scope, View},
};
use smallvec::SmallVec;

use super::{
    asked::Asked,
    contract::routing::exports::achromat::policy::route_policy::{InstanceState, Standing},
    recorded::{RecordedRouting, Taking},
    request::Request,
    slot::{Generation, Slot},
    version::Wanted,
    world::{RoutingQuestion, RoutingSlot},
};

/// An instance's present load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that it has not answered yet.
    pub in_flight: u64,
    /// Recent time to the first byte of its answers, smoothed, in microseconds; 0 when unknown.
    pub latency_us: u64,
}

/// The state of the instances, as one request needs it.
#[derive(Clone, Copy)]
pub struct Conditions<'a> {
    /// The snapshot of lanes, catalog and instances.
    pub view: &'a View,
    /// The data that the request needs an instance to have.
    pub scope: Scope<'a>,
    /// Gives an instance's load.
    pub load: &'a dyn Fn(InstanceIx) -> Load,
}

impl Conditions<'_> {
    fn state(&self, instance: InstanceIx) -> InstanceState {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let load = (self.load)(instance);
        InstanceState {
            index: instance.0,
            standing: match self.view.standing(instance) {
                CoreStanding::Up => Standing::Up,
                CoreStanding::Suspect => Standing::Suspect,
                CoreStanding::Down => Standing::Down,
            },
            eligible: self.view.is_eligible(instance, self.scope),
            in_flight: number(load.in_flight),
            latency_us: number(load.latency_us),
            lag_entries: number(lag_entries(self.view, instance, self.scope)),
        }
    }
}

/// A request, and the states of the instances for it.
struct Routed<'a> {
    request: &'a Request<'a>,
    states: SmallVec<[InstanceState; 4]>,
}

impl Asked<RoutingSlot> for Routed<'_> {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(RoutingQuestion<'_>) -> R) -> R {
        self.request.show(wanted, |operation| {
            let states = &self.states;
            ask(RoutingQuestion { operation, states })
        })
    }

    fn subject(&self) -> Subject<'_> {
        self.request.subject()
    }

    fn action(&self) -> &'static str {
        self.request.action_word()
    }

    fn record(&self, taking: Taking<'_>) -> RecordedRouting {
        RecordedRouting {
            operation: self.request.record(taking),
            states: self.states.iter().map(Into::into).collect(),
        }
    }
}

impl Slot<RoutingSlot> {
    /// Asks the generation's plugin where a request goes. Without a plugin, routing is native.
    pub fn route(
        &self,
        generation: &Generation<RoutingSlot>,
        request: &Request<'_>,
        conditions: Conditions<'_>,
    ) -> Routing {
        if !self.is_concerned(generation, request.number) {
            return Routing::Native;
        }
        let instances = conditions.view.instances();
        let routed = Routed {
            request,
            states: instances.map(|i| conditions.state(i)).collect(),
        };
        let answer = self.consult(generation, &routed);
        answer.unwrap_or(Routing::Native)
    }

    /// Asks once more where a request goes on which these instances have failed: they are shown as down.
    pub fn route_again(
        &self,
        generation: &Generation<RoutingSlot>,
        request: &Request<'_>,
        conditions: Conditions<'_>,
        failed: Tried,
    ) -> Routing {
        let instances = conditions.view.instances();
        let state = |instance| {
            let state = conditions.state(instance);
            if failed.contains(instance) {
                let (standing, eligible) = (Standing::Down, false);
                return InstanceState {
                    standing,
                    eligible,
                    ..state
                };
            }
            state
        };
        let routed = Routed {
            request,
            states: instances.map(state).collect(),
        };
        let answer = self.consult(generation, &routed);
        answer.unwrap_or(Routing::Native)
    }
}
