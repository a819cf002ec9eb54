//! The table against Chroma's own document, and hostile targets.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Every method of every path of Chroma's OpenAPI document, with one name for each placeholder.
fn documented() -> BTreeSet<(String, String)> {
    let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("{tenant_name}", "{tenant}")
                .replace("{collection_id}", "{collection}")
                .replace("{function_name}", "{name}")
                .replace("{crn}", "{name}");
            routes.insert((method.to_uppercase(), path));
        }
    }
    routes
}

/// A route that Chroma publishes and the table lacks fails here.
#[test]
fn every_documented_route_stands_in_the_table() {
    let table: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned()))
        .collect();
    let missing: Vec<_> = documented().difference(&table).cloned().collect();
    assert!(missing.is_empty(), "not in the table: {missing:#?}");
}

/// The table has just these undocumented routes beyond the document.
#[test]
fn nothing_but_the_known_undocumented_routes_goes_beyond_the_document() {
    let documented = documented();
    let extra: BTreeSet<_> = ROUTES
        .iter()
        .filter(|route| !documented.contains(&(route.method.to_string(), route.path.to_owned())))
        .map(|route| route.path)
        .collect();
    let known = [
        "/api/v1/{*}",
        "/api/v2",
        "/docs",
        "/docs/{*}",
        "/openapi.json",
    ];
    assert_eq!(extra, BTreeSet::from(known));
}

fn check(request: &str, expect: &Expect) {
    let (method, raw) = request.split_once(' ').unwrap();
    let method = Method::of(&method.parse().unwrap());
    let shown = match Target::parse(raw.as_bytes()) {
        Err(error) => format!("{error:?}"),
        Ok(target) => match find(method, &target) {
            Ok((route, captures)) => format!(
                "{:?} {:?} -> {}",
                route.action,
                route.class,
                route.render(&captures, "", target.query)
            ),
            Err(miss) => format!("{miss:?}"),
        },
    };
    expect.assert_eq(&shown);
}

/// Targets find their row, are written again canonically, and lead nowhere when they are unknown.
#[test]
fn targets_find_their_row() {
    check(
        "GET /api/v2/heartbeat",
        &expect!["System System -> /api/v2/heartbeat"],
    );
    check(
        "HEAD /api/v2/heartbeat",
        &expect!["System System -> /api/v2/heartbeat"],
    );
    check("GET /api/v2/heartbeat/", &expect!["NotFound"]);
    check("GET //api/v2/heartbeat", &expect!["NotFound"]);
    check("GET /api/v3/heartbeat", &expect!["NotFound"]);
    check("POST /api/v2/heartbeat", &expect!["NotAllowed([Get])"]);
    check("BREW /api/v2/heartbeat", &expect!["NotAllowed([Get])"]);
    check(
        "GET /api/v2/tenants/a%20b/databases/%64b/collections?limit=3",
        &expect!["ListCollections Read -> /api/v2/tenants/a%20b/databases/db/collections?limit=3"],
    );
    check(
        "GET /api/v2/tenants/t/databases/d/collections/by-id/x",
        &expect!["GetCollectionById Read -> /api/v2/tenants/t/databases/d/collections/by-id/x"],
    );
    check(
        "DELETE /api/v2/tenants/t/databases/d/collections/by-id",
        &expect!["DeleteCollection Destructive -> /api/v2/tenants/t/databases/d/collections/by-id"],
    );
    check(
        "POST /api/v2/tenants/t/databases/d/collections/c/functions/attach",
        &expect![
            "AttachFunction Write -> /api/v2/tenants/t/databases/d/collections/c/functions/attach"
        ],
    );
    check(
        "PUT /api/v2/tenants/t/databases/d/collections",
        &expect!["NotAllowed([Get, Post])"],
    );
    check("GET /api/v2/tenants//databases", &expect!["NotFound"]);
    check(
        "GET /api/v1/heartbeat",
        &expect!["Retired System -> /api/v1/"],
    );
    check(
        "POST /api/v1/collections",
        &expect!["NotAllowed([Get, Put, Patch, Delete])"],
    );
}

