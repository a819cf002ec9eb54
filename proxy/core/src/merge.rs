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

/// Bodies that become one, of entries of one lane that do the same. They are added one by one: what
/// stands behind the first that does not fit is never looked at.
pub struct Merging {
    planted: Planted,
    count: usize,
    ids: BTreeSet<String>,
    shape: Shape,
    /// The elements of each field, as they stand between the brackets.
    elements: Elements<String>,
}

impl Merging {
    /// Begins with a body; `None` when it must go alone.
    pub fn begin(first: &[u8], planted: Planted) -> Option<Self> {
        let batch = Batch::parse(first)?;
        let mut merging = Self {
            planted,
            count: 0,
            ids: BTreeSet::new(),
            shape: batch.shape(),
            elements: Elements::default(),
        };
        merging.take(&batch).then_some(merging)
    }

    /// Adds one more. Returns whether it fits: whether it could as well have come before the others.
    pub fn add(&mut self, body: &[u8]) -> bool {
        let batch = Batch::parse(body).filter(|batch| batch.shape() == self.shape);
        batch.is_some_and(|batch| self.take(&batch))
    }

    fn take(&mut self, batch: &Batch<'_>) -> bool {
        let ids: BTreeSet<&str> = batch.ids.iter().map(|id| id.0.as_ref()).collect();
        let is_new = ids.len() == batch.ids.len() && !ids.iter().any(|id| self.ids.contains(*id));
        let is_apart = is_new || self.planted.is(Bug::MergesDependent);
        if !is_apart || self.ids.len() + batch.ids.len() > MERGED_RECORDS_MAX {
            return false;
        }
        self.ids.extend(ids.into_iter().map(str::to_owned));
        for (all, more) in self.elements.iter_mut().zip(batch.elements) {
            match (all, more) {
                (Some(all), Some(more)) => {
                    all.push(',');
                    all.push_str(more);
                }
                (all, more) => *all = more.map(str::to_owned),
            }
        }
        self.count += 1;
        true
    }

    /// How many bodies became one, and that one; `None` when only the first was there.
    pub fn finish(self) -> Option<(usize, Bytes)> {
        let fields = FIELDS.iter().zip(self.elements);
        let fields: Vec<String> = fields
            .filter_map(|(name, elements)| Some(format!("\"{name}\":[{}]", elements?)))
            .collect();
        (self.count > 1).then(|| (self.count, format!("{{{}}}", fields.join(",")).into()))
    }
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

/// One for each field.
type Elements<T> = [Option<T>; FIELDS.len()];

/// What bodies must have in common: which fields there are, and the dimension of all embeddings.
#[derive(PartialEq)]
struct Shape([bool; FIELDS.len()], Option<usize>);

/// A body whose fields all have one element for each record.
struct Batch<'a> {
    ids: Vec<Id<'a>>,
    /// The dimension of every embedding, when there are any.
    dimension: Option<usize>,
    elements: Elements<&'a str>,
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

    fn shape(&self) -> Shape {
        Shape(
            self.elements.map(|elements| elements.is_some()),
            self.dimension,
        )
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let (count, _) = merge(&bodies).unwrap();
        assert_eq!(count * 100, MERGED_RECORDS_MAX);
    }
}
