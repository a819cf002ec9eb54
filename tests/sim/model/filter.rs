//! Conditions on records: reading `where` and `where_document`, and what they mean.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{
    answers::Refused,
    bodies::RawFilter,
    fields::{Field, Fields},
    records::Record,
};

/// The name of the document among the fields.
const DOCUMENT: &str = "#document";

/// A condition.
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    /// A field of the metadata stands in a relation to a value.
    Compare(String, Relation, Field),
    /// A field is one of some values, or (`false`) is none of them.
    Among(String, bool, Vec<Field>),
    /// A field is a list with this value, or (`false`) is none.
    Lists(String, bool, Field),
    /// The document contains a text, or (`false`) does not.
    Contains(bool, String),
}

/// How a field compares with a value.
#[derive(Clone, Copy)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads both conditions of a request; nothing when there is none.
pub(super) fn read(raw: &RawFilter) -> Result<Option<Filter>, Refused> {
    let fields = (!raw.fields.is_null()).then(|| on_fields(&raw.fields));
    let fields = fields.transpose()?;
    let document = (!raw.document.is_null()).then(|| on_document(&raw.document));
    let document = document.transpose()?;
    Ok(match (fields, document) {
        (Some(fields), Some(document)) => Some(Filter::All(vec![fields, document])),
        (fields, document) => fields.or(document),
    })
}

fn bad_where() -> Refused {
    Refused::invalid("Invalid where clause")
}

fn bad_document() -> Refused {
    Refused::invalid("Invalid where document clause")
}

/// The only entry of an object.
fn only_entry(value: &Value) -> Option<(&String, &Value)> {
    let entries: &Map<String, Value> = value.as_object()?;
    let mut entries = entries.iter();
    let entry = entries.next()?;
    entries.next().is_none().then_some(entry)
}

fn list_of(
    value: &Value,
    read: impl Fn(&Value) -> Result<Filter, Refused>,
    bad: fn() -> Refused,
) -> Result<Vec<Filter>, Refused> {
    let children = value.as_array().ok_or_else(bad)?;
    children.iter().map(read).collect()
}

fn on_document(value: &Value) -> Result<Filter, Refused> {
    let (key, value) = only_entry(value).ok_or_else(bad_document)?;
    match key.as_str() {
        "$and" => Ok(Filter::All(list_of(value, on_document, bad_document)?)),
        "$or" => Ok(Filter::Any(list_of(value, on_document, bad_document)?)),
        "$contains" | "$not_contains" => {
            let text = value.as_str().ok_or_else(bad_document)?;
            Ok(Filter::Contains(key == "$contains", text.to_owned()))
        }
        "$regex" | "$not_regex" if value.is_string() => Err(no_patterns()),
        _ => Err(bad_document()),
    }
}

/// Real Chroma takes them; the model would need an engine of its own for them.
fn no_patterns() -> Refused {
    Refused::new(501, "ModelError", "The model knows no regular expressions")
}

fn on_fields(value: &Value) -> Result<Filter, Refused> {
    let (key, value) = only_entry(value).ok_or_else(bad_where)?;
    match key.as_str() {
        "$and" => Ok(Filter::All(list_of(value, on_fields, bad_where)?)),
        "$or" => Ok(Filter::Any(list_of(value, on_fields, bad_where)?)),
        key if key.starts_with('$') => Err(bad_where()),
        DOCUMENT => on_document_field(value),
        key => on_field(key, value).ok_or_else(bad_where),
    }
}

/// The document under its name among the fields.
fn on_document_field(value: &Value) -> Result<Filter, Refused> {
    match only_entry(value) {
        Some((key, Value::String(text)))
            if ["$contains", "$not_contains"].contains(&key.as_str()) =>
        {
            Ok(Filter::Contains(key == "$contains", text.clone()))
        }
        Some((key, Value::String(_))) if ["$regex", "$not_regex"].contains(&key.as_str()) => {
            Err(no_patterns())
        }
        Some((key, _)) if key.ends_with("contains") => Err(bad_where()),
        _ => on_field(DOCUMENT, value).ok_or_else(bad_where),
    }
}

fn on_field(key: &str, value: &Value) -> Option<Filter> {
    let key = key.to_owned();
    if !value.is_object() {
        return Some(Filter::Compare(key, Relation::Equal, scalar(value)?));
    }
    let (operator, operand) = only_entry(value)?;
    match operator.as_str() {
        "$in" | "$nin" => Some(Filter::Among(key, operator == "$in", one_kind(operand)?)),
        "$contains" | "$not_contains" => {
            let is_there = operator == "$contains";
            Some(Filter::Lists(key, is_there, scalar(operand)?))
        }
        _ => {
            let operand = scalar(operand)?;
            let relation = relation(operator, operand.number().is_some())?;
            Some(Filter::Compare(key, relation, operand))
        }
    }
}

