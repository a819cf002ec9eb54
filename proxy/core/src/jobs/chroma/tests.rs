//! Descriptions of one collection as servers of different versions give them.

use serde_json::{Value, json};

use super::Described;

fn schema(threads: u32, batch: u32) -> Value {
    let index = json!({ "space": "cosine", "hnsw": { "num_threads": threads, "batch_size": batch, "ef_search": 100 } });
    let floats = json!({ "float_list": { "vector_index": { "config": index } } });
    json!({ "defaults": floats, "keys": { "#embedding": floats, "found": { "int": {} } } })
}

fn described(configuration: &Value, schema: &Value) -> Described {
    let body = json!({
        "id": "1cd093e4-54bc-4495-bd60-e712aadfe5ec",
        "name": "notes",
        "metadata": { "m": 1 },
        "configuration_json": configuration,
        "schema": schema,
    });
    Described::parse(body.to_string().as_bytes()).unwrap()
}

/// Only what both servers show is compared, and nothing that a server sets by itself.
#[test]
fn descriptions_are_compared_by_what_both_versions_show() {
    let cosine = json!({ "hnsw": { "space": "cosine", "ef_search": 100 } });
    let plain = json!({ "hnsw": { "space": "l2", "ef_search": 100 } });
    let hidden = json!({ "_type": "CollectionConfigurationInternal", "hnsw_configuration": { "space": "l2" } });
    let newest = described(&cosine, &schema(2, 50));
    let cases = [
        (described(&cosine, &schema(64, 100)), &[][..]),
        (described(&cosine, &Value::Null), &[]),
        (described(&hidden, &Value::Null), &[]),
        (described(&plain, &Value::Null), &["configuration"]),
        (described(&cosine, &json!({ "keys": {} })), &["schema"]),
    ];
    for (other, unlike) in cases {
        assert_eq!(newest.unlike(&other), unlike, "{other:?}");
        assert_eq!(other.unlike(&newest), unlike, "{other:?}");
    }
}

/// A configuration that is not the collection's own is not given to a copy.
#[test]
fn a_configuration_that_is_not_shown_is_not_copied() {
    let hidden = json!({ "hnsw_configuration": { "space": "l2" } });
    for recipe in described(&hidden, &Value::Null).recipes() {
        let create: Value = serde_json::from_slice(&recipe.create).unwrap();
        assert!(create["configuration"].is_null(), "{create}");
        let whole = recipe.modify.unwrap_or(recipe.create);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let metadata = [&whole["metadata"], &whole["new_metadata"]];
        assert!(metadata.contains(&&json!({ "m": 1 })), "{whole}");
    }
}
