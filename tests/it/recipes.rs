//! Collections that can't be made in one request are rebuilt all the same.

use achromat_tests::{api::DATABASE, cluster::Cluster};
use serde_json::{Value, json};

/// What a change of a collection takes and its creation refuses, or takes to mean something else: each
/// is there again, as it was, on a server that has lost its disk.
#[test]
fn what_only_a_change_takes_is_rebuilt() {
    let mut cluster = Cluster::start();
    let api = cluster.api();
    let legacy = json!({ "type": "legacy" });
    let changes = [
        vec![json!({ "new_metadata": { "hnsw:ef": 64 } })],
        vec![json!({ "new_metadata": { "hnsw:space": "nonsense" } })],
        vec![json!({ "new_metadata": { "hnsw:search_ef": 64 } })],
        vec![json!({ "new_metadata": { "hnsw:space": "cosine", "hnsw:M": 20 } })],
        vec![json!({ "new_configuration": { "hnsw": { "ef_search": 77 } } })],
        vec![json!({ "new_configuration": { "hnsw": { "sync_threshold": 1, "batch_size": 1 } } })],
        vec![
            json!({ "new_configuration": { "hnsw": { "resize_factor": 1.5, "batch_size": 50 }, "embedding_function": legacy } }),
            json!({ "new_metadata": { "hnsw:ef": 5, "plain": true } }),
        ],
    ];
    let direct = cluster.instances[1].api();
    for (number, changes) in changes.iter().enumerate() {
        let name = format!("changed-{number}");
        let id = api.create(&name);
        for change in changes {
            api.put(&format!("$D/collections/{id}"), change).ok();
        }
        api.records(&id, "add", &json!({ "ids": ["a"], "embeddings": [[1, 2]] }))
            .ok();
        // Why this is a case at all: Chroma does not make such a collection by its description.
        let about = api.get(&format!("$D/collections/{name}")).ok();
        if number == 0 {
            let copy = json!({ "name": "copy", "metadata": about["metadata"] });
            direct.post("$D/collections", &copy).refused(400);
        }
    }
    let before = cluster.settle();
    cluster.lose_disk(1);
    cluster.wait_state("b", &["up"]);
    let after = cluster.settle();
    assert_eq!(after.len(), changes.len());
    for (name, (about, records)) in &before {
        assert_eq!(&after[name].1, records, "{name}");
        assert_eq!(after[name].0[0], about[0], "{name}: metadata");
        assert_eq!(after[name].0[2], about[2], "{name}: configuration");
    }
    let jobs = api.get("/admin/jobs").ok();
    assert!(!jobs.to_string().contains("could be made"), "{jobs}");
    let metadata = &after[&format!("{DATABASE} changed-0")].0[0];
    assert_eq!(metadata, &json!({ "hnsw:ef": 64 }));
    assert_eq!(api.get("/health").ok()["status"], Value::from("healthy"));
}
