//! Every route of Chroma's HTTP interface, each with its class: Chroma's OpenAPI document (kept in
//! `openapi.json`, from chromadb 1.5.9) and the few that it does not mention. What is not here is
//! refused; a route of the document that is not here fails a test.

#[allow(clippy::enum_glob_use, reason = "the table is read across, not down")]
use super::{
    Action::{self, *},
    Class::{self, Destructive, Read, Write},
    Method::{self, Delete, Get as GET, Patch, Post, Put},
    PARTS_MAX, Part, Route,
};

#[allow(
    clippy::indexing_slicing,
    reason = "a path with too many parts does not compile"
)]
const fn row(method: Method, path: &'static str, action: Action, class: Class) -> Route {
    let mut parts = [Part::Word(""); PARTS_MAX];
    let mut count = 0;
    let mut rest = path;
    while !rest.is_empty() {
        let (_slash, tail) = rest.split_at(1);
        let (word, tail) = tail.split_at(to_slash(tail));
        parts[count] = part(word);
        count += 1;
        rest = tail;
    }
    Route {
        method,
        path,
        action,
        class,
        parts,
        count,
    }
}

/// Number of bytes before the next slash.
const fn to_slash(text: &str) -> usize {
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        if *byte == b'/' {
            break;
        }
        rest = tail;
    }
    text.len() - rest.len()
}

const fn part(word: &'static str) -> Part {
    match word.as_bytes() {
        b"{tenant}" => Part::Tenant,
        b"{database}" => Part::Database,
        b"{collection}" => Part::Collection,
        b"{name}" => Part::Name,
        b"{*}" => Part::Rest,
        _ => Part::Word(word),
    }
}

macro_rules! tenant {
    ($($rest:literal)?) => { concat!("/api/v2/tenants/{tenant}", $($rest)?) };
}
macro_rules! database {
    ($($rest:literal)?) => { concat!("/api/v2/tenants/{tenant}/databases/{database}", $($rest)?) };
}
macro_rules! collection {
    ($($rest:literal)?) => {
        concat!("/api/v2/tenants/{tenant}/databases/{database}/collections/{collection}", $($rest)?)
    };
}

/// The table. `by-id` stands before the placeholders that would take its words; record routes
/// stand first because they are asked most.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    row(Post,   collection!("/query"),                            Query,                    Read),
    row(Post,   collection!("/get"),                              Get,                      Read),
    row(Post,   collection!("/upsert"),                           Upsert,                   Write),
    row(Post,   collection!("/add"),                              Add,                      Write),
    row(Post,   collection!("/update"),                           Update,                   Write),
    row(Post,   collection!("/delete"),                           DeleteRecords,            Destructive),
    row(GET,    collection!("/count"),                            Count,                    Read),
    row(Post,   collection!("/search"),                           Search,                   Read),
    row(GET,    database!("/collections/by-id/{collection}"),     GetCollectionById,        Read),
    row(GET,    collection!("/indexing_status"),                  IndexingStatus,           Read),
    row(GET,    collection!("/fork_count"),                       ForkCount,                Read),
    row(GET,    collection!("/functions/{name}"),                 GetFunction,              Read),
    row(Post,   collection!("/fork"),                             Fork,                     Write),
    row(Post,   collection!("/functions/attach"),                 AttachFunction,           Write),
    row(Post,   collection!("/attached_functions/{name}/detach"), DetachFunction,           Destructive),
    row(GET,    collection!(),                                    GetCollection,            Read),
    row(Put,    collection!(),                                    UpdateCollection,         Write),
    row(Delete, collection!(),                                    DeleteCollection,         Destructive),
    row(GET,    database!("/collections"),                        ListCollections,          Read),
    row(Post,   database!("/collections"),                        CreateCollection,         Write),
    row(GET,    database!("/collections_count"),                  CountCollections,         Read),
    row(GET,    database!(),                                      GetDatabase,              Read),
    row(Delete, database!(),                                      DeleteDatabase,           Destructive),
    row(GET,    tenant!("/databases"),                            ListDatabases,            Read),
    row(Post,   tenant!("/databases"),                            CreateDatabase,           Write),
    row(GET,    tenant!(),                                        GetTenant,                Read),
    row(Patch,  tenant!(),                                        UpdateTenant,             Write),
    row(Post,   "/api/v2/tenants",                                CreateTenant,             Write),
    row(GET,    "/api/v2/collections/{name}",                     CollectionByResourceName, Read),
    row(Post,   "/api/v2/reset",                                  Reset,                    Destructive),
    row(GET,    "/api/v2",                                        System,                   Class::System),
    row(GET,    "/api/v2/heartbeat",                              System,                   Class::System),
    row(GET,    "/api/v2/healthcheck",                            System,                   Class::System),
    row(GET,    "/api/v2/version",                                System,                   Class::System),
    row(GET,    "/api/v2/pre-flight-checks",                      System,                   Class::System),
    row(GET,    "/api/v2/auth/identity",                          System,                   Class::System),
    row(GET,    "/docs",                                          System,                   Class::System),
    row(GET,    "/docs/{*}",                                      System,                   Class::System),
    row(GET,    "/openapi.json",                                  System,                   Class::System),
    row(GET,    "/api/v1/{*}",                                    Retired,                  Class::System),
    row(Put,    "/api/v1/{*}",                                    Retired,                  Class::System),
    row(Patch,  "/api/v1/{*}",                                    Retired,                  Class::System),
    row(Delete, "/api/v1/{*}",                                    Retired,                  Class::System),
];
