//! Instances that lose their data end equal by themselves, and no read sees the gap; mappings that
//! are lost are restored.

use std::time::Duration;

use achromat_tests::{
    api::{Api, DATABASE},
    cluster::Cluster,
    load::Load,
    records::records,
};
use serde_json::{Value, json};

fn fill(api: &Api, id: &str, count: usize) {
    let numbers = 0..count;
    let body = json!({
        "ids": numbers.clone().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": numbers.clone().map(|n| json!([n, 0.1])).collect::<Vec<_>>(),
        "documents": numbers.clone().map(|n| if n % 3 == 0 { Value::Null } else { json!(format!("text {n}")) }).collect::<Vec<_>>(),
        "metadatas": numbers.map(|n| if n % 5 == 0 { Value::Null } else { json!({ "n": n, "half": f64::from(u32::try_from(n).expect("small")) / 2.0, "big": 9_007_199_254_740_993_u64, "yes": true }) }).collect::<Vec<_>>(),
    });
    api.records(id, "add", &body).ok();
}

/// Numbers that Chroma answers differently when its own answer is added anew: vectors with cosine
/// distance, and floats of 17 digits in metadata.
fn fill_with_odd_numbers(api: &Api, name: &str, space: &str) {
    let made = json!({ "name": name, "configuration": { "hnsw": { "space": space } } });
    let id = api.post("$D/collections", &made).ok()["id"].clone();
    let vector = |n: u32| [0.3, 1.7, 12.9].map(|x| x * f64::from(n % 17 + 1) + f64::from(n).sin());
    let time = |n: u32| 1_732_800_000.123_456_7 + f64::from(n) * 1.7;
    let small = |n: u32| f64::from(n).sin() * 1e-9;
    let body = json!({
        "ids": (1..300).map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": (1..300).map(vector).collect::<Vec<_>>(),
        "metadatas": (1..300).map(|n| json!({ "at": time(n), "small": small(n) })).collect::<Vec<_>>(),
    });
    api.records(id.as_str().expect("an id"), "add", &body).ok();
}

/// A copy that is made anew has every number as its source has it, up to the rounding of vectors with
/// cosine distance, and no comparison calls it different.
#[test]
fn a_copy_has_the_numbers_of_its_source() {
    const SPACES: [(&str, &str); 3] = [("cosine", "cosine"), ("squared", "l2"), ("inner", "ip")];
    let mut cluster = Cluster::start();
    for (name, space) in SPACES {
        fill_with_odd_numbers(&cluster.api(), name, space);
    }
    cluster.settle();
    cluster.lose_disk(1);
    cluster.wait_state("b", &["up"]);
    cluster.wait_nothing_owed(Duration::from_secs(60));
    for (space, _) in SPACES {
        let (code, told) = cluster.command(&["verify", "--collection", space]);
        assert_eq!(code, Some(0), "{space}: {told}");
        let [source, copy] = [0, 1].map(|at| {
            let own = cluster.own_id(at, space);
            records(&cluster.instances[at].api(), DATABASE, &own).expect("its records")
        });
        assert_eq!(copy.len(), 299);
        for (id, record) in &source {
            let other = &copy[id];
            assert_eq!(record[2], other[2], "{space} {id}");
            let is_exact = record[0] == other[0];
            assert!(is_exact || space == "cosine", "{record} {other}");
            assert!(is_near(&record[0], &other[0]), "{record} {other}");
        }
    }
    assert_eq!(cluster.api().get("/health").ok()["status"], "healthy");
}

fn is_near(a: &Value, b: &Value) -> bool {
    let numbers = |v: &Value| {
        v.as_array()
            .expect("a vector")
            .iter()
            .filter_map(Value::as_f64)
            .collect::<Vec<_>>()
    };
    numbers(a)
        .iter()
        .zip(numbers(b))
        .all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs())
}

/// The replica's disk is wiped under load: it ends equal without a command, and no read misses an
/// acknowledged write or finds a collection gone.
#[test]
fn a_wiped_replica_is_rebuilt_under_load() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let big = api.create("big");
    fill(&api, &big, 1000);
    api.create("empty");
    let once = api.create("once");
    fill(&api, &once, 1);
    api.records(&once, "delete", &json!({ "ids": ["r0"] })).ok();
    let collection = api.create("load");
    let load = Load::start(&api, &collection, 7);
    load.wait_writes(50);
    cluster.instances[1].kill();
    cluster.instances[1].wipe();
    load.wait_writes(50);
    cluster.instances[1].up();
    load.wait_writes(200);
    for _ in 0..20 {
        assert_eq!(api.names(), ["big", "empty", "once", "load"]);
        assert_eq!(api.get("$D/collections/big/count").ok(), json!(1000));
    }
    let (tally, expected) = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    cluster.wait_state("b", &["up"]);
    let contents = cluster.settle();
    assert_eq!(contents.len(), 4);
    assert_eq!(contents[&format!("{DATABASE} big")].1.len(), 1000);
    let dimension = &contents[&format!("{DATABASE} once")].0[1];
    assert_eq!(
        *dimension,
        json!(2),
        "an emptied collection keeps its dimension"
    );
    for instance in &cluster.instances {
        let about = instance.api().get("$D/collections/load").ok();
        let held = records(
            &instance.api(),
            DATABASE,
            about["id"].as_str().expect("an id"),
        );
        assert_eq!(expected.check(&held.expect("records")), Ok(()));
    }
}

/// The same for the primary.
#[test]
fn a_wiped_primary_is_rebuilt() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    fill(&api, &id, 500);
    cluster.lose_disk(0);
    cluster.wait_state("a", &["up"]);
    let contents = cluster.settle();
    assert_eq!(contents[&format!("{DATABASE} notes")].1.len(), 500);
    fill(&api, &api.create("later"), 3);
    assert_eq!(cluster.settle().len(), 2);
}

/// P3: a mapping that was deleted by mistake is restored, but only as the instances confirm it.
#[test]
fn a_mapping_is_deleted_and_restored() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("notes");
    fill(&api, &id, 3);
    api.create("global");
    cluster.settle();
    let own = |place: usize| {
        let about = cluster.instances[place]
            .api()
            .get("$D/collections/notes")
            .ok();
        about["id"].as_str().expect("an id").to_owned()
    };
    let (a, b) = (own(0), own(1));
    api.delete("/collection/mappings/global").refused(403);
    assert_eq!(api.delete("/collection/mappings/nothing").status, 404);
    assert_eq!(api.delete("/collection/mappings/notes").status, 200);
    assert_eq!(api.names(), ["global"]);
    let map = |primary: &str, replica: &str| {
        api.post(
            "/admin/create_mapping",
            &json!({ "collection_name": "notes", "primary_id": primary, "replica_id": replica }),
        )
    };
    let missing = "00000000-0000-4000-8000-000000000000";
    assert_eq!(map(&a, missing).status, 409);
    assert_eq!(map(&b, &a).status, 409);
    assert_eq!(api.names(), ["global"], "nothing is changed by a refusal");
    assert_eq!(map(&a, &b).status, 200);
    assert_eq!(api.get(&format!("$D/collections/{a}/count")).ok(), json!(3));
    fill(&api, &a, 5);
    assert_eq!(cluster.settle()[&format!("{DATABASE} notes")].1.len(), 5);
}
