//! Several writes of records as one request.
//!
//! While one write of a lane is under way others queue up behind it. Those that could as well have
//! come in any order become one request to the instance: they do the same, name different records,
//! and bring the same fields. Then the instance ends up with the same records, in the same order, as
//! if they had come one after the other, and to send any of them again, merged or not, changes
//! nothing more.
//!
//! Chroma 1.5.9 does what one request says of one record in the order in which it stands there, as if it
//! were two (measured for `add`, `update` and `upsert`); but that is nowhere promised, so writes that
//! name one record go apart.
//!
//! Only text is put together, element after element: no number is read, so none changes.

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    limits::MERGED_RECORDS_MAX,
    log::{RecordAct, Verb},
    planted::{Bug, Planted},
};

/// Whether an entry is of a kind that is merged. Chroma answers a delete with the number of records
/// that it deleted, which could not be told apart.
pub(crate) fn is_mergeable(verb: &Verb) -> bool {
    let Verb::Record { act, .. } = verb else {
        return false;
    };
    matches!(act, RecordAct::Add | RecordAct::Update | RecordAct::Upsert)
}

/// As many of these bodies as can be one, from the first on, and that one; all are of entries of one
/// lane that do the same. `None` when the first must go alone.
pub fn merge(bodies: &[Bytes], planted: Planted) -> Option<(usize, Bytes)> {
    let batches: Vec<_> = bodies.iter().map_while(|body| Batch::parse(body)).collect();
    let count = compatible(&batches, planted);
    let merged = batches.get(..count).filter(|merged| merged.len() > 1)?;
    Some((count, joined(merged)))
}

/// How many batches, from the first on, could come in any order.
fn compatible(batches: &[Batch<'_>], planted: Planted) -> usize {
    let Some(first) = batches.first() else {
        return 0;
    };
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    let mut count = 0;
    for batch in batches {
        let is_small = ids.len() + batch.ids.len() <= MERGED_RECORDS_MAX;
        let is_new = batch.ids.iter().all(|id| ids.insert(&id.0));
        let is_apart = is_new || planted.is(Bug::MergesDependent);
        if !(is_apart && is_small && first.is_like(batch)) {
            break;
        }
        count += 1;
    }
    count
}

/// The fields that a write of records may have; one with any other goes alone.
const FIELDS: [&str; 5] = ["ids", "embeddings", "documents", "metadatas", "uris"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    ids: &'a RawValue,
    #[serde(borrow, default)]
    embeddings: Option<&'a RawValue>,
    #[serde(borrow, default)]
    documents: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadatas: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uris: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

/// A body whose fields all have one element for each record.
struct Batch<'a> {
    ids: Vec<Id<'a>>,
    /// The dimension of every embedding, when there are any.
    dimension: Option<usize>,
    /// The elements of each field, as they stand between the brackets.
    elements: [Option<&'a str>; FIELDS.len()],
}

impl<'a> Batch<'a> {
    /// Reads a body; `None` when it is not one that Chroma takes, as far as that can be seen here:
    /// beside others it could be taken for one.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let fields: Fields<'a> = serde_json::from_slice(body).ok()?;
        let ids: Vec<Id<'a>> = serde_json::from_str(fields.ids.get()).ok()?;
        let dimension = match fields.embeddings {
            Some(embeddings) => Some(dimension(embeddings, ids.len())?),
            None => None,
        };
        let mut elements = [between_brackets(fields.ids), None, None, None, None];
        let others = [
            fields.embeddings,
            fields.documents,
            fields.metadatas,
            fields.uris,
        ];
        for (place, field) in elements.iter_mut().skip(1).zip(others) {
            if let Some(field) = field {
                *place = Some(elements_of(field, ids.len())?);
            }
        }
        (!ids.is_empty()).then_some(Self {
            ids,
            dimension,
            elements,
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        let both = self.elements.iter().zip(&other.elements);
        let mut alike = both.map(|(ours, theirs)| ours.is_some() == theirs.is_some());
        self.dimension == other.dimension && alike.all(|alike| alike)
    }
}

/// The dimension that all of so many embeddings have.
fn dimension(embeddings: &RawValue, count: usize) -> Option<usize> {
    let embeddings: Vec<Vec<IgnoredAny>> = serde_json::from_str(embeddings.get()).ok()?;
    let first = embeddings.first()?.len();
    let is_same = embeddings.iter().all(|embedding| embedding.len() == first);
    (is_same && embeddings.len() == count).then_some(first)
}

/// What stands in an array of so many elements.
fn elements_of(field: &RawValue, count: usize) -> Option<&str> {
    let elements: Vec<IgnoredAny> = serde_json::from_str(field.get()).ok()?;
    between_brackets(field).filter(|_| elements.len() == count)
}

fn between_brackets(array: &RawValue) -> Option<&str> {
    array.get().strip_prefix('[')?.strip_suffix(']')
}

fn joined(batches: &[Batch<'_>]) -> Bytes {
    let lengths = batches.iter().flat_map(|batch| &batch.elements).flatten();
    let size: usize = lengths.map(|elements| elements.len() + 1).sum();
    let mut body = String::with_capacity(size + 80);
    let mut mark = '{';
    for (place, name) in FIELDS.iter().enumerate() {
        let mut all = batches
            .iter()
            .filter_map(|batch| *batch.elements.get(place)?);
        let Some(first) = all.next() else {
            continue;
        };
        body.push(mark);
        body.push('"');
        body.push_str(name);
        body.push_str("\":[");
        body.push_str(first);
        for elements in all {
            body.push(',');
            body.push_str(elements);
        }
        body.push(']');
        mark = ',';
    }
    body.push('}');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(bodies: &[&str]) -> Option<(usize, String)> {
        let bodies: Vec<Bytes> = bodies
            .iter()
            .map(|b| Bytes::from((*b).to_owned()))
            .collect();
        let (count, body) = merge(&bodies, Planted::NONE)?;
        Some((count, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// What is put together is the text of the elements, to the byte.
    #[test]
    fn elements_are_put_together_as_they_are() {
        let first =
            r#"{"ids":["a"],"embeddings":[[1.50, 2e3]],"metadatas":[{"n":9007199254740993}]}"#;
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

    /// What could make a difference goes alone, and those before it go together.
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
            (
                "another field",
                r#"{"ids":["c"],"embeddings":[[3,4]],"documents":["x"]}"#,
            ),
            ("a field less", r#"{"ids":["c"]}"#),
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
                "packed embeddings",
                r#"{"ids":["c"],"embeddings":["AACAPwAAAEA="]}"#,
            ),
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
        let (count, _) = merge(&bodies, Planted::NONE).unwrap();
        assert_eq!(count * 100, MERGED_RECORDS_MAX);
    }
}
