//! The work of a task, and the instances that it needs.

use super::Engine;
use crate::{
    catalog::{Collection, Copy},
    ids::{InstanceIx, Position},
    jobs::{
        Job, Places, Task, Work,
        adopt::adopt,
        copy::rebuild,
        discover::discover,
        home::home,
        locate::locate,
        mapping::{map, unmap},
        mark::renew,
        restore::restore,
        verify::verify,
    },
};

impl Engine {
    /// An instance that has every acknowledged write of the schema lane.
    pub(super) fn schema_source(&self, but: InstanceIx) -> Option<InstanceIx> {
        let progress = self.schema.progress();
        InstanceIx::all(self.instances.len()).find(|instance| {
            *instance != but
                && self.is_reachable(*instance)
                && !self.catalog.is_out(*instance)
                && progress.is_current(*instance)
        })
    }

    /// The instances in service whose copy gets all writes, those that are read first.
    pub(super) fn holders(&self, collection: &Collection) -> Places {
        let usable = |instance: &InstanceIx| {
            let copy = collection.copies.get(instance.at());
            self.is_reachable(*instance)
                && !self.catalog.is_out(*instance)
                && copy.is_some_and(|copy| copy.id.is_some() && copy.quarantine.is_none())
        };
        let mut holders: Places = InstanceIx::all(self.instances.len())
            .filter(usable)
            .collect();
        holders.sort_by_key(|instance| !collection.is_served_by(*instance));
        holders
    }

    /// The instances in service that have a copy of a collection, or may have one, whatever that is like.
    pub(super) fn places_with_copy(&self, collection: &Collection) -> Places {
        let may_be_on = |i: &InstanceIx| {
            let copy = collection.copies.get(i.at());
            copy.is_some_and(Copy::may_be_there)
        };
        InstanceIx::all(self.instances.len())
            .filter(|i| self.is_reachable(*i) && !self.catalog.is_out(*i))
            .filter(may_be_on)
            .collect()
    }

    pub(super) fn job_for(&self, task: Task) -> Option<Job> {
        let (pace, count) = (self.settings.pace, self.instances.len());
        let planted = self.settings.lanes.planted;
        match task.clone() {
            Task::Adopt(target) => {
                let source = self.schema_source(target);
                let is_first = self.catalog.is_empty() && self.schema.head() == Position(0);
                let places = source.into_iter().chain([target]).collect();
                let work = |port| -> Work { Box::pin(adopt(port, source, target, count)) };
                (source.is_some() || is_first).then(|| Job::new(task, places, work))
            }
            Task::Restore(target) => {
                let source = self.schema_source(target)?;
                Some(Job::new(task, [source, target].into(), |port| {
                    Box::pin(restore(port, source, target))
                }))
            }
            Task::Mark(target) => {
                let work = |port| -> Work { Box::pin(renew(port, target)) };
                Some(Job::new(task, [target].into_iter().collect(), work))
            }
            Task::Rebuild(id, target) => {
                let collection = self.catalog.get(id)?;
                let mut holders = self.holders(collection).into_iter();
                let source = holders.find(|i| collection.is_served_by(*i) && *i != target)?;
                Some(Job::new(task, [source, target].into(), |port| {
                    Box::pin(rebuild(port, id, source, target, (pace, planted)))
                }))
            }
            Task::Verify(id) => {
                let places = self.holders(self.catalog.get(id)?);
                let compared = places.clone();
                let work = |port| -> Work { Box::pin(verify(port, id, compared, pace)) };
                (places.len() > 1).then(|| Job::new(task, places, work))
            }
            Task::Home(id, instance) => {
                let mut holders = self.holders(self.catalog.get(id)?);
                holders.retain(|holder| *holder != instance);
                holders.push(instance);
                Some(Job::new(task, Places::from_slice(&[instance]), |port| {
                    Box::pin(home(port, id, instance, holders))
                }))
            }
            Task::Map(mapping) => Some(Job::new(task, Places::new(), |port| {
                Box::pin(map(port, mapping, count))
            })),
            Task::Unmap(id) => Some(Job::new(task, Places::new(), |port| {
                Box::pin(unmap(port, id))
            })),
            Task::Locate(id) => {
                let places = self.places_with_copy(self.catalog.get(id)?);
                let asked = places.clone();
                Some(Job::new(task, places, |port| {
                    Box::pin(locate(port, id, asked, planted))
                }))
            }
            Task::Discover(tenant) => {
                let in_service = |i: &InstanceIx| self.is_reachable(*i) && !self.catalog.is_out(*i);
                let places: Places = InstanceIx::all(count).filter(in_service).collect();
                let asked = places.clone();
                let work = |port| -> Work { Box::pin(discover(port, tenant, asked, count)) };
                (!places.is_empty()).then(|| Job::new(task, places, work))
            }
        }
    }
}
