//! Pages in browsers: pre-flight requests, origins, and the headers of answers.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    time::Duration,
};

use achromat_tests::{
    api::DATABASE,
    chroma::free_port,
    cluster::{Cluster, folder},
    tools,
    wait::eventually,
};

use crate::access::token;

const PAGE: &str = "https://app.example";
const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

/// An answer's status, and those of its headers that matter here, sorted.
type Answer = (u16, Vec<String>);

/// One request, whose redirections nobody follows.
fn ask(port: u16, request: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a timeout");
    let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).expect("it takes bytes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    let head = answer.split("\r\n\r\n").next().expect("a head");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let matters = |line: &String| {
        ["access-control-", "vary:", "location:", "allow:"]
            .iter()
            .any(|name| line.to_lowercase().starts_with(name))
    };
    let split = |line: &str| {
        line.split_once(": ")
            .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
    };
    let mut kept: Vec<_> = lines.filter_map(split).filter(matters).collect();
    // In which order the methods of a path are named says nothing.
    for line in &mut kept {
        if let Some(methods) = line.strip_prefix("allow: ") {
            let mut methods: Vec<_> = methods.split(',').collect();
            methods.sort_unstable();
            *line = format!("allow: {}", methods.join(","));
        }
    }
    kept.sort();
    (status.expect("a status").parse().expect("a number"), kept)
}

/// A Chroma that allows pages of some origins.
struct Allowing(u16, Child);

