//! Who may do what: the operator's token, clients' tokens and their grants, encryption, and the operators'
//! own address.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use achromat_tests::{
    api::Api,
    authority::{Authority, replace},
    chroma::free_port,
    cluster::Cluster,
    proxy::achromat,
    records::records,
    tools,
    wait::eventually,
};
use serde_json::{Value, json};

/// Makes a token by the command, and returns it.
#[track_caller]
pub(crate) fn token(file: &Path, name: &str, grants: &[&str]) -> String {
    let mut command = achromat(&["token", "new", name, "--file"]);
    command.arg(file);
    for grant in grants {
        command.args(["--grant", grant]);
    }
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

fn revoke(file: &Path, name: &str) {
    let mut command = achromat(&["token", "revoke", name, "--file"]);
    let output = command.arg(file).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

struct Guarded {
    cluster: Cluster,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

/// A cluster whose clients need tokens.
fn guarded(flags: &[&str]) -> Guarded {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens.toml");
    token(&file, "first", &["read */*/*"]);
    let tokens = format!("--access-tokens-file={}", file.display());
    let flags = [&[tokens.as_str()], flags].concat();
    Guarded {
        cluster: Cluster::with(2, &flags),
        file,
        _folder: folder,
    }
}

impl Guarded {
    /// A client with a token, once it is taken.
    #[track_caller]
    fn client(&self, name: &str, grants: &[&str]) -> Api {
        let shown = token(&self.file, name, grants);
        let api = self.cluster.api().with_token(&shown);
        eventually("the token is taken", Duration::from_secs(10), || match api
            .get("/api/v2/auth/identity")
            .status
        {
            200 => Ok(()),
            status => Err(status),
        });
        api
    }
}

/// Without anything configured, what changes something needs the token that was made at the first start,
/// whoever asks from wherever; the commands find it.
#[test]
fn the_operators_token_is_made_and_found() {
    let cluster = Cluster::start();
    let body = json!({ "healthy": true, "duration_seconds": 1 });
    let path = "/admin/instances/a/health";
    let anybody = cluster.api().as_anybody();
    let why = anybody.post(path, &body).refused(401);
    assert!(why.contains("operator's"), "{why}");
    for (method, path) in [
        ("POST", "/admin/verify"),
        ("POST", "/admin/repair"),
        ("POST", "/admin/cleanup"),
        ("POST", "/admin/fleet/hand-over"),
        ("POST", "/admin/fleet/accept-database"),
        ("POST", "/admin/clear_wal_errors"),
        ("POST", "/admin/create_mapping"),
        ("DELETE", "/collection/mappings/x"),
        ("DELETE", "/admin/letters/x"),
        ("POST", "/admin/letters/x/retry"),
        ("DELETE", "/admin/trash/x"),
        ("POST", "/admin/trash/x/restore"),
        ("POST", "/admin/plugins/routing/versions"),
        ("POST", "/admin/plugins/routing/swap"),
        ("GET", "/admin/plugins/routing/decisions"),
    ] {
        anybody.call(method, path, &json!({})).refused(401);
    }
    anybody.get("/status").ok();
    cluster.api().post(path, &body).ok();
    let token = std::fs::read_to_string(cluster.proxy.token_file()).expect("the file");
    assert!(
        !cluster.proxy.told().contains(token.trim()),
        "no secret is told"
    );
    cluster.api().create("compared");
    let (code, told) = cluster.command(&["verify"]);
    assert_eq!(code, Some(0), "{told}");
    let url = cluster.api().base().to_owned();
    let output = achromat(&["verify", "--url", &url, "--token-file", "/nowhere"]).output();
    assert!(!output.expect("it runs").status.success());
}

/// What a token is granted, on every kind of route; and nothing without one, with a wrong one, with one
/// that is revoked.
#[test]
fn each_route_asks_for_its_grant() {
    let guarded = guarded(&[]);
    let operator = {
        let token = std::fs::read_to_string(guarded.cluster.proxy.token_file()).expect("a token");
        guarded.cluster.api().with_token(token.trim())
    };
    let id = operator.create("docs_1");
    let other = operator.create("other");
    let add = json!({ "ids": ["x"], "embeddings": [[1, 2]] });
    operator.records(&id, "add", &add).ok();
    operator.records(&other, "add", &add).ok();
    operator
        .post("/api/v2/tenants", &json!({ "name": "acme" }))
        .ok();
    let reader = guarded.client("reader", &["read default_tenant/default_database/docs_*"]);
    let writer = guarded.client(
        "writer",
        &["read,write default_tenant/default_database/docs_*"],
    );
    let keeper = guarded.client("keeper", &["read,write,collections default_tenant/*/*"]);
    let stranger = guarded.client("stranger", &["read,write,collections acme/*/*"]);
    let policy = guarded.client("policy", &["policy */*/*"]);
    let nobody = guarded.cluster.api().as_anybody();
    let wrong = guarded
        .cluster
        .api()
        .with_token("0123456789abcdef0123456789abcdef");
    let callers = [
        &nobody, &wrong, &reader, &writer, &keeper, &stranger, &policy, &operator,
    ];
    let get = json!({ "include": [] });
    let upsert = json!({ "ids": ["y"], "embeddings": [[1, 2]] });
    let query = json!({ "query_embeddings": [[1, 2]], "n_results": 1 });
    let in_acme = "/api/v2/tenants/acme/databases/default_database/collections";
    // Statuses in the order of the callers.
    for (method, path, body, statuses) in [
        (
            "GET",
            "/api/v2/heartbeat".to_owned(),
            &Value::Null,
            [200; 8],
        ),
        ("GET", "/api/v2/version".to_owned(), &Value::Null, [200; 8]),
        (
            "GET",
            "/api/v2/auth/identity".to_owned(),
            &Value::Null,
            [401, 401, 200, 200, 200, 200, 200, 200],
        ),
        (
            "GET",
            "/api/v2/tenants/default_tenant".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "GET",
            "$D/collections".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "GET",
            "$D/collections_count".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "GET",
            "$D/collections/docs_1".to_owned(),
            &Value::Null,
            [401, 401, 200, 200, 200, 403, 403, 200],
        ),
        (
            "GET",
            "$D/collections/other".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "GET",
            format!("$D/collections/{id}/count"),
            &Value::Null,
            [401, 401, 200, 200, 200, 403, 403, 200],
        ),
        (
            "POST",
            format!("$D/collections/{id}/get"),
            &get,
            [401, 401, 200, 200, 200, 403, 403, 200],
        ),
        (
            "POST",
            format!("$D/collections/{id}/query"),
            &query,
            [401, 401, 200, 200, 200, 403, 403, 200],
        ),
        (
            "POST",
            format!("$D/collections/{other}/get"),
            &get,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "POST",
            format!("$D/collections/{id}/upsert"),
            &upsert,
            [401, 401, 403, 200, 200, 403, 403, 200],
        ),
        (
            "POST",
            format!("$D/collections/{other}/upsert"),
            &upsert,
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        // The collection of another tenant, asked for under one's own.
        (
            "POST",
            format!("{in_acme}/{id}/get"),
            &get,
            [401, 401, 403, 403, 403, 403, 403, 404],
        ),
        (
            "POST",
            format!("{in_acme}/{id}/upsert"),
            &upsert,
            [401, 401, 403, 403, 403, 403, 403, 404],
        ),
        (
            "POST",
            "$D/collections".to_owned(),
            &json!({ "name": "docs_2", "get_or_create": true }),
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "PUT",
            format!("$D/collections/{id}"),
            &json!({ "new_metadata": { "a": 1 } }),
            [401, 401, 403, 403, 200, 403, 403, 200],
        ),
        (
            "DELETE",
            "$D/collections/missing".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 404, 403, 403, 404],
        ),
        (
            "POST",
            "/api/v2/tenants".to_owned(),
            &json!({ "name": "acme" }),
            [401, 401, 403, 403, 403, 409, 403, 409],
        ),
        (
            "GET",
            "/status".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 403, 403, 403, 200],
        ),
        (
            "GET",
            "/admin/plugins".to_owned(),
            &Value::Null,
            [401, 401, 403, 403, 403, 403, 200, 200],
        ),
        (
            "POST",
            "/admin/verify".to_owned(),
            &json!({ "collection": "docs_1" }),
            [401, 401, 403, 403, 403, 403, 403, 202],
        ),
        ("GET", "/livez".to_owned(), &Value::Null, [200; 8]),
    ] {
        for (caller, expected) in callers.iter().zip(statuses) {
            let answer = caller.call(method, &path, body);
            let place = callers.iter().position(|c| std::ptr::eq(*c, *caller));
            assert_eq!(
                answer.status, expected,
                "{method} {path} by {place:?}: {answer:?}"
            );
        }
    }
    for caller in &callers[..7] {
        let status = caller.call("POST", "/api/v2/reset", &Value::Null).status;
        assert!([401, 403].contains(&status), "{status}");
    }
    revoke(&guarded.file, "writer");
    eventually("it is revoked", Duration::from_secs(10), || {
        match writer.records(&id, "get", &get).status {
            401 => Ok(()),
            status => Err(status),
        }
    });
    assert_eq!(reader.records(&id, "get", &get).status, 200);
    // Every instance has what was granted, and nothing of what was not.
    guarded.cluster.settle();
    for (place, instance) in guarded.cluster.instances.iter().enumerate() {
        let database = achromat_tests::api::DATABASE;
        let all = |name: &str| {
            let own = guarded.cluster.own_id(place, name);
            let found = records(&instance.api(), database, &own).expect("records");
            found.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(all("docs_1"), ["x", "y"]);
        assert_eq!(all("other"), ["x", "y"]);
    }
}

/// The same key is another one in another tenant, and nobody is told of another's.
#[test]
fn keys_belong_to_a_tenant() {
    let guarded = guarded(&[]);
    let ours = guarded.client("ours", &["read,write,collections acme/*/*"]);
    let theirs = guarded.client("theirs", &["read,write,collections other/*/*"]);
    for (client, tenant) in [(&ours, "acme"), (&theirs, "other")] {
        client
            .post("/api/v2/tenants", &json!({ "name": tenant }))
            .ok();
        let path = format!("/api/v2/tenants/{tenant}/databases");
        client.post(&path, &json!({ "name": "database" })).ok();
        let path = format!("{path}/database/collections");
        let body = json!({ "name": format!("of_{tenant}") });
        let made = client.under("same-key").post(&path, &body).ok();
        let again = client.under("same-key").post(&path, &body).ok();
        assert_eq!(made["id"], again["id"]);
    }
    ours.get("/transactions/same-key?tenant=acme").refused(403);
    let token = std::fs::read_to_string(guarded.cluster.proxy.token_file()).expect("a token");
    let operator = guarded.cluster.api().with_token(token.trim());
    for (tenant, status) in [("acme", 200), ("other", 200), ("third", 404)] {
        let path = format!("/transactions/same-key?tenant={tenant}");
        assert_eq!(operator.get(&path).status, status, "{tenant}");
    }
    operator.get("/transactions/same-key").refused(404);
}

/// Operators have an address of their own, and clients' has nothing of theirs when that is wished.
#[test]
fn operators_have_their_own_address() {
    let port = free_port();
    let cluster = Cluster::with(
        2,
        &[
            &format!("--admin-listen=127.0.0.1:{port}"),
            "--admin-on-main=false",
        ],
    );
    let own = Api::at(port).operated_by(cluster.proxy.token_file().to_owned());
    own.get("/status").ok();
    own.post("/admin/verify", &json!({})).ok();
    own.get("/api/v2/version").refused(404);
    let main = cluster.api();
    for path in [
        "/status",
        "/admin/instances",
        "/metrics",
        "/collection/mappings",
    ] {
        main.get(path).refused(404);
    }
    main.post("/admin/verify", &json!({})).refused(404);
    for path in ["/livez", "/readyz", "/health"] {
        main.get(path).ok();
    }
    main.get("/api/v2/version").ok();
}

/// Only the names that the server is called by are served, when there are some.
#[test]
fn foreign_hosts_are_refused() {
    let cluster = Cluster::with(
        2,
        &["--http-hosts=chroma.example", "--http-hosts=127.0.0.1"],
    );
    let asked = |host: &str| {
        cluster
            .api()
            .with_header("host", host)
            .get("/status")
            .status
    };
    assert_eq!(asked("chroma.example"), 200);
    assert_eq!(asked("Chroma.Example:8000"), 200);
    assert_eq!(asked("attacker.example"), 421);
    assert_eq!(asked("localhost"), 421);
    cluster.api().get("/api/v2/version").ok();
}

/// Writes and reads with the official client, until it is told to stop; takes each token that it is given.
const CLIENT: &str = r#"
import sys, pathlib, chromadb, httpx, ssl
from chromadb.config import Settings
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
def client(token, authority):
    return chromadb.HttpClient(host="localhost", port=port, ssl=True, settings=Settings(
        chroma_client_auth_provider="chromadb.auth.token_authn.TokenAuthClientProvider",
        chroma_client_auth_credentials=token, chroma_server_ssl_verify=str(authority)))
try:
    httpx.get(f"https://localhost:{port}/livez", verify=ssl.create_default_context(cafile=folder / "stranger.pem"))
    sys.exit("a certificate of a stranger was trusted")
except httpx.ConnectError as error:
    assert "CERTIFICATE_VERIFY_FAILED" in str(error), error
shown, count = "", 0
while not (folder / "stop").exists():
    token = (folder / "token").read_text()
    if token != shown:
        collection = client(token, folder / "authority.pem").get_or_create_collection("docs")
        shown = token
    collection.upsert(ids=[str(count)], embeddings=[[count, 1]], documents=["text"])
    assert collection.get(ids=[str(count)])["documents"] == ["text"]
    count += 1
    (folder / "count").write_text(str(count))
print(count)
"#;

/// Waits until Achromat says that it has taken in so many tokens.
fn wait_until_taken(cluster: &Cluster, count: &str) {
    let said = format!("the tokens were read again count={count}");
    eventually("the tokens are taken in", Duration::from_secs(10), || {
        if cluster.proxy.told().contains(&said) {
            Ok(())
        } else {
            Err(cluster.proxy.told())
        }
    });
}

/// Chroma's own client, with a token and over TLS, while the certificate and the token are changed: no
/// request fails. A client that trusts another authority gets nowhere.
#[test]
fn the_python_client_works_with_token_and_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| replace(&path(name), text);
    let own = free_port();
    let authority = Authority::new();
    write("authority.pem", &authority.pem);
    write("stranger.pem", &Authority::new().pem);
    let first = authority.renew(folder.path());
    let tokens = path("tokens.toml");
    let grant = "read,write,collections default_tenant/*/*";
    write("token", &token(&tokens, "old", &[grant]));
    let cluster = Cluster::with(
        2,
        &[
            &format!("--tls-certificate={}", path("certificate.pem").display()),
            &format!("--tls-key={}", path("key.pem").display()),
            &format!("--access-tokens-file={}", tokens.display()),
            &format!("--admin-listen=127.0.0.1:{own}"),
        ],
    );
    let port = cluster.proxy.port;
    let python = tools::python().join("bin/python");
    let served = || {
        let words = format!("import ssl; print(ssl.get_server_certificate(('localhost', {port})))");
        let output = Command::new(&python)
            .args(["-c", &words])
            .output()
            .expect("python");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().collect::<String>()
    };
    let plain = |pem: &str| pem.split_whitespace().collect::<String>();
    assert_eq!(served(), plain(&first));
    let mut client = Command::new(&python)
        .args(["-c", CLIENT, &port.to_string()])
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("python");
    let count = || {
        let text = std::fs::read_to_string(path("count")).unwrap_or_default();
        text.parse::<u64>().unwrap_or(0)
    };
    let goes_on = |client: &mut std::process::Child| {
        let before = count();
        eventually("the client goes on", Duration::from_secs(30), || {
            if client.try_wait().expect("it can be asked").is_some() {
                let mut errors = String::new();
                let pipe = client.stderr.as_mut().expect("its errors");
                pipe.read_to_string(&mut errors).expect("text");
                panic!("the client has ended: {errors}");
            }
            if count() > before + 20 {
                Ok(())
            } else {
                Err(count())
            }
        });
    };
    goes_on(&mut client);
    let second = authority.renew(folder.path());
    eventually(
        "the new certificate is served",
        Duration::from_secs(10),
        || {
            if served() == plain(&second) {
                Ok(())
            } else {
                Err("the old one")
            }
        },
    );
    goes_on(&mut client);
    let new = token(&tokens, "new", &[grant]);
    wait_until_taken(&cluster, "2");
    write("token", &new);
    goes_on(&mut client);
    revoke(&tokens, "old");
    wait_until_taken(&cluster, "1");
    goes_on(&mut client);
    write("stop", "");
    let output = client.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let done = count();
    let operator = Api::at(own).operated_by(cluster.proxy.token_file().to_owned());
    operator.wait_nothing_owed(Duration::from_secs(30));
    for (place, instance) in cluster.instances.iter().enumerate() {
        let own = cluster.own_id(place, "docs");
        let found = records(&instance.api(), achromat_tests::api::DATABASE, &own);
        assert_eq!(found.expect("records").len() as u64, done);
    }
}

/// Session of an npm client with a token over TLS; without the token, and with another one, it is refused.
const NPM_CLIENT: &str = r#"
import assert from "node:assert/strict";
import { ChromaClient } from "chromadb";
const [port, token] = process.argv.slice(2);
const client = (headers) => new ChromaClient({ host: "localhost", port: Number(port), ssl: true, headers });
for (const headers of [undefined, { Authorization: "Bearer another-one" }]) {
  await assert.rejects(client(headers).listCollections());
}
for (const headers of [{ Authorization: `Bearer ${token}` }, { "X-Chroma-Token": token }]) {
  const api = client(headers);
  const docs = await api.getOrCreateCollection({ name: "docs", embeddingFunction: null });
  const id = Object.keys(headers)[0];
  await docs.upsert({ ids: [id], embeddings: [[1, 2]], documents: [id] });
  assert.deepEqual((await docs.get({ ids: [id] })).documents, [id]);
}
console.log("all is well");
"#;

/// The npm client, unchanged, with a token and over TLS; both servers have what it wrote.
#[test]
fn the_npm_client_works_with_token_and_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    std::fs::write(path("authority.pem"), &authority.pem).expect("a file");
    authority.renew(folder.path());
    let tokens = path("tokens.toml");
    let shown = token(&tokens, "npm", &["read,write,collections */*/*"]);
    let cluster = Cluster::with(
        2,
        &[
            &format!("--tls-certificate={}", path("certificate.pem").display()),
            &format!("--tls-key={}", path("key.pem").display()),
            &format!("--access-tokens-file={}", tokens.display()),
            &format!("--admin-listen=127.0.0.1:{}", free_port()),
        ],
    );
    let (packages, program) = tools::node();
    // Node looks for packages beside the script.
    let script = tempfile::Builder::new()
        .suffix(".mjs")
        .tempfile_in(packages)
        .expect("a script");
    std::fs::write(script.path(), NPM_CLIENT).expect("a script");
    let output = Command::new(program)
        .arg(script.path())
        .args([cluster.proxy.port.to_string(), shown])
        .env("NODE_EXTRA_CA_CERTS", path("authority.pem"))
        .output()
        .expect("node");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for (place, instance) in cluster.instances.iter().enumerate() {
        let own = cluster.own_id(place, "docs");
        let found = eventually("both records are there", Duration::from_secs(20), || {
            let found = records(&instance.api(), achromat_tests::api::DATABASE, &own)?;
            if found.len() == 2 {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        });
        assert!(found.contains_key("Authorization") && found.contains_key("X-Chroma-Token"));
    }
}
