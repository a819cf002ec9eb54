//! Probes of instances: what they find changes what is known of the instances, and sets lanes going.

use std::sync::Arc;

use super::Engine;
use crate::{
    abilities::Abilities,
    health::{Probe, Standing},
    ids::{InstanceIx, LaneId},
    lane::Lane,
    limits::{ABSENT_KEPT, ABSENT_TENANTS_MAX, MEET_INTERVAL},
    planted::Bug,
    weight::Vitals,
};

impl Engine {
    /// Remembers for a moment that no instance in service has a tenant.
    pub(super) fn remember_absent(&mut self, tenant: Arc<str>) {
        if self.absent.len() >= ABSENT_TENANTS_MAX {
            self.absent.clear();
        }
        self.absent.insert(tenant, self.now + ABSENT_KEPT);
        self.has_news = true;
    }

    /// Takes in what an instance knows, if it was asked for that.
    pub(super) fn met(&mut self, instance: InstanceIx, abilities: Option<Abilities>) {
        let meet_at = self.now + MEET_INTERVAL;
        let state = self.instances.get_mut(instance.at());
        if let (Some(state), Some(known)) = (state, abilities) {
            state.meet_at = meet_at;
            if state.abilities.replace(known) != Some(known) {
                self.abilities = self.instances.iter().map(|i| i.abilities).collect();
                self.has_news = true;
            }
        }
    }

    pub(super) fn probed(&mut self, instance: InstanceIx, probe: Probe, vitals: Vitals) {
        if !self.catalog.is_out(instance) && self.asked_for_its_marker(instance) {
            match probe {
                Probe::Lost if self.is_no_reset(instance) => {
                    self.exclude(instance, "it has lost its data");
                }
                Probe::Past => self.exclude(instance, "its data is from the past"),
                _ => {}
            }
        }
        let vitals = if self.plants(Bug::BusyIsDown) {
            Vitals::default()
        } else {
            vitals
        };
        let (rules, now) = (self.settings.health, self.now);
        let was_quiet = self.is_quiet(instance);
        self.health(instance, |health| health.probed(probe, vitals, &rules, now));
        self.settle_on(instance, was_quiet);
    }

    /// An instance may have been awake for longer: what waited for that goes on.
    fn settle_on(&mut self, instance: InstanceIx, was_quiet: bool) {
        let waits = |lane: &Lane| lane.is_settling_on(instance) || lane.has_closed_on(instance);
        let settles = |id: &LaneId| self.lane(*id).is_some_and(waits);
        let settling: Vec<LaneId> = self.active.iter().copied().filter(settles).collect();
        for id in &settling {
            self.advance(*id);
        }
        if !settling.is_empty() || self.is_quiet(instance) != was_quiet {
            self.schedule();
        }
    }

    /// Returns true when the last probe asked for the marker that the instance still has.
    fn asked_for_its_marker(&self, instance: InstanceIx) -> bool {
        let marker = self.catalog.instance(instance).marker;
        let state = self.instances.get(instance.at());
        marker.is_some_and(|marker| {
            !marker.is_to_be_made() && state.is_some_and(|s| s.probed_for == Some(marker.id))
        })
    }

    /// A reset takes the marker away as well, and is known only when it has been answered.
    fn is_no_reset(&self, instance: InstanceIx) -> bool {
        let is_known =
            self.schema.open() == 0 && self.schema.has_applied(instance, self.schema.head());
        is_known || !self.was_up(instance)
    }

    fn was_up(&self, instance: InstanceIx) -> bool {
        let state = self.instances.get(instance.at());
        state.is_some_and(|state| state.health.standing() == Standing::Up)
    }
}
