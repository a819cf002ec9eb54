//! The same question goes to the same instance: equal instances answer a search differently now and
//! then, and a copy that was made anew holds its records in another order.
//!
//! All pages of a list go there too: pages of two orders would miss records.
//!
//! What is read takes the place of the number by which a strategy spreads the reads, so that over many
//! different questions each instance gets its share.

use std::borrow::Cow;

use memchr::memmem;

use crate::{catalog::Collection, limits::REPEAT_BYTES_MAX, route::Action};

/// The turn of a read: always the same for the same question to the same collection. Reads that every
/// equal instance answers alike, such as `count`, and reads without a collection take turns: `number`
/// counts all reads.
pub fn turn_of(action: Action, collection: Option<&Collection>, body: &[u8], number: u64) -> u64 {
    match (action, collection) {
        (Action::Query | Action::Search, Some(collection)) => question(collection, body),
        (Action::Get, Some(collection)) => question(collection, &without_page(body)),
        _ => number,
    }
}

fn question(collection: &Collection, body: &[u8]) -> u64 {
    let (first, second) = collection.id.0.as_u64_pair();
    digest(body, mix(first ^ KEYS[0], second ^ KEYS[1]))
}

/// Fields that say which page of a list is asked for.
const PAGE_FIELDS: [&[u8]; 2] = [b"\"limit\"", b"\"offset\""];

/// A body without its page. It is not parsed: where a text has the same letters it only has the turn of
/// another question.
fn without_page(body: &[u8]) -> Cow<'_, [u8]> {
    let mut body = Cow::Borrowed(body);
    for field in PAGE_FIELDS {
        if let Some(at) = memmem::find(&body, field) {
            body = Cow::Owned(without_member(&body, at, field.len()));
        }
    }
    body
}

/// Takes out the member whose name of `length` bytes begins `at`, with its comma.
fn without_member(body: &[u8], at: usize, length: usize) -> Vec<u8> {
    let (before, member) = body.split_at(at);
    let value = member.get(length..).unwrap_or_default();
    let end = value
        .iter()
        .position(|byte| matches!(byte, b',' | b'}' | b']'));
    let after = end.and_then(|end| value.get(end..)).unwrap_or_default();
    match after.split_first() {
        Some((b',', after)) => [before, after.trim_ascii_start()].concat(),
        _ => {
            let before = before.trim_ascii_end();
            let before = before.strip_suffix(b",").unwrap_or(before);
            [before, after].concat()
        }
    }
}

/// Digits of pi: any numbers with about as many ones as zeros will do.
const KEYS: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
];

/// A digest as `wyhash` (Wang Yi) makes it: sixteen bytes are taken in by one multiplication. Nobody
/// gains anything by making two questions have the same one.
fn digest(bytes: &[u8], seed: u64) -> u64 {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let head = bytes.get(..REPEAT_BYTES_MAX).unwrap_or(bytes);
    let (chunks, rest) = head.as_chunks::<16>();
    let take_in = |state: u64, chunk: &[u8; 16]| {
        let (first, second) = halves(chunk);
        mix(first ^ KEYS[2], second ^ state)
    };
    let state = chunks.iter().fold(seed, take_in);
    let mut last = [0; 16];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mix(take_in(state, &last) ^ KEYS[3], length ^ KEYS[0])
}

fn halves(chunk: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*chunk);
    (low(both), low(both >> 64))
}

fn mix(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    low(product) ^ low(product >> 64)
}

fn low(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
