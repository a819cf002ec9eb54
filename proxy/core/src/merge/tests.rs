//! Tests of merging.

use serde_json::{Value, json};

use super::*;
use crate::limits::MERGED_REWRITTEN_NUMBERS_MAX;

fn merge(bodies: &[Bytes]) -> Option<(usize, Bytes)> {
    let (first, later) = bodies.split_first()?;
    let mut merging = Merging::begin(first, Planted::NONE)?;
    let _rest = later.iter().find(|body| !merging.add(body));
    merging.finish()
}

fn merged(bodies: &[&str]) -> Option<(usize, String)> {
    let bodies: Vec<Bytes> = bodies
        .iter()
        .map(|b| Bytes::from((*b).to_owned()))
        .collect();
    let (count, body) = merge(&bodies)?;
    Some((count, String::from_utf8(body.to_vec()).unwrap()))
}

/// Texts of elements are put together unchanged, to the byte.
#[test]
fn elements_are_put_together_as_they_are() {
    let first = r#"{"ids":["a"],"embeddings":[[1.50, 2e3]],"metadatas":[{"n":9007199254740993}]}"#;
    let second = r#" { "metadatas" : [null,{"x":"]"}], "ids":["b\u0063","d"],
        "embeddings":[ [1,2],[3,4] ],"documents":null}"#;
    assert_eq!(
        merged(&[first, second]),
        Some((
            2,
            r#"{"ids":["a","b\u0063","d"],"embeddings":[[1.50, 2e3], [1,2],[3,4] ],"metadatas":[{"n":9007199254740993},null,{"x":"]"}]}"#
                .to_owned()
        ))
    );
}

