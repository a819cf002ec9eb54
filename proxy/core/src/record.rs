//! Records as instances answer them: told apart by digests, and written elsewhere as they are.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest as _, Sha256};

use crate::limits::ROUNDING_STEPS_MAX;

mod spelling;

/// Digest of all that a record consists of, in 32 bytes.
pub type Digest = [u8; 32];

/// Parts that a `get` must include for records to be whole.
pub const INCLUDE: [&str; 4] = ["embeddings", "documents", "metadatas", "uris"];

type Column<'a> = Option<Vec<&'a RawValue>>;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    ids: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    embeddings: Column<'a>,
    #[serde(borrow, default)]
    documents: Column<'a>,
    #[serde(borrow, default)]
    metadatas: Column<'a>,
    #[serde(borrow, default)]
    uris: Column<'a>,
}

/// One record. Its parts are passed on byte for byte, except numbers in metadata that Chroma would read
/// differently ([`spelling`]).
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// Embedding, document, metadata and URI, as far as it has them.
    parts: [Option<&'a RawValue>; 4],
}

/// The records in the answer to a `get`, in its order; `None` when it can't be read.
pub fn records(body: &[u8]) -> Option<Vec<Record<'_>>> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let columns = [
        answer.embeddings,
        answer.documents,
        answer.metadatas,
        answer.uris,
    ];
    let count = answer.ids.len();
    if columns.iter().flatten().any(|column| column.len() != count) {
        return None;
    }
    let ids = answer.ids.into_iter().enumerate();
    let records = ids.map(|(index, id)| Record {
        id,
        parts: columns.each_ref().map(|column| part(column, index)),
    });
    Some(records.collect())
}

/// Chroma 1.5.9 answers `{}` for a record without metadata, and does not take that in an `add`.
fn part<'a>(column: &Column<'a>, index: usize) -> Option<&'a RawValue> {
    let part = column.as_ref()?.get(index).copied()?;
    (!matches!(part.get(), "null" | "{}")).then_some(part)
}

/// The ids in the answer to a `get`.
pub fn ids(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Ids {
        ids: Vec<String>,
    }
    Some(serde_json::from_slice::<Ids>(body).ok()?.ids)
}

impl Record<'_> {
    /// Equal for equal records, however they are written: the order of keys and the spelling of
    /// numbers do not matter, their types do. SHA-256 over a canonical form in which each value
    /// carries its type and its length.
    pub fn digest(&self) -> Digest {
        let mut form = Sha256::new();
        text(&mut form, &self.id);
        for part in self.parts {
            match part.map(|part| serde_json::from_str::<Value>(part.get())) {
                None => form.update([0]),
                // What can't be read is compared as it is written.
                Some(Err(_)) => text(&mut form, part.map_or("", RawValue::get)),
                Some(Ok(value)) => canonical(&mut form, &value),
            }
        }
        form.finalize().into()
    }

    /// True when two records are the same as far as their vectors can be.
    pub fn is_copy_of(&self, source: &Self, vectors: Vectors) -> bool {
        let [embedding, rest @ ..] = self.parts;
        let [source_embedding, source_rest @ ..] = source.parts;
        let same = |(a, b)| value(a) == value(b);
        let may_differ = vectors == Vectors::Rounded;
        self.id == source.id
            && rest.into_iter().zip(source_rest).all(same)
            && (same((embedding, source_embedding))
                || may_differ && are_near(source_embedding, embedding))
    }
}

/// Rule by which vectors are compared.
///
/// With cosine distance Chroma keeps a vector `v` at length one, and answers `v * (1 / |v|) * |v|` in 32
/// bits: each number is off by up to two steps (computed so, each number of 300 vectors came out as 1.5.9
/// answered it). Each time that an answer is added anew, the steps add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// Bit for bit.
    Exact,
    /// Up to [`ROUNDING_STEPS_MAX`].
    Rounded,
}

fn value(part: Option<&RawValue>) -> Option<Value> {
    serde_json::from_str(part?.get()).ok()
}

/// Compares two vectors up to [`ROUNDING_STEPS_MAX`].
fn are_near(source: Option<&RawValue>, copy: Option<&RawValue>) -> bool {
    let vector = |part: Option<&RawValue>| serde_json::from_str::<Vec<f32>>(part?.get()).ok();
    let is_near =
        |(a, b): (&f32, &f32)| (a - b).abs() <= ROUNDING_STEPS_MAX * f32::EPSILON * a.abs();
    vector(source)
        .zip(vector(copy))
        .is_some_and(|(ours, theirs)| {
            ours.len() == theirs.len() && ours.iter().zip(&theirs).all(is_near)
        })
}

fn text(form: &mut Sha256, text: &str) {
    form.update([1]);
    form.update(length(text.len()));
    form.update(text);
}

fn length(length: usize) -> [u8; 8] {
    u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes()
}

fn canonical(form: &mut Sha256, value: &Value) {
    match value {
        Value::Null => form.update([0]),
        Value::String(string) => text(form, string),
        Value::Bool(truth) => form.update([2, u8::from(*truth)]),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => {
                form.update([3]);
                form.update(integer.to_le_bytes());
            }
            (_, Some(integer), _) => {
                form.update([4]);
                form.update(integer.to_le_bytes());
            }
            (.., float) => {
                form.update([5]);
                form.update(float.unwrap_or(f64::NAN).to_le_bytes());
            }
        },
        Value::Array(values) => {
            form.update([6]);
            form.update(length(values.len()));
            values.iter().for_each(|value| canonical(form, value));
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            form.update([7]);
            form.update(length(fields.len()));
            for (name, value) in fields {
                text(form, name);
                canonical(form, value);
            }
        }
    }
}

