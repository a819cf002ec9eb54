//! HTTP as it is spoken on the wire: what is usual works, what is ambiguous is refused.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use achromat_tests::cluster::Cluster;
use serde_json::json;

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

/// A connection on which bytes are sent as they are.
struct Wire(TcpStream);

impl Wire {
    fn to(cluster: &Cluster) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", cluster.proxy.port)).expect("it listens");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a timeout");
        Self(stream)
    }

    fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).expect("it takes bytes");
    }

    /// One answer: its status line and headers in lower case, and its body.
    #[track_caller]
    fn answer(&mut self) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            let read = self.0.read_exact(&mut byte);
            assert!(read.is_ok(), "{read:?} after {head:?}");
            head.push(char::from(byte[0]));
        }
        let head = head.to_lowercase();
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        if !head.starts_with("http/1.1 100") {
            self.0.read_exact(&mut body).expect("the whole body");
        }
        (head, String::from_utf8(body).expect("UTF-8"))
    }

    /// Whether the other side has closed.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

fn status(head: &str) -> u16 {
    let word = head.split(' ').nth(1).expect("a status");
    word.parse().expect("a number")
}

/// A connection serves one request after the other, also when they are sent ahead of the answers;
/// the answers come in order.
#[test]
fn requests_follow_each_other_on_one_connection() {
    let cluster = Cluster::start();
    let mut wire = Wire::to(&cluster);
    for _ in 0..3 {
        wire.send("GET /api/v2/version HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(wire.answer().1, "\"1.0.0\"");
    }
    let add = json!({ "name": "piped" }).to_string();
    let post = format!(
        "POST {COLLECTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{add}",
        add.len()
    );
    let get = format!("GET {COLLECTIONS}/piped HTTP/1.1\r\nHost: x\r\n\r\n");
    let count = format!("GET {COLLECTIONS}/piped/count HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.send(&format!("{post}{get}{count}{get}"));
    for expected in ["piped", "piped", "0", "piped"] {
        let (head, body) = wire.answer();
        assert_eq!(status(&head), 200);
        assert!(body.contains(expected), "{body}");
    }
}

/// Chunked bodies, HEAD, `Expect: 100-continue` and `Connection: close` work as they should.
#[test]
fn usual_http_works() {
    let cluster = Cluster::start();
    let mut wire = Wire::to(&cluster);
    wire.send(&format!(
        "POST {COLLECTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\n{{\"name\":\r\nA\r\n\"chunked\"}}\r\n0\r\n\r\n"
    ));
    let (head, body) = wire.answer();
    assert_eq!(status(&head), 200, "{body}");
    wire.send(&format!(
        "HEAD {COLLECTIONS}/chunked HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        wire.0.read_exact(&mut byte).expect("a head");
        head.push(char::from(byte[0]));
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).expect("a length");
    assert!(
        !length.starts_with('0'),
        "the length of what GET would answer"
    );
    let body = json!({ "name": "expected" }).to_string();
    wire.send(&format!(
        "POST {COLLECTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(status(&wire.answer().0), 100);
    wire.send(&body);
    assert_eq!(status(&wire.answer().0), 200);
    wire.send("GET /api/v2/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(wire.answer().0.contains("connection: close"));
    assert!(wire.is_closed());
    let mut wire = Wire::to(&cluster);
    wire.send("GET http://x/api/v2/version HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(wire.answer().1, "\"1.0.0\"");
}

/// What could mean two things is answered 400 and the connection is closed; nothing is forwarded.
#[test]
fn ambiguous_requests_are_refused() {
    let cluster = Cluster::start();
    let body = r#"{"name":"smuggled"}"#;
    let post = |headers: &str| {
        format!(
            "POST {COLLECTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n{body}"
        )
    };
    let chunked = "Transfer-Encoding: chunked";
    let cases = [
        "GET /api/v2/./version HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/../version HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/%2e%2e/version HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/a\\b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/a%00b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/a\u{1}b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /api/v2/tenants/a%zz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        post("Content-Length: 19\r\nContent-Length: 3"),
        post("Content-Length: 19, 3"),
        post("Content-Length: -1"),
        post(&format!("Content-Length: 19\r\n{chunked}")),
        post(&format!("{chunked}\r\ncontent-length : 19")),
        post(&format!("{chunked}\r\nCONTENT-LENGTH: 19")),
        post("Transfer-Encoding: gzip"),
        post("Transfer-Encoding: chunked, gzip"),
        "GET /api/v2/version HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "GET /api/v2/version HTTP/1.1\r\nBad Header: x\r\n\r\n".to_owned(),
        "GET /api/v2/version HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let mut wire = Wire::to(&cluster);
        wire.send(&case);
        let (head, body) = wire.answer();
        assert_eq!(status(&head), 400, "{case:?} got {head}");
        assert!(body.contains("\"error\""), "{case:?} got {body}");
        assert!(wire.is_closed(), "{case:?}");
    }
    assert!(cluster.api().names().is_empty());
    assert!(cluster.settle().is_empty());
}

/// A route that Chroma does not have is answered 404 or 405 in Chroma's shape.
#[test]
fn unknown_routes_are_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    for (method, path, expected) in [
        ("GET", "/api/v2/nothing", 404),
        ("GET", "/api/v3/heartbeat", 404),
        ("GET", "/api/v2/heartbeat/", 404),
        ("POST", "/api/v2/heartbeat", 405),
        ("PUT", "$D/collections", 405),
        ("DELETE", "/api/v2/tenants/default_tenant", 405),
        ("PATCH", "$D/collections/abc/add", 405),
    ] {
        let answer = api.call(method, path, &json!(null));
        assert_eq!(answer.status, expected, "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), expected == 405);
        assert!(answer.body["error"].is_string(), "{answer:?}");
    }
}

/// A body beyond the limit is refused before it is read whole, be its length declared or not.
#[test]
fn too_large_bodies_are_refused_early() {
    let cluster = Cluster::with(2, &["--limits-body-bytes-max=100000"]);
    let mut wire = Wire::to(&cluster);
    wire.send(&format!(
        "POST {COLLECTIONS}/x/add HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n"
    ));
    let (head, body) = wire.answer();
    assert_eq!(status(&head), 413);
    assert!(body.contains("100000 bytes"), "{body}");
    assert!(wire.is_closed());
    let mut wire = Wire::to(&cluster);
    wire.send(&format!(
        "POST {COLLECTIONS}/x/add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    for _ in 0..11 {
        wire.send(&chunk);
    }
    assert_eq!(status(&wire.answer().0), 413);
}

/// A client that sends all of a large body before it reads gets the refusal, and no broken connection.
#[test]
fn a_refusal_reaches_who_is_still_sending() {
    const BODY_BYTES: usize = 20_000_000;
    let cluster = Cluster::with(2, &["--limits-body-bytes-max=100000"]);
    let cases = [
        (format!("{COLLECTIONS}/x/add"), 413),
        ("/api/v2/nowhere".to_owned(), 404),
    ];
    for (path, expected) in cases {
        let mut wire = Wire::to(&cluster);
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        ));
        wire.send(&"x".repeat(BODY_BYTES));
        let (head, _) = wire.answer();
        assert_eq!(status(&head), expected, "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(wire.is_closed());
    }
}

/// S1: past its limits Achromat says 503 and when to come again, and it recovers.
#[test]
fn past_the_limits_there_is_an_honest_503() {
    let flags = [
        "--limits-requests-max=1",
        "--limits-queue-max=1",
        "--limits-queue-wait-ms=200",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let id = api.create("notes");
    cluster.settle();
    let path = format!("$D/collections/{id}/get");
    for instance in &cluster.instances {
        instance.freeze();
    }
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            let (api, path) = (&api, &path);
            scope.spawn(move || api.try_call("POST", path, &json!({})))
        };
        let held = ask();
        let status = || api.get("/status").ok()["instances"][1]["requests_in_flight"].clone();
        achromat_tests::wait::eventually("the first is served", Duration::from_secs(10), || {
            if status() == 0 {
                Err("not yet")
            } else {
                Ok(())
            }
        });
        let more: Vec<_> = (0..4).map(|_| ask()).collect();
        let refused: Vec<_> = more
            .into_iter()
            .map(|m| m.join().expect("a client"))
            .collect();
        for instance in &cluster.instances {
            instance.thaw();
        }
        assert_eq!(
            held.join().expect("a client").expect("an answer").status,
            200
        );
        refused
    });
    for answer in answers {
        let answer = answer.expect("an answer");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.refused(503).contains("limits"));
    }
    assert_eq!(api.post(&path, &json!({})).status, 200);
}
