//! Bytes that nobody has foreseen: each target takes some, and must keep its property.
//!
//! A target takes any bytes; it panics when a property does not hold. The test command replays the corpus of
//! each (`it::fuzz`); `cargo +nightly fuzz run any --fuzz-dir tests/fuzz` looks for more (tests/fuzz/any.rs).

use achromat_core::{
    access::Grant,
    body::{self, CreateFacts, DeleteFacts, Named, elements},
    catalog::Catalog,
    chunks::Chunks,
    embeddings::as_arrays,
    guard::Guard,
    head::{Framing, HeadLimits, Scan, judge, origin_form},
    ids::{CollectionId, DatabaseId, EntryId},
    log::{Level, Verb},
    merge::Merging,
    planted::Planted,
    record::{Vectors, add_body, ids, records},
    resolve::resolution,
    route::{Action, Captures, Method, Target, find},
    time::WallTime,
    write::{Fresh, Levels, WriteRules, permit},
};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use uuid::Uuid;

/// A property of arbitrary bytes.
pub type Check = fn(&[u8]);

/// The targets by name; each has a folder of this name in `corpus`.
pub const TARGETS: [(&str, Check); 10] = [
    ("head", head),
    ("chunks", chunks),
    ("target", target),
    ("write", write),
    ("delete", delete),
    ("merge", merge),
    ("records", answer_with_records),
    ("descriptions", descriptions),
    ("embeddings", embeddings),
    ("log", log),
];

const LIMITS: HeadLimits = HeadLimits {
    bytes_max: 2048,
    fields_max: 32,
};

/// A head that comes in pieces ends where the whole one does; what is accepted has one meaning.
fn head(bytes: &[u8]) {
    let whole = Scan::default().end(bytes, &LIMITS);
    let (mut scan, step) = (
        Scan::default(),
        usize::from(bytes.first().copied().unwrap_or(0)) + 1,
    );
    let ends = (0..bytes.len()).step_by(step).skip(1).chain([bytes.len()]);
    let pieces = ends.map(|end| scan.end(&bytes[..end], &LIMITS));
    let first = pieces.into_iter().find(|said| !matches!(said, Ok(None)));
    match (&whole, first.unwrap_or(Ok(None))) {
        (Ok(whole), Ok(pieces)) => assert_eq!(*whole, pieces),
        (Err(_), Err(_)) => {}
        other => panic!("{other:?}"),
    }
    let Ok(Some(end)) = whole else { return };
    let head = &bytes[..end];
    let Ok(judged) = judge(head, &LIMITS) else {
        return;
    };
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let lines: Vec<&str> = text.trim_end_matches("\r\n").split("\r\n").collect();
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n', '\0'])));
    let count = |name: &str| {
        lines
            .iter()
            .skip(1)
            .filter(|line| line.starts_with(name))
            .count()
    };
    assert!(judged.is_http_10 || count("host:") == 1);
    match judged.framing {
        Framing::Chunked => {
            assert_eq!(count("content-length:"), 0);
            assert_eq!(count("transfer-encoding:"), 1);
        }
        Framing::Length(length) => {
            assert_eq!(count("transfer-encoding:"), 0);
            assert!(count("content-length:") == usize::from(length > 0) || length == 0);
        }
    }
    let words: Vec<&[u8]> = head.split(|byte| *byte == b' ').collect();
    let is_absolute = words[1].to_ascii_lowercase().starts_with(b"http://");
    assert!(origin_form(words[1]).starts_with(b"/") || !is_absolute);
}

/// Chunks that come in pieces are the same body, and the same is left behind it.
fn chunks(bytes: &[u8]) {
    const BODY_BYTES_MAX: usize = 1 << 16;
    let decode = |pieces: &[&[u8]]| {
        let (mut state, mut input, mut body) =
            (Chunks::default(), BytesMut::new(), BytesMut::new());
        let mut is_whole = Ok(false);
        for piece in pieces {
            input.extend_from_slice(piece);
            if is_whole == Ok(false) {
                is_whole = state.decode(&mut input, &mut body, BODY_BYTES_MAX);
            }
        }
        (is_whole, body, input)
    };
    let whole = decode(&[bytes]);
    let cut = bytes.len() * usize::from(bytes.last().copied().unwrap_or(0)) / 256;
    let pieces = decode(&[&bytes[..cut], &bytes[cut..]]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    for other in [pieces, decode(&single)] {
        assert_eq!(other.0.is_ok(), whole.0.is_ok());
        if whole.0.is_ok() {
            assert_eq!(other, whole);
        }
    }
}

/// A target that means a row is written so that it means the same row, with the same names.
fn target(bytes: &[u8]) {
    let Ok(parsed) = Target::parse(bytes) else {
        return;
    };
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let method = Method::of(&method.parse().expect("a method"));
        let Ok((route, captures)) = find(method, &parsed) else {
            continue;
        };
        let written = route.render(&captures, "", None);
        if route.path.contains("{*}") {
            continue;
        }
        let again = Target::parse(written.as_bytes()).expect("it can be read");
        let (same, names) = find(method, &again).expect("it means something");
        assert_eq!((same.path, &names), (route.path, &captures));
    }
}

