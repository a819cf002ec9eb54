//! Facts about the instances, as a lane needs them.

use smallvec::SmallVec;

use super::Engine;
use crate::{
    catalog::Collection,
    ids::{InstanceIx, LaneId},
    lane::Peer,
    log::Verb,
};

impl Engine {
    /// Facts about the instances that a lane must know.
    pub(super) fn peers(&self, id: LaneId) -> SmallVec<[Peer; 2]> {
        let collection = match id {
            LaneId::Schema => None,
            LaneId::Collection(collection) => self.catalog.get_even_gone(collection),
        };
        let copy = |instance: InstanceIx| collection.and_then(|c| c.copies.get(instance.at()));
        InstanceIx::all(self.instances.len())
            .zip(&self.instances)
            .map(|(instance, state)| Peer {
                standing: state.health.usable(),
                is_ready: id == LaneId::Schema || copy(instance).is_some_and(|c| c.id.is_some()),
                is_quarantined: self.catalog.is_out(instance)
                    || copy(instance).is_some_and(|c| c.quarantine.is_some()),
                is_distrusted: copy(instance).is_some_and(|c| c.distrust.is_some()),
                awake: *state.health.awake(),
                lived: state.health.lived(),
            })
            .collect()
    }

    /// Returns true when an instance may have carried out an undecided entry that takes a lane's collection away.
    pub(super) fn may_have_ended(&self, id: LaneId) -> bool {
        let LaneId::Collection(id) = id else {
            return false;
        };
        let Some(collection) = self.catalog.get(id) else {
            return false;
        };
        let mut endings = self.schema.unsettled();
        endings.any(|(position, verb)| {
            let is_done_on = |instance| self.schema.may_be_done_on(instance, position);
            takes_away(verb, collection) && InstanceIx::all(self.instances.len()).any(is_done_on)
        })
    }
}

/// Returns true when a collection is gone once an entry of the schema lane is done.
fn takes_away(verb: &Verb, collection: &Collection) -> bool {
    match verb {
        Verb::DeleteCollection { collection: id } => *id == collection.id,
        Verb::DeleteDatabase { tenant, database } => {
            *tenant == collection.tenant && *database == collection.database
        }
        Verb::Reset => true,
        Verb::Record { .. }
        | Verb::CreateTenant { .. }
        | Verb::UpdateTenant { .. }
        | Verb::CreateDatabase { .. }
        | Verb::CreateCollection { .. }
        | Verb::ModifyCollection { .. }
        | Verb::Fork { .. }
        | Verb::AttachFunction { .. }
        | Verb::DetachFunction { .. } => false,
    }
}
