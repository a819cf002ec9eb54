//! Random requests, good and bad, about few things, so that they meet each other.

use serde_json::{Value, json};

use super::random::{Choice, NAMES, Random};

/// A request. Its path may name a collection, in place of whose name each server's id is put.
#[derive(Debug)]
pub struct Request {
    /// What is asked for, in a word.
    pub route: String,
    pub method: String,
    pub path: String,
    pub body: String,
    pub compared: Compared,
}

/// How two answers are compared.
#[derive(Clone, Copy, Debug)]
pub enum Compared {
    /// As they are.
    Whole,
    /// As lists whose order does not matter.
    Listed,
    /// By the length of a list, a part of one whose order differs.
    Paged,
    /// As results of a search that found all there is.
    Searched,
    /// By the distances that a search found.
    SearchedInPart,
}

impl Request {
    /// Any request, when so many collections have been made.
    pub fn random(random: &mut Random, made: usize) -> Self {
        let database = match random.below(20) {
            0 => "/api/v2/tenants/default_tenant/databases/nothing",
            1 => "/api/v2/tenants/default_tenant/databases/ab",
            2 => "/api/v2/tenants/elsewhere/databases/other",
            3..8 => "/api/v2/tenants/default_tenant/databases/other",
            _ => "/api/v2/tenants/default_tenant/databases/default_database",
        };
        // There is little to be done without collections.
        if made < 2 && random.once_in(2) {
            return create_collection(random, database);
        }
        match random.below(100) {
            0..3 => about(random),
            3..6 => tenants(random),
            6..14 => databases(random, database),
            14..34 => collections(random, database, made),
            _ => records(random, database, made),
        }
    }

    /// What follows a write, to keep the histories clear of two mistakes of Chroma 1.5.9 that are
    /// not modelled. Both come from its index of embeddings, which is brought up to date when it is
    /// read.
    ///
    /// - At its second read it goes through all writes before the first once more: an update of an
    ///   id that is missing, followed by an add of that id, then takes effect when it should not.
    ///   A read after each update keeps them apart.
    /// - When it was read before a refused write sets the dimension, reads are answered with 500
    ///   until the next write is taken, such as a delete of nothing.
    pub fn mending(&self, status: u64) -> Vec<Self> {
        let (path, act) = self.path.rsplit_once('/').unwrap_or_default();
        let post = |route: &str, act, body: &Value| {
            Self::new(route, "POST", format!("{path}/{act}"), body.to_string())
        };
        let mut follows = Vec::new();
        if status == 400 && ["add", "upsert", "update"].contains(&act) {
            follows.push(post(
                "delete_nothing",
                "delete",
                &json!({ "ids": ["nothing"] }),
            ));
        }
        if act == "update" {
            follows.push(post(
                "read_after",
                "get",
                &json!({ "include": ["embeddings"] }),
            ));
        }
        follows
    }

    fn new(route: &str, method: &str, path: String, body: String) -> Self {
        Self {
            route: route.to_owned(),
            method: method.to_owned(),
            path,
            body,
            compared: Compared::Whole,
        }
    }

    fn get(route: &str, path: String) -> Self {
        Self::new(route, "GET", path, String::new())
    }

    fn compared(mut self, compared: Compared) -> Self {
        self.compared = compared;
        self
    }
}

/// A collection by its id: one of those that were made, or none.
fn collection(random: &mut Random, made: usize) -> String {
    match random.below(40) {
        0 => "11111111-1111-1111-1111-111111111111".to_owned(),
        1 => "nonsense".to_owned(),
        _ if made == 0 => "22222222-2222-2222-2222-222222222222".to_owned(),
        // The latest are most often there still.
        _ => {
            let back = random
                .below(made)
                .min(random.below(made))
                .min(random.below(made));
            format!("<collection {}>", made - 1 - back)
        }
    }
}

/// Parts of lists.
fn page(random: &mut Random) -> &'static str {
    let pages = [
        "?limit=1",
        "?offset=1",
        "?limit=2&offset=1",
        "?limit=0",
        "?limit=-1",
        "?limit=x",
        "?limit=",
        "?limit=+1",
        "?offset=9",
        "?limit=1&limit=1",
        "?limit=4294967296",
    ];
    random.of(&pages)
}

fn about(random: &mut Random) -> Request {
    let paths = [
        "/api/v2",
        "/api/v2/heartbeat",
        "/api/v2/healthcheck",
        "/api/v2/version",
        "/api/v2/pre-flight-checks",
        "/api/v2/auth/identity",
        "/api/v2/nothing",
        "/api/v1/collections",
        "/api/v2/tenants/",
        "/api/v2/tenants/default_tenant/nothing",
        "/",
    ];
    let method = random.of(&["GET", "GET", "POST", "DELETE"]);
    Request::new("about", method, random.of(&paths).to_owned(), String::new())
}

