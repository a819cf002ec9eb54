//! One random history, on the model and on a real server at once.

use std::collections::BTreeMap;

use achromat_tests::{
    api::Api,
    records::{self, Contents},
    sim::model::{Answer, Record, Server},
};
use serde_json::{Value, json};

use super::{
    random::Random,
    requests::{Compared, Request},
};

/// A history under way.
pub struct History {
    seed: u64,
    random: Random,
    real: Side<Api>,
    model: Side<Server>,
}

/// A server, and the names that its ids have in this history, where they are the same on both.
struct Side<S> {
    server: S,
    names: BTreeMap<String, String>,
}

/// The tenants and databases of the histories.
const DATABASES: [&str; 3] = [
    "/api/v2/tenants/default_tenant/databases/default_database",
    "/api/v2/tenants/default_tenant/databases/other",
    "/api/v2/tenants/elsewhere/databases/other",
];

impl History {
    /// A history that begins on empty servers.
    pub fn new(seed: u64, api: Api) -> Self {
        api.post("/api/v2/reset", &Value::Null).ok();
        Self {
            seed,
            random: Random::new(seed),
            real: Side::new(api),
            model: Side::new(Server::new(seed)),
        }
    }

    /// One more request, which both must answer alike. Returns it and its status.
    pub fn step(&mut self, step: usize) -> (Request, u64) {
        let request = Request::random(&mut self.random, self.real.names.len());
        let status = self.ask_both(step, &request);
        for more in request.mending(status) {
            self.ask_both(step, &more);
        }
        (request, status)
    }

    fn ask_both(&mut self, step: usize, request: &Request) -> u64 {
        let made = self.real.names.len();
        let method = &request.method;
        let real = self.real.ask(request, made, |api, path, body| {
            let body = Value::String(body.to_owned());
            // A server that panics closes the connection, and lives on.
            let answer = api.try_call(method, path, &body);
            answer.map_or((0, Value::Null), |answer| (answer.status, answer.body))
        });
        let model = self.model.ask(request, made, |server, path, body| {
            parsed(&server.handle(method, path, body.as_bytes()))
        });
        let seed = self.seed;
        assert!(
            real == model,
            "step {step} of seed {seed} differs: {request:#?}\nreal  {} {}\nmodel {} {}",
            real.0,
            real.1,
            model.0,
            model.1
        );
        real.0
    }

    /// What both hold must be the same.
    pub fn compare_contents(&self) {
        let real = real_contents(&self.real.server);
        let model = contents(&self.model.server);
        let difference = records::difference(&real, &model);
        assert_eq!(
            difference, None,
            "the contents of seed {} differ: real {real:#?}\nmodel {model:#?}",
            self.seed
        );
    }
}

fn parsed(answer: &Answer) -> (u16, Value) {
    if answer == &Answer::CLOSED {
        return (0, Value::Null);
    }
    let text = str::from_utf8(&answer.body).expect("text");
    let body = serde_json::from_str(text).unwrap_or(json!(text));
    (answer.status, body)
}

impl<S> Side<S> {
    fn new(server: S) -> Self {
        let names = BTreeMap::new();
        Self { server, names }
    }

    /// Asks for something that may concern a collection, the `made`th at most.
    fn ask(
        &mut self,
        request: &Request,
        made: usize,
        ask: impl FnOnce(&mut S, &str, &str) -> (u16, Value),
    ) -> (u64, Value) {
        let path = self.filled(&request.path);
        let (status, mut answer) = ask(&mut self.server, &path, &request.body);
        if let (200, "create_collection", Some(id)) =
            (status, &*request.route, answer["id"].as_str())
        {
            let name = format!("<collection {made}>");
            self.names.entry(id.to_owned()).or_insert(name);
        }
        self.rename(&mut answer);
        request.compared.reduce(&mut answer);
        (status.into(), answer)
    }

    /// The path with this side's ids.
    fn filled(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (id, name) in &self.names {
            path = path.replace(name, id);
        }
        path
    }

