//! The requests that the benchmarks send, as bytes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::peers::{Peer, RECORDS, embedding};

/// A request with this number, as bytes.
pub(super) type Request = fn(&Peer, usize) -> Vec<u8>;

/// Ids that upserts go through: the collection stops growing.
const WRITTEN: usize = 5000;

/// A request to the records of the peer's collection.
pub(super) fn post(peer: &Peer, act: &str, body: &Value) -> Vec<u8> {
    with_headers(&peer.records, act, "", body)
}

/// The same at any path of records, with further header lines.
pub(super) fn with_headers(records: &str, act: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {records}/{act} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One of the records that were there from the start, without its embedding.
pub(super) fn get(peer: &Peer, number: usize) -> Vec<u8> {
    let body =
        json!({ "ids": [format!("r{}", number % RECORDS)], "include": ["metadatas", "documents"] });
    post(peer, "get", &body)
}

/// The ten nearest.
pub(super) fn query(peer: &Peer, number: usize) -> Vec<u8> {
    let body = json!({ "query_embeddings": [embedding(number)], "n_results": 10 });
    post(peer, "query", &body)
}

/// A little of one of the records that were there from the start.
pub(super) fn update_one(peer: &Peer, number: usize) -> Vec<u8> {
    let body = json!({ "ids": [format!("r{}", number % RECORDS)], "metadatas": [{ "n": number }] });
    post(peer, "update", &body)
}

fn upsert(peer: &Peer, number: usize, count: usize) -> Vec<u8> {
    let numbers = (0..count).map(|at| number * count + at);
    let ids: Vec<_> = numbers
        .clone()
        .map(|n| format!("w{}", n % WRITTEN))
        .collect();
    let embeddings: Vec<_> = numbers.map(embedding).collect();
    let body = json!({ "ids": ids, "embeddings": embeddings });
    post(peer, "upsert", &body)
}

pub(super) fn upsert_one(peer: &Peer, number: usize) -> Vec<u8> {
    upsert(peer, number, 1)
}

/// The same number in 32 bits.
fn single(number: f64) -> f32 {
    serde_json::from_value(json!(number)).unwrap_or_default()
}

/// The same as a Python client sends it.
pub(super) fn upsert_one_base64(peer: &Peer, number: usize) -> Vec<u8> {
    let numbers: Vec<f32> = embedding(number).iter().map(|n| single(*n)).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let body = json!({
        "ids": [format!("w{}", number % WRITTEN)],
        "embeddings": [BASE64_STANDARD.encode(bytes)],
        "metadatas": null,
        "documents": null,
        "uris": null,
    });
    post(peer, "upsert", &body)
}

pub(super) fn upsert_ten(peer: &Peer, number: usize) -> Vec<u8> {
    upsert(peer, number, 10)
}

pub(super) fn upsert_hundred(peer: &Peer, number: usize) -> Vec<u8> {
    upsert(peer, number, 100)
}

/// Nine reads to one write.
pub(super) fn mixed(peer: &Peer, number: usize) -> Vec<u8> {
    if number % 10 == 9 {
        upsert_one(peer, number / 10)
    } else {
        get(peer, number)
    }
}
