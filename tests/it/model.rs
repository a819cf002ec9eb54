//! The model of a Chroma server against a real one: random histories on both, and every answer and
//! all contents compared.

mod history;
mod random;
mod requests;

use std::{collections::BTreeMap, time::Instant};

use achromat_tests::{chroma::Chroma, cluster::folder, sim::model::Server};
use serde_json::{Value, json};

use self::history::History;

/// Each history begins on an empty server.
const HISTORIES: u64 = 60;
const STEPS: usize = 120;

/// No answer and no record tells the model from a real server. `ACHROMAT_MODEL_SEED` replays the
/// one history that is told when this fails.
#[test]
fn the_model_answers_like_a_real_server() {
    let folder = folder();
    let chroma = Chroma::start(&folder.path().join("real"));
    let replayed = std::env::var("ACHROMAT_MODEL_SEED").ok();
    let replayed: Option<u64> = replayed.map(|seed| seed.parse().expect("a number"));
    let seeds = replayed.map_or(0..HISTORIES, |seed| seed..seed + 1);
    let began = Instant::now();
    let mut statuses = BTreeMap::new();
    for seed in seeds {
        let mut history = History::new(seed, chroma.api());
        for step in 0..STEPS {
            let (request, status) = history.step(step);
            if replayed.is_some() {
                println!(
                    "{step} {status} {} {} {}",
                    request.method, request.path, request.body
                );
            }
            *statuses.entry((request.route, status)).or_insert(0) += 1;
        }
        history.compare_contents();
    }
    println!("{:?}", began.elapsed());
    for ((route, status), count) in statuses {
        println!("{count:5} {status} {route}");
    }
}

/// One seed makes one server: equal histories give equal answers and equal contents, and a copy
/// goes its own way.
#[test]
fn the_model_is_a_function_of_its_seed() {
    let create = |server: &mut Server| {
        let body = json!({ "name": "notes" }).to_string();
        let target = format!("{}/collections", achromat_tests::api::DATABASE);
        let answer = server.handle("POST", &target, body.as_bytes());
        let made: Value = serde_json::from_slice(&answer.body).expect("JSON");
        made["id"].as_str().expect("an id").to_owned()
    };
    let mut one = Server::new(1);
    let before = one.clone();
    let id = create(&mut one);
    assert_eq!(create(&mut Server::new(1)), id);
    assert_ne!(create(&mut Server::new(2)), id);
    assert_eq!(before.contents().len(), 0);
    assert_eq!(one.contents().len(), 1);
}