    /// Puts names in the place of ids, and takes out what may differ.
    fn rename(&self, answer: &mut Value) {
        match answer {
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            Value::Object(fields) => {
                if fields.len() == 3 && fields.contains_key("tenant") {
                    mask_database(fields);
                }
                for (name, value) in fields {
                    match name.as_str() {
                        // The cores of the machine, and the time.
                        "num_threads" | "nanosecond heartbeat" => *value = json!("masked"),
                        _ => self.rename(value),
                    }
                }
            }
            Value::String(text) => {
                for (id, name) in &self.names {
                    *text = text.replace(id, name);
                }
                *text = gist(text);
            }
            _ => {}
        }
    }
}

/// A database's id is its server's own, but for the default one.
fn mask_database(fields: &mut serde_json::Map<String, Value>) {
    let nil = uuid::Uuid::nil().to_string();
    if let Some(id) = fields.get_mut("id").filter(|id| **id != nil.as_str()) {
        *id = json!("masked");
    }
}

/// Errors without what a parser says of the place, and in a certain order.
fn gist(text: &str) -> String {
    let vague = [
        "Failed to parse the request body as JSON",
        "Failed to deserialize the JSON body into the target type",
        "Invalid base64 string",
        "Validation error: name: Validation error: length",
    ];
    if let Some(start) = vague.iter().find(|start| text.starts_with(**start)) {
        return (*start).to_owned();
    }
    let Some(complaints) = text.strip_prefix("Validation error: ") else {
        return text.to_owned();
    };
    let mut complaints: Vec<&str> = complaints.lines().collect();
    complaints.sort_unstable();
    complaints.join("; ")
}

impl Compared {
    /// Takes out of an answer what equal servers need not agree upon.
    fn reduce(self, answer: &mut Value) {
        match self {
            Self::Whole => {}
            // The order is that of the UUIDs.
            Self::Listed => {
                if let Value::Array(items) = answer {
                    items.sort_by_key(Value::to_string);
                }
            }
            Self::Paged => {
                if let Value::Array(items) = answer {
                    *answer = json!(items.len());
                }
            }
            // Records that are equally far come in any order.
            Self::Searched => sort_results(answer),
            Self::SearchedInPart => {
                if answer.get("distances").is_some() {
                    *answer = answer["distances"].take();
                }
            }
        }
    }
}

fn sort_results(answer: &mut Value) {
    let parts = [
        "distances",
        "ids",
        "documents",
        "metadatas",
        "embeddings",
        "uris",
    ];
    let queries = answer["ids"].as_array().map_or(0, Vec::len);
    for query in 0..queries {
        let found = answer["ids"][query].as_array().map_or(0, Vec::len);
        let row = |at: usize| parts.map(|part| answer[part][query].get(at).cloned());
        let mut rows: Vec<_> = (0..found).map(row).collect();
        rows.sort_by_cached_key(|row| format!("{row:?}"));
        for (at, row) in rows.into_iter().enumerate() {
            for (part, value) in parts.iter().zip(row) {
                if let Some(value) = value {
                    answer[*part][query][at] = value;
                }
            }
        }
    }
}

/// What the model holds, in the form in which a real server is read, but for the configuration
/// and the schema.
fn contents(server: &Server) -> Contents {
    let named = server.contents().into_iter().map(|(place, contents)| {
        let (tenant, database, name) = place;
        let name = format!("/api/v2/tenants/{tenant}/databases/{database} {name}");
        let about = json!([contents.metadata.as_deref(), contents.dimension]);
        let records = contents.records.iter();
        let records = records.map(|(id, record)| (id.to_string(), shown(record)));
        (name, (about, records.collect()))
    });
    named.collect()
}

/// What a real server holds, without the configuration and the schema.
fn real_contents(api: &Api) -> Contents {
    let mut contents = records::contents(api, &DATABASES).expect("it can be read");
    for (about, _) in contents.values_mut() {
        about.as_array_mut().expect("a list").truncate(2);
    }
    contents
}

/// A record as a real server shows it.
fn shown(record: &Record) -> Value {
    let has_metadata = !record.metadata.is_empty() || record.uri.is_some();
    let metadata = has_metadata.then_some(&record.metadata);
    json!([
        &*record.embedding,
        record.document.as_deref(),
        metadata,
        record.uri.as_deref()
    ])
}
