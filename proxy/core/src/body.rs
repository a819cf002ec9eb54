//! The few facts that are taken from bodies, and the few bytes that are changed in them.
//!
//! Bodies travel as they came. Where something must be changed (an id in an answer), its span is
//! found with a real JSON parser and only that span is replaced, so numbers, key order and
//! whitespace stay what they were. Clients' requests are read in `request`, which says what is refused;
//! the readers here are for answers, and for bodies that were judged.

mod request;

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

pub use self::request::{
    AttachFacts, CreateFacts, DatabaseFacts, DeleteFacts, ForkFacts, ModifyFacts, TenantFacts,
    check, read,
};

/// The ids that a write of records names; `None` when it names none, or can't be read.
pub fn named_ids(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Ids {
        #[serde(default)]
        ids: Option<Vec<String>>,
    }
    facts::<Ids>(body)?.ids
}

/// The facts of an answer, or of a request that was judged; nothing when they can't be read.
pub fn facts<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// A collection or a database in an answer: who it is, and where its id stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The id that the instance gave it.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its number of dimensions, once a record has set it.
    pub dimension: Option<u64>,
    /// Range of the id's 36 characters in the body.
    span: Range<usize>,
}

#[derive(Deserialize)]
struct NamedJson<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    dimension: Option<u64>,
}

impl Named {
    /// Reads one object with `id` and `name`.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        Self::within(text, serde_json::from_str(text).ok()?)
    }

    fn within(text: &str, json: NamedJson<'_>) -> Option<Self> {
        let raw = json.id.get();
        let id = raw.strip_prefix('"')?.strip_suffix('"')?;
        let start = offset_in(text.as_bytes(), raw)? + 1;
        Some(Self {
            id: Uuid::try_parse(id).ok()?,
            name: json.name.into_owned(),
            dimension: json.dimension,
            span: start..start + id.len(),
        })
    }

    /// The body with another id in the place of the instance's.
    pub fn with_id(&self, body: &Bytes, id: Uuid) -> Bytes {
        if self.id == id {
            return body.clone();
        }
        replace(body, &self.span, &id.to_string())
    }
}

/// One element of a list in an answer.
#[derive(Debug)]
pub struct Element<'a> {
    /// Its id and name.
    pub named: Named,
    /// Its JSON.
    pub json: &'a str,
}

/// Reads a list of objects with `id` and `name`, each with its own text.
pub fn elements(body: &[u8]) -> Option<Vec<Element<'_>>> {
    let list: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    list.into_iter()
        .map(|raw| {
            let json = raw.get();
            let named = Named::within(json, serde_json::from_str(json).ok()?)?;
            Some(Element { named, json })
        })
        .collect()
}

impl Element<'_> {
    /// Appends the element's JSON with another id.
    pub fn push_with_id(&self, list: &mut String, id: Uuid) {
        let (before, rest) = self.json.split_at(self.named.span.start);
        list.push_str(before);
        list.push_str(&id.to_string());
        list.push_str(rest.split_at(self.named.span.len()).1);
    }
}

/// The body of a create with `get_or_create` set to false, all else untouched: replicas must make
/// the collection, not find one that was left over there.
pub fn without_get_or_create(body: &Bytes) -> Bytes {
    #[derive(Deserialize)]
    struct Flag<'a> {
        #[serde(borrow)]
        get_or_create: Option<&'a RawValue>,
    }
    let Ok(Flag {
        get_or_create: Some(raw),
    }) = serde_json::from_slice::<Flag<'_>>(body)
    else {
        return body.clone();
    };
    match offset_in(body, raw.get()) {
        Some(start) if raw.get() == "true" => replace(body, &(start..start + 4), "false"),
        _ => body.clone(),
    }
}

fn replace(body: &Bytes, span: &Range<usize>, text: &str) -> Bytes {
    let mut changed = Vec::with_capacity(body.len() + text.len());
    changed.extend_from_slice(body.get(..span.start).unwrap_or_default());
    changed.extend_from_slice(text.as_bytes());
    changed.extend_from_slice(body.get(span.end..).unwrap_or_default());
    changed.into()
}

/// Offset of `part` in `whole`, from which it was borrowed.
fn offset_in(whole: &[u8], part: &str) -> Option<usize> {
    part.as_ptr()
        .addr()
        .checked_sub(whole.as_ptr().addr())
        .filter(|offset| offset + part.len() <= whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "1cd093e4-54bc-4495-bd60-e712aadfe5ec";
    const OURS: Uuid = Uuid::from_u128(0xffff_ffff_ffff_4fff_8fff_ffff_ffff_ffff);

    /// Only the top-level id changes: the same UUID in a name or in metadata is the client's.
    #[test]
    fn only_the_id_is_replaced() {
        let body = format!(
            r#"{{ "metadata":{{"id":"{THEIRS}","n":12345678901234567890}}, "name":"{THEIRS}","id": "{THEIRS}","dimension":3}}"#
        );
        let named = Named::parse(body.as_bytes()).unwrap();
        assert_eq!(named.dimension, Some(3));
        let changed = named.with_id(&Bytes::from(body.clone()), OURS);
        let at = body.rfind(THEIRS).unwrap();
        let expected = format!("{}{OURS}{}", &body[..at], &body[at + 36..]);
        assert_eq!(changed, expected);
    }

    /// Each element of a list gets its own id, and no byte beside it changes.
    #[test]
    fn lists_are_rewritten_element_by_element() {
        let body = format!(r#"[{{"id":"{THEIRS}","name":"a"}}, {{"name":"b","id":"{THEIRS}"}}]"#);
        let mut list = String::new();
        for element in elements(body.as_bytes()).unwrap() {
            element.push_with_id(&mut list, OURS);
        }
        assert_eq!(
            list,
            format!(r#"{{"id":"{OURS}","name":"a"}}{{"name":"b","id":"{OURS}"}}"#)
        );
        assert!(elements(b"[{}]").is_none() && elements(b"[").is_none());
    }

    /// A replica is told to make the collection; nothing else in the body changes.
    #[test]
    fn get_or_create_is_taken_away() {
        let body = Bytes::from_static(
            br#"{"name":"a","get_or_create" : true,"metadata":{"get_or_create":true}}"#,
        );
        assert_eq!(
            without_get_or_create(&body),
            r#"{"name":"a","get_or_create" : false,"metadata":{"get_or_create":true}}"#
        );
        let odd = Bytes::from_static(b"{\"x\":\"\xff\",\"get_or_cr\\u0065ate\":true}");
        assert_eq!(
            without_get_or_create(&odd),
            b"{\"x\":\"\xff\",\"get_or_cr\\u0065ate\":false}".as_slice(),
            "a key with an escape, beside text that is not UTF-8"
        );
        for same in [r#"{"name":"a"}"#, r#"{"get_or_create":false}"#, "nonsense"] {
            assert_eq!(without_get_or_create(&Bytes::from(same)), same);
        }
    }
}