impl Allowing {
    fn start(folder: &std::path::Path, origins: &str) -> Self {
        let (port, config) = (free_port(), folder.join("allowing.yaml"));
        let text = format!(
            "persist_path: {}\nport: {port}\nlisten_address: 127.0.0.1\ncors_allow_origins: {origins}\n",
            folder.join("allowing").display()
        );
        std::fs::write(&config, text).expect("a config file");
        let child = tools::chroma(tools::NEWEST)
            .arg("run")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chroma starts");
        let allowing = Self(port, child);
        eventually("Chroma listens", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
        allowing
    }
}

impl Drop for Allowing {
    fn drop(&mut self) {
        self.1.kill().expect("it can be killed");
        self.1.wait().expect("it ends");
    }
}

const PREFLIGHT: &str =
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";

/// Requests of pages, to answers of each kind: small, streamed, refused, redirected, of a write.
fn requests() -> Vec<(String, &'static str)> {
    vec![
        (format!("OPTIONS {COLLECTIONS}"), PREFLIGHT),
        (format!("OPTIONS {COLLECTIONS}"), ""),
        ("OPTIONS /api/v2/version".to_owned(), PREFLIGHT),
        ("GET /api/v2/version".to_owned(), ""),
        ("GET /docs/swagger-ui.css".to_owned(), ""),
        ("GET /docs".to_owned(), ""),
        (format!("GET {COLLECTIONS}"), ""),
        (format!("GET {COLLECTIONS}/nothing"), ""),
        (format!("DELETE {DATABASE}/collections/nothing"), ""),
    ]
}

/// With the same origins allowed, a page is answered here as by one Chroma; by default no page is
/// allowed anything, whatever the servers allow.
#[test]
fn pages_are_answered_as_by_one_chroma() {
    let folder = folder();
    let chroma = Allowing::start(
        folder.path(),
        &format!("[\"{PAGE}\", \"http://b.example:81\"]"),
    );
    let cluster = Cluster::with(
        2,
        &[&format!(
            "--http-cors-allow-origins={PAGE},http://b.example:81"
        )],
    );
    for (request, headers) in requests() {
        for origin in [
            PAGE,
            "http://b.example:81",
            "https://APP.example",
            "https://evil.example",
            "null",
        ] {
            let headers = format!("Origin: {origin}\r\n{headers}");
            let (ours, theirs) = (
                ask(cluster.proxy.port, &request, &headers),
                ask(chroma.0, &request, &headers),
            );
            assert_eq!(ours, theirs, "{request} from {origin}");
        }
    }
    for own in ["OPTIONS /status", "GET /status"] {
        let (_, headers) = ask(cluster.proxy.port, own, &format!("Origin: {PAGE}\r\n"));
        let is_said = headers
            .iter()
            .any(|line| line.starts_with("access-control-"));
        assert!(
            !is_said,
            "Achromat's own paths are for no page: {headers:?}"
        );
    }
}

/// Any page may do anything when that is configured.
#[test]
fn a_star_allows_any_page() {
    let folder = folder();
    let chroma = Allowing::start(folder.path(), "[\"*\"]");
    let cluster = Cluster::with(2, &["--http-cors-allow-origins=*"]);
    for (request, headers) in requests() {
        let headers = format!("Origin: {PAGE}\r\n{headers}");
        let (ours, theirs) = (
            ask(cluster.proxy.port, &request, &headers),
            ask(chroma.0, &request, &headers),
        );
        assert_eq!(ours, theirs, "{request}");
        assert!(
            ours.1
                .contains(&"access-control-allow-origin: *".to_owned())
        );
    }
}

/// True when a browser lets a page send these headers after a pre-flight answer: a star covers each of them but
/// `authorization` (Fetch standard, CORS-preflight fetch, steps 7.6 and 7.7).
fn are_sent(answer: &Answer, names: &[&str]) -> bool {
    let allowed = answer
        .1
        .iter()
        .find_map(|line| line.strip_prefix("access-control-allow-headers: "));
    let allowed: Vec<_> = allowed.unwrap_or_default().split(',').collect();
    let is_named = |name: &str| {
        let mut allowed = allowed.iter().map(|name| name.trim());
        allowed.any(|allowed| allowed.eq_ignore_ascii_case(name))
    };
    let may_be_sent = |name: &&str| is_named(name) || (is_named("*") && *name != "authorization");
    answer.0 == 200 && names.iter().all(may_be_sent)
}

/// A page may send a token in `Authorization` where clients need one, and reads the refusal without it.
#[test]
fn pages_may_show_their_tokens() {
    let folder = folder();
    let tokens = folder.path().join("tokens.toml");
    let token = token(&tokens, "page", &["read */*/*"]);
    let origins = format!("--http-cors-allow-origins={PAGE}");
    let file = format!("--access-tokens-file={}", tokens.display());
    let cluster = Cluster::with(2, &[&origins, &file]);
    let ask = |request: &str, headers: &str| {
        let headers = format!("Origin: {PAGE}\r\n{headers}");
        ask(cluster.proxy.port, request, &headers)
    };
    let asked = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,content-type\r\n";
    let answer = ask(&format!("OPTIONS {COLLECTIONS}"), asked);
    let names = ["authorization", "content-type", "x-chroma-token"];
    assert!(are_sent(&answer, &names), "{answer:?}");
    let shown = format!("Authorization: Bearer {token}\r\n");
    for (headers, status) in [(shown.as_str(), 200), ("", 401)] {
        let answer = ask(&format!("GET {COLLECTIONS}"), headers);
        let is_read = answer
            .1
            .contains(&format!("access-control-allow-origin: {PAGE}"));
        assert!(answer.0 == status && is_read, "{answer:?}");
    }
}

/// Without configuration nothing is said of origins, and an answer keeps the headers that are its own.
#[test]
fn answers_keep_their_own_headers() {
    let cluster = Cluster::start();
    let (port, direct) = (cluster.proxy.port, cluster.instances[0].port);
    for request in [
        "GET /docs",
        "HEAD /docs",
        "GET /docs/",
        "GET /api/v2/version",
    ] {
        let origin = format!("Origin: {PAGE}\r\n");
        assert_eq!(
            ask(port, request, &origin),
            ask(direct, request, &origin),
            "{request}"
        );
    }
    let redirected = (303, vec!["location: /docs/".to_owned()]);
    assert_eq!(ask(port, "GET /docs", ""), redirected);
    assert_eq!(
        ask(port, &format!("OPTIONS {COLLECTIONS}"), PREFLIGHT).0,
        405
    );
}
