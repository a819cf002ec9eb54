//! Recipes that make a collection like another, by the other's description.
//!
//! Chroma takes more in a change of a collection than in its creation, measured on 1.5.9: metadata such
//! as `hnsw:ef` (refused on creation), `hnsw:space` (taken, but then it changes the configuration), and
//! settings of the index below the bounds that a schema is held to. And it takes a configuration and a
//! schema together only when one of them is the default. So several recipes are tried in order, each
//! result is compared with its model, and some make the collection first and change it then.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// One way to make a collection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The body of the request that creates it.
    pub(crate) create: Bytes,
    /// The body of the request that changes it then.
    pub(crate) modify: Option<Bytes>,
}

/// Description of the collection that a recipe imitates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    pub(crate) name: &'a str,
    pub(crate) metadata: &'a Value,
    pub(crate) configuration: &'a Value,
    pub(crate) schema: &'a Value,
}

/// Path within a schema to the settings of the embeddings' index.
const INDEX: &str = "/keys/#embedding/float_list/vector_index/config/hnsw";

/// The settings of an index that a change may name (`UpdateHnswConfiguration`); it refuses all others.
const CHANGEABLE: [&str; 6] = [
    "ef_search",
    "max_neighbors",
    "num_threads",
    "resize_factor",
    "sync_threshold",
    "batch_size",
];

impl Model<'_> {
    /// The recipes, those first that need one request.
    pub(crate) fn recipes(self) -> Vec<Recipe> {
        let Self {
            name,
            metadata,
            configuration,
            schema,
        } = self;
        let whole = [
            json!({ "name": name, "metadata": metadata, "configuration": configuration, "schema": schema }),
            json!({ "name": name, "metadata": metadata, "configuration": configuration }),
            json!({ "name": name, "metadata": metadata, "schema": schema }),
        ];
        let mut recipes: Vec<_> = whole.iter().map(|create| recipe(create, None)).collect();
        let configured = json!({ "name": name, "configuration": configuration });
        let with_metadata = self.change(None);
        if with_metadata.is_some() {
            let with_schema = json!({ "name": name, "schema": schema });
            for create in [&configured, &with_schema] {
                recipes.push(recipe(create, with_metadata.as_ref()));
            }
        }
        if let Some(index) = self.index() {
            recipes.push(recipe(&configured, self.change(Some(index)).as_ref()));
        }
        recipes
    }

    /// The change by which metadata, and the settings of an index, come to be.
    fn change(self, index: Option<Value>) -> Option<Value> {
        let mut change = Map::new();
        if !self.metadata.is_null() {
            change.insert("new_metadata".to_owned(), self.metadata.clone());
        }
        if let Some(index) = index {
            change.insert("new_configuration".to_owned(), json!({ "hnsw": index }));
        }
        (!change.is_empty()).then_some(Value::Object(change))
    }

    /// The settings of the index that a change can make.
    fn index(self) -> Option<Value> {
        let all = self.schema.pointer(INDEX)?.as_object()?;
        let changeable = all
            .iter()
            .filter(|(setting, _)| CHANGEABLE.contains(&setting.as_str()));
        let settings = changeable.map(|(setting, value)| (setting.clone(), value.clone()));
        Some(Value::Object(settings.collect()))
    }
}

fn recipe(create: &Value, modify: Option<&Value>) -> Recipe {
    let body = |value: &Value| Bytes::from(value.to_string());
    Recipe {
        create: body(create),
        modify: modify.map(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes(metadata: &Value, schema: &Value) -> Vec<(Value, Option<Value>)> {
        let model = Model {
            name: "notes",
            metadata,
            configuration: &json!({ "hnsw": { "space": "l2" } }),
            schema,
        };
        let read = |body: &Bytes| serde_json::from_slice(body).unwrap();
        let recipes = model.recipes().into_iter();
        recipes
            .map(|r| (read(&r.create), r.modify.as_ref().map(read)))
            .collect()
    }

    /// Metadata that only a change takes is left out of the creation and given by a change.
    #[test]
    fn metadata_can_come_by_a_change() {
        let metadata = json!({ "hnsw:ef": 64 });
        let all = recipes(&metadata, &Value::Null);
        assert_eq!(all.len(), 5);
        for (create, modify) in &all[3..] {
            assert_eq!(create.get("metadata"), None);
            assert_eq!(modify, &Some(json!({ "new_metadata": metadata })));
        }
    }

    /// Settings that a schema has for the index are given by a change, as far as a change takes them.
    #[test]
    fn settings_of_the_index_can_come_by_a_change() {
        let index = json!({ "ef_construction": 100, "batch_size": 1, "sync_threshold": 1 });
        let schema = json!({ "keys": { "#embedding": { "float_list": { "vector_index": { "config": { "hnsw": index } } } } } });
        let all = recipes(&Value::Null, &schema);
        assert_eq!(all.len(), 4);
        let changed = json!({ "batch_size": 1, "sync_threshold": 1 });
        assert_eq!(
            all[3].1,
            Some(json!({ "new_configuration": { "hnsw": changed } }))
        );
    }
}
