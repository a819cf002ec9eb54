//! The operators' Unix socket, and what commands show of the operator's token on its way.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixStream,
    },
    path::Path,
    process::Output,
};

use achromat_tests::{
    cluster::{Cluster, folder},
    proxy::achromat,
    raw::statuses,
};
use serde_json::json;

/// Answer to a request without a token that comes by a socket.
#[track_caller]
fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    let body = "{}";
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("it takes bytes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Runs a command that finds no token.
fn run(words: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = achromat(words);
    command
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME");
    command.output().expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// By the socket, changing calls need no token, whatever names the server may be called by; by TCP they do. Chroma's
/// interface is not there.
#[test]
fn the_socket_needs_no_token() {
    let folder = folder();
    let path = folder.path().join("operators.sock");
    let url = format!("unix:{}", path.display());
    let listen = format!("--admin-listen={url}");
    let cluster = Cluster::with(2, &[&listen, "--http-hosts=127.0.0.1"]);
    let found = fs::symlink_metadata(&path).expect("the socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o777, 0o600);
    for (request, status) in [
        ("POST /admin/verify", 202),
        ("GET /status", 200),
        ("GET /api/v2/version", 404),
        ("POST /admin/nothing", 404),
    ] {
        let answer = ask(&path, request);
        assert_eq!(statuses(&answer), [status], "{request}: {answer}");
    }
    let main = cluster.api().as_anybody();
    main.post("/admin/verify", &json!({})).refused(401);
    for words in [&["jobs"][..], &["health"], &["verify"], &["audit"]] {
        let output = run(&[words, &["--url", &url]].concat());
        let told = stderr(&output);
        assert!(
            output.status.success() && told.is_empty(),
            "{words:?}: {output:?}"
        );
    }
    let output = run(&["audit", "--url", &url]);
    let audit = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        audit.contains("operator") && audit.contains("POST /admin/verify"),
        "{audit}"
    );
}

/// The socket goes with a clean stop. One that a dead process has left is replaced; one that a process listens at
/// is not, and a file of another kind is not.
#[test]
fn a_socket_belongs_to_one_process() {
    let folder = folder();
    let path = folder.path().join("operators.sock");
    let url = format!("unix:{}", path.display());
    let listen = format!("--admin-listen={url}");
    let mut cluster = Cluster::with(2, &[&listen]);
    let instance = format!("--instance=a={}", cluster.instances[0].url());
    let second = || {
        let output = run(&[
            "serve",
            "--listen=127.0.0.1:0",
            "--store=memory:",
            &instance,
            &listen,
        ]);
        assert!(!output.status.success());
        stderr(&output)
    };
    let told = second();
    assert!(told.contains("another process listens there"), "{told}");
    assert_eq!(statuses(&ask(&path, "GET /livez")), [200]);
    cluster.proxy.kill();
    assert!(path.exists(), "nobody has removed it");
    let output = run(&["health", "--url", &url]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = stderr(&output);
    assert!(
        told.contains(&url) && told.contains("does not answer"),
        "{told}"
    );
    cluster.proxy.up();
    assert_eq!(statuses(&ask(&path, "GET /livez")), [200]);
    assert!(cluster.proxy.stop().success());
    assert!(!path.exists(), "it goes with its process");
    fs::write(&path, "notes").expect("a file");
    let told = second();
    assert!(told.contains("a file that is no socket"), "{told}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "notes");
}

/// A command that shows the operator's token where others can read it on its way says so, in one line without the
/// token; one that stays on this machine, or shows none, says nothing.
#[test]
fn a_token_in_the_open_is_told() {
    let cluster = Cluster::start();
    let token = fs::read_to_string(cluster.proxy.token_file()).expect("the token");
    // Every address of this machine, though not one that says so.
    let url = |host: &str| format!("http://{host}:{}", cluster.proxy.port);
    let shown = |words: &[&str], host: &str, with: &[&str]| {
        let output = run(&[words, &["--url", &url(host)], with].concat());
        assert!(output.status.success(), "{output:?}");
        stderr(&output)
    };
    let with = ["--token", token.trim()];
    let told = shown(&["verify"], "0.0.0.0", &with);
    let lines: Vec<_> = told.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains("unencrypted") && lines[0].contains("https://"),
        "{told}"
    );
    assert!(!told.contains(token.trim()));
    for (words, host, with) in [
        (&["verify"], "127.0.0.1", &with[..]),
        (&["verify"], "localhost", &with),
        (&["health"], "0.0.0.0", &with),
        (&["jobs"], "0.0.0.0", &[]),
    ] {
        assert_eq!(shown(words, host, with), "", "{words:?} {host}");
    }
}
