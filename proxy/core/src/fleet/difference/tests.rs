//! A follower's view becomes the leader's, whatever has happened in between.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    catalog::{Catalog, Change, Collection},
    ids::{DatabaseId, InstanceId},
};

const NAMES: [&str; 3] = ["docs", "notes", "a\u{0}b"];

fn id(number: u8) -> CollectionId {
    CollectionId(Uuid::from_u128(number.into()))
}

fn made(number: u8, name: usize) -> Arc<Collection> {
    let first = u128::from(number) * 10;
    let copies = [first, first + 1];
    Arc::new(Collection::sample(number.into(), NAMES[name], copies))
}

/// One step of a leader.
#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Lane(u8, Progress),
    LaneGone(u8),
    Standing(Standing),
}

fn change() -> impl Strategy<Value = Change> {
    let number = || 1_u8..5;
    let instance = || (0_u8..2).prop_map(InstanceIx);
    prop_oneof![
        (number(), 0..NAMES.len()).prop_map(|(number, name)| Change::Made(made(number, name))),
        (number(), 0..NAMES.len()).prop_map(|(number, name)| Change::Renamed {
            collection: id(number),
            name: NAMES[name].into(),
        }),
        number().prop_map(|number| Change::Gone {
            collection: id(number),
            at: Position(9),
        }),
        (number(), instance()).prop_map(|(number, instance)| Change::Quarantined {
            collection: id(number),
            instance,
            reason: "it differs".into(),
        }),
        (number(), instance(), any::<u8>()).prop_map(|(number, instance, copy)| Change::Copied {
            collection: id(number),
            instance,
            id: InstanceId(Uuid::from_u128(u128::from(copy) + 100)),
        }),
        (number(), instance()).prop_map(|(number, instance)| Change::Healed {
            collection: id(number),
            instance,
        }),
        (number(), proptest::option::of(instance())).prop_map(|(number, home)| Change::Homed {
            collection: id(number),
            home,
        }),
        number().prop_map(|number| Change::DatabaseMade {
            namespace: ("t".into(), number.to_string().into()),
            id: DatabaseId(Uuid::from_u128(number.into())),
        }),
        number().prop_map(|number| Change::DatabaseGone {
            namespace: ("t".into(), number.to_string().into()),
        }),
        number().prop_map(|number| Change::TenantMade {
            tenant: number.to_string().into(),
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 1_u8..5;
    let standing = prop_oneof![
        Just(Standing::Up),
        Just(Standing::Suspect),
        Just(Standing::Down)
    ];
    prop_oneof![
        4 => change().prop_map(Step::Change),
        2 => (number(), 0_u64..9, 0_u64..9).prop_map(|(number, acknowledged, applied)| {
            let progress = Progress {
                acknowledged: Position(acknowledged),
                applied: [Position(applied), Position(acknowledged)].into(),
                ..Progress::default()
            };
            Step::Lane(number, progress)
        }),
        1 => number().prop_map(Step::LaneGone),
        1 => standing.prop_map(Step::Standing),
    ]
}

/// True for what an engine does: a name and an instance's UUID are one collection's, and none is made twice.
fn is_legal(catalog: &Catalog, change: &Change) -> bool {
    let is_free = |name: &str| catalog.named("t", "d", name).is_none();
    match change {
        Change::Made(made) => catalog.get_even_gone(made.id).is_none() && is_free(&made.name),
        Change::Renamed { name, .. } => is_free(name),
        Change::Copied { collection, id, .. } => {
            catalog.get(*collection).is_some() && catalog.of_instance_id(*id).is_none()
        }
        _ => true,
    }
}

fn take(view: &mut View, step: Step) {
    match step {
        Step::Change(change) => {
            if is_legal(&view.catalog, &change) {
                view.catalog.apply(&change);
            }
        }
        Step::Lane(number, progress) => {
            view.lanes.insert(id(number), progress);
        }
        Step::LaneGone(number) => {
            view.lanes.remove(&id(number));
        }
        Step::Standing(standing) => view.standings = [Standing::Up, standing].into(),
    }
}

/// All that a read may look at in a view.
fn seen(view: &View) -> impl PartialEq + std::fmt::Debug + use<> {
    let catalog: &Catalog = &view.catalog;
    let names = NAMES.map(|name| catalog.named("t", "d", name).map(|found| found.id));
    let copies = (0_u128..400).map(|copy| {
        let found = catalog.of_instance_id(InstanceId(Uuid::from_u128(copy)));
        found.map(|found| found.id)
    });
    let unserved = [0, 1].map(|at| catalog.unserved(InstanceIx(at)).collect::<Vec<_>>());
    let databases: Vec<_> = catalog
        .databases()
        .map(|(tenant, database)| (database.clone(), catalog.database(tenant, database)))
        .collect();
    (
        catalog.collections().cloned().collect::<Vec<_>>(),
        names,
        copies.collect::<Vec<_>>(),
        unserved,
        databases,
        catalog.tenants().cloned().collect::<Vec<_>>(),
        catalog.revision(),
        view.lanes.clone(),
        view.standings.clone(),
    )
}

proptest! {
    /// Whatever happens between two differences, and however often a follower asks, it sees what the leader sees.
    #[test]
    fn a_follower_sees_what_its_leader_sees(parts in proptest::collection::vec(proptest::collection::vec(step(), 0..6), 1..6)) {
        let (mut leader, mut told, mut follower) = (View::default(), View::default(), View::default());
        for part in parts {
            for step in part {
                take(&mut leader, step);
            }
            let difference = serde_json::to_vec(&Difference::between(&told, &leader)).unwrap();
            told = leader.clone();
            let difference: Difference = serde_json::from_slice(&difference).unwrap();
            follower = difference.applied_to(&follower);
            prop_assert_eq!(seen(&follower), seen(&leader));
        }
        let whole = Difference::between(&View::default(), &leader);
        prop_assert_eq!(seen(&whole.applied_to(&View::default())), seen(&leader));
    }
}