/// Nothing is logged whose name is another one to a plain reader of JSON.
fn write(bytes: &[u8]) {
    let fresh = Fresh {
        entry: EntryId(Uuid::from_u128(1)),
        collection: CollectionId(Uuid::from_u128(2)),
        database: DatabaseId(Uuid::from_u128(3)),
        logged_at: WallTime(0),
    };
    let captures = Captures {
        tenant: Some("default_tenant".into()),
        database: Some("default_database".into()),
        ..Captures::default()
    };
    let body = Bytes::copy_from_slice(bytes);
    let (catalog, guard) = (Catalog::default(), Guard::default());
    let rules = WriteRules {
        catalog: &catalog,
        guard: &guard,
        levels: Levels {
            records: Level::One,
            schema: Level::One,
        },
    };
    for action in [
        Action::CreateCollection,
        Action::CreateDatabase,
        Action::CreateTenant,
    ] {
        let Ok(permit) = permit(rules, action, &captures, None, body.clone(), fresh) else {
            continue;
        };
        let plain: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let said = plain["name"].as_str();
        let judged = match &permit.entry().verb {
            Verb::CreateCollection { name, .. }
            | Verb::CreateTenant { name }
            | Verb::CreateDatabase { name, .. } => name.as_deref(),
            other => panic!("{other:?}"),
        };
        // Text that is not UTF-8 in other fields is Chroma's to refuse.
        assert!(said == judged || plain.is_null(), "{said:?} {judged:?}");
    }
}

/// The question that a delete asks first names what the delete names.
fn delete(bytes: &[u8]) {
    // What is refused, such as an array in place of an object, asks nothing.
    if DeleteFacts::of(bytes).is_err() {
        return;
    }
    let Some(resolution) = resolution(&Guard::default(), "notes", bytes, true) else {
        return;
    };
    let find: Value = serde_json::from_slice(&resolution.find).expect("it is JSON");
    let Ok(plain) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for field in ["ids", "where", "where_document", "limit"] {
        let same =
            find.get(field).unwrap_or(&Value::Null) == plain.get(field).unwrap_or(&Value::Null);
        assert!(same, "{field}: {find} {plain}");
    }
}

/// Several bodies that become one say of each record what they said of it.
fn merge(bytes: &[u8]) {
    let bodies: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let Some(mut merging) = Merging::begin(bodies[0], Planted::default()) else {
        return;
    };
    let fits = bodies[1..]
        .iter()
        .take_while(|body| merging.add(body))
        .count();
    let Some((count, merged)) = merging.finish() else {
        return;
    };
    assert_eq!(count, fits + 1);
    let parse = |body: &[u8]| serde_json::from_slice::<Value>(body);
    // A number beyond 64 bits is passed on as it stands.
    let (Ok(merged), Ok(single)) = (
        parse(&merged),
        bodies[..count]
            .iter()
            .map(|body| parse(body))
            .collect::<Result<Vec<_>, _>>(),
    ) else {
        return;
    };
    let mut at = 0;
    for body in single {
        for (within, id) in body["ids"].as_array().expect("ids").iter().enumerate() {
            assert_eq!(&merged["ids"][at], id);
            for field in ["documents", "metadatas", "uris"] {
                assert_eq!(body[field][within], merged[field][at], "{field} of {id}");
            }
            at += 1;
        }
    }
    for field in ["ids", "embeddings", "documents", "metadatas", "uris"] {
        let length = merged[field].as_array().map(Vec::len);
        assert!(length.is_none_or(|length| length == at), "{field}");
    }
}

/// A record is a copy of itself, and what is sent to make it anew has its id.
fn answer_with_records(bytes: &[u8]) {
    let Some(found) = records(bytes) else { return };
    for record in &found {
        assert_eq!(record.digest(), record.digest());
        assert!(record.is_copy_of(record, Vectors::Rounded));
    }
    let all: Vec<_> = found.iter().collect();
    let Some(add) = add_body(&all) else { return };
    let sent = ids(&add).expect("it has ids");
    assert!(sent.iter().eq(found.iter().map(|record| &record.id)));
}

/// A description gets another id, and nothing else changes.
fn descriptions(bytes: &[u8]) {
    let id = Uuid::from_u128(7);
    let body = Bytes::copy_from_slice(bytes);
    if let Some(named) = Named::parse(bytes) {
        let changed = named.with_id(&body, id);
        let again = Named::parse(&changed).expect("it can still be read");
        assert_eq!((again.id, &again.name), (id, &named.name));
    }
    if let Some(list) = elements(bytes) {
        let mut text = String::from("[");
        for (at, element) in list.iter().enumerate() {
            text.push_str(if at > 0 { "," } else { "" });
            element.push_with_id(&mut text, id);
        }
        text.push(']');
        let again = elements(text.as_bytes()).expect("it can still be read");
        assert!(again.iter().all(|element| element.named.id == id));
        assert_eq!(again.len(), list.len());
    }
    // What is refused, such as a field given twice, is never logged.
    if body::facts::<CreateFacts<'_>>(bytes).is_some() {
        let plain = body::without_get_or_create(&body);
        let plain: Value = serde_json::from_slice(&plain).unwrap_or_default();
        assert!(plain["get_or_create"].as_bool() != Some(true), "{plain}");
    }
}

/// Vectors written as arrays stay so.
fn embeddings(bytes: &[u8]) {
    let once = as_arrays(&Bytes::copy_from_slice(bytes));
    assert_eq!(as_arrays(&once), once);
}

/// An entry of the log is read as it was written; grants are read or refused.
fn log(bytes: &[u8]) {
    if let Ok(verb) = serde_json::from_slice::<Verb>(bytes) {
        let kept = serde_json::to_vec(&verb).expect("it can be written");
        assert_eq!(
            serde_json::from_slice::<Verb>(&kept).expect("and read"),
            verb
        );
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(text.parse::<Grant>());
    }
}
