//! Destination of a read when a policy prefers some instances: its wish within Achromat's own bounds.

use super::Preference;
use crate::{
    health::Standing,
    ids::InstanceIx,
    read::{Order, Plan, Strategy, Tried, native_order},
    view::{Scope, View},
};

/// Plans a read on the instances that it was not tried on yet: first on the preferred instances that may
/// answer it, then on the others, should they be asked at all.
///
/// I09 holds as ever, unless the policy lets a preferred instance answer without every
/// acknowledged write; an instance that is down, or whose copy is quarantined, never answers.
pub fn plan_preferred(
    view: &View,
    scope: Scope<'_>,
    strategy: Strategy,
    turn: u64,
    tried: Tried,
    preference: &Preference,
) -> Plan {
    let native = native_order(view, scope, strategy, turn);
    let may_answer = |instance: &InstanceIx| {
        native.contains(instance)
            || preference.allow_stale && may_answer_stale(view, *instance, scope)
    };
    let mut order: Order = preference
        .first
        .iter()
        .copied()
        .filter(may_answer)
        .collect();
    if preference.then_others {
        let others = native.iter().filter(|i| !preference.first.contains(i));
        order.extend(others.copied());
    }
    order.retain(|instance| !tried.contains(*instance));
    if !order.is_empty() {
        return Plan::Go(order);
    }
    let has_hope = view.instances().any(|instance| {
        let is_meant = preference.then_others || preference.first.contains(&instance);
        is_meant && !tried.contains(instance) && view.may_become_eligible(instance, scope)
    });
    if has_hope { Plan::Wait } else { Plan::Nobody }
}

/// Returns true when an instance can answer at all, whatever it has not done yet.
fn may_answer_stale(view: &View, instance: InstanceIx, scope: Scope<'_>) -> bool {
    view.standing(instance) != Standing::Down
        && match scope {
            Scope::Any | Scope::Schema => true,
            Scope::List { tenant, database } => view.lists(instance, tenant, database),
            Scope::Description(collection) | Scope::Collection(collection) => {
                collection.is_served_by(instance)
            }
        }
}

/// Entries that an instance has not done yet of what a read is about.
pub fn lag_entries(view: &View, instance: InstanceIx, scope: Scope<'_>) -> u64 {
    let progress = match scope {
        Scope::Any => None,
        Scope::Schema | Scope::List { .. } | Scope::Description(_) => Some(&view.schema),
        Scope::Collection(collection) => view.lanes.get(&collection.id),
    };
    progress.map_or(0, |progress| {
        let applied = progress.applied.get(instance.at()).copied();
        progress.acknowledged.since(applied.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::{ids::Position, progress::Progress};

    const STRATEGY: Strategy = Strategy::PrimaryOnly;

    fn view() -> View {
        View {
            standings: [
                Standing::Up,
                Standing::Up,
                Standing::Down,
                Standing::Suspect,
            ]
            .into(),
            schema: Progress {
                acknowledged: Position(7),
                applied: smallvec![Position(7), Position(4), Position(7), Position(7)],
                ..Progress::default()
            },
            ..View::default()
        }
    }

    fn planned(first: &[u8], then_others: bool, allow_stale: bool) -> Option<Vec<u8>> {
        let preference = Preference::new(first, then_others, allow_stale, 4).unwrap();
        let plan = plan_preferred(
            &view(),
            Scope::Schema,
            STRATEGY,
            0,
            Tried::default(),
            &preference,
        );
        match plan {
            Plan::Go(order) => Some(order.iter().map(|instance| instance.0).collect()),
            Plan::Wait => Some(Vec::new()),
            Plan::Nobody => None,
        }
    }

    /// Preferred instances come first when they may answer; the others follow when they shall.
    #[test]
    fn a_preference_is_kept_within_bounds() {
        assert_eq!(planned(&[], true, false), Some(vec![0, 3]));
        assert_eq!(planned(&[3], true, false), Some(vec![3, 0]));
        assert_eq!(planned(&[3], false, false), Some(vec![3]));
        assert_eq!(
            planned(&[1, 2, 3], true, false),
            Some(vec![3, 0]),
            "1 lags, 2 is down"
        );
        assert_eq!(planned(&[1], false, false), Some(vec![]), "1 may catch up");
        assert_eq!(planned(&[2], false, false), None);
    }

    /// An instance that lags answers when the policy says so, one that is down never.
    #[test]
    fn a_stale_read_is_allowed_by_name() {
        assert_eq!(planned(&[1], true, true), Some(vec![1, 0, 3]));
        assert_eq!(planned(&[1, 2], false, true), Some(vec![1]));
        assert_eq!(
            planned(&[0], true, true),
            Some(vec![0, 3]),
            "1 is not named"
        );
        let lag = |instance| lag_entries(&view(), InstanceIx(instance), Scope::Schema);
        assert_eq!([0, 1, 2].map(lag), [0, 3, 0]);
    }
}
