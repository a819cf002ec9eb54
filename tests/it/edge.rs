//! Clients that are clumsy or hostile: where a request ends is never in doubt, and nobody is kept from
//! being served by what others send slowly, or not at all.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use achromat_tests::{
    cluster::Cluster,
    frames::{self, Frame},
    raw::statuses,
    wait::eventually,
};
use serde_json::{Value, json};

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", cluster.proxy.port)).expect("it listens");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a timeout");
    stream
}

/// All that comes until the other side closes.
#[track_caller]
fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!(
            "{error}: the connection is open after {:?}",
            String::from_utf8_lossy(&bytes)
        ),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is answered to these bytes until the connection is closed.
#[track_caller]
fn exchange(cluster: &Cluster, bytes: &str) -> String {
    let mut stream = connect(cluster);
    stream.write_all(bytes.as_bytes()).expect("it takes bytes");
    to_the_end(&mut stream)
}

/// After anything wrong in the framing of a body the connection ends, on every kind of path: what looks
/// like a second request in the broken body is none.
#[test]
fn nothing_is_smuggled_behind_a_broken_body() {
    let cluster = Cluster::start();
    let inner = "POST /admin/cleanup HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let broken = [
        "x\r\n",
        "\r\n",
        "-5\r\n",
        "5 \r\n",
        "ffffffffffffffffff\r\n",
        "3\r\nabcd",
        "3\r\nabc\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n folded: x\r\n\r\n",
    ];
    let paths = [
        "GET /livez",
        "GET /status",
        "POST /admin/verify",
        "GET /nothing",
        "GET /api/v2/version",
        "POST /api/v2/tenants",
        &format!("POST {COLLECTIONS}"),
    ];
    for path in paths {
        for start in broken {
            let mut stream = connect(&cluster);
            let head =
                format!("{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{start}");
            stream.write_all(head.as_bytes()).expect("it takes bytes");
            // Whatever is sent then, together or later.
            for later in [inner, inner] {
                if stream.write_all(later.as_bytes()).is_err() {
                    break;
                }
                std::thread::yield_now();
            }
            let answers = to_the_end(&mut stream);
            let statuses = statuses(&answers);
            assert!(statuses.len() <= 1, "{path} {start:?}: {answers}");
            assert!(
                statuses.iter().all(|status| *status >= 400),
                "{path} {start:?}: {answers}"
            );
        }
    }
    // A size with zeros before it is a size: what follows is data, however late it comes.
    let mut stream = connect(&cluster);
    let size = format!("{:020x}", inner.len());
    let head =
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n");
    stream.write_all(head.as_bytes()).expect("it takes bytes");
    stream.flush().expect("it is sent");
    let rest =
        format!("{inner}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(rest.as_bytes()).expect("it takes bytes");
    assert_eq!(statuses(&to_the_end(&mut stream)), [200, 200]);
}

/// What hides a path, or the host it is for, from a rule in a server before this one is not served.
#[test]
fn a_path_has_one_spelling() {
    let cluster = Cluster::start();
    let get = |target: &str| {
        exchange(
            &cluster,
            &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
    };
    assert_eq!(statuses(&get("/admin/instances")), [200]);
    for (target, status) in [
        ("/%61dmin/instances", 404),
        ("/admin/%69nstances", 404),
        ("/l%69vez", 404),
        ("http://x?/admin/instances", 404),
        ("http://y/admin/instances", 400),
        ("http://x/admin/instances", 200),
        ("http://X/admin/instances", 400),
        ("HTTP://x/admin/instances", 200),
        ("/admin//instances", 404),
        ("//admin/instances", 404),
        ("/admin/instances/", 404),
        ("/api/v2/%76ersion", 404),
        ("/%61pi/v2/version", 404),
        ("/api/v2/ver sion", 400),
        ("*", 400),
    ] {
        let answers = get(target);
        assert_eq!(statuses(&answers), [status], "{target}: {answers}");
    }
    // A name may be written as the client likes: Chroma decodes it.
    let tenant = "/api/v2/tenants/default%5Ftenant";
    assert_eq!(statuses(&get(tenant)), [200]);
}

/// HTTP/1.0, `Connection` on several lines, and a request that is shorter than HTTP/2's preface.
#[test]
fn old_and_short_requests_are_answered_at_once() {
    let cluster = Cluster::start();
    let began = Instant::now();
    let answers = exchange(&cluster, "OPTIONS / HTTP/1.0\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.0 204"), "{answers}");
    let answers = exchange(&cluster, "GET /livez HTTP/1.0\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.0 200"), "{answers}");
    let answers = exchange(&cluster, "GET /api/v2/version HTTP/1.0\r\n\r\n");
    assert!(
        answers.starts_with("HTTP/1.0 200") && answers.ends_with("\"1.0.0\""),
        "{answers}"
    );
    let lines = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: x\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&exchange(&cluster, lines)), [200]);
    let kept = "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /livez HTTP/1.0\r\n\r\n";
    assert_eq!(statuses(&exchange(&cluster, kept)), [200, 200]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}: nothing waited");
}

/// Bytes of an answer that a client of HTTP/2 has room for.
const ROOM: u32 = 1 << 24;

