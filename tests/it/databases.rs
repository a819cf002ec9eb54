//! A PostgreSQL server that wants a password and encryption; databases and credentials that will not do.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use achromat_tests::{
    authority::Authority,
    chroma::Chroma,
    cluster::{NAMES, folder},
    postgres::Postgres,
    proxy::{Proxy, achromat},
};
use serde_json::json;

const PASSWORD: &str = "correct horse";

/// A database with an owner who has a password, and one who may not make tables.
fn server(authority: &Authority) -> (Postgres, u16) {
    let mut server = Postgres::start().expect("PostgreSQL runs here");
    let port = server.open_port(authority);
    let roles = format!(
        "CREATE ROLE cms LOGIN PASSWORD '{PASSWORD}';
         CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}';
         GRANT CREATE ON SCHEMA public TO cms;"
    );
    server.run(&roles).expect("its roles");
    (server, port)
}

/// A file as `PGPASSFILE` names it.
fn password_file(folder: &Path, password: &str) -> String {
    let path = folder.join(password);
    fs::write(&path, format!("127.0.0.1:*:*:*:{password}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path.display().to_string()
}

/// Starts a proxy that must not start; returns its words.
fn refusal(folder: &Path, store: &str, password_file: &str) -> String {
    let store = format!("--store={store}");
    let token = format!("--admin-token-file={}", folder.join("token").display());
    let instances = [
        "--instance=a=http://127.0.0.1:1",
        "--instance=b=http://127.0.0.1:2",
    ];
    let mut serve = achromat(&["serve", "--listen=127.0.0.1:0", &store, &token]);
    let refused = serve
        .args(instances)
        .env("PGPASSFILE", password_file)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = refused.expect("it runs");
    let told = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(!status.success(), "{told}");
    assert!(!told.contains(PASSWORD), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    told
}

/// S3: the password comes from a file, and the server is known by its authority. Whatever does not fit is
/// refused at the start, in words that tell what it is and never the password.
#[test]
fn a_database_that_wants_a_password_and_encryption() {
    let folder = folder();
    let authority = Authority::new();
    let (server, port) = server(&authority);
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        fs::write(&path, &authority.pem).expect("a file");
        path.display().to_string()
    };
    let known = file("known.pem", &authority);
    let stranger = file("stranger.pem", &Authority::new());
    let url = |user: &str, sslmode: &str, authority: &str| {
        format!(
            "postgres://{user}@127.0.0.1:{port}/postgres?sslmode={sslmode}&sslrootcert={authority}"
        )
    };
    let right = password_file(folder.path(), PASSWORD);
    let wrong = password_file(folder.path(), "wrong");
    let good = url("cms", "verify-full", &known);
    let none = folder.path().join("none").display().to_string();
    for (store, passwords, reason) in [
        (&good, &wrong, "password authentication failed"),
        (&good, &none, "password"),
        (&url("cms", "disable", &known), &right, "no encryption"),
        (&url("cms", "verify-full", &stranger), &right, "certificate"),
        (
            &url("guest", "verify-full", &known),
            &right,
            "permission denied",
        ),
        (&url("nobody", "verify-full", &known), &right, "\"nobody\""),
        (
            &good.replace("/postgres?", "/nowhere?"),
            &right,
            "\"nowhere\"",
        ),
    ] {
        let told = refusal(folder.path(), store, passwords);
        assert!(told.contains(reason), "{store}: {told}");
        assert!(told.contains(&format!("127.0.0.1:{port}")), "{told}");
    }
    let instances: Vec<_> = NAMES.into_iter().take(2).collect();
    let chromas: Vec<_> = instances
        .iter()
        .map(|name| Chroma::start(&folder.path().join(name)))
        .collect();
    let named: Vec<_> = instances
        .into_iter()
        .zip(chromas.iter().map(Chroma::url))
        .collect();
    let store = format!("--store={good}");
    let proxy = Proxy::before_in(folder.path(), &named, &[&store], &[("PGPASSFILE", &right)]);
    let api = proxy.api();
    let id = api.create("kept");
    let added = json!({ "ids": ["a"], "embeddings": [[1.0, 2.0]] });
    api.records(&id, "add", &added).ok();
    assert_eq!(
        api.records(&id, "get", &json!({})).ok()["ids"],
        json!(["a"])
    );
    let encrypted =
        "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE usename = 'cms'";
    assert_eq!(server.run(encrypted).as_deref(), Ok("t\n"));
    assert!(!proxy.told().contains(PASSWORD));
    proxy.assert_calm();
}
