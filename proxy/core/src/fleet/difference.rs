//! The leader's view as it goes to a follower: once as a whole, then as differences.
//!
//! What is not here no read of a follower needs: collections that are gone, and tenants that were looked for in
//! vain. Both sides have the same instances in the same order, which is checked when a proxy joins its fleet.

use serde::{Deserialize, Serialize};

use crate::{
    abilities::Abilities,
    catalog,
    health::Standing,
    ids::{CollectionId, InstanceIx, Position},
    progress::Progress,
    view::View,
};

/// All that is other in a later view. Fields that the other side does not know, since it is of another version, are
/// passed over; what is new must be of no consequence to who does not know it, or the form's number goes up.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Difference {
    standings: Vec<Standing>,
    abilities: Vec<Option<Abilities>>,
    schema: Progress,
    changing: Vec<(Position, Option<CollectionId>)>,
    has_seen_all: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lanes: Vec<(CollectionId, Progress)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lanes_gone: Vec<CollectionId>,
    catalog: catalog::Difference,
}

impl Difference {
    /// The steps from an earlier view to a later one. The whole is the difference from an empty one.
    pub fn between(earlier: &View, later: &View) -> Self {
        let (mut lanes, mut lanes_gone) = (Vec::new(), Vec::new());
        for change in earlier.lanes.diff(&later.lanes) {
            match change {
                imbl::ordmap::DiffItem::Add(id, lane)
                | imbl::ordmap::DiffItem::Update {
                    new: (id, lane), ..
                } => {
                    lanes.push((*id, lane.clone()));
                }
                imbl::ordmap::DiffItem::Remove(id, _) => lanes_gone.push(*id),
            }
        }
        let abilities = InstanceIx::all(later.standings.len());
        Self {
            standings: later.standings.to_vec(),
            abilities: abilities.map(|at| later.abilities.known(at)).collect(),
            schema: later.schema.clone(),
            changing: later.changing.to_vec(),
            has_seen_all: later.has_seen_all,
            lanes,
            lanes_gone,
            catalog: catalog::Difference::between(&earlier.catalog, &later.catalog),
        }
    }

    /// The later view, made of the earlier one.
    #[must_use]
    pub fn applied_to(self, earlier: &View) -> View {
        let mut view = earlier.clone();
        view.catalog.take_over(self.catalog);
        for id in self.lanes_gone {
            view.lanes.remove(&id);
        }
        view.lanes.extend(self.lanes);
        View {
            standings: self.standings.into(),
            abilities: self.abilities.into_iter().collect(),
            schema: self.schema,
            changing: self.changing.into(),
            has_seen_all: self.has_seen_all,
            store_is_up: true,
            ..view
        }
    }
}

#[cfg(test)]
mod tests;
