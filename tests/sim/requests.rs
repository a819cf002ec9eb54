//! What clients ask for: real requests, from a small space of names and ids so that they meet, the
//! wrong ones among them.

use achromat_core::route::Method;

use super::{mix::Theme, proxy::PROTECTED, random::Random};

/// What an operation is about, for whoever judges its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// It writes.
    Write,
    /// The records of a collection.
    Records,
    /// One collection.
    Description,
    /// All collections of a database.
    List,
    /// How many there are.
    CountAll,
    /// Something below a collection that never is there.
    Absent,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is about.
    pub about: About,
    /// The method.
    pub method: Method,
    /// The target.
    pub target: String,
    /// The database in the target.
    pub database: &'static str,
    /// The collection in the target, by name or by id.
    pub reference: String,
    /// The body.
    pub body: String,
    /// The key under which it may be made again.
    pub key: Option<String>,
}

impl Draft {
    /// Whether its body is an array, behind what may stand before it.
    pub fn is_positional(&self) -> bool {
        self.about == About::Write && self.body.trim_start().starts_with('[')
    }
}

/// The databases that clients know; the second must be made first.
const DATABASES: [&str; 2] = ["default_database", "other"];

const NAMES: [&str; 4] = ["alpha", "beta", "gamma", PROTECTED];

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a client knows of collections that were made: the database, and the id.
pub type Known = (&'static str, String);

/// Something to ask.
pub fn draft(random: &mut Random, (theme, known): (Theme, &[Known]), is_first: bool) -> Draft {
    let is_on_theme = theme != Theme::Everything && random.chance(900);
    if is_on_theme {
        return themed(random, theme, known, is_first);
    }
    let choice = if is_first { 520 } else { random.below(1000) };
    match choice {
        0..=429 => write_records(random, known),
        430..=459 => bad_records(random, known),
        460..=599 => create(random),
        600..=659 => delete_collection(random, known),
        660..=699 => rename(random, known),
        700..=729 => modify(random, known),
        730..=749 => create_database(random),
        750..=769 => delete_database(),
        770..=879 => get(random, known),
        880..=919 => count(random, known),
        920..=949 => describe(random, known),
        950..=989 => list(random),
        _ => count_all(random),
    }
}

/// Something to ask in a history with a theme.
fn themed(random: &mut Random, theme: Theme, known: &[Known], is_first: bool) -> Draft {
    let first = (DATABASES[0], NAMES[0]);
    if is_first {
        return create_as(random, first, true);
    }
    match (theme, random.below(100)) {
        (Theme::Registers, 0..=59) => register_read(random),
        (Theme::Registers, 60..=96) | (Theme::Writers, 0..=84) => {
            on_first(write_records(random, known))
        }
        (Theme::Writers, 85..=96) => write_records(random, known),
        (Theme::Registers | Theme::Writers, _) => create_as(random, first, true),
        (_, 0..=34) => create(random),
        (_, 35..=54) => delete_collection(random, known),
        (_, 55..=69) => rename(random, known),
        (_, 70..=74) => create_database(random),
        (_, 75..=79) => delete_database(),
        (_, 80..=92) => write_records(random, known),
        (_, 93..=96) => list(random),
        _ => describe(random, known),
    }
}

/// A read of all records of the first collection. Each asks in other words, so that it may go to any
/// instance.
fn register_read(random: &mut Random) -> Draft {
    let (database, name) = (DATABASES[0], NAMES[0]);
    let limit = random.between(100, 200);
    Draft {
        about: About::Records,
        method: Method::Post,
        target: in_database(database, &format!("/collections/{name}/get")),
        database,
        reference: name.to_owned(),
        body: format!(r#"{{"include":["documents","metadatas"],"limit":{limit}}}"#),
        key: None,
    }
}

/// The same for the first collection, by its name.
fn on_first(draft: Draft) -> Draft {
    let (database, name) = (DATABASES[0], NAMES[0]);
    let tail = draft.target.rsplit('/').next().unwrap_or_default();
    Draft {
        target: in_database(database, &format!("/collections/{name}/{tail}")),
        database,
        reference: name.to_owned(),
        ..draft
    }
}

fn database(random: &mut Random) -> &'static str {
    DATABASES[usize::from(random.chance(150))]
}

fn in_database(database: &str, tail: &str) -> String {
    format!("/api/v2/tenants/default_tenant/databases/{database}{tail}")
}

/// A collection, by an id that is known or by a name.
fn collection(random: &mut Random, known: &[Known]) -> (&'static str, String) {
    if random.chance(600) && !known.is_empty() {
        return random.pick(known).clone();
    }
    (database(random), (*random.pick(&NAMES)).to_owned())
}

fn within(
    random: &mut Random,
    known: &[Known],
    (about, method, tail): (About, Method, &str),
    body: String,
) -> Draft {
    let (database, reference) = collection(random, known);
    Draft {
        about,
        method,
        target: in_database(database, &format!("/collections/{reference}{tail}")),
        database,
        reference,
        body,
        key: None,
    }
}

fn at_database(
    database: &'static str,
    (about, method, tail): (About, Method, &str),
    body: String,
) -> Draft {
    Draft {
        about,
        method,
        target: in_database(database, tail),
        database,
        reference: String::new(),
        body,
        key: None,
    }
}

/// One to three different ids.
fn ids(random: &mut Random) -> Vec<&'static str> {
    let first = random.below(6);
    let count = random.between(1, 3);
    (0..count)
        .map(|at| IDS[usize::try_from((first + at * 2) % 6).expect("an index")])
        .collect()
}