/// A slash or a backslash that is encoded belongs to its name: it parts no path, neither here nor in
/// what is sent.
#[test]
fn encoded_slashes_belong_to_names() {
    check(
        "GET /api/v2/tenants/org%2Frepo/databases/x%5cy",
        &expect!["GetDatabase Read -> /api/v2/tenants/org%2Frepo/databases/x%5Cy"],
    );
    check(
        "DELETE /api/v2/tenants/t/databases/d%2fcollections%2fglobal",
        &expect![
            "DeleteDatabase Destructive -> /api/v2/tenants/t/databases/d%2Fcollections%2Fglobal"
        ],
    );
    check(
        "GET /api/v2/tenants/a%2F..%2Fb",
        &expect!["GetTenant Read -> /api/v2/tenants/a%2F..%2Fb"],
    );
    check(
        "GET /api/v2/tenants/a%252Fb",
        &expect!["GetTenant Read -> /api/v2/tenants/a%252Fb"],
    );
    check("GET /api/v2%2Fheartbeat", &expect!["NotFound"]);
}

/// Names that a path can hold are told from those that none can.
#[test]
fn only_reachable_names_are_called_so() {
    for name in [
        "org/repo",
        "CORP\\alice",
        "a b",
        "ä",
        "...",
        "%2e%2e",
        "a/../b",
    ] {
        assert!(is_reachable(name), "{name}");
    }
    for name in ["", ".", "..", "a\nb", "a\0b", "\u{7f}xx", &"ä".repeat(1000)] {
        assert!(!is_reachable(name), "{name:?}");
    }
}

/// A target that could mean two things is refused before anything looks at it.
#[test]
fn ambiguous_targets_are_refused() {
    check("GET /api/v2/./heartbeat", &expect!["DotSegment"]);
    check("GET /api/v2/tenants/../heartbeat", &expect!["DotSegment"]);
    check(
        "GET /api/v2/tenants/%2e%2E/heartbeat",
        &expect!["DotSegment"],
    );
    check("GET /api/v2/tenants/a\\b", &expect!["Backslash"]);
    check("GET /api/v2/tenants/a/%2e%2e%2fb", &expect!["NotFound"]);
    check("GET /api/v2/tenants/a%00", &expect!["IllegalByte"]);
    check("GET /api/v2/tenants/a%0d%0aX", &expect!["IllegalByte"]);
    check("GET /api/v2/tenants/a%7f", &expect!["IllegalByte"]);
    check("GET /api/v2/tenants/a b", &expect!["IllegalByte"]);
    check("GET /api/v2/tenants/ä", &expect!["IllegalByte"]);
    check("GET /api/v2/tenants/%ff", &expect!["NotUtf8"]);
    check("GET /api/v2/tenants/%f", &expect!["BadEscape"]);
    check("GET /api/v2/tenants/%zz", &expect!["BadEscape"]);
    check("GET /api/v2/tenants#x", &expect!["Fragment"]);
    check("GET *", &expect!["NotAbsolute"]);
    check("GET api/v2", &expect!["NotAbsolute"]);
    assert_eq!(
        Target::parse(format!("/{}", "a".repeat(TARGET_MAX)).as_bytes()),
        Err(TargetError::TooLong)
    );
}

const TARGET_MAX: usize = crate::limits::TARGET_BYTES_MAX;

proptest! {
    /// Whatever bytes come, parsing does not panic, and what it takes contains nothing ambiguous.
    #[test]
    fn any_bytes_are_judged(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(target) = Target::parse(&raw) {
            for segment in &target.segments {
                prop_assert!(!segment.contains(char::is_control));
                prop_assert!(segment != "." && segment != "..");
            }
        }
    }

    /// A name that is written into a target is read from it unchanged.
    #[test]
    fn names_survive_the_way_to_an_instance(name in "[^\\p{Cc}]{1,40}") {
        prop_assume!(name != "." && name != "..");
        let mut target = String::from("/api/v2/tenants/");
        push_segment(&mut target, &name);
        let parsed = Target::parse(target.as_bytes()).unwrap();
        let (_, captures) = find(Some(Method::Get), &parsed).unwrap();
        prop_assert_eq!(captures.tenant.as_deref(), Some(name.as_str()));
    }
}
