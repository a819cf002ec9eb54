//! The same question gets the same answer as long as nothing is written.

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, folder},
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

/// Records, enough for a search that is approximate.
const RECORDS: usize = 5_000;
const DIMENSION: usize = 32;

/// Different questions, and how often each is asked.
const QUESTIONS: usize = 40;
const TIMES: usize = 6;

fn embedding(random: &mut SmallRng) -> Vec<f32> {
    (0..DIMENSION)
        .map(|_| random.random_range(-1.0..1.0))
        .collect()
}

fn fill(api: &Api, collection: &str) {
    let mut random = SmallRng::seed_from_u64(19);
    for first in (0..RECORDS).step_by(500) {
        let numbers = first..first + 500;
        let ids: Vec<_> = numbers.clone().map(|n| format!("r{n}")).collect();
        let embeddings: Vec<_> = numbers.map(|_| embedding(&mut random)).collect();
        let body = json!({ "ids": ids, "embeddings": embeddings });
        api.records(collection, "add", &body).ok();
    }
}

/// How many of the questions are answered in more than one way.
fn flapping(api: &Api, collection: &str) -> usize {
    let mut random = SmallRng::seed_from_u64(20);
    let questions = (0..QUESTIONS)
        .map(|_| json!({ "query_embeddings": [embedding(&mut random)], "n_results": 10 }));
    let flaps = |question: &Value| {
        let ask = || api.records(collection, "query", question).ok()["ids"].clone();
        let first = ask();
        (1..TIMES).any(|_| ask() != first)
    };
    questions.filter(flaps).count()
}

/// Case 19: a query that is repeated is answered by the same instance, so that none of them flaps, as on
/// one Chroma asked directly; and the instances share the queries all the same.
#[test]
fn a_repeated_query_does_not_flap() {
    let folder = folder();
    let direct = Chroma::start(&folder.path().join("direct"));
    let alone = direct.api().create("vectors");
    fill(&direct.api(), &alone);
    assert_eq!(flapping(&direct.api(), &alone), 0, "one Chroma alone");

    let cluster = Cluster::with(2, &["--reads-strategy=round_robin"]);
    let api = cluster.api();
    let collection = api.create("vectors");
    fill(&api, &collection);
    cluster.settle();
    let before = api.request_counts();
    assert_eq!(flapping(&api, &collection), 0);
    let asked = api.request_counts().into_iter().zip(before);
    for (after, before) in asked {
        let share = after - before;
        assert!(share > 60, "one instance had only {share} of the requests");
    }
}

/// A list that is read page by page has every record once, although one server's copy has another order:
/// all pages come from one server, whatever else is read meanwhile.
#[test]
fn pages_have_every_record_once() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let id = api.create("order");
    let ids: Vec<String> = (0..40).map(|number| format!("r{number:02}")).collect();
    let embeddings: Vec<_> = (0..40).map(|number| json!([number, 1])).collect();
    api.records(&id, "add", &json!({ "ids": ids, "embeddings": embeddings }))
        .ok();
    cluster.settle();
    // Some records are spoilt on b, behind our back, and mended: they come last there.
    let own = cluster.own_id(1, "order");
    let spoilt = json!({ "ids": ids[..10], "embeddings": embeddings[10..20] });
    cluster.instances[1]
        .api()
        .records(&own, "update", &spoilt)
        .ok();
    let other = json!({ "ids": ids[..10] });
    cluster.instances[1]
        .api()
        .records(&own, "delete", &other)
        .ok();
    let (code, told) = cluster.command(&["repair", "--collection", "order", "--source", "a"]);
    assert_eq!(code, Some(0), "{told}");
    let order = |api: &Api, id: &str| {
        let found = api.records(id, "get", &json!({ "include": [] })).ok();
        found["ids"].clone()
    };
    let on_a = order(&cluster.instances[0].api(), &cluster.own_id(0, "order"));
    assert_ne!(
        on_a,
        order(&cluster.instances[1].api(), &own),
        "the orders differ"
    );
    for size in [1, 7, 10] {
        for filter in [json!(null), json!({ "document_id": { "$ne": "x" } })] {
            let mut found = Vec::new();
            for offset in (0..40).step_by(size) {
                let mut body = json!({ "limit": size, "offset": offset, "include": [] });
                if !filter.is_null() {
                    body["where"] = filter.clone();
                }
                let page = api.records(&id, "get", &body).ok();
                let page = page["ids"].as_array().expect("ids").iter();
                found.extend(page.map(|id| id.as_str().expect("an id").to_owned()));
            }
            found.sort();
            assert_eq!(found, ids, "pages of {size} with {filter}");
        }
    }
}
