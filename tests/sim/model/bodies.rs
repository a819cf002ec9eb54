//! Bodies of requests, and how they are refused when they are not what Chroma takes.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, error::Category};

use super::{
    answers::Refused,
    fields::{Changes, Fields},
};

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) name: Arc<str>,
}

/// A change of a tenant, which a single node takes and forgets.
#[derive(Deserialize)]
pub(super) struct ChangeTenant {
    #[serde(rename = "resource_name")]
    _resource_name: String,
}

/// In Chroma's order, because it takes a positional array as well.
#[derive(Deserialize)]
pub(super) struct CreateCollection {
    pub(super) name: Arc<str>,
    #[serde(rename = "schema")]
    _schema: Option<IgnoredAny>,
    #[serde(rename = "configuration")]
    _configuration: Option<IgnoredAny>,
    pub(super) metadata: Option<Fields>,
    #[serde(default)]
    pub(super) get_or_create: bool,
}

/// In Chroma's order, because it takes a positional array as well.
#[derive(Deserialize)]
pub(super) struct ChangeCollection {
    pub(super) new_name: Option<Arc<str>>,
    pub(super) new_metadata: Option<Changes>,
    #[serde(rename = "new_configuration")]
    _new_configuration: Option<IgnoredAny>,
}

/// A write of records: `E` are its embeddings, `M` the metadata of one record.
#[derive(Deserialize)]
pub(super) struct WriteRecords<E, M> {
    pub(super) ids: Vec<Arc<str>>,
    pub(super) embeddings: E,
    pub(super) documents: Option<Vec<Option<Arc<str>>>>,
    pub(super) uris: Option<Vec<Option<Arc<str>>>>,
    pub(super) metadatas: Option<Vec<Option<M>>>,
}

pub(super) type AddRecords = WriteRecords<Embeddings, Fields>;
pub(super) type UpsertRecords = WriteRecords<Embeddings, Changes>;
pub(super) type UpdateRecords = WriteRecords<Option<SomeEmbeddings>, Changes>;

/// Embeddings, all of them numbers or all of them base64.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Loose>")]
pub(super) struct Embeddings(pub(super) Vec<Embedding>);

/// The same, where some may be missing.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Option<Loose>>")]
pub(super) struct SomeEmbeddings(pub(super) Vec<Option<Embedding>>);

#[derive(Deserialize)]
pub(super) struct DeleteRecords {
    pub(super) ids: Option<Vec<Arc<str>>>,
    #[serde(flatten)]
    pub(super) filter: RawFilter,
    pub(super) limit: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct GetRecords {
    pub(super) ids: Option<Vec<Arc<str>>>,
    #[serde(flatten)]
    pub(super) filter: RawFilter,
    pub(super) limit: Option<u32>,
    pub(super) offset: Option<u32>,
    #[serde(default = "Include::of_get")]
    pub(super) include: Vec<Include>,
}

#[derive(Deserialize)]
pub(super) struct QueryRecords {
    pub(super) ids: Option<Vec<Arc<str>>>,
    #[serde(flatten)]
    pub(super) filter: RawFilter,
    pub(super) query_embeddings: Vec<Vec<f32>>,
    pub(super) n_results: Option<u32>,
    #[serde(default = "Include::of_query")]
    pub(super) include: Vec<Include>,
}

/// Conditions as they came: they are read after the collection was found.
#[derive(Deserialize)]
pub(super) struct RawFilter {
    #[serde(default, rename = "where")]
    pub(super) fields: Value,
    #[serde(default, rename = "where_document")]
    pub(super) document: Value,
}

/// What an answer shall say of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Include {
    Distances,
    Documents,
    Embeddings,
    Metadatas,
    Uris,
}

impl Include {
    fn of_get() -> Vec<Self> {
        vec![Self::Documents, Self::Metadatas]
    }

    fn of_query() -> Vec<Self> {
        vec![Self::Documents, Self::Metadatas, Self::Distances]
    }
}

/// An embedding as it came: numbers, or their bytes in base64.
pub(super) enum Embedding {
    Numbers(Vec<f32>),
    Base64(String),
}

impl TryFrom<Vec<Loose>> for Embeddings {
    type Error = &'static str;

