//! Which request is which: paths and methods, and the query of a target.

use serde_json::json;

use super::{
    Server,
    answers::{Answer, Handled, Refused},
    schema::{Page, Place},
};

impl Server {
    /// Finds out what a request wants, and does it.
    pub(super) fn route(
        &mut self,
        method: &str,
        path: &[&str],
        query: &str,
        body: &[u8],
    ) -> Handled {
        match path {
            ["api", "v1", _, ..] if method == "POST" => Ok(Answer::bare(405)),
            ["api", "v1", _, ..] => Err(Refused::new(
                410,
                "Unimplemented",
                "The v1 API is deprecated. Please use /v2 apis",
            )),
            ["api", "v2", "tenants", rest @ ..] => self.route_tenants(method, rest, query, body),
            ["api", "v2", "reset"] if method == "POST" => self.reset(),
            ["api", "v2", rest @ ..] => Ok(about(method, rest)),
            _ => Ok(Answer::bare(404)),
        }
    }

    fn route_tenants(&mut self, method: &str, path: &[&str], query: &str, body: &[u8]) -> Handled {
        match (method, path) {
            ("POST", []) => self.create_tenant(body),
            ("GET", [tenant]) if !tenant.is_empty() => self.get_tenant(tenant),
            ("PATCH", [tenant]) if !tenant.is_empty() => Self::change_tenant(body),
            ("POST", [tenant, "databases"]) => self.create_database(tenant, body),
            ("GET", [tenant, "databases"]) => Ok(self.list_databases(tenant, &page(query)?)),
            (_, [] | [_, "databases"]) => Ok(Answer::bare(405)),
            (_, [tenant]) if !tenant.is_empty() => Ok(Answer::bare(405)),
            (_, [tenant, "databases", database, rest @ ..]) if !database.is_empty() => {
                let place = Place { tenant, database };
                self.route_database(method, place, rest, query, body)
            }
            _ => Ok(Answer::bare(404)),
        }
    }

    fn route_database(
        &mut self,
        method: &str,
        place: Place<'_>,
        path: &[&str],
        query: &str,
        body: &[u8],
    ) -> Handled {
        match (method, path) {
            ("GET", []) => {
                place.check()?;
                self.get_database(place)
            }
            ("DELETE", []) => self.delete_database(place),
            ("GET", ["collections_count"]) => self.count_collections(place),
            ("GET", ["collections"]) => self.list_collections(place, &page(query)?),
            ("POST", ["collections"]) => self.create_collection(place, body),
            (_, ["collections", "by-id", _]) if !self.knows_by_id => Ok(Answer::bare(404)),
            ("GET", ["collections", "by-id", id]) => self.get_collection_by_id(place, id),
            (_, [] | ["collections_count" | "collections"] | ["collections", "by-id", _]) => {
                Ok(Answer::bare(405))
            }
            (_, ["collections", collection, rest @ ..]) if !collection.is_empty() => {
                self.route_collection(method, place, collection, rest, query, body)
            }
            _ => Ok(Answer::bare(404)),
        }
    }

    fn route_collection(
        &mut self,
        method: &str,
        place: Place<'_>,
        collection: &str,
        path: &[&str],
        query: &str,
        body: &[u8],
    ) -> Handled {
        match (method, path) {
            ("GET", []) => self.get_collection(place, collection),
            ("PUT", []) => self.change_collection(place, collection, body),
            ("DELETE", []) => self.delete_collection(place, collection),
            ("POST", ["add"]) => self.add(place, collection, body),
            ("POST", ["upsert"]) => self.upsert(place, collection, body),
            ("POST", ["update"]) => self.update(place, collection, body),
            ("POST", ["delete"]) => self.delete(place, collection, body),
            ("POST", ["get"]) => self.get(place, collection, body),
            ("POST", ["query"]) => self.query(place, collection, body),
            ("GET", ["count"]) => {
                check_read_level(query)?;
                self.count(place, collection)
            }
            ("GET", ["functions", name]) | ("POST", ["attached_functions", name, "detach"])
                if self.knows_functions =>
            {
                self.no_function(collection, name)
            }
            (_, [] | ["add" | "upsert" | "update" | "delete" | "get" | "query" | "count"]) => {
                Ok(Answer::bare(405))
            }
            _ => Ok(Answer::bare(404)),
        }
    }
}

impl Server {
    /// A collection has no functions.
    fn no_function(&self, collection: &str, name: &str) -> Handled {
        self.collection(collection)?;
        Err(Refused::missing(format!("Function '{name}' not found")))
    }
}

/// What a server says of itself. Its heart always beats at the same moment: it has no clock.
fn about(method: &str, path: &[&str]) -> Answer {
    let said = match path {
        [] | ["heartbeat"] => json!({ "nanosecond heartbeat": 1 }),
        ["healthcheck"] => json!({ "is_executor_ready": true, "is_log_client_ready": true }),
        ["version"] => json!("1.0.0"),
        ["pre-flight-checks"] => {
            json!({ "max_batch_size": 5461, "supports_base64_encoding": true })
        }
        ["auth", "identity"] => json!({
            "user_id": "",
            "tenant": "default_tenant",
            "databases": ["default_database"],
        }),
        ["reset"] => return Answer::bare(405),
        _ => return Answer::bare(404),
    };
    if method == "GET" {
        Answer::json(200, &said)
    } else {
        Answer::bare(405)
    }
}

fn bad_query(complaint: &str) -> Refused {
    Refused::invalid(format!("Failed to deserialize query string: {complaint}"))
}

/// The values of a parameter.
fn values<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(move |(key, value)| (key == name).then_some(value))
}

fn page(query: &str) -> Result<Page, Refused> {
    Ok(Page {
        limit: number(query, "limit")?,
        offset: number(query, "offset")?,
    })
}

fn number(query: &str, name: &str) -> Result<Option<u32>, Refused> {
    let mut values = values(query, name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad_query(&format!("duplicate field `{name}`")));
    }
    // A plus sign is a space here, and Rust would take it for a sign.
    let value = value.replace('+', " ");
    let number = value.parse();
    number
        .map(Some)
        .map_err(|complaint| bad_query(&format!("{name}: {complaint}")))
}

fn check_read_level(query: &str) -> Result<(), Refused> {
    let known = ["index_and_wal", "index_only", "index_and_bounded_wal"];
    for level in values(query, "read_level") {
        if !known.contains(&level) {
            return Err(bad_query(&format!(
                "read_level: unknown variant `{level}`, expected one of `index_and_wal`, `index_only`, `index_and_bounded_wal`"
            )));
        }
    }
    Ok(())
}
