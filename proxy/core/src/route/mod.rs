//! From a request's method and target to the one row of the table that it means.
//!
//! Nothing here looks at bodies or at the catalog; a target that is not canonical never gets past
//! [`Target::parse`], so what is judged later is what is sent.

mod table;
mod target;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

pub use table::ROUTES;
pub use target::{Target, TargetError, decode, is_reachable, push_segment};

use crate::ids::InstanceId;

/// A request method that Chroma knows. HEAD is GET whose answer has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are what they say")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method of a request line, HEAD taken as GET; `None` for what Chroma has no route for.
    pub fn of(method: &http::Method) -> Option<Self> {
        match *method {
            http::Method::GET | http::Method::HEAD => Some(Self::Get),
            http::Method::POST => Some(Self::Post),
            http::Method::PUT => Some(Self::Put),
            http::Method::PATCH => Some(Self::Patch),
            http::Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// The word of the request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Class of operations, by the handling that they need from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// About the server itself: any instance in service answers.
    System,
    /// Answered by an instance that has every acknowledged write.
    Read,
    /// Goes through the log.
    Write,
    /// Goes through the guard, then through the log.
    Destructive,
}

/// Action of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "named after Chroma's own operation ids; see the table"
)]
pub enum Action {
    System,
    Retired,
    Reset,
    CollectionByResourceName,
    CreateTenant,
    GetTenant,
    UpdateTenant,
    ListDatabases,
    CreateDatabase,
    GetDatabase,
    DeleteDatabase,
    ListCollections,
    CreateCollection,
    CountCollections,
    GetCollection,
    GetCollectionById,
    UpdateCollection,
    DeleteCollection,
    Add,
    Update,
    Upsert,
    DeleteRecords,
    Get,
    Query,
    Search,
    Count,
    IndexingStatus,
    Fork,
    ForkCount,
    AttachFunction,
    GetFunction,
    DetachFunction,
}

impl Action {
    /// The word for it, for people and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Retired => "retired",
            Self::Reset => "reset",
            Self::CollectionByResourceName => "collection_by_resource_name",
            Self::CreateTenant => "create_tenant",
            Self::GetTenant => "get_tenant",
            Self::UpdateTenant => "update_tenant",
            Self::ListDatabases => "list_databases",
            Self::CreateDatabase => "create_database",
            Self::GetDatabase => "get_database",
            Self::DeleteDatabase => "delete_database",
            Self::ListCollections => "list_collections",
            Self::CreateCollection => "create_collection",
            Self::CountCollections => "count_collections",
            Self::GetCollection => "get_collection",
            Self::GetCollectionById => "get_collection_by_id",
            Self::UpdateCollection => "update_collection",
            Self::DeleteCollection => "delete_collection",
            Self::Add => "add",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::DeleteRecords => "delete_records",
            Self::Get => "get",
            Self::Query => "query",
            Self::Search => "search",
            Self::Count => "count",
            Self::IndexingStatus => "indexing_status",
            Self::Fork => "fork",
            Self::ForkCount => "fork_count",
            Self::AttachFunction => "attach_function",
            Self::GetFunction => "get_function",
            Self::DetachFunction => "detach_function",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// The request method.
    pub method: Method,
    /// The path as Chroma's OpenAPI document writes it, but with one name for each placeholder:
    /// `{tenant}`, `{database}`, `{collection}`, `{name}`; `{*}` takes the rest.
    pub path: &'static str,
    /// Its action.
    pub action: Action,
    /// The class of that action.
    pub class: Class,
    /// The path, part by part; those after `count` say nothing.
    parts: [Part; PARTS_MAX],
    /// Number of its parts.
    count: usize,
}

/// Segments of the longest path.
const PARTS_MAX: usize = 11;

/// A segment of a row's path.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// It stands there as it is.
    Word(&'static str),
    /// It is a placeholder.
    Tenant,
    Database,
    Collection,
    Name,
    /// All that follows.
    Rest,
}

/// Texts at the placeholders, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one for each placeholder")]
pub struct Captures<'a> {
    pub tenant: Option<Cow<'a, str>>,
    pub database: Option<Cow<'a, str>>,
    pub collection: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
}

impl<'a> Captures<'a> {
    /// A collection on one instance.
    pub fn copy(tenant: &'a str, database: &'a str, id: InstanceId) -> Self {
        Self {
            tenant: Some(tenant.into()),
            database: Some(database.into()),
            collection: Some(id.to_string().into()),
            name: None,
        }
    }
}

/// Reason why no row was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No row has this path.
    NotFound,
    /// Rows have this path, but with these methods only.
    NotAllowed(Vec<Method>),
}

/// The row that a request means, with what stood at its placeholders.
pub fn find<'a>(
    method: Option<Method>,
    target: &Target<'a>,
) -> Result<(&'static Route, Captures<'a>), Miss> {
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(captures) = route.matches(target) else {
            continue;
        };
        if Some(route.method) == method {
            return Ok((route, captures));
        }
        allowed.push(route.method);
    }
    Err(if allowed.is_empty() {
        Miss::NotFound
    } else {
        Miss::NotAllowed(allowed)
    })
}

impl Route {
    fn matches<'a>(&self, target: &Target<'a>) -> Option<Captures<'a>> {
        let (parts, segments) = (self.parts(), target.segments.as_slice());
        let is_open_ended = matches!(parts.last(), Some(Part::Rest));
        let fits = segments.len() == parts.len() || is_open_ended && segments.len() > parts.len();
        // Rows differ most in their last words.
        let mut pairs = parts.iter().zip(segments).rev();
        let is_it = fits
            && pairs.all(|(part, segment)| match part {
                // As Chroma has it: words are compared as they stand.
                Part::Word(word) => matches!(segment, Cow::Borrowed(segment) if segment == word),
                Part::Rest => true,
                Part::Tenant | Part::Database | Part::Collection | Part::Name => {
                    !segment.is_empty()
                }
            });
        is_it.then(|| self.captures(target))
    }

    fn captures<'a>(&self, target: &Target<'a>) -> Captures<'a> {
        let mut captures = Captures::default();
        for (part, segment) in self.parts().iter().zip(&target.segments) {
            let place = match part {
                Part::Tenant => &mut captures.tenant,
                Part::Database => &mut captures.database,
                Part::Collection => &mut captures.collection,
                Part::Name => &mut captures.name,
                Part::Word(_) | Part::Rest => continue,
            };
            *place = Some(segment.clone());
        }
        captures
    }

    fn parts(&self) -> &[Part] {
        self.parts.get(..self.count).unwrap_or_default()
    }

    /// Writes the target for an instance. `tail` is what `{*}` stands for.
    pub fn render(&self, captures: &Captures<'_>, tail: &str, query: Option<&str>) -> String {
        let mut target = String::with_capacity(self.path.len() + 64);
        for part in self.parts() {
            target.push('/');
            let value = match part {
                Part::Rest => {
                    target.push_str(tail);
                    continue;
                }
                Part::Word(word) => {
                    target.push_str(word);
                    continue;
                }
                Part::Tenant => &captures.tenant,
                Part::Database => &captures.database,
                Part::Collection => &captures.collection,
                Part::Name => &captures.name,
            };
            push_segment(&mut target, value.as_deref().unwrap_or_default());
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        target
    }
}

/// The row of an action; every action but the many of [`Action::System`] has one.
pub fn route_of(action: Action) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.action == action)
}
