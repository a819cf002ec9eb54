//! Bodies as Chroma's handlers would read them, beside what is judged of them here.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::ids::CollectionId;

/// The body of a create as chromadb 1.5.9 declares it, positions and all.
#[derive(Debug, Deserialize)]
struct CreateCollectionPayload {
    name: String,
    #[serde(default)]
    _schema: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    _configuration: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    _metadata: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    get_or_create: bool,
}

/// The same of a change.
#[derive(Debug, Deserialize)]
struct UpdateCollectionPayload {
    new_name: Option<String>,
    _new_metadata: Option<BTreeMap<String, Value>>,
    _new_configuration: Option<BTreeMap<String, Value>>,
}

fn said(reply: &Reply) -> (u16, String) {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (
        reply.status,
        format!("{}: {}", text("error"), text("message")),
    )
}

fn refused<'a, T: Deserialize<'a> + std::fmt::Debug>(body: &'a [u8]) -> (u16, String) {
    said(&read::<T>(body).unwrap_err())
}

/// Refusals are Chroma's own, word for word, as it was measured.
#[test]
fn what_chroma_can_not_read_is_refused_in_its_words() {
    let data = |what: &str| {
        let message = format!(
            "ChromaError: Failed to deserialize the JSON body into the target type: {what}"
        );
        (422, message)
    };
    let syntax = |what: &str| {
        let message =
            format!("InvalidArgumentError: Failed to parse the request body as JSON: {what}");
        (400, message)
    };
    let cases = [
        (
            r#"{"name":"ten2","name":"ten3"}"#,
            data("duplicate field `name` at line 1 column 21"),
        ),
        (
            r#"{"Name":"x12"}"#,
            data("missing field `name` at line 1 column 14"),
        ),
        (
            "\u{feff}{\"name\":\"a\"}",
            syntax("expected value at line 1 column 1"),
        ),
        (
            r#"{"name":"ten7"} x"#,
            syntax("trailing characters at line 1 column 17"),
        ),
        (
            r#"{"name":null}"#,
            data("name: invalid type: null, expected a string at line 1 column 12"),
        ),
        (
            "null",
            data("invalid type: null, expected struct CreateTenantPayload at line 1 column 4"),
        ),
        ("", syntax("EOF while parsing a value at line 1 column 0")),
        ("{}", data("missing field `name` at line 1 column 2")),
        (
            r#"{"name":"tenA","x":NaN}"#,
            syntax("x: expected value at line 1 column 20"),
        ),
        (
            r#"{"name":["tenC"]}"#,
            data("name: invalid type: sequence, expected a string at line 1 column 8"),
        ),
        (
            r#""tenD""#,
            data(
                "invalid type: string \"tenD\", expected struct CreateTenantPayload at line 1 column 6",
            ),
        ),
        (
            r#"{"name":"ten\ud800I"}"#,
            syntax("name: unexpected end of hex escape at line 1 column 19"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(
            refused::<TenantFacts<'_>>(body.as_bytes()),
            expected,
            "{body}"
        );
    }
    let limit = |limit: &str| format!(r#"{{"where":{{"k":1}},"limit":{limit}}}"#);
    for (given, what) in [
        (
            "-1",
            "limit: invalid value: integer `-1`, expected u32 at line 1 column 27",
        ),
        (
            "4294967296",
            "limit: invalid value: integer `4294967296`, expected u32 at line 1 column 35",
        ),
        (
            "1.0",
            "limit: invalid type: floating point `1.0`, expected u32 at line 1 column 28",
        ),
    ] {
        let body = limit(given);
        assert_eq!(
            refused::<DeleteFacts<'_>>(body.as_bytes()),
            data(what),
            "{body}"
        );
    }
}

/// Bodies that Chroma takes are taken, and read as Chroma reads them.
#[test]
fn what_chroma_takes_is_read_as_chroma_reads_it() {
    for body in [
        r#"{"name":"abc"}"#,
        " \t\r\n{\"name\":\"abc\"}\n\n",
        r#"{"n\u0061me":"\u0061bc","zzz":1,"zzz":2}"#,
        r#"{"metadata":{"x":[1e999]},"name":"abc","Name":"xyz"}"#,
    ] {
        let facts: CreateFacts<'_> = read(body.as_bytes()).unwrap();
        assert_eq!(
            (&*facts.name, facts.get_or_create),
            ("abc", false),
            "{body}"
        );
    }
    let deep = format!(
        r#"{{"name":"abc","x":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(
        read::<TenantFacts<'_>>(deep.as_bytes()).unwrap().name,
        "abc"
    );
    let odd = b"{\"name\":\"abc\",\"x\":\"\xff\"}";
    assert_eq!(read::<TenantFacts<'_>>(odd).unwrap().name, "abc");
    let delete = DeleteFacts::of(br#"{"ids":["a",7],"where":null,"limit":null}"#).unwrap();
    assert!(!delete.has_filter() && delete.ids.unwrap().len() == 2);
    let modify: ModifyFacts<'_> = read(br#"{"new_name":null}"#).unwrap();
    assert_eq!(modify.new_name, None);
}

/// An array is refused by every write whose body Chroma reads.
#[test]
fn positional_bodies_are_refused() {
    let collection = CollectionId(uuid::Uuid::nil());
    let record = |act| Verb::Record { collection, act };
    let verbs = [
        record(RecordAct::Add),
        record(RecordAct::Update),
        record(RecordAct::Upsert),
        record(RecordAct::Delete),
        Verb::UpdateTenant { tenant: "t".into() },
        Verb::Fork { collection },
        Verb::AttachFunction { collection },
        Verb::ModifyCollection {
            collection,
            new_name: None,
        },
        Verb::CreateTenant { name: None },
    ];
    for verb in &verbs {
        for body in ["[]", " \n\t[\"x\",null]", "["] {
            let refusal = check(verb, &Bytes::from(body)).unwrap_err();
            assert_eq!(refusal.status, 422, "{verb:?} {body}");
        }
    }
    assert!(check(&Verb::Reset, &Bytes::from("[]")).is_ok());
    assert!(read::<TenantFacts<'_>>(b"[\"x\"]").is_err());
    assert!(read::<TenantFacts<'_>>(b"[").is_err());
}

/// A limit without a filter is refused, as Chroma 1.5.9 refuses it.
#[test]
fn a_limit_wants_a_filter() {
    let of = |body: &'static str| DeleteFacts::of(body.as_bytes()).map(|facts| facts.limit);
    for body in [
        r#"{"ids":["1"],"limit":5}"#,
        r#"{"limit":5}"#,
        r#"{"ids":["1"],"where":null,"where_document":null,"limit":0}"#,
    ] {
        let (status, message) = said(&of(body).unwrap_err());
        assert!(
            status == 400 && message.contains("only be specified when a where clause"),
            "{body}"
        );
    }
    let (_, message) = said(&of(r#"{"ids":[],"limit":5}"#).unwrap_err());
    assert!(message.contains("Either ids or where must be specified"));
    assert_eq!(
        of(r#"{"ids":["1"],"where":{},"limit":5}"#).ok(),
        Some(Some(5))
    );
    assert_eq!(of(r#"{"ids":["1"]}"#).ok(), Some(None));
}

/// Pieces from which bodies are made that come near to what Chroma takes.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"name\"",
        "\"n\\u0061me\"",
        "\"new_name\"",
        "\"new_metadata\"",
        "\"get_or_create\"",
        "\"metadata\"",
        "null",
        "true",
        "false",
        "1",
        "1e999",
        "{}",
        "\"abc\"",
        "\"\\ud800\"",
        " ",
        "\n",
        "\u{feff}",
        "\"name\":\"x\"",
        "\"new_name\":\"y\"",
        "[\"a\",null,null]",
        "[\"a\",null,null,null,true]",
        "{\"name\":\"z\",\"get_or_create\":true}",
    ];
    prop::sample::select(words.map(str::to_owned).to_vec())
}

fn body() -> impl Strategy<Value = String> {
    let loose = prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat());
    let fields =
        prop::collection::vec(piece(), 0..4).prop_map(|pieces| format!("{{{}}}", pieces.join(",")));
    prop_oneof![loose, fields]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever comes: when Chroma's own types take a body, it is refused here or read alike; and what
    /// is taken here without Chroma taking it, is for Chroma to refuse.
    #[test]
    fn no_body_means_something_else_to_chroma(body in body()) {
        let bytes = body.as_bytes();
        if let Ok(theirs) = serde_json::from_slice::<CreateCollectionPayload>(bytes)
            && let Ok(ours) = read::<CreateFacts<'_>>(bytes)
        {
            prop_assert_eq!((&*ours.name, ours.get_or_create), (&*theirs.name, theirs.get_or_create));
        }
        if let Ok(theirs) = serde_json::from_slice::<UpdateCollectionPayload>(bytes)
            && let Ok(ours) = read::<ModifyFacts<'_>>(bytes)
        {
            prop_assert_eq!(ours.new_name.as_deref(), theirs.new_name.as_deref());
        }
    }
}