fn tenants(random: &mut Random) -> Request {
    let tenant = random.of(&["default_tenant", "elsewhere", "third one", "nobody", "ab"]);
    let path = "/api/v2/tenants".to_owned();
    match random.below(6) {
        0 | 1 => {
            let body = random.broken(&json!({ "name": tenant }));
            Request::new("create_tenant", "POST", path, body)
        }
        2 => {
            let body = random
                .of(&[json!({}), json!({ "resource_name": "x" })])
                .to_string();
            Request::new("change_tenant", "PATCH", format!("{path}/elsewhere"), body)
        }
        3 => Request::new(
            "no_method",
            "DELETE",
            format!("{path}/elsewhere"),
            String::new(),
        ),
        _ => Request::get(
            "get_tenant",
            format!("{path}/{}", tenant.replace(' ', "%20")),
        ),
    }
}

fn databases(random: &mut Random, database: &str) -> Request {
    let list = random.of(&["default_tenant", "default_tenant", "elsewhere", "nobody"]);
    let list = format!("/api/v2/tenants/{list}/databases");
    match random.below(12) {
        0..4 => {
            let names = [
                "other",
                "other",
                "other",
                "default_database",
                "more",
                "ab",
                "a b",
            ];
            let body = json!({ "name": random.of(&names) });
            let body = random.broken(&body);
            Request::new("create_database", "POST", list, body)
        }
        4 => Request::get("list_databases", list),
        5 => Request::get("list_databases", format!("{list}{}", page(random))),
        6..8 => Request::get("get_database", database.to_owned()),
        8 => Request::new("no_method", "PUT", database.to_owned(), "{}".to_owned()),
        9 if !random.has_lists && random.once_in(2) => Request::new(
            "delete_database",
            "DELETE",
            database.to_owned(),
            String::new(),
        ),
        _ => Request::get("count_collections", format!("{database}/collections_count")),
    }
}

fn create_collection(random: &mut Random, database: &str) -> Request {
    let name = random.name();
    let mut body = json!({ "name": name });
    if NAMES.contains(&name) && random.once_in(3) {
        body["metadata"] = random.own_fields();
    }
    if random.once_in(2) {
        body["get_or_create"] = random.of(&[json!(true), json!(true), json!(false)]);
    }
    let path = format!("{database}/collections");
    let body = random.broken(&body);
    Request::new("create_collection", "POST", path, body)
}

fn collections(random: &mut Random, database: &str, made: usize) -> Request {
    let list = format!("{database}/collections");
    let name = random.name();
    let named = format!("{list}/{}", name.replace(' ', "%20"));
    match random.below(20) {
        0..7 => create_collection(random, database),
        7..9 => Request::get("list_collections", list).compared(Compared::Listed),
        9 => {
            let list = format!("{list}{}", page(random));
            Request::get("list_collections", list).compared(Compared::Paged)
        }
        10..13 => Request::get("get_collection", named),
        13..15 => {
            let id = collection(random, made);
            Request::get("get_collection_by_id", format!("{list}/by-id/{id}"))
        }
        15 if !random.has_lists => {
            Request::new("delete_collection", "DELETE", named, String::new())
        }
        16 => {
            let id = collection(random, made);
            Request::new(
                "delete_collection",
                "DELETE",
                format!("{list}/{id}"),
                String::new(),
            )
        }
        _ => {
            let mut body = json!({});
            if random.once_in(2) {
                body["new_name"] = json!(name);
            }
            if NAMES.contains(&name) && random.once_in(2) {
                body["new_metadata"] = random.own_fields();
            }
            let path = format!("{list}/{}", collection(random, made));
            let body = random.broken(&body);
            Request::new("change_collection", "PUT", path, body)
        }
    }
}

