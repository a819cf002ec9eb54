//! Servers of different versions: when they are asked for what they know, and what follows.

use super::*;
use crate::engine::Payload;
use crate::limits;

/// Abilities of Chroma 1.0.0.
const OLDEST: Abilities = Abilities {
    by_id: false,
    base64: false,
    batch_max: Some(5461),
};

/// Returns true when the next probe of an instance asks for its abilities as well.
fn next_probe_meets(world: &mut World, instance: InstanceIx) -> bool {
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(100);
        world.engine.step(Event::Tick, world.now);
        let probe = world
            .engine
            .effects()
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Probe {
                    instance: probed,
                    meets,
                    ..
                } if probed == instance => Some(meets),
                _ => None,
            });
        if let Some(meets) = probe {
            return meets;
        }
    }
    panic!("it is not probed");
}

fn answered(world: &mut World, instance: InstanceIx, abilities: Option<Abilities>) {
    world.step(Event::Probed {
        instance,
        probe: Probe::Answered,
        abilities,
        vitals: Vitals::default(),
    });
}

/// An instance is asked again when it may have been exchanged for another version, and once a minute.
#[test]
fn an_instance_is_asked_for_its_abilities_when_it_returns() {
    let mut world = World::new();
    answered(&mut world, B, None);
    assert!(!next_probe_meets(&mut world, B), "it is known already");
    world.step(Event::Noticed {
        instance: B,
        sign: Sign::Refused,
    });
    answered(&mut world, B, None);
    assert!(next_probe_meets(&mut world, B), "it may have restarted");
    answered(&mut world, B, Some(OLDEST));
    assert_eq!(world.engine.view().abilities.of(B), OLDEST);
    assert!(!next_probe_meets(&mut world, B));
    answered(&mut world, B, None);
    assert_eq!(world.engine.view().abilities.of(B), OLDEST);
    world.now = world.now + limits::MEET_INTERVAL;
    assert!(next_probe_meets(&mut world, B), "a minute has passed");
}

/// An entry is written in the form that its instance takes.
#[test]
fn embeddings_are_arrays_where_an_instance_takes_nothing_else() {
    let mut world = World::new();
    let id = world.collection(1, "abc");
    answered(&mut world, B, Some(OLDEST));
    world.submit(add(id), Level::One);
    let as_arrays = |instance| {
        let lane = LaneId::Collection(id);
        let wire = world.engine.wire(lane, instance, Position(1), false);
        match wire.unwrap().body {
            Payload::Entry { as_arrays, .. } => as_arrays,
            Payload::None => panic!("it has a body"),
        }
    };
    assert_eq!([A, B].map(as_arrays), [false, true]);
}

/// A tenant that no instance has is remembered for a moment, and for a bounded number of them.
#[test]
fn absent_tenants_are_remembered_for_a_moment() {
    let mut world = World::new();
    let knows = |world: &World, tenant: &str| world.engine.view().has_looked_for(tenant);
    assert!(knows(&world, "default_tenant") && !knows(&world, "tenB"));
    assert!(knows(&world, &"x".repeat(600)), "no tenant has such a name");
    world.engine.remember_absent("tenB".into());
    assert!(knows(&world, "tenB"));
    world.both_live_for(6_000);
    assert!(!knows(&world, "tenB"), "it is asked for again");
    for number in 0..5_000 {
        world.engine.remember_absent(format!("t{number}").into());
    }
    assert!(world.engine.view().absent.len() <= limits::ABSENT_TENANTS_MAX);
}