/// The frames of one stream, up to its last one or to its end by an error.
fn stream_of(cluster: &Cluster, method: &str, path: &str) -> Vec<Frame> {
    let mut stream = connect(cluster);
    let mut bytes = frames::PREFACE.to_vec();
    // Answers of any size may come at once.
    Frame::settings(Some(ROOM)).write(&mut bytes);
    Frame::room(ROOM).write(&mut bytes);
    Frame::request(1, (method, path), true).write(&mut bytes);
    stream.write_all(&bytes).expect("it takes bytes");
    let mut read = Vec::new();
    loop {
        let frame = Frame::read(&mut stream).expect("a frame");
        assert_ne!(frame.kind, frames::GO_AWAY, "{method} {path}: {frame:?}");
        if frame.stream != 1 {
            continue;
        }
        let is_last = frame.ends_stream() || frame.kind == frames::RESET;
        read.push(frame);
        if is_last {
            return read;
        }
    }
}

/// Over HTTP/2, HEAD is answered with the head that GET has, without a body and without an error of the stream:
/// for Achromat's own paths, for small answers, for answers that are passed on as they come, for refusals.
#[test]
fn head_over_http2_has_no_body() {
    let cluster = Cluster::start();
    let api = cluster.api();
    let large = json!({ "text": "x".repeat(100_000) });
    let body = json!({ "name": "large", "metadata": large });
    api.post("$D/collections", &body).ok();
    for path in [
        "/livez",
        "/status",
        "/api/v2/version",
        "/openapi.json",
        "/docs/swagger-ui.css",
        COLLECTIONS,
        "/nothing",
    ] {
        let lengths = ["GET", "HEAD"].map(|method| {
            let frames = stream_of(&cluster, method, path);
            let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
            assert_eq!(kinds[0], frames::HEADERS, "{method} {path}: {kinds:?}");
            let rest = kinds[1..].iter().all(|kind| *kind == frames::DATA);
            assert!(rest, "{method} {path}: {kinds:?}");
            frames[1..]
                .iter()
                .map(|frame| frame.contents.len())
                .sum::<usize>()
        });
        assert!(lengths[0] > 0, "GET {path} has a body");
        assert_eq!(lengths[1], 0, "HEAD {path}");
    }
}

/// Bodies that are declared and come slowly take no memory from others, and no place for long.
#[test]
fn slow_bodies_stop_nobody() {
    // There are fewer places than slow bodies: these take none.
    let flags = [
        "--limits-grace-ms=2000",
        "--limits-head-deadline-ms=2000",
        "--limits-requests-max=20",
        "--limits-queue-max=20",
    ];
    let cluster = Cluster::with(2, &flags);
    let api = cluster.api();
    let id = api.create("served");
    let before = cluster.proxy.resident_kb();
    let mut slow: Vec<TcpStream> = Vec::new();
    for path in ["/livez", COLLECTIONS] {
        for _ in 0..150 {
            let mut stream = connect(&cluster);
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n{{");
            stream.write_all(head.as_bytes()).expect("it takes bytes");
            slow.push(stream);
        }
    }
    for n in 0..20 {
        let body = json!({ "ids": [format!("r{n}")], "embeddings": [[n, 1]] });
        api.records(&id, "upsert", &body).ok();
    }
    let grown = cluster.proxy.resident_kb().saturating_sub(before);
    assert!(
        grown < 64 << 10,
        "{grown} KiB for 300 bodies of a byte each"
    );
    for stream in &mut slow {
        let answers = to_the_end(stream);
        assert_eq!(statuses(&answers), [408], "{answers}");
    }
}

/// Clients that send nothing, or a head that never ends, are gone after the deadline.
#[test]
fn silent_and_endless_heads_are_ended() {
    let cluster = Cluster::with(2, &["--limits-head-deadline-ms=3000"]);
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect(&cluster)).collect();
    let mut begun: Vec<TcpStream> = (0..200).map(|_| connect(&cluster)).collect();
    for stream in &mut begun {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ")
            .expect("it takes bytes");
    }
    let mut preface = connect(&cluster);
    preface
        .write_all(b"PRI * HTTP/2.0\r\n")
        .expect("it takes bytes");
    assert_eq!(cluster.api().get("/livez").ok()["status"], "ok");
    for stream in &mut silent {
        assert_eq!(to_the_end(stream), "");
    }
    for stream in &mut begun {
        assert_eq!(statuses(&to_the_end(stream)), [408]);
    }
    assert_eq!(to_the_end(&mut preface), "");
    let many = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    assert_eq!(statuses(&exchange(&cluster, &many)), [431]);
    let large = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nA: {}",
        "b".repeat(20_000)
    );
    assert_eq!(statuses(&exchange(&cluster, &large)), [431]);
}

/// Past the limit of connections one is told so, and those that are there are served.
#[test]
fn connections_are_counted() {
    let cluster = Cluster::with(2, &["--limits-connections-per-address-max=20"]);
    let mut first = connect(&cluster);
    first
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it takes bytes");
    let mut start = [0; 12];
    first.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 200");
    let held: Vec<TcpStream> = (0..60).map(|_| connect(&cluster)).collect();
    let refused = held.into_iter().filter_map(|mut stream| {
        let patience = Some(Duration::from_millis(200));
        stream.set_read_timeout(patience).expect("a timeout");
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    let refused: Vec<String> = refused.collect();
    assert!(refused.len() >= 40, "{}", refused.len());
    assert!(
        refused.iter().all(|start| start == "HTTP/1.1 503"),
        "{refused:?}"
    );
    eventually(
        "places are free again",
        Duration::from_secs(10),
        || match cluster.api().try_call("GET", "/metrics", &Value::Null) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    let text = cluster.api().get("/metrics").ok();
    let text = text.as_str().expect("text");
    let count = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let figure = line.and_then(|line| line.split(' ').next_back()?.parse::<f64>().ok());
        figure.expect("a figure")
    };
    assert!(count("achromat_refused_connections_total{") >= 40.0);
    assert!(count("achromat_connections{") >= 1.0);
}