fn records(random: &mut Random, database: &str, made: usize) -> Request {
    let path = format!("{database}/collections/{}", collection(random, made));
    let post = |route: &str, body| Request::new(route, "POST", format!("{path}/{route}"), body);
    match random.below(40) {
        0..8 => {
            let body = write(random, false);
            post("add", random.broken(&body))
        }
        8..18 => {
            let body = write(random, false);
            post("upsert", random.broken(&body))
        }
        18..24 => {
            let body = write(random, true);
            post("update", random.broken(&body))
        }
        24..28 => {
            let body = delete(random);
            post("delete", random.broken(&body))
        }
        28..34 => {
            let body = get(random);
            post("get", random.broken(&body))
        }
        34..37 => {
            let body = query(random);
            let compared = match body["n_results"].as_u64() {
                Some(most) if most < 8 => Compared::SearchedInPart,
                _ => Compared::Searched,
            };
            post("query", random.broken(&body)).compared(compared)
        }
        37 => Request::new("no_method", "GET", format!("{path}/add"), String::new()),
        _ => {
            let level = random.of(&["", "?read_level=index_only", "?read_level=none", "?x=y"]);
            Request::get("count", format!("{path}/count{level}"))
        }
    }
}

/// A write of some records: mostly right, and wrong in one way at most, because Chroma tells of
/// several in no certain order.
fn write(random: &mut Random, is_update: bool) -> Value {
    let count = random.below(4);
    let ids: Vec<Value> = (0..count).map(|_| random.id()).collect();
    let mut body = json!({ "ids": ids });
    let length = random.length();
    if !is_update || random.once_in(2) {
        let mut embeddings: Vec<Value> = (0..count).map(|_| random.embedding(length)).collect();
        if is_update && random.once_in(2) {
            embeddings.fill_with(|| random.optional(|random| random.embedding(2)));
        }
        body["embeddings"] = json!(embeddings);
    }
    let parts: [(&str, Choice); 3] = [
        ("documents", Random::text),
        ("uris", Random::uri),
        ("metadatas", Random::fields),
    ];
    for (part, value) in parts {
        if random.once_in(2) {
            let values: Vec<Value> = (0..count).map(|_| random.optional(value)).collect();
            body[part] = json!(values);
        }
    }
    if random.once_in(8) {
        spoil(random, &mut body);
    }
    body
}

/// Makes a write wrong in some way, or odd.
fn spoil(random: &mut Random, body: &mut Value) {
    match random.below(12) {
        0 => body["ids"] = json!(["a", ""]),
        1 => body["ids"] = json!("a"),
        2 => body["documents"] = json!(["one", "two", "three", "four"]),
        3 => body["embeddings"] = json!([[1, 2], [1, 2, 3]]),
        4 => body["embeddings"] = json!([]),
        5 => body["embeddings"] = Value::Null,
        6 => *body = json!({ "ids": ["a"], "embeddings": ["AACAPwAAAEA="] }),
        7 => *body = json!({ "ids": ["a"], "embeddings": ["!"] }),
        8 => *body = json!({ "ids": ["a"], "embeddings": ["AACAPwA="] }),
        9 => *body = json!({ "ids": ["a", "b"], "embeddings": ["AACAPwAAAEA=", [1, 2]] }),
        10 => body["other"] = json!(1),
        _ => body["embeddings"] = json!([[1, "x"]]),
    }
}

fn delete(random: &mut Random) -> Value {
    let mut body = json!({});
    if random.once_in(2) {
        body["ids"] = json!(random.list(3, Random::id));
    } else {
        random.add_conditions(&mut body);
    }
    // One thing at a time: to refuse several, Chroma names them in no certain order.
    let is_refused = body["ids"].as_array().is_some_and(Vec::is_empty);
    if !is_refused && random.once_in(4) {
        random.add_conditions(&mut body);
    }
    if !is_refused && random.once_in(4) {
        body["limit"] = random.of(&[json!(0), json!(1), json!(2), json!(-1), Value::Null]);
    }
    body
}

fn get(random: &mut Random) -> Value {
    let mut body = json!({});
    if random.once_in(3) {
        body["ids"] = json!(random.list(4, Random::id));
    }
    random.add_conditions(&mut body);
    if random.once_in(3) {
        body["limit"] = random.of(&[json!(0), json!(1), json!(2), json!(-1), json!("x")]);
    }
    if random.once_in(3) {
        body["offset"] = random.of(&[json!(0), json!(1), json!(3), Value::Null]);
    }
    random.include(&mut body);
    body
}

/// Never `n_results: 0`, which makes a real server panic now and then.
fn query(random: &mut Random) -> Value {
    let length = random.length();
    let queries = random.list(2, |random| random.embedding(length));
    let mut body = json!({ "query_embeddings": queries });
    if random.once_in(5) {
        body["ids"] = json!(random.list(3, Random::id));
    }
    random.add_conditions(&mut body);
    if random.once_in(3) {
        body["n_results"] = random.of(&[json!(1), json!(2), json!(3)]);
        body["include"] = json!(["distances"]);
    } else {
        body["n_results"] = json!(100);
        random.include(&mut body);
    }
    body
}
