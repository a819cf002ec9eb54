//! Several writes of records as one request.
//!
//! While one write of a lane is under way others queue up behind it. Those that could as well have
//! come in any order become one request to the instance: they do the same, and name different
//! records. Then the instance ends up with the same records, in the same order, as if they had come
//! one after the other, and to send any of them again, merged or not, changes nothing more.
//!
//! Chroma 1.5.9 does what one request says of one record in the order in which it stands there, as if it
//! were two (measured for `add`, `update` and `upsert`); but that is nowhere promised, so writes that
//! name one record go apart.
//!
//! Text is put together, element after element, and no number is read, with one exception: see
//! [`embeddings`].

mod embeddings;

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use self::embeddings::{Embeddings, MergedEmbeddings};
use crate::{
    limits::MERGED_RECORDS_MAX,
    log::{RecordAct, Verb},
    planted::{Bug, Planted},
};

/// Returns true when an entry is of a kind that is merged. Chroma answers a delete with the number of records
/// that it deleted, and the numbers of merged deletes could not be told apart.
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
    records: usize,
    /// The elements of `ids`, as they stand between the brackets.
    id_elements: String,
    /// None when the bodies have none: an `update` need not.
    embeddings: Option<MergedEmbeddings>,
    columns: [Column; COLUMNS.len()],
}

impl Merging {
    /// Begins with a body; `None` when it must go alone.
    pub fn begin(first: &[u8], planted: Planted) -> Option<Self> {
        let batch = Batch::parse(first)?;
        let embeddings = batch.embeddings.as_ref().map(MergedEmbeddings::like);
        let mut merging = Self {
            planted,
            count: 0,
            ids: BTreeSet::new(),
            records: 0,
            id_elements: String::new(),
            embeddings,
            columns: Default::default(),
        };
        merging.take(&batch).then_some(merging)
    }

    /// Adds one more. Returns whether it fits: whether it could as well have come before the others.
    pub fn add(&mut self, body: &[u8]) -> bool {
        Batch::parse(body).is_some_and(|batch| self.take(&batch))
    }

    fn take(&mut self, batch: &Batch<'_>) -> bool {
        let ids: BTreeSet<&str> = batch.ids.iter().map(|id| id.0.as_ref()).collect();
        let is_new = ids.len() == batch.ids.len() && !ids.iter().any(|id| self.ids.contains(*id));
        let is_apart = is_new || self.planted.is(Bug::MergesDependent);
        let records = self.records + batch.ids.len();
        let has_room = records <= MERGED_RECORDS_MAX;
        if !is_apart || !has_room || !self.take_embeddings(batch.embeddings.as_ref()) {
            return false;
        }
        for (column, more) in self.columns.iter_mut().zip(batch.columns) {
            column.push(self.records, more, batch.ids.len());
        }
        self.ids.extend(ids.into_iter().map(str::to_owned));
        push_elements(&mut self.id_elements, batch.id_elements);
        self.records = records;
        self.count += 1;
        true
    }

    fn take_embeddings(&mut self, more: Option<&Embeddings<'_>>) -> bool {
        match (&mut self.embeddings, more) {
            (Some(all), Some(more)) => all.take(more),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Returns the number of bodies that became one, and the merged body; `None` when only the first was
    /// there.
    pub fn finish(self) -> Option<(usize, Bytes)> {
        if self.count < 2 {
            return None;
        }
        let mut body = format!("{{\"ids\":[{}]", self.id_elements);
        let embeddings = self.embeddings.map(MergedEmbeddings::finish);
        let others = COLUMNS.into_iter().zip(self.columns.map(|column| column.0));
        for (name, elements) in [("embeddings", embeddings)].into_iter().chain(others) {
            if let Some(elements) = elements {
                body.extend([",\"", name, "\":[", &elements, "]"]);
            }
        }
        body.push('}');
        Some((self.count, body.into()))
    }
}

/// The fields beside `ids` and `embeddings` that a write of records may have; one with any other
/// goes alone.
const COLUMNS: [&str; 3] = ["documents", "metadatas", "uris"];

/// The elements of one of these fields; none as long as no body has it. To leave the field out means
/// the same as a `null` for each record (measured on Chroma 1.5.9 for each verb and field).
#[derive(Default)]
struct Column(Option<String>);

impl Column {
    fn push(&mut self, records_before: usize, more: Option<&str>, records: usize) {
        if self.0.is_none() && more.is_some() {
            self.0 = Some(nulls(records_before));
        }
        if let Some(all) = &mut self.0 {
            push_elements(
                all,
                more.map_or_else(|| nulls(records).into(), Cow::Borrowed),
            );
        }
    }
}

fn nulls(count: usize) -> String {
    vec!["null"; count].join(",")
}

fn push_elements(all: &mut String, more: impl AsRef<str>) {
    if !all.is_empty() {
        all.push(',');
    }
    all.push_str(more.as_ref());
}

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
    id_elements: &'a str,
    embeddings: Option<Embeddings<'a>>,
    columns: [Option<&'a str>; COLUMNS.len()],
}

impl<'a> Batch<'a> {
    /// Reads a body; `None` when it is not one that Chroma takes, as far as that can be seen here:
    /// beside others it could be taken for one, or have them refused with it.
    fn parse(body: &'a [u8]) -> Option<Self> {
        // Chroma reads an array as the fields in their order; such a body goes alone.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let fields: Fields<'a> = serde_json::from_slice(body).ok()?;
        let ids: Vec<Id<'a>> = serde_json::from_str(fields.ids.get()).ok()?;
        let embeddings = match fields.embeddings {
            Some(field) => Some(Embeddings::parse(field, ids.len())?),
            None => None,
        };
        if fields.metadatas.is_some_and(has_sparse_vector) {
            return None;
        }
        let mut columns = [None; COLUMNS.len()];
        let fields_of_columns = [fields.documents, fields.metadatas, fields.uris];
        for (column, field) in columns.iter_mut().zip(fields_of_columns) {
            if let Some(field) = field {
                *column = Some(elements_of(field, ids.len())?);
            }
        }
        (!ids.is_empty()).then_some(Self {
            id_elements: between_brackets(fields.ids)?,
            ids,
            embeddings,
            columns,
        })
    }
}

/// Returns true when one of the values of metadata is an object, which only a sparse vector is. A single node
/// refuses sparse vectors (501 in all versions from 1.1 to 1.5.9), and would refuse the writes merged with
/// them.
fn has_sparse_vector(metadatas: &RawValue) -> bool {
    type Values<'a> = std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>;
    let Ok(metadatas) = serde_json::from_str::<Vec<Option<Values<'_>>>>(metadatas.get()) else {
        return false;
    };
    let mut values = metadatas.iter().flatten().flat_map(Values::values);
    values.any(|value| value.get().starts_with('{'))
}

/// Text between the brackets of an array of so many elements.
fn elements_of(field: &RawValue, count: usize) -> Option<&str> {
    let elements: Vec<IgnoredAny> = serde_json::from_str(field.get()).ok()?;
    between_brackets(field).filter(|_| elements.len() == count)
}

fn between_brackets(array: &RawValue) -> Option<&str> {
    array.get().strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests;
