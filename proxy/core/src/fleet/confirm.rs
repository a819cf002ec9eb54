//! Proof that a read by an old view is as good as one by the present view.

use crate::{
    ids::InstanceIx,
    planted::{Bug, Planted},
    progress::Progress,
    view::{Scope, View},
};

/// Returns true when an instance that answers a read had every write of its scope that is acknowledged in the `later`
/// view: the `earlier` one, by which it was chosen, says so already. `later` is the leader's view of some moment after
/// the answer's first byte, and both are of the same leader.
///
/// The instance must still be one that the leader reads: it may have died, and be back with data from the past. Copies, homes and names must be the same all the time in between. That both views show the same is not enough,
/// because a copy may have been out of service and be back.
pub fn confirms(
    earlier: &View,
    later: &View,
    (instance, scope): (InstanceIx, Scope<'_>),
    planted: Planted,
) -> bool {
    if planted.is(Bug::BelievesOldView) {
        return true;
    }
    let has_changed = earlier.catalog.revision() != later.catalog.revision();
    if has_changed && !planted.is(Bug::OverlooksRevision) {
        return false;
    }
    if !later.is_eligible(instance, scope) {
        return false;
    }
    let had_all = |earlier: Option<&Progress>, later: Option<&Progress>| match (earlier, later) {
        (_, None) => earlier.is_none(),
        (earlier, Some(later)) => {
            let applied = earlier.map_or_else(Default::default, |lane| lane.applied_by(instance));
            applied >= later.acknowledged
        }
    };
    let schema = || had_all(Some(&earlier.schema), Some(&later.schema));
    let records = |id| had_all(earlier.lanes.get(id), later.lanes.get(id));
    match scope {
        Scope::Any => true,
        Scope::Schema | Scope::List { .. } => schema(),
        Scope::Description(collection) => schema() && records(&collection.id),
        Scope::Collection(collection) => records(&collection.id),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        catalog::{Change, Collection},
        health::Standing,
        ids::Position,
    };

    const A: InstanceIx = InstanceIx(0);
    const B: InstanceIx = InstanceIx(1);

    fn collection() -> Arc<Collection> {
        Arc::new(Collection::sample(1, "docs", [10, 20]))
    }

    fn view(acknowledged: u64, applied: [u64; 2]) -> View {
        let mut view = View {
            standings: [Standing::Up, Standing::Up].into(),
            ..View::default()
        };
        view.catalog.apply(&Change::Made(collection()));
        let progress = Progress {
            acknowledged: Position(acknowledged),
            applied: applied.map(Position).into(),
            ..Progress::default()
        };
        view.lanes.insert(collection().id, progress);
        view
    }

    fn confirmed(earlier: &View, later: &View, instance: InstanceIx) -> bool {
        let collection = collection();
        let place = (instance, Scope::Collection(&collection));
        confirms(earlier, later, place, Planted::NONE)
    }

    /// An instance that is read had by the earlier view all that is acknowledged by the later one.
    #[test]
    fn an_instance_had_all_that_is_acknowledged() {
        let earlier = view(3, [4, 3]);
        assert!(confirmed(&earlier, &view(3, [4, 4]), A));
        assert!(confirmed(&earlier, &view(3, [4, 4]), B));
        assert!(confirmed(&earlier, &view(4, [4, 4]), A));
        assert!(
            !confirmed(&earlier, &view(4, [4, 4]), B),
            "it may have been late"
        );
        assert!(!confirmed(&earlier, &view(5, [5, 5]), A));
    }

    /// A lane that one of the views does not know proves nothing, unless both do not know it.
    #[test]
    fn an_unknown_lane_proves_nothing() {
        let unknown = View {
            lanes: imbl::OrdMap::new(),
            ..view(0, [0, 0])
        };
        assert!(confirmed(&unknown, &unknown, A));
        assert!(confirmed(&unknown, &view(0, [0, 0]), A));
        assert!(!confirmed(&unknown, &view(1, [1, 1]), A));
        assert!(!confirmed(&view(1, [1, 1]), &unknown, A));
    }

    /// A copy that was out of service for a moment may have been read in that moment.
    #[test]
    fn no_copy_and_no_name_has_changed() {
        let (earlier, mut later) = (view(3, [3, 3]), view(3, [3, 3]));
        let id = collection().id;
        later.catalog.apply(&Change::Quarantined {
            collection: id,
            instance: B,
            reason: "it differs".into(),
        });
        later.catalog.apply(&Change::Healed {
            collection: id,
            instance: B,
        });
        assert_eq!(earlier.catalog.get(id), later.catalog.get(id));
        assert!(!confirmed(&earlier, &later, B));
    }

    /// An instance that has died since may have been back, with data from the past, when it answered.
    #[test]
    fn the_leader_reads_the_instance_still() {
        let (earlier, mut later) = (view(3, [3, 3]), view(3, [3, 3]));
        later.standings = [Standing::Down, Standing::Suspect].into();
        assert!(!confirmed(&earlier, &later, A));
        assert!(confirmed(&earlier, &later, B));
    }

    /// A description is of the schema's lane as well.
    #[test]
    fn a_description_needs_both_lanes() {
        let (earlier, mut later) = (view(3, [3, 3]), view(3, [3, 3]));
        later.schema.acknowledged = Position(1);
        let collection = collection();
        let about = |scope| confirms(&earlier, &later, (A, scope), Planted::NONE);
        assert!(about(Scope::Collection(&collection)));
        assert!(about(Scope::Any));
        assert!(!about(Scope::Description(&collection)));
        assert!(!about(Scope::Schema));
    }
}
