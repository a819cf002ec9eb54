//! The same read goes to the same instance, and shares hold.

use std::sync::Arc;

use super::*;
use crate::{
    health::Standing,
    read::{Strategy, native_order},
    view::{Scope, View},
};

fn collection(number: u128) -> Collection {
    Collection::sample(number, "docs", [0, 0])
}

/// The same question has the same turn whatever was asked before; other ones, or the same one to
/// another collection, have others.
#[test]
fn a_repeated_question_has_the_same_turn() {
    let (one, other) = (collection(1), collection(2));
    let turn = |collection, body: &str, number| {
        turn_of(Action::Query, Some(collection), body.as_bytes(), number)
    };
    let body = r#"{"query_embeddings":[[1,2]],"n_results":10}"#;
    assert_eq!(turn(&one, body, 1), turn(&one, body, 2));
    assert_ne!(turn(&one, body, 1), turn(&other, body, 1));
    assert_ne!(turn(&one, body, 1), turn(&one, "", 1));
    assert_ne!(turn(&one, body, 1), turn(&one, &body[1..], 1));
    assert_eq!(turn_of(Action::Count, Some(&one), b"", 5), 5);
    assert_eq!(turn_of(Action::System, None, b"", 6), 6);
}

/// All pages of a list have the same turn, however they are asked for; lists of other records have others.
#[test]
fn pages_of_a_list_have_the_same_turn() {
    let notes = collection(1);
    let turn = |body: &str| turn_of(Action::Get, Some(&notes), body.as_bytes(), 0);
    let first = turn(r#"{"where":{"a":1},"include":["documents"]}"#);
    for page in [
        r#"{"limit":100,"offset":0,"where":{"a":1},"include":["documents"]}"#,
        r#"{"limit": 7, "offset": 1400, "where":{"a":1},"include":["documents"]}"#,
        r#"{"where":{"a":1},"offset":null,"include":["documents"],"limit":10}"#,
        r#"{"where":{"a":1},"include":["documents"], "limit" : 10 , "offset" : 20}"#,
    ] {
        assert_eq!(turn(page), first, "{page}");
    }
    assert_ne!(
        turn(r#"{"limit":100,"where":{"a":2},"include":["documents"]}"#),
        first
    );
    assert_ne!(turn(r#"{"limit":100}"#), first);
    // What is cut off in the middle is a question as well.
    for body in [r#"{"limit""#, r#"{"limit":"#, r#"{"limit":5"#, r#""limit""#] {
        turn(body);
    }
}

/// Every byte counts, at whichever place it stands.
#[test]
fn every_byte_of_a_question_counts() {
    let mut seen = std::collections::BTreeSet::new();
    for length in 0..70 {
        let mut body = vec![7_u8; length];
        assert!(seen.insert(digest(&body, 3)), "{length} bytes");
        for at in 0..length {
            body[at] ^= 1;
            assert!(seen.insert(digest(&body, 3)), "byte {at} of {length}");
            body[at] ^= 1;
        }
    }
}

/// Over many different questions each instance gets its share, whatever the strategy.
#[test]
fn shares_hold_over_many_questions() {
    let collection = collection(9);
    let firsts = |strategy, count: usize| {
        let standings: Arc<[Standing]> = vec![Standing::Up; count].into();
        let view = View {
            standings,
            ..View::default()
        };
        let mut counts = vec![0.0; count];
        for number in 0..20_000 {
            let body = format!(r#"{{"query_embeddings":[[{number}]],"n_results":10}}"#);
            let turn = turn_of(Action::Query, Some(&collection), body.as_bytes(), 0);
            let order = native_order(&view, Scope::Any, strategy, turn);
            counts[order[0].at()] += 1.0 / 20_000.0;
        }
        counts
    };
    let cases: [(Strategy, &[f64]); 6] = [
        (Strategy::RoundRobin, &[0.5, 0.5]),
        (Strategy::RoundRobin, &[0.25; 4]),
        (Strategy::ReadReplica { ratio: 0.8 }, &[0.2, 0.8]),
        (Strategy::ReadReplica { ratio: 0.8 }, &[0.2, 0.4, 0.4]),
        (Strategy::ReadReplica { ratio: 0.5 }, &[0.5, 0.25, 0.25]),
        (Strategy::PrimaryOnly, &[1.0, 0.0]),
    ];
    for (strategy, shares) in cases {
        let found = firsts(strategy, shares.len());
        for (found, share) in found.iter().zip(shares) {
            assert!(
                (found - share).abs() < 0.015,
                "{strategy:?}: {found}, not {share}"
            );
        }
    }
}
