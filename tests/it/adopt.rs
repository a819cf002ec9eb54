//! Servers that hold data already are taken over, with a report of how they compare; nothing on
//! them is changed that nobody asked for.

use std::{collections::BTreeMap, time::Duration};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::{Cluster, folder},
    records::{Records, records},
    wait::eventually,
};
use serde_json::{Value, json};

/// How a collection stands on the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same on both, added in another order.
    Same,
    OnlyA,
    OnlyB,
    /// The replica lacks the records 1 and 2.
    Missing,
    /// The replica has the records 8 and 9 too.
    Extra,
    /// Record 3's metadata, record 4's document and record 5's embedding are others on the replica.
    Changed,
    /// All of that at once.
    Mixed,
    /// The same records in collections with other metadata.
    Unlike,
}

/// How many collections there are of each kind; 50 together.
const KINDS: [(&str, Kind, usize); 8] = [
    ("same", Kind::Same, 12),
    ("only-a", Kind::OnlyA, 8),
    ("only-b", Kind::OnlyB, 8),
    ("missing", Kind::Missing, 6),
    ("extra", Kind::Extra, 6),
    ("changed", Kind::Changed, 6),
    ("mixed", Kind::Mixed, 2),
    ("unlike", Kind::Unlike, 2),
];

/// Every collection by its name.
fn collections() -> BTreeMap<String, Kind> {
    let numbered = KINDS.into_iter().flat_map(|(stem, kind, count)| {
        (0..count).map(move |number| (format!("{stem}-{number}"), kind))
    });
    let all: BTreeMap<_, _> = numbered.collect();
    assert_eq!(all.len(), 50);
    all
}

/// Whether the copies of a kind differ when both servers have one.
fn differs(kind: Kind) -> bool {
    !matches!(kind, Kind::Same | Kind::OnlyA | Kind::OnlyB)
}

/// The records of one server: `None` when the collection is not there.
fn numbers(kind: Kind, server: usize) -> Option<Vec<u32>> {
    let whole: Vec<u32> = (0..8).collect();
    match (kind, server) {
        (Kind::OnlyA, 1) | (Kind::OnlyB, 0) => None,
        (Kind::Same, 1) => Some(whole.into_iter().rev().collect()),
        (Kind::Missing, 1) => Some(vec![0, 3, 4, 5, 6, 7]),
        (Kind::Extra, 1) => Some((0..10).collect()),
        (Kind::Mixed, 1) => Some(vec![0, 3, 4, 5, 6, 7, 8, 9]),
        _ => Some(whole),
    }
}

/// Makes a collection on one server as its kind wants it; returns its UUID there.
fn make(api: &Api, name: &str, kind: Kind, server: usize) -> Option<String> {
    let numbers = numbers(kind, server)?;
    let is_changed = server == 1 && matches!(kind, Kind::Changed | Kind::Mixed);
    let moved = |n: u32, at: u32| u32::from(is_changed && n == at);
    let about = match kind {
        Kind::Unlike => json!({ "name": name, "metadata": { "made-on": server } }),
        _ => json!({ "name": name }),
    };
    let made = api.post("$D/collections", &about).ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    let all = |make: &dyn Fn(u32) -> Value| numbers.iter().map(|n| make(*n)).collect::<Vec<_>>();
    let body = json!({
        "ids": all(&|n| json!(format!("r{n}"))),
        "embeddings": all(&|n| json!([n, moved(n, 5)])),
        "documents": all(&|n| json!(format!("text {}", n + moved(n, 4)))),
        "metadatas": all(&|n| json!({ "n": n + moved(n, 3) })),
    });
    api.records(&id, "add", &body).ok();
    Some(id)
}

fn held(api: &Api, name: &str) -> Option<(String, Records)> {
    let about = api.get(&format!("$D/collections/{name}"));
    if about.status == 404 {
        return None;
    }
    let id = about.ok()["id"].as_str().expect("an id").to_owned();
    let records = records(api, DATABASE, &id).expect("its records");
    Some((id, records))
}

/// What `achromat verify` says of a collection whose copies both servers have.
fn told_of(name: &str, kind: Kind) -> Vec<String> {
    let lines: &[&str] = match kind {
        Kind::Missing => &["2 missing: r1, r2"],
        Kind::Extra => &["2 extra: r8, r9"],
        Kind::Changed => &["3 different: r3, r4, r5"],
        Kind::Mixed => &[
            "2 missing: r1, r2",
            "2 extra: r8, r9",
            "3 different: r3, r4, r5",
        ],
        Kind::Unlike => &["made differently: metadata"],
        Kind::Same | Kind::OnlyA | Kind::OnlyB => &[],
    };
    let word = if differs(kind) { "DIFFERENT" } else { "equal" };
    let head = format!("{name}: {word}, 8 records");
    let lines = lines.iter().map(|line| format!("    {line}"));
    std::iter::once(head).chain(lines).collect()
}

/// The lines that the command printed of one collection, without the checksums.
fn lines_of(told: &str, name: &str) -> Vec<String> {
    let mut lines = told
        .lines()
        .skip_while(|line| !line.starts_with(&format!("{name}: ")));
    let head = lines.next().map(str::to_owned);
    let rest = lines.take_while(|line| line.starts_with("  "));
    let details = rest.filter(|line| line.starts_with("    "));
    head.into_iter().chain(details.map(str::to_owned)).collect()
}