    fn try_from(embeddings: Vec<Loose>) -> Result<Self, Self::Error> {
        let embeddings = embeddings.into_iter().map(Loose::embedding);
        let embeddings: Vec<Embedding> = embeddings.collect::<Result<_, _>>()?;
        check_one_kind(embeddings.iter())?;
        Ok(Self(embeddings))
    }
}

impl TryFrom<Vec<Option<Loose>>> for SomeEmbeddings {
    type Error = &'static str;

    fn try_from(embeddings: Vec<Option<Loose>>) -> Result<Self, Self::Error> {
        let read = |embedding: Option<Loose>| embedding.map(Loose::embedding).transpose();
        let embeddings: Vec<_> = embeddings.into_iter().map(read).collect::<Result<_, _>>()?;
        check_one_kind(embeddings.iter().flatten())?;
        Ok(Self(embeddings))
    }
}

fn check_one_kind<'a>(
    mut embeddings: impl Iterator<Item = &'a Embedding>,
) -> Result<(), &'static str> {
    let first = embeddings.next().map(std::mem::discriminant);
    if embeddings.all(|embedding| Some(std::mem::discriminant(embedding)) == first) {
        return Ok(());
    }
    Err("embeddings of two kinds")
}

impl Loose {
    fn embedding(self) -> Result<Embedding, &'static str> {
        let numbers = match self {
            Self::Text(text) => return Ok(Embedding::Base64(text)),
            Self::List(items) => items.into_iter().map(Self::number).collect(),
            Self::Number(_) | Self::Other => None,
        };
        let numbers: Option<Vec<f32>> = numbers;
        numbers.map(Embedding::Numbers).ok_or("no embedding")
    }

    fn number(self) -> Option<f32> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Any JSON, as far as it can be a part of an embedding. Like Chroma, this reads all embeddings of
/// a request before it says that one is none: bad JSON after it comes first.
pub(super) enum Loose {
    Number(f32),
    Text(String),
    List(Vec<Loose>),
    Other,
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LooseReader)
    }
}

struct LooseReader;

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "embeddings are of 32 bits, whatever was sent"
)]
impl<'de> Visitor<'de> for LooseReader {
    type Value = Loose;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f32))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f32))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f32))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Loose, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

/// Spaces behind a body that are passed over at once.
const SPACES: [u8; 4096] = [b' '; 4096];

/// A body without most of the spaces behind it, at which a parser would look one by one.
fn unpadded(mut body: &[u8]) -> &[u8] {
    while let Some(shorter) = body.strip_suffix(&SPACES) {
        body = shorter;
    }
    body
}

/// Reads a body.
pub(super) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Refused> {
    serde_json::from_slice(unpadded(body)).map_err(|error| match error.classify() {
        Category::Data => Refused::shape(error),
        Category::Syntax | Category::Eof | Category::Io => {
            Refused::invalid(format!("Failed to parse the request body as JSON: {error}"))
        }
    })
}

/// Reads embeddings, those in base64 too.
pub(super) fn numbers(embedding: Embedding) -> Result<Arc<[f32]>, Refused> {
    let text = match embedding {
        Embedding::Numbers(numbers) => return Ok(numbers.into()),
        Embedding::Base64(text) => text,
    };
    let bytes = base64_bytes(text.as_bytes())
        .ok_or_else(|| Refused::invalid("Invalid base64 string: Invalid symbol."))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Refused::invalid(format!(
            "Invalid byte length: {} bytes cannot be converted to f32 values (must be divisible by 4)",
            bytes.len()
        )));
    }
    Ok(words.iter().copied().map(f32::from_le_bytes).collect())
}

/// Bytes from base64 with its padding.
fn base64_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (at, group) in groups.iter().enumerate() {
        let is_last = at + 1 == groups.len();
        let padding = group
            .iter()
            .rev()
            .take_while(|symbol| **symbol == b'=')
            .count();
        if padding > 2 || (padding > 0 && !is_last) {
            return None;
        }
        let mut bits = 0;
        for symbol in &group[..4 - padding] {
            bits = bits << 6 | sextet(*symbol)?;
        }
        bits <<= 6 * padding;
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

fn sextet(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
