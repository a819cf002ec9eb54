//! The one parser of clients' request bodies: reads what is judged of a write, and refuses every body
//! that Chroma could read in another way than we do.
//!
//! The rule, measured on chromadb 1.5.9, whose handlers deserialize with serde:
//!
//! - Chroma takes a *positional array* (`["name", null, null, null, false]`) wherever its own type is a
//!   plain struct: tenants, databases, create and modify of collections, `add`, `update`, `upsert`,
//!   `search`, `fork`, functions, and structs within them (`configuration`). `get`, `query` and `delete`
//!   refuse one, and every write is refused one here, in those words: positions are no contract.
//! - A field that is judged is read with Chroma's own type, by the same JSON parser. What that refuses
//!   (a key given twice, `null` for a name, a limit below zero or beyond 32 bits, a byte order mark,
//!   text behind the object, an empty body) Chroma refuses too, and so does Achromat, before anything
//!   is logged, with Chroma's status and words. So "it does not parse" never means "it is harmless".
//! - All else (fields that are not judged, unknown ones, numbers out of range in them, even invalid
//!   UTF-8 in them) is passed over, as Chroma passes over what it does not know. What Chroma refuses
//!   there, it refuses itself. Nested structs may be positional: nothing in them is judged.
//! - Content types and encodings decide nothing here: a body is judged as JSON whatever its headers
//!   say, since Chroma ignores `Content-Encoding` and takes a missing `Content-Type` for JSON.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{error::Category, value::RawValue};

use crate::{
    log::{RecordAct, Verb},
    reply::{self, Reply},
};

/// Facts of a request to create a tenant.
#[derive(Debug, Deserialize)]
#[serde(expecting = "struct CreateTenantPayload")]
pub struct TenantFacts<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// Facts of a request to create a database.
#[derive(Debug, Deserialize)]
#[serde(expecting = "struct CreateDatabasePayload")]
pub struct DatabaseFacts<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// Facts of a request to create a collection.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(expecting = "struct CreateCollectionPayload")]
pub struct CreateFacts<'a> {
    /// The collection's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// True when an existing collection of the name will do.
    #[serde(default)]
    pub get_or_create: bool,
}

/// Facts of a request to change a collection.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct UpdateCollectionPayload")]
pub struct ModifyFacts<'a> {
    /// The name that it shall have.
    #[serde(borrow, default)]
    pub new_name: Option<Cow<'a, str>>,
}

/// Facts of a request to fork a collection.
#[derive(Debug, Deserialize)]
#[serde(expecting = "struct ForkCollectionPayload")]
pub struct ForkFacts<'a> {
    /// The fork's name.
    #[serde(borrow)]
    pub new_name: Cow<'a, str>,
}

/// Facts of a request to attach a function.
#[derive(Debug, Deserialize)]
#[serde(expecting = "struct AttachFunctionRequest")]
pub struct AttachFacts<'a> {
    /// The name of the collection that the function writes to.
    #[serde(borrow, default)]
    pub output_collection: Option<Cow<'a, str>>,
}

/// Facts of a request to delete records.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct DeleteCollectionRecordsPayload")]
pub struct DeleteFacts<'a> {
    /// The ids, counted only.
    pub ids: Option<Vec<IgnoredAny>>,
    /// The filter on metadata.
    #[serde(borrow, default, rename = "where")]
    pub filter: Option<&'a RawValue>,
    /// The filter on documents.
    #[serde(borrow, default)]
    pub where_document: Option<&'a RawValue>,
    /// Number of records to delete, at most.
    #[serde(default)]
    pub limit: Option<u32>,
}

impl DeleteFacts<'_> {
    /// Returns true when there is a filter; `null` is none.
    pub fn has_filter(&self) -> bool {
        let given = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get() != "null");
        given(self.filter) || given(self.where_document)
    }

    /// Reads the body of a delete, and refuses what Chroma 1.5.9 refuses and an older version, or a
    /// rewritten request, would carry out: a limit without a filter.
    pub fn of(body: &[u8]) -> Result<DeleteFacts<'_>, Reply> {
        let facts: DeleteFacts<'_> = read(body)?;
        if facts.limit.is_none() || facts.has_filter() {
            return Ok(facts);
        }
        Err(reply::malformed(match &facts.ids {
            Some(ids) if ids.is_empty() => {
                "Validation error: ids, where: Either ids or where must be specified"
            }
            _ => {
                "Validation error: limit, where: limit can only be specified when a where clause is provided"
            }
        }))
    }
}

/// Reads what is judged of a client's body; refuses a body that Chroma refuses, or could read in
/// another way.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Reply> {
    if is_positional(body) {
        return Err(positional());
    }
    serde_json::from_slice(body).map_err(|error| unreadable::<T>(body, &error))
}

/// Refuses a body that could mean something else to Chroma than what `verb` says was judged.
pub fn check(verb: &Verb, body: &Bytes) -> Result<(), Reply> {
    match verb {
        // Chroma does not look at their bodies.
        Verb::Reset | Verb::DeleteDatabase { .. } | Verb::DeleteCollection { .. } => Ok(()),
        Verb::Record {
            act: RecordAct::Delete,
            ..
        } => DeleteFacts::of(body).map(drop),
        // Nothing but ids is read of the others, and those are asked for where they matter.
        Verb::Record { .. }
        | Verb::UpdateTenant { .. }
        | Verb::DetachFunction { .. }
        | Verb::CreateTenant { .. }
        | Verb::CreateDatabase { .. }
        | Verb::CreateCollection { .. }
        | Verb::ModifyCollection { .. }
        | Verb::Fork { .. }
        | Verb::AttachFunction { .. } => {
            if is_positional(body) {
                return Err(positional());
            }
            Ok(())
        }
    }
}

/// Returns true when a body is an array, behind what JSON takes for white space.
fn is_positional(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !b" \t\r\n".contains(byte));
    first == Some(&b'[')
}

/// Reply of Chroma 1.5.9 to an array where it takes none.
fn positional() -> Reply {
    let message = "Failed to deserialize the JSON body into the target type: invalid type: sequence, expected an object with named fields at line 1 column 0";
    Reply::error(422, "ChromaError", message)
}

/// Reply of Chroma's handlers to a body that they can't read; it names the field as well.
fn unreadable<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> Reply {
    let mut json = serde_json::Deserializer::from_slice(body);
    let located = serde_path_to_error::deserialize::<_, T>(&mut json);
    let what = located.map_or_else(|located| located.to_string(), |_| error.to_string());
    match error.classify() {
        Category::Data => {
            let message =
                format!("Failed to deserialize the JSON body into the target type: {what}");
            Reply::error(422, "ChromaError", &message)
        }
        Category::Syntax | Category::Eof | Category::Io => {
            reply::malformed(&format!("Failed to parse the request body as JSON: {what}"))
        }
    }
}

#[cfg(test)]
mod tests;
