//! Metadata: what may stand in it, how it is read, and how a change merges into it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::answers::Refused;

/// Metadata of a collection or of a record.
pub type Fields = BTreeMap<Arc<str>, Field>;

/// A change of metadata: what is `null` is taken away, the rest is set.
pub(super) type Changes = BTreeMap<Arc<str>, Option<Field>>;

/// A value in metadata.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Field {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// Values of one kind. An empty list is taken and then is not there.
    List(Vec<Field>),
}

/// How a field is indexed. A list is indexed as its values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    String,
    // No field of the model is one of these, but a collection's schema speaks of them.
    FloatList,
    SparseVector,
}

impl Field {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Text(_) => Kind::String,
            // An empty list passes for one of booleans.
            Self::List(values) => values.first().map_or(Kind::Bool, Self::kind),
        }
    }

    /// Whether two values are of one kind.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self, Self::List(values) if values.is_empty())
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    /// A list, when all its values are of one kind; numbers of both kinds become floats.
    fn list(mut values: Vec<Self>) -> Option<Self> {
        let first = values.first().cloned();
        let Some(first) = first else {
            return Some(Self::List(values));
        };
        if !values.iter().all(|value| value.is_like(&first)) {
            for value in &mut values {
                *value = Self::Float(value.number()?);
            }
        }
        (!first.is_list()).then_some(Self::List(values))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "Chroma makes floats of integers in the same way"
    )]
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Field;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value of metadata")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        Ok(Field::Int(value))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "Chroma takes what is no i64 as a float"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        let whole = i64::try_from(value);
        Ok(whole.map_or(Field::Float(value as f64), Field::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        Ok(Field::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Field, E> {
        Ok(Field::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Field::list(values).ok_or_else(|| Error::custom("a list of several kinds"))
    }

    /// Chroma reads a value to its end before it says that it is none.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Err(Error::custom("an object is no value of metadata"))
    }
}

/// Whether all names of metadata may be names.
pub(super) fn are_names<'a>(mut names: impl Iterator<Item = &'a Arc<str>>) -> bool {
    names.all(|name| !name.is_empty() && !name.starts_with(['#', '$']))
}

/// Metadata of a collection: never empty.
pub(super) fn check_own(names: &[&Arc<str>], what: &str) -> Result<(), Refused> {
    let complaint = if names.is_empty() {
        "Metadata cannot be empty".to_owned()
    } else if names.iter().any(|name| name.is_empty()) {
        "Metadata key cannot be empty".to_owned()
    } else if let Some(name) = names.iter().find(|name| !are_names([**name].into_iter())) {
        format!("Metadata key cannot start with '#' or '$': {name}")
    } else {
        return Ok(());
    };
    Err(Refused::invalid(format!(
        "Validation error: {what}: {complaint}"
    )))
}

/// Merges a change into metadata.
pub(super) fn merge(fields: &mut Fields, changes: &Changes) {
    for (name, value) in changes {
        match value {
            Some(value) if !value.is_empty_list() => {
                fields.insert(Arc::clone(name), value.clone());
            }
            _ => {
                fields.remove(name);
            }
        }
    }
}
