//! The places where a read may go now: as the policy says, within what may answer it.

use std::sync::Arc;

use achromat_core::{
    lookup::Lookup,
    policy::{Routing, plan_preferred},
    read::{Baseline, Plan, Tried, plan, turn_of},
    view::View,
};

use super::{Found, Planned, Read};
use crate::policy::{self, Conditions};

impl<'t> Read<'_, 't> {
    /// Returns true when the policy lets some instances answer and no other.
    pub(super) fn is_restricted(&self) -> bool {
        self.routing().is_some_and(is_restrictive)
    }

    /// Finds the instances that the read may go to now; `None` when it must wait. The lookup is made anew
    /// each time: while a read waits, mappings come and go.
    pub(super) fn look(&self, view: &View, tried: Tried) -> Option<Found<'t>> {
        let captures = self.captures.clone();
        let lookup = match Lookup::new(&view.catalog, self.route, captures, self.target) {
            Ok(lookup) => lookup.knowing(&view.abilities),
            Err(reply) => return Some(Found::Answer(reply)),
        };
        let strategy = lookup.strategy(self.app.settings.strategy);
        let scope = lookup.scope();
        let turn = turn_of(
            self.route.action,
            lookup.collection(),
            &self.body,
            self.turn,
        );
        let planned_by = |routing: &Routing| match routing {
            Routing::Native => Ok(plan(view, scope, strategy, turn, tried)),
            Routing::Prefer(wish) => Ok(plan_preferred(view, scope, strategy, turn, tried, wish)),
            Routing::Refuse(refusal) => Err(refusal.reply()),
        };
        let no_failure = Tried::default();
        let first = || {
            self.routing
                .get_or_init(|| self.ask_policy(view, &lookup, no_failure))
        };
        let routing = self.again.get().unwrap_or_else(first);
        let mut plan = planned_by(routing);
        if matches!(plan, Ok(Plan::Nobody)) && is_restrictive(routing) && tried != no_failure {
            // What it named was in service when it was asked, and has failed since.
            let again = self
                .again
                .get_or_init(|| self.ask_policy(view, &lookup, tried));
            plan = planned_by(again);
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(refusal) => return Some(Found::Answer(refusal)),
        };
        match plan {
            Plan::Go(order) => {
                let routing = self.routing();
                let planned = Planned {
                    baseline: Baseline::new(view, lookup.collection().map(|c| c.id)),
                    may_be_stale: matches!(routing, Some(Routing::Prefer(wish)) if wish.allow_stale),
                    lookup,
                };
                Some(Found::Go(Arc::new(planned), order))
            }
            Plan::Wait => None,
            Plan::Nobody => Some(Found::Nobody),
        }
    }

    /// The policy's last answer.
    fn routing(&self) -> Option<&Routing> {
        self.again.get().or(self.routing.get())
    }

    /// Asks the routing policy about the read; those that have `failed` are shown as down. Whatever it
    /// answers, I09 stands above it.
    fn ask_policy(&self, view: &View, lookup: &Lookup<'_>, failed: Tried) -> Routing {
        let load = |instance| self.app.load(instance);
        let request = policy::Request {
            number: self.turn,
            route: self.route,
            captures: &self.captures,
            collection: lookup.collection(),
            made: None,
            body: &self.body,
            client: self.intake.client,
            headers: &self.intake.headers,
        };
        let conditions = Conditions {
            view,
            scope: lookup.scope(),
            load: &load,
        };
        let slot = &self.app.policies.routing;
        if failed == Tried::default() {
            return slot.route(&self.policy, &request, conditions);
        }
        slot.route_again(&self.policy, &request, conditions, failed)
    }
}

/// Returns true when a policy's answer lets some instances answer and no other.
fn is_restrictive(routing: &Routing) -> bool {
    matches!(routing, Routing::Prefer(wish) if !wish.then_others)
}