fn names(found: &Value) -> Vec<String> {
    let list = found.as_array().expect("a list").iter();
    let mut names: Vec<_> = list
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

fn of_kinds(kinds: &[Kind]) -> Vec<String> {
    let all = collections().into_iter();
    let chosen = all.filter(|(_, kind)| kinds.contains(kind));
    chosen.map(|(name, _)| name).collect()
}

/// What was found when an instance was taken over.
fn adopted(status: &Value, instance: &str) -> Value {
    let findings = status["jobs"]["findings"].as_array().expect("findings");
    let found = findings
        .iter()
        .find(|finding| finding["task"] == "adopt" && finding["instance"] == instance);
    found.expect("the finding")["adopted"].clone()
}

/// Two servers with 50 collections between them are taken over: what both have equal is served by
/// both, what one lacks is built there, what differs is read from the primary alone and reported,
/// and is made equal only when an operator names the source. The clients' old ids work throughout.
#[test]
fn fifty_collections_are_adopted_reported_and_mended() {
    let folder = folder();
    let instances: Vec<_> = ["a", "b"]
        .map(|name| Chroma::start(&folder.path().join(name)))
        .into();
    let servers: Vec<Api> = instances.iter().map(Chroma::api).collect();
    let all = collections();
    let mut client_ids = BTreeMap::new();
    for (name, kind) in &all {
        let ids: Vec<_> = [0, 1]
            .map(|server| make(&servers[server], name, *kind, server))
            .into();
        let first = ids.into_iter().flatten().next();
        client_ids.insert(name.clone(), first.expect("somewhere"));
    }
    let before: Vec<BTreeMap<_, _>> = servers
        .iter()
        .map(|api| {
            all.keys()
                .map(|name| (name.clone(), held(api, name)))
                .collect()
        })
        .collect();
    let cluster = Cluster::over(folder, instances, &[]);
    let api = cluster.api();
    eventually("all is taken over", Duration::from_secs(60), || {
        let status = api.get("/status").ok();
        let due = |i: usize| status["instances"][i]["copies_due"].as_u64();
        match (due(0), due(1)) {
            (Some(0), Some(0)) => Ok(()),
            _ => Err(status.to_string()),
        }
    });

    the_report_is_true(&cluster);
    nothing_was_changed(&servers, &before);
    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(1), "{told}");
    for (name, kind) in &all {
        assert_eq!(lines_of(&told, name), told_of(name, *kind), "{told}");
    }
    let right = |name: &String| {
        let source = usize::from(all[name] == Kind::OnlyB);
        before[source][name].clone().expect("it was there").1
    };
    for (name, id) in &client_ids {
        for _ in 0..4 {
            let read = records(&api, DATABASE, id).expect("an old id is read");
            assert_eq!(read, right(name), "{name}");
        }
    }

    for name in all.keys().filter(|name| differs(all[*name])) {
        let (code, told) = cluster.command(&["repair", "--collection", name, "--source", "a"]);
        assert_eq!(code, Some(0), "{told}");
    }
    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(0), "{told}");
    let contents = cluster.settle();
    assert_eq!(contents.len(), 50);
    for (name, id) in &client_ids {
        assert_eq!(contents[&format!("{DATABASE} {name}")].1, right(name));
        let body = json!({ "ids": ["new"], "embeddings": [[1, 1]] });
        api.records(id, "add", &body).ok();
    }
    for (_, held) in cluster.settle().values() {
        assert!(held.contains_key("new"), "old ids are written to");
    }
}

fn the_report_is_true(cluster: &Cluster) {
    let api = cluster.api();
    let status = api.get("/status").ok();
    let differing = [Kind::Missing, Kind::Extra, Kind::Changed, Kind::Mixed];
    let shared: Vec<Kind> = [Kind::Same].into_iter().chain(differing).collect();
    let on_a: Vec<Kind> = shared
        .iter()
        .copied()
        .chain([Kind::OnlyA, Kind::Unlike])
        .collect();
    let (a, b) = (adopted(&status, "a"), adopted(&status, "b"));
    assert_eq!(names(&a["new"]), of_kinds(&on_a));
    assert_eq!(names(&b["new"]), of_kinds(&[Kind::OnlyB]));
    assert_eq!(names(&b["known"]), of_kinds(&shared));
    assert_eq!(names(&b["lacking"]), of_kinds(&[Kind::OnlyA]));
    assert_eq!(names(&b["unlike"]), of_kinds(&[Kind::Unlike]));
    let listed = api.get("/admin/collection_mappings").ok();
    let listed = listed["collection_mappings"].as_array().expect("mappings");
    assert_eq!(listed.len(), 50);
    for mapping in listed {
        let name = mapping["collection_name"].as_str().expect("a name");
        assert_eq!(mapping["status"], "complete", "{mapping}");
        assert_eq!(mapping["primary_uuid"], json!(cluster.own_id(0, name)));
        assert_eq!(mapping["replica_uuid"], json!(cluster.own_id(1, name)));
        let is_distrusted = mapping["distrusted"]["b"].is_string();
        assert_eq!(is_distrusted, differs(collections()[name]), "{mapping}");
    }
}

/// What was on a server is there still, under the UUID that it had.
fn nothing_was_changed(servers: &[Api], before: &[BTreeMap<String, Option<(String, Records)>>]) {
    for (api, before) in servers.iter().zip(before) {
        for (name, was) in before {
            let is = held(api, name);
            assert!(is.is_some(), "{name} was built where it was lacking");
            if was.is_some() {
                assert_eq!(is, *was, "{name}");
            }
        }
    }
}
