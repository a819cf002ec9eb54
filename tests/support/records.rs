//! What an instance really holds, in a form that can be compared.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::Api;

/// Each record of a collection by its id, with all that Chroma says of it.
pub type Records = BTreeMap<String, Value>;

/// Everything that a server holds, by tenant, database and collection name.
pub type Contents = BTreeMap<String, (Value, Records)>;

/// Records are read in pages of this size: a `get` of very many is slow.
const PAGE: usize = 1000;

/// All records of a collection, read under the collection's UUID on that server.
pub fn records(api: &Api, database: &str, uuid: &str) -> Result<Records, String> {
    let mut records = Records::new();
    for page in 0.. {
        let include = ["documents", "metadatas", "embeddings", "uris"];
        let body = json!({ "limit": PAGE, "offset": page * PAGE, "include": include });
        let path = format!("{database}/collections/{uuid}/get");
        let answer = api
            .try_call("POST", &path, &body)
            .map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        let found = answer.body;
        let ids = found["ids"].as_array().cloned().unwrap_or_default();
        for (at, id) in ids.iter().enumerate() {
            let part = |name: &str| found[name].get(at).cloned().unwrap_or(Value::Null);
            let record = json!([
                part("embeddings"),
                part("documents"),
                part("metadatas"),
                part("uris")
            ]);
            records.insert(id.as_str().unwrap_or_default().to_owned(), record);
        }
        if ids.len() < PAGE {
            break;
        }
    }
    Ok(records)
}

/// Everything that a server holds in these databases.
pub fn contents(api: &Api, databases: &[&str]) -> Result<Contents, String> {
    let mut contents = Contents::new();
    for database in databases {
        let path = format!("{database}/collections");
        let answer = api
            .try_call("GET", &path, &Value::Null)
            .map_err(|error| error.to_string())?;
        for collection in answer.body.as_array().cloned().unwrap_or_default() {
            let uuid = collection["id"].as_str().unwrap_or_default();
            let name = format!(
                "{database} {}",
                collection["name"].as_str().unwrap_or_default()
            );
            let about = json!([
                collection["metadata"],
                collection["dimension"],
                collection["configuration_json"],
                collection["schema"],
            ]);
            let held = records(api, database, uuid)
                .map_err(|error| format!("{name} at {}: {error}", api.base()))?;
            contents.insert(name, (about, held));
        }
    }
    Ok(contents)
}

/// Where two servers differ, in a few words.
pub fn difference(one: &Contents, other: &Contents) -> Option<String> {
    for name in one.keys().chain(other.keys()) {
        match (one.get(name), other.get(name)) {
            (Some((_, a)), Some((_, b))) if a != b => {
                let differs = |id: &&String| a.get(*id) != b.get(*id);
                let ids: Vec<_> = a.keys().chain(b.keys()).filter(differs).take(5).collect();
                return Some(format!(
                    "{name}: {} and {} records, for example {ids:?}",
                    a.len(),
                    b.len()
                ));
            }
            (Some((a, _)), Some((b, _))) if a != b => {
                return Some(format!("{name} is described as {a} and as {b}"));
            }
            (Some(_), Some(_)) => {}
            (None, _) => return Some(format!("{name} is missing on the first")),
            (_, None) => return Some(format!("{name} is missing on the second")),
        }
    }
    None
}