/// The body of an `add` of these records. Every number in it is one that Chroma reads as the server that
/// answered it had it.
pub fn add_body<'a>(records: &[&Record<'a>]) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Add<'a> {
        ids: Vec<&'a str>,
        embeddings: Vec<Option<&'a RawValue>>,
        documents: Vec<Option<&'a RawValue>>,
        metadatas: Vec<Option<Cow<'a, RawValue>>>,
        uris: Vec<Option<&'a RawValue>>,
    }
    let metadata = |record: &&Record<'a>| {
        let [_, _, metadata, _] = record.parts;
        metadata.map(spelling::as_read_by_chroma)
    };
    let column = |index: usize| {
        let parts = records.iter().map(|record| record.parts.get(index));
        parts.map(|part| part.copied().flatten()).collect()
    };
    let add = Add {
        ids: records.iter().map(|record| record.id.as_ref()).collect(),
        embeddings: column(0),
        documents: column(1),
        metadatas: records.iter().map(metadata).collect(),
        uris: column(3),
    };
    serde_json::to_vec(&add).ok().map(Bytes::from)
}

/// The body of a `get` of these ids, whole.
pub fn get_body(ids: &[&str]) -> Bytes {
    #[derive(Serialize)]
    struct Get<'a> {
        ids: &'a [&'a str],
        include: [&'static str; 4],
    }
    let get = Get {
        ids,
        include: INCLUDE,
    };
    serde_json::to_vec(&get).unwrap_or_default().into()
}

/// The body of a `delete` of these ids.
pub fn delete_body(ids: &[&str]) -> Bytes {
    #[derive(Serialize)]
    struct Delete<'a> {
        ids: &'a [&'a str],
    }
    serde_json::to_vec(&Delete { ids })
        .unwrap_or_default()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"ids":["a","b"],"embeddings":[[1.0,0.1],[2.0,3.0]],"documents":["x",null],
        "metadatas":[{"n":9007199254740993,"f":1.0},null],"uris":null,"include":[]}"#;

    fn digests(body: &str) -> Vec<Digest> {
        let records = records(body.as_bytes()).expect("records");
        records.iter().map(Record::digest).collect()
    }

    /// Spelling does not matter; every part, its type and its place do.
    #[test]
    fn digests_tell_records_apart() {
        let base = digests(WHOLE);
        assert_ne!(base[0], base[1]);
        let swapped = WHOLE.replace(
            r#""n":9007199254740993,"f":1.0"#,
            r#""f": 1.00, "n": 9007199254740993"#,
        );
        assert_eq!(digests(&swapped), base);
        for (from, to) in [
            ("0.1]", "0.2]"),
            (r#""x""#, r#""y""#),
            ("9007199254740993", "9007199254740992"),
            (r#""f":1.0"#, r#""f":1"#),
            (r#"["x",null]"#, r#"[null,null]"#),
        ] {
            assert_ne!(digests(&WHOLE.replace(from, to))[0], base[0], "{from}");
        }
    }

    /// Rounding of vectors is no difference where the distance rounds them; all else is.
    #[test]
    fn vectors_are_compared_up_to_rounding() {
        let is_copy = |vector: &str, document: &str, vectors| {
            let body = |vector: &str, document: &str| {
                format!(r#"{{"ids":["x"],"embeddings":[{vector}],"documents":["{document}"]}}"#)
            };
            let [source, copy] = [body("[1.8092973,39.6093]", "d"), body(vector, document)];
            let [source, copy] = [&source, &copy].map(|b| records(b.as_bytes()).expect("records"));
            copy[0].is_copy_of(&source[0], vectors)
        };
        assert!(is_copy("[1.8092972,39.6093]", "d", Vectors::Rounded));
        assert!(!is_copy("[1.8092972,39.6093]", "d", Vectors::Exact));
        assert!(!is_copy("[1.8092972,39.6093]", "e", Vectors::Rounded));
        assert!(!is_copy("[1.8093,39.6093]", "d", Vectors::Rounded));
        assert!(!is_copy("[1.8092973,39.6093,0]", "d", Vectors::Rounded));
        assert!(is_copy("[1.80929730,39.6093]", "d", Vectors::Exact));
    }

    /// A record is copied as it was read, to the byte.
    #[test]
    fn copies_are_to_the_byte() {
        let all = records(WHOLE.as_bytes()).expect("records");
        let all: Vec<_> = all.iter().collect();
        let body = add_body(&all).expect("a body");
        assert_eq!(
            std::str::from_utf8(&body).expect("text"),
            r#"{"ids":["a","b"],"embeddings":[[1.0,0.1],[2.0,3.0]],"documents":["x",null],"metadatas":[{"n":9007199254740993,"f":1.0},null],"uris":[null,null]}"#
        );
        assert_eq!(ids(WHOLE.as_bytes()).expect("ids"), ["a", "b"]);
        assert!(records(br#"{"ids":["a"],"documents":[]}"#).is_none());
    }
}
