//! What the server says, in the shapes in which real Chroma says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use imbl::OrdMap;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    bodies::Include,
    fields::{Fields, Kind},
    schema::Collection,
};

/// A status and a body of JSON, or an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// No answer at all: the connection is closed.
    pub const CLOSED: Self = Self {
        status: 0,
        body: Vec::new(),
    };

    /// An empty body.
    pub(super) const fn bare(status: u16) -> Self {
        Self {
            status,
            body: Vec::new(),
        }
    }

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers can be written");
        Self { status, body }
    }

    /// What most writes say.
    pub(super) fn done(status: u16) -> Self {
        Self {
            status,
            body: b"{}".to_vec(),
        }
    }
}

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    error: &'static str,
    message: String,
}

/// What becomes of a request.
pub(super) type Handled = Result<Answer, Refused>;

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    message: &'a str,
}

impl Refused {
    pub(super) fn new(status: u16, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgumentError", message)
    }

    pub(super) fn missing(message: String) -> Self {
        Self::new(404, "NotFoundError", message)
    }

    pub(super) fn exists(message: String) -> Self {
        Self::new(409, "ChromaError", message)
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// JSON of the wrong shape.
    pub(super) fn shape(message: impl std::fmt::Display) -> Self {
        let start = "Failed to deserialize the JSON body into the target type";
        Self::new(422, "ChromaError", format!("{start}: {message}"))
    }

    pub(super) fn answer(&self) -> Answer {
        let refusal = Refusal {
            error: self.error,
            message: &self.message,
        };
        Answer::json(self.status, &refusal)
    }
}

#[derive(Serialize)]
pub(super) struct TenantAnswer<'a> {
    pub(super) name: &'a str,
    pub(super) resource_name: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct DatabaseAnswer<'a> {
    pub(super) id: Uuid,
    pub(super) name: &'a str,
    pub(super) tenant: &'a str,
}

/// A collection. Its configuration is the one of a collection that was made without any; what a
/// request says about another one is ignored.
#[derive(Serialize)]
pub(super) struct CollectionAnswer<'a> {
    id: Uuid,
    name: &'a str,
    configuration_json: &'a RawValue,
    schema: SchemaAnswer<'a>,
    metadata: Option<&'a Fields>,
    dimension: Option<usize>,
    tenant: &'a str,
    database: &'a str,
    log_position: u64,
    version: u64,
}

static CONFIGURATION: LazyLock<Box<RawValue>> = LazyLock::new(|| {
    let text = compact(include_str!("configuration.json"));
    serde_json::from_str(&text).expect("JSON")
});

/// JSON without whitespace, since it is read and written again with each description.
fn compact(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    value.to_string()
}

/// How the fields of records are indexed: what a collection begins with, and what its writes add.
#[derive(Serialize)]
struct SchemaAnswer<'a> {
    defaults: &'a BTreeMap<Kind, Box<RawValue>>,
    keys: Keys<'a>,
}

struct Keys<'a>(&'a OrdMap<Arc<str>, BTreeSet<Kind>>);

/// The schema of a new collection. Its `num_threads` is what a machine of two cores says.
#[derive(Deserialize)]
struct NewSchema {
    defaults: BTreeMap<Kind, Box<RawValue>>,
    keys: BTreeMap<String, Box<RawValue>>,
}

static NEW_SCHEMA: LazyLock<NewSchema> = LazyLock::new(|| {
    let text = compact(include_str!("schema.json"));
    serde_json::from_str(&text).expect("JSON")
});

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let new = &*NEW_SCHEMA;
        let mut map = to.serialize_map(None)?;
        for (key, index) in &new.keys {
            map.serialize_entry(key, index)?;
        }
        for (key, kinds) in self.0 {
            let index = |kind| (kind, &new.defaults[kind]);
            let indexes: BTreeMap<_, _> = kinds.iter().map(index).collect();
            map.serialize_entry(key, &indexes)?;
        }
        map.end()
    }
}

impl<'a> From<&'a Arc<Collection>> for CollectionAnswer<'a> {
    fn from(collection: &'a Arc<Collection>) -> Self {
        Self {
            id: collection.id,
            name: &collection.name,
            configuration_json: &CONFIGURATION,
            schema: SchemaAnswer {
                defaults: &NEW_SCHEMA.defaults,
                keys: Keys(collection.records.kinds()),
            },
            metadata: collection.metadata.as_deref(),
            dimension: collection.dimension,
            tenant: &collection.tenant,
            database: &collection.database,
            log_position: 0,
            version: 0,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Deleted {
    pub(super) deleted: usize,
}

/// What `get` says of records, each part a list beside the ids, or nothing when it was not asked
/// for.
#[derive(Serialize)]
pub(super) struct GetAnswer<'a> {
    #[serde(flatten)]
    pub(super) found: Columns<'a>,
    pub(super) include: &'a [Include],
}

/// What `query` says: for each embedding of the request, what `get` would say.
#[derive(Serialize)]
pub(super) struct QueryAnswer<'a> {
    pub(super) ids: Vec<Vec<&'a str>>,
    pub(super) embeddings: Option<Vec<Vec<&'a [f32]>>>,
    pub(super) documents: Option<Vec<Vec<Option<&'a str>>>>,
    pub(super) uris: Option<Vec<Vec<Option<&'a str>>>>,
    pub(super) metadatas: Option<Vec<Vec<Option<&'a Fields>>>>,
    pub(super) distances: Option<Vec<Vec<f32>>>,
    pub(super) include: &'a [Include],
}

/// Records, column by column.
#[derive(Serialize)]
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<&'a str>,
    pub(super) embeddings: Option<Vec<&'a [f32]>>,
    pub(super) documents: Option<Vec<Option<&'a str>>>,
    pub(super) uris: Option<Vec<Option<&'a str>>>,
    pub(super) metadatas: Option<Vec<Option<&'a Fields>>>,
}