/// Only numbers have an order.
fn relation(operator: &str, is_number: bool) -> Option<Relation> {
    match operator {
        "$eq" => Some(Relation::Equal),
        "$ne" => Some(Relation::NotEqual),
        "$lt" if is_number => Some(Relation::Less),
        "$lte" if is_number => Some(Relation::LessOrEqual),
        "$gt" if is_number => Some(Relation::Greater),
        "$gte" if is_number => Some(Relation::GreaterOrEqual),
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<Field> {
    match value {
        Value::Bool(value) => Some(Field::Bool(*value)),
        Value::String(text) => Some(Field::Text(text.as_str().into())),
        Value::Number(number) if number.is_f64() => number.as_f64().map(Field::Float),
        Value::Number(number) => number.as_i64().map(Field::Int),
        _ => None,
    }
}

/// The values of `$in`: the first one says of which kind all must be, and floats take integers.
fn one_kind(values: &Value) -> Option<Vec<Field>> {
    let values = values.as_array().filter(|values| !values.is_empty())?;
    let values: Vec<Field> = values.iter().map(scalar).collect::<Option<_>>()?;
    let fits = |value: &Field| match values.first() {
        Some(Field::Float(_)) => value.number().is_some(),
        Some(first) => std::mem::discriminant(first) == std::mem::discriminant(value),
        None => false,
    };
    values.iter().all(fits).then_some(values)
}

impl Filter {
    /// Refuses to compare whole documents with texts, which Chroma has no index for.
    pub(super) fn check_indexed(&self) -> Result<(), Refused> {
        if self.compares_documents() {
            return Err(Refused::invalid(
                "Cannot filter using metadata key '#document' with type 'Str' because indexing is disabled",
            ));
        }
        Ok(())
    }

    fn compares_documents(&self) -> bool {
        let is_text = |value: &Field| matches!(value, Field::Text(_));
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::compares_documents),
            Self::Compare(key, _, value) => key == DOCUMENT && is_text(value),
            Self::Among(key, _, values) => key == DOCUMENT && values.iter().any(is_text),
            Self::Lists(..) | Self::Contains(..) => false,
        }
    }

    /// Whether a record meets the condition.
    pub(super) fn takes(&self, record: &Record) -> bool {
        let fields = &record.metadata;
        match self {
            Self::All(parts) => parts.iter().all(|part| part.takes(record)),
            Self::Any(parts) => parts.iter().any(|part| part.takes(record)),
            Self::Compare(key, relation, value) => compares(fields, key, *relation, value),
            Self::Among(key, is_among, values) => {
                let is_one = |value| compares(fields, key, Relation::Equal, value);
                values.iter().any(is_one) == *is_among
            }
            Self::Lists(key, is_there, value) => {
                let lists = fields.get(key.as_str()).is_some_and(
                    |field| matches!(field, Field::List(values) if values.contains(value)),
                );
                lists == *is_there
            }
            Self::Contains(is_there, text) => {
                let document = record.document.as_deref();
                document.is_some_and(|document| document.contains(text)) == *is_there
            }
        }
    }
}

fn compares(fields: &Fields, key: &str, relation: Relation, value: &Field) -> bool {
    let order = fields.get(key).and_then(|field| order(field, value));
    match relation {
        Relation::Equal => order.is_some_and(Ordering::is_eq),
        // Met by every record that is not equal, also by one that does not have the field.
        Relation::NotEqual => !order.is_some_and(Ordering::is_eq),
        Relation::Less => order.is_some_and(Ordering::is_lt),
        Relation::LessOrEqual => order.is_some_and(Ordering::is_le),
        Relation::Greater => order.is_some_and(Ordering::is_gt),
        Relation::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

/// How a field compares with a value: numbers of both kinds with each other, the rest only within
/// a kind, lists never. A float that is compared with an integer loses its fraction, so that 1 is
/// equal to 1.5, and not less: that is Chroma's rule.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the fraction is what is to be lost"
)]
fn order(field: &Field, value: &Field) -> Option<Ordering> {
    match (field, value) {
        (Field::Bool(one), Field::Bool(other)) => Some(one.cmp(other)),
        (Field::Int(one), Field::Int(other)) => Some(one.cmp(other)),
        (Field::Text(one), Field::Text(other)) => Some(one.cmp(other)),
        (Field::Int(one), Field::Float(other)) => Some(one.cmp(&(*other as i64))),
        (one, other) => one.number()?.partial_cmp(&other.number()?),
    }
}