/// Bodies that could make a difference go alone, and those before them go together.
#[test]
fn what_makes_a_difference_goes_alone() {
    let one = r#"{"ids":["a"],"embeddings":[[1,2]]}"#;
    let two = r#"{"ids":["b"],"embeddings":[[3,4]]}"#;
    let others = [
        ("the same id", r#"{"ids":["\u0061"],"embeddings":[[3,4]]}"#),
        (
            "one id twice",
            r#"{"ids":["c","c"],"embeddings":[[3,4],[5,6]]}"#,
        ),
        ("no embeddings", r#"{"ids":["c"]}"#),
        (
            "another dimension",
            r#"{"ids":["c"],"embeddings":[[3,4,5]]}"#,
        ),
        (
            "two dimensions",
            r#"{"ids":["c","d"],"embeddings":[[3,4],[3]]}"#,
        ),
        ("too few", r#"{"ids":["c","d"],"embeddings":[[3,4]]}"#),
        ("too many", r#"{"ids":["c"],"embeddings":[[3,4],[5,6]]}"#),
        ("no id", r#"{"ids":[],"embeddings":[]}"#),
        ("an id that is none", r#"{"ids":[7],"embeddings":[[3,4]]}"#),
        (
            "an unknown field",
            r#"{"ids":["c"],"embeddings":[[3,4]],"mode":1}"#,
        ),
        (
            "a field twice",
            r#"{"ids":["c"],"ids":["d"],"embeddings":[[3,4]]}"#,
        ),
        (
            "base64 of another dimension",
            r#"{"ids":["c"],"embeddings":["AACAPwAAAEAAAEBA"]}"#,
        ),
        (
            "base64 of two dimensions",
            r#"{"ids":["c","d"],"embeddings":["AACAPwAAAEA=","AACAPw=="]}"#,
        ),
        (
            "base64 and an array in one",
            r#"{"ids":["c","d"],"embeddings":["AACAPwAAAEA=",[3,4]]}"#,
        ),
        (
            "base64 without its padding",
            r#"{"ids":["c"],"embeddings":["AACAPwAAAEA"]}"#,
        ),
        (
            "base64 of half a number",
            r#"{"ids":["c"],"embeddings":["AACAPwAA"]}"#,
        ),
        (
            "base64 of what is no number",
            r#"{"ids":["c"],"embeddings":["AADAfwAAAEA="]}"#,
        ),
        ("an empty embedding", r#"{"ids":["c"],"embeddings":[""]}"#),
        (
            "a sparse vector",
            r##"{"ids":["c"],"embeddings":[[3,4]],"metadatas":[{"v":{"#type":"sparse_vector","indices":[1],"values":[0.5]}}]}"##,
        ),
        ("fields by position", r#"[["c"],[[3,4]],null,null,null]"#),
        ("no embedding", r#"{"ids":["c"],"embeddings":[null]}"#),
        ("no JSON", "nonsense"),
    ];
    for (what, other) in others {
        assert_eq!(merged(&[one, other]), None, "{what}");
        assert_eq!(merged(&[other, one]).map(|m| m.0), None, "{what}");
        let count = merged(&[one, two, other]).map(|m| m.0);
        assert_eq!(count, Some(2), "{what}");
    }
    assert_eq!(merged(&[one]), None);
}

/// A request does not grow beyond what Chroma takes with ease.
#[test]
fn there_is_an_end_to_it() {
    let bodies: Vec<Bytes> = (0..30)
        .map(|n| {
            let ids: Vec<String> = (0..100).map(|i| format!(r#""{n}-{i}""#)).collect();
            format!(r#"{{"ids":[{}]}}"#, ids.join(",")).into()
        })
        .collect();
    let (count, _) = merge(&bodies).unwrap();
    assert_eq!(count * 100, MERGED_RECORDS_MAX);
}

/// Bodies as clients sent them to a real server, and what it answered.
fn of_clients() -> Vec<(String, u64, String)> {
    let lines = include_str!("clients.jsonl").lines();
    let read = |line| {
        let sent: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| sent[name].as_str().unwrap().to_owned();
        (text("verb"), sent["status"].as_u64().unwrap(), text("body"))
    };
    lines.map(read).collect()
}

/// The same body for other records.
fn renamed(body: &str, suffix: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap();
    let ids = parsed["ids"].as_array().unwrap();
    ids.iter().fold(body.to_owned(), |body, id| {
        let id = id.as_str().unwrap();
        body.replacen(&format!("\"{id}\""), &format!("\"{id}{suffix}\""), 1)
    })
}

/// The records of a body: id, embedding as numbers, and the rest, where nothing and `null` are one.
fn records_of(body: &str) -> Vec<[Value; 5]> {
    let parsed: Value = serde_json::from_str(body).unwrap();
    let ids = parsed["ids"].as_array().unwrap().iter().enumerate();
    ids.map(|(index, id)| {
        let part = |name: &str| parsed[name].get(index).cloned().unwrap_or_default();
        let embedding = match part("embeddings") {
            Value::String(text) => {
                let bytes =
                    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text).unwrap();
                let numbers = bytes
                    .chunks(4)
                    .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                json!(numbers.map(f64::from).collect::<Vec<_>>())
            }
            Value::Array(numbers) => {
                json!(
                    numbers
                        .iter()
                        .map(|number| number.as_f64().unwrap())
                        .collect::<Vec<_>>()
                )
            }
            other => other,
        };
        [
            id.clone(),
            embedding,
            part("documents"),
            part("metadatas"),
            part("uris"),
        ]
    })
    .collect()
}

/// Whatever a client sends as a write of records is merged with whatever another client sends, as long
/// as Chroma takes it, and means the same as both one after the other.
#[test]
fn what_clients_send_is_merged() {
    let mut pairs = 0;
    for (verb, status, one) in of_clients() {
        let one = renamed_unless_delete(&verb, &one, "-one");
        let alone = Merging::begin(one.as_bytes(), Planted::NONE).is_none();
        assert!(verb == "delete" || alone == (status >= 400), "{verb} {one}");
        for (other_verb, other_status, other) in of_clients() {
            let other = renamed_unless_delete(&other_verb, &other, "-two");
            let is_like = other_verb == verb && (status | other_status) < 400 && verb != "delete";
            if !is_like || has_embeddings(&one) != has_embeddings(&other) {
                continue;
            }
            let (count, body) = merged(&[&one, &other]).expect(&other);
            let both: Vec<_> = records_of(&one)
                .into_iter()
                .chain(records_of(&other))
                .collect();
            assert_eq!((count, records_of(&body)), (2, both));
            pairs += 1;
        }
    }
    assert!(pairs > 900, "{pairs} pairs");
}

fn renamed_unless_delete(verb: &str, body: &str, suffix: &str) -> String {
    if verb == "delete" {
        return body.to_owned();
    }
    renamed(body, suffix)
}

fn has_embeddings(body: &str) -> bool {
    records_of(body).iter().all(|record| !record[1].is_null())
}

/// Base64 stays base64 among its like, to the byte.
#[test]
fn base64_stays_base64() {
    let one = r#"{"ids":["a"],"embeddings":["zczMPQAAQMA="],"documents":null}"#;
    let two = r#"{"ids":["b"],"embeddings":["AACAPwAAAEA="],"documents":["x"]}"#;
    let (_, body) = merged(&[one, two]).unwrap();
    assert_eq!(
        body,
        r#"{"ids":["a","b"],"embeddings":["zczMPQAAQMA=","AACAPwAAAEA="],"documents":[null,"x"]}"#
    );
}

/// Beside an array base64 becomes arrays of exactly its numbers, up to a bound.
#[test]
fn base64_beside_arrays_becomes_arrays() {
    let array = r#"{"ids":["a"],"embeddings":[[0.1,-0.0]]}"#;
    let packed = r#"{"ids":["b"],"embeddings":["zczMPQAAAIA="]}"#;
    assert_eq!(
        merged(&[array, packed]).unwrap().1,
        r#"{"ids":["a","b"],"embeddings":[[0.1,-0.0],[0.10000000149011612,-0.0]]}"#
    );
    let numbers = MERGED_REWRITTEN_NUMBERS_MAX / 2 + 1;
    let long = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, vec![0; numbers * 4]);
    let zeros = vec!["0"; numbers].join(",");
    let array = format!(r#"{{"ids":["a"],"embeddings":[[{zeros}]]}}"#);
    let packed = |id: &str| format!(r#"{{"ids":["{id}"],"embeddings":["{long}"]}}"#);
    let (b, c) = (packed("b"), packed("c"));
    assert_eq!(merged(&[&array, &b, &c]).unwrap().0, 2);
    assert_eq!(merged(&[&b, &c, &array]).unwrap().0, 2);
    assert_eq!(merged(&[&b, &array, &c]).unwrap().0, 2);
}
