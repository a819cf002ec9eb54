//! Raw messages, some sound and most not, on every kind of path: Achromat and hyper, a strict server of
//! another make, take each for the same requests, or Achromat refuses it and closes.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::Duration,
};

use achromat_tests::{cluster::Cluster, raw::statuses};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

/// What is asked first, and what may be hidden behind it.
const PATHS: [&str; 5] = [
    "/livez",
    "/nothing/here",
    "/admin/nothing",
    "/api/v2/version",
    "/api/v2/tenants/nobody/databases/none/collections",
];

/// A request that stands behind the one in question.
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Heads and bodies: `PATH` is replaced. The sound ones are marked.
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn messages() -> Vec<(bool, String)> {
    let mut all: Vec<(bool, String)> = Vec::new();
    for (sound, head) in [
        (true, "GET PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (true, "\r\nGET PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (true, "HEAD PATH HTTP/1.1\r\nhost:x\r\n\r\n"),
        (
            true,
            "GET PATH?a=b HTTP/1.1\r\nHost: x:1\r\nX-Y: \t a \t\r\n\r\n",
        ),
        (
            true,
            "GET PATH HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            true,
            "POST PATH HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            true,
            "POST PATH HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
        (
            true,
            "POST PATH HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n02\r\n{}\r\n000\r\n\r\n",
        ),
        (
            true,
            "POST PATH HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nT: u\r\n\r\n",
        ),
        (false, "\r\n\r\n\r\nGET PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "\nGET PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\nHost: x\n\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\n\r\n"),
        (false, "GET PATH HTTP/1.1\rHost: x\r\r"),
        (false, "GET  PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH  HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH HTTP/1.1 \r\nHost: x\r\n\r\n"),
        (false, " GET PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET\tPATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x y\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x/admin\r\n\r\n"),
        (false, "GET http://y/PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH HTTP/1.2\r\nHost: x\r\n\r\n"),
        (false, "GET PATH HTTP/0.9\r\n\r\n"),
        (false, "GET PATH\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost : x\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nA\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nA: b\u{0}\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nA: b\u{7f}\r\n\r\n"),
        (false, "GET PATH HTTP/1.1\r\nHost: x\r\nA[: b\r\n\r\n"),
        (false, "GET PATH#a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "GET PATH\\a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "G@T PATH HTTP/1.1\r\nHost: x\r\n\r\n"),
        (false, "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"),
    ] {
        all.push((sound, head.to_owned()));
    }
    for length in [
        "+2",
        "-2",
        "2, 2",
        "2,3",
        "0x2",
        "2 ",
        " 2",
        "2;",
        "",
        "2\r\nContent-Length: 2",
        "2\r\nContent-Length: 3",
        "02",
        "99999999999999999999",
    ] {
        let sound = matches!(length, "2 " | " 2" | "02");
        all.push((
            sound,
            format!("POST PATH HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{}}"),
        ));
    }
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "Chunked",
        "xchunked",
        "chunked;a",
        "\u{b}chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "identity",
        "",
        "chunked\r\nContent-Length: 2",
    ] {
        let sound = coding == "Chunked";
        all.push((sound, format!("POST PATH HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")));
    }
    for chunks in [
        "x\r\n",
        "\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2;\u{0}\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "0\r\nbad\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nA: b\nC: d\r\n\r\n",
    ] {
        all.push((
            false,
            format!("POST PATH HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ));
    }
    all
}

/// What hyper takes bytes for: methods, targets and lengths of bodies.
struct Hyper {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Hyper {
    fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (say, said) = std::sync::mpsc::channel();
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                say.send(listener.local_addr().expect("an address").port())
                    .expect("it is heard");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let log = Arc::clone(&log);
                    let service = service_fn(move |request: Request<Incoming>| {
                        let log = Arc::clone(&log);
                        async move {
                            let name = format!("{} {}", request.method(), request.uri());
                            let body = request.into_body().collect().await?;
                            log.lock()
                                .expect("unpoisoned")
                                .push(format!("{name} {}", body.to_bytes().len()));
                            Ok::<_, hyper::Error>(Response::new(Full::<bytes::Bytes>::default()))
                        }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .half_close(true)
                        .serve_connection(TokioIo::new(stream), service);
                    // What it makes of a broken message is what is asked.
                    let _ended = tokio::time::timeout(Duration::from_secs(2), connection).await;
                }
            });
        });
        Self {
            port: said.recv().expect("a port"),
            seen,
        }
    }

    fn reads(&self, bytes: &[u8]) -> Vec<String> {
        self.seen.lock().expect("unpoisoned").clear();
        let _answers = answers(self.port, bytes);
        self.seen.lock().expect("unpoisoned").clone()
    }
}

/// All that is answered to bytes after which the client sends no more.
fn answers(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let sent = stream
        .write_all(bytes)
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut read = Vec::new();
    match (sent, stream.read_to_end(&mut read)) {
        (Ok(()) | Err(_), Ok(_)) => {}
        (_, Err(error)) if error.kind() == ErrorKind::ConnectionReset => {}
        (_, Err(error)) => panic!("{error} after {:?}", String::from_utf8_lossy(bytes)),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Whatever stands before it, a second request is answered only where hyper sees it too; and behind what is
/// sound it is answered.
#[test]
fn every_message_means_the_same_or_is_refused() {
    let cluster = Cluster::start();
    let hyper = Hyper::start();
    let messages = messages();
    let mut count = 0;
    for path in PATHS {
        for (is_sound, message) in &messages {
            count += 1;
            let bytes = format!("{}{SECOND}", message.replace("PATH", path));
            let ours = answers(cluster.proxy.port, bytes.as_bytes());
            let theirs = hyper.reads(bytes.as_bytes());
            let is_second_seen = ours.contains("/second");
            let context = format!("{bytes:?}\nours: {ours}\nhyper: {theirs:?}");
            if *is_sound {
                assert_eq!(theirs.len(), 2, "{context}");
                // A route that does not take the method is refused before its body is read.
                let is_refused = statuses(&ours) == [405];
                assert!(is_second_seen || is_refused, "{context}");
            } else if is_second_seen {
                let is_theirs = theirs.iter().any(|seen| seen.contains("/second"));
                assert!(is_theirs, "{context}");
                assert_eq!(statuses(&ours).len(), theirs.len(), "{context}");
            } else {
                let refused = statuses(&ours).last().is_none_or(|status| *status >= 400);
                assert!(refused, "{context}");
            }
        }
    }
    assert!(count >= 300, "{count} messages");
    cluster.api().get("/livez").ok();
}