fn json(list: &[&str]) -> String {
    serde_json::to_string(list).expect("JSON")
}

fn records(random: &mut Random, ids: &[&str], dimension: usize) -> String {
    let embeddings: Vec<Vec<u64>> = ids
        .iter()
        .map(|_| (0..dimension).map(|_| random.below(100)).collect())
        .collect();
    let embeddings = serde_json::to_string(&embeddings).expect("JSON");
    // An upsert merges metadata: what it lacks is kept.
    let group = |random: &mut Random| match (random.below(3), random.below(100)) {
        (_, value) if value % 4 == 0 => format!(r#"{{"v":{value}}}"#),
        (group, value) => format!(r#"{{"g":{group},"v":{value}}}"#),
    };
    let metadatas: Vec<_> = ids.iter().map(|_| group(random)).collect();
    let documents: Vec<_> = ids
        .iter()
        .map(|_| format!("\"text {}\"", random.below(100)))
        .collect();
    format!(
        r#"{{"ids":{},"embeddings":{embeddings},"metadatas":[{}],"documents":[{}]}}"#,
        json(ids),
        metadatas.join(","),
        documents.join(",")
    )
}

fn write_records(random: &mut Random, known: &[Known]) -> Draft {
    let (tail, body) = record_write(random);
    within(random, known, (About::Write, Method::Post, tail), body)
}

fn record_write(random: &mut Random) -> (&'static str, String) {
    let ids = ids(random);
    match random.below(43) {
        0..=13 => ("/add", records(random, &ids, 2)),
        14..=24 => ("/upsert", records(random, &ids, 2)),
        25..=30 => ("/update", records(random, &ids, 2)),
        31..=36 => ("/delete", format!(r#"{{"ids":{}}}"#, json(&ids))),
        37..=39 => (
            "/delete",
            format!(r#"{{"where":{{"g":{}}}}}"#, random.below(3)),
        ),
        _ => {
            let (group, limit) = (random.below(3), random.between(1, 2));
            (
                "/delete",
                format!(r#"{{"where":{{"g":{group}}},"limit":{limit}}}"#),
            )
        }
    }
}

fn bad_records(random: &mut Random, known: &[Known]) -> Draft {
    let ids = ids(random);
    let (tail, body) = match random.below(6) {
        0 => ("/add", records(random, &ids, 3)),
        1 => ("/upsert", records(random, &ids, 3)),
        2 => (
            "/add",
            r#"{"ids":["a","b"],"embeddings":[[1,2]]}"#.to_owned(),
        ),
        3 => ("/add", r#"{"ids":[""],"embeddings":[[1,2,3]]}"#.to_owned()),
        4 => ("/upsert", "{\"ids\":[".to_owned()),
        _ => ("/delete", r#"{"ids":[]}"#.to_owned()),
    };
    within(random, known, (About::Write, Method::Post, tail), body)
}

fn create(random: &mut Random) -> Draft {
    let database = database(random);
    let name = random.pick(&NAMES);
    let finds = random.chance(400);
    create_as(random, (database, name), finds)
}

fn create_as(random: &mut Random, (database, name): (&'static str, &str), finds: bool) -> Draft {
    let flag = if finds {
        r#","get_or_create":true"#
    } else {
        ""
    };
    let value = random.below(100);
    let body = format!(r#"{{"name":"{name}"{flag},"metadata":{{"m":{value}}}}}"#);
    at_database(database, (About::Write, Method::Post, "/collections"), body)
}

fn delete_collection(random: &mut Random, known: &[Known]) -> Draft {
    within(
        random,
        known,
        (About::Write, Method::Delete, ""),
        String::new(),
    )
}

fn rename(random: &mut Random, known: &[Known]) -> Draft {
    let body = format!(r#"{{"new_name":"{}"}}"#, random.pick(&NAMES[..3]));
    within(random, known, (About::Write, Method::Put, ""), body)
}

fn modify(random: &mut Random, known: &[Known]) -> Draft {
    let body = format!(r#"{{"new_metadata":{{"m":{}}}}}"#, random.below(100));
    within(random, known, (About::Write, Method::Put, ""), body)
}

fn create_database(random: &mut Random) -> Draft {
    let body = format!(r#"{{"name":"{}"}}"#, random.pick(&DATABASES[1..]));
    let target = "/api/v2/tenants/default_tenant/databases".to_owned();
    Draft {
        target,
        ..at_database("other", (About::Write, Method::Post, ""), body)
    }
}

fn delete_database() -> Draft {
    at_database("other", (About::Write, Method::Delete, ""), String::new())
}

fn get(random: &mut Random, known: &[Known]) -> Draft {
    let body = match random.below(3) {
        0 => format!(r#"{{"ids":{}}}"#, json(&ids(random))),
        1 => format!(r#"{{"where":{{"g":{}}}}}"#, random.below(3)),
        _ => r#"{"include":["documents","metadatas","embeddings"]}"#.to_owned(),
    };
    within(random, known, (About::Records, Method::Post, "/get"), body)
}

fn count(random: &mut Random, known: &[Known]) -> Draft {
    within(
        random,
        known,
        (About::Records, Method::Get, "/count"),
        String::new(),
    )
}

fn describe(random: &mut Random, known: &[Known]) -> Draft {
    within(
        random,
        known,
        (About::Description, Method::Get, ""),
        String::new(),
    )
}

fn list(random: &mut Random) -> Draft {
    let database = database(random);
    at_database(
        database,
        (About::List, Method::Get, "/collections"),
        String::new(),
    )
}

fn count_all(random: &mut Random) -> Draft {
    let database = database(random);
    at_database(
        database,
        (About::CountAll, Method::Get, "/collections_count"),
        String::new(),
    )
}

/// Something that is legal, and that few clients ask: for a function that was never attached, or with
/// a positional array instead of an object, which Chroma takes and Achromat refuses.
pub fn odd_draft(random: &mut Random, known: &[Known]) -> Draft {
    let name = *random.pick(&NAMES);
    let value = random.below(100);
    match random.below(6) {
        0 | 1 => {
            let what = (About::Absent, Method::Get, "/functions/nope");
            within(random, known, what, String::new())
        }
        2 => {
            let tail = "/attached_functions/nope/detach";
            let what = (About::Write, Method::Post, tail);
            within(random, known, what, "{}".to_owned())
        }
        3 => {
            let body = format!(r#"["{name}",null,null,{{"m":{value}}},{}]"#, value < 50);
            let database = database(random);
            at_database(database, (About::Write, Method::Post, "/collections"), body)
        }
        4 => {
            let body = if value < 50 {
                format!(r#"["{name}",null,null]"#)
            } else {
                format!(r#"[null,{{"m":{value}}},null]"#)
            };
            within(random, known, (About::Write, Method::Put, ""), body)
        }
        _ => {
            let body = format!(r#" [["a"],[[{value},1]],null,null,null]"#);
            let tail = *random.pick(&["/add", "/upsert", "/update"]);
            within(random, known, (About::Write, Method::Post, tail), body)
        }
    }
}

/// The database of this name; the default one for what is in none.
pub fn known_database(name: &str) -> &'static str {
    let found = DATABASES.iter().find(|known| **known == name);
    found.copied().unwrap_or(DATABASES[0])
}

/// A write in the default database.
pub fn writes(method: Method, tail: &str, body: &str) -> Draft {
    let what = (About::Write, method, tail);
    at_database("default_database", what, body.to_owned())
}

/// All that a collection holds, to be asked for when everything is at rest.
pub fn everything_of(database: &'static str, id: &str) -> Draft {
    let body = r#"{"include":["documents","metadatas","embeddings"]}"#;
    Draft {
        about: About::Records,
        method: Method::Post,
        target: in_database(database, &format!("/collections/{id}/get")),
        database,
        reference: id.to_owned(),
        body: body.to_owned(),
        key: None,
    }
}

/// All collections of a database, to be asked for when everything is at rest.
pub fn all_collections(database: &'static str) -> Draft {
    at_database(
        database,
        (About::List, Method::Get, "/collections"),
        String::new(),
    )
}
