//! The figures that are scraped, against what was done and what the instances say.

use std::{collections::BTreeMap, time::Duration};

use achromat_tests::{api::Api, cluster::Cluster, wait::eventually};
use serde_json::json;

/// The page's samples by name and labels, checked to be a page: each family described before its
/// samples, a number in each, and the end marked.
fn scrape(api: &Api) -> BTreeMap<String, f64> {
    let answer = api.get("/metrics");
    let kind = answer.header("content-type").expect("a type").to_owned();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let body = answer.ok();
    let text = body.as_str().expect("text");
    let text = text.strip_suffix("# EOF\n").expect("an end");
    let mut family = String::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, _) = described.split_once(' ').expect("a name");
            name.clone_into(&mut family);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(name.starts_with(&family), "{line}");
            let name = name.trim_end_matches("{}");
            let value = value.parse().expect("a number");
            assert_eq!(samples.insert(name.to_owned(), value), None, "{line}");
        }
    }
    samples
}

/// What is counted is what was done.
#[test]
fn what_is_scraped_is_true() {
    let mut cluster = Cluster::with(2, &["--policy-routing-plugin=default"]);
    let api = cluster.api();
    let id = api.create("notes");
    let body = json!({ "ids": ["r"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &body).ok();
    cluster.settle();
    let first = scrape(&api);
    for _ in 0..20 {
        api.records(&id, "get", &json!({})).ok();
    }
    let second = scrape(&api);
    let grown = |name: &str| second[name] - first[name];
    let decided = r#"achromat_policy_decisions_total{slot="routing",plugin="default-routing",version="1",part="active",kind="first"}"#;
    assert!(grown(decided) >= 20.0, "{second:?}");
    let sent = ["a", "b"].map(|name| {
        grown(&format!(
            "achromat_instance_requests_total{{instance=\"{name}\"}}"
        ))
    });
    assert!(sent[0] + sent[1] >= 20.0 && sent[1] > 0.0, "{sent:?}");
    for (name, value) in [
        ("achromat_collections", 1.0),
        ("achromat_store_up", 1.0),
        ("achromat_pending_writes", 0.0),
        (
            r#"achromat_instance_standing{instance="b",standing="up"}"#,
            1.0,
        ),
        (r#"achromat_policy_vacant{slot="routing"}"#, 0.0),
    ] {
        assert_eq!(second[name].to_bits(), f64::to_bits(value), "{name}");
    }

    let flushes = second["achromat_log_flushes_total"];
    assert!(second["achromat_log_entries_total"] >= 2.0, "{second:?}");
    assert!(flushes >= 2.0 && second["achromat_log_flush_seconds_total"] > 0.0);

    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(scrape(&api)["achromat_compared_collections"] >= 1.0);
    cluster.instances[1].kill();
    let body = json!({ "ids": ["s"], "embeddings": [[1, 2]] });
    api.records(&id, "add", &body).ok();
    eventually("it is owed", Duration::from_secs(30), || {
        let now = scrape(&api);
        let owed = now[r#"achromat_instance_pending_writes{instance="b"}"#];
        let down = now[r#"achromat_instance_standing{instance="b",standing="down"}"#];
        if (owed, down) == (1.0, 1.0) && now["achromat_pending_writes"] >= 1.0 {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
}
