//! Files with digests and signatures, good and bad.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
};

use super::*;

/// Someone who signs: a public key, and what minisign makes of `a plugin` with the secret one.
struct Signer {
    key: &'static str,
    signature: &'static str,
}

const OURS: Signer = Signer {
    key: "RWRvdXJzAAAAAKzfLHGqVTPfjhhe8ONb3/wEjR0mh+uqe/cWrO0cVN/D",
    signature: "untrusted comment: signature\n\
        RURvdXJzAAAAACHy8XaOdeTnxB399js61SEUOuKIMnnYO4EDkmr5TGIsm+xyQM3aNc+rBU4Nqy2UuIuc3zO/i8z3XyLY7snaEgw=\n\
        trusted comment: for a test\n\
        LIzhKqQ0CF477QuC8do9M7bM/0o6N1xEWZPnxAdhygF8/QnRU4/sUq062nzUb9eD8rR54gd1bZhzDiesIirPCw==\n",
};

const THEIRS: Signer = Signer {
    key: "RWR0aGVpcnMAAMjbU0aT60ROHgNVv270KP4mwmQBpWBJ/6Z5jOy0yyjU",
    signature: "untrusted comment: signature\n\
        RUR0aGVpcnMAABivQ3NeQQBUs0umRWclE4qSayuvOGPjWQZoi3xd2FYmVyNiB/VqOCAx9hMYfbqLbv7+3QdNATlR8J5d+G0ftQg=\n\
        trusted comment: for a test\n\
        Q5i2EG18HUU8HSR9IuLluX+UoLIVlY1rGy6LTD+53rHRGoLJ3a/lwC0LovJgF4GKV4OufRB1zT4DLLmaND86BA==\n",
};

impl Signer {
    fn key(&self) -> TrustedKey {
        self.key.parse().expect("a key")
    }

    fn sign(&self, path: &Path) {
        fs::write(path.with_extension("wasm.minisig"), self.signature).expect("a file");
    }
}

fn plugin() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plugin.wasm");
    fs::write(&path, b"a plugin").expect("a file");
    (folder, path)
}

fn refused(path: &Path, digest: Option<Digest>, trust: &Trust) -> String {
    let taken = from_file(path, digest, trust);
    taken.expect_err("a refusal").to_string()
}

/// A pinned digest lets one file in and no other.
#[test]
fn a_pinned_digest_holds() {
    let (_folder, path) = plugin();
    let trust = Trust::default();
    assert_eq!(
        from_file(&path, None, &trust).unwrap().bytes.as_ref(),
        b"a plugin"
    );
    let digest = Some(Digest::of(b"a plugin"));
    assert!(from_file(&path, digest, &trust).is_ok());
    fs::write(&path, b"a plugin, changed").expect("a file");
    let why = refused(&path, digest, &trust);
    assert!(why.contains(&Digest::of(b"a plugin").to_string()), "{why}");
}

/// A signature is good under one of the keys, or the file is refused; without one, it depends.
#[test]
fn signatures_are_judged() {
    let (_folder, path) = plugin();
    let (ours, theirs) = (OURS, THEIRS);
    let trust = |keys: &[&Signer], is_required| Trust {
        keys: keys.iter().map(|signer| signer.key()).collect(),
        is_required,
    };
    assert!(from_file(&path, None, &trust(&[&ours], false)).is_ok());
    let why = refused(&path, None, &trust(&[&ours], true));
    assert!(why.contains("plugin.wasm.minisig"), "{why}");

    theirs.sign(&path);
    assert!(
        from_file(&path, None, &trust(&[], false)).is_ok(),
        "nobody asks"
    );
    for is_required in [false, true] {
        let why = refused(&path, None, &trust(&[&ours], is_required));
        assert!(why.contains("not good"), "{why}");
    }
    assert!(from_file(&path, None, &trust(&[&ours, &theirs], true)).is_ok());
    ours.sign(&path);
    assert!(from_file(&path, None, &trust(&[&ours], true)).is_ok());

    fs::write(&path, b"another plugin").expect("a file");
    assert!(refused(&path, None, &trust(&[&ours], true)).contains("not good"));
    let signature = path.with_extension("wasm.minisig");
    for text in ["", "untrusted comment: x\nRUQ\n", "\0\u{1f980}"] {
        fs::write(&signature, text).expect("a file");
        assert!(refused(&path, None, &trust(&[&ours], true)).contains("not good"));
    }
    fs::write(&signature, vec![b'x'; 5000]).expect("a file");
    assert!(refused(&path, None, &trust(&[&ours], true)).contains("may have 4096"));
}

/// A text that is no key is refused at the start.
#[test]
fn a_wrong_key_is_refused() {
    for text in ["", "RW", "untrusted comment: minisign public key"] {
        assert!(text.parse::<TrustedKey>().is_err(), "{text:?}");
    }
}

/// A registry of its own, which answers what stands at a path, and wants a token for it.
struct Registry {
    port: u16,
}

type Content = BTreeMap<String, Vec<u8>>;

impl Registry {
    fn serve(content: Content) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(&stream);
                let mut lines = (&mut reader).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let rest = lines.take_while(|line| !line.is_empty());
                let rest: Vec<_> = rest.map(|line| line.to_lowercase()).collect();
                let is_known = rest.iter().any(|line| line == "authorization: bearer t");
                let (status, body) = match content.get(&path) {
                    _ if path.starts_with("/token?") => (200, br#"{"token":"t"}"#.as_slice()),
                    _ if !is_known => (401, &[][..]),
                    Some(body) => (200, body.as_slice()),
                    None => (404, &[][..]),
                };
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\
                     www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",scope=\"pull\"\r\n\r\n",
                    body.len()
                );
                let mut stream = &stream;
                // Who asks may be gone.
                let _sent = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(body));
            }
        });
        Self { port }
    }

    fn reference(&self, manifest: Digest) -> Reference {
        let text = format!("{SCHEME}127.0.0.1:{}/team/big@sha256:{manifest}", self.port);
        text.parse().expect("a reference")
    }
}

fn manifest(media_type: &str, digest: Digest) -> Vec<u8> {
    let layer = serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": 8 });
    serde_json::json!({ "schemaVersion": 2, "layers": [layer] })
        .to_string()
        .into_bytes()
}

/// The answer of a registry is taken when its digest is the one that was named, whoever put it
/// there. Anything else is refused.
#[test]
fn a_registry_is_believed_nothing() {
    let bytes = b"a plugin".to_vec();
    let digest = Digest::of(&bytes);
    let good = manifest("application/wasm", digest);
    let image = manifest("application/vnd.oci.image.layer.v1.tar", digest);
    let lost = manifest("application/wasm", Digest::of(b"nowhere"));
    let forged = manifest("application/wasm", Digest::of(b"forged"));
    let of = |manifest: &[u8]| Digest::of(manifest);
    let path = |kind: &str, digest: Digest| format!("/v2/team/big/{kind}/sha256:{digest}");
    let mut content = Content::new();
    for manifest in [&good, &image, &lost, &forged] {
        content.insert(path("manifests", of(manifest)), manifest.clone());
    }
    content.insert(path("manifests", of(b"else")), good.clone());
    content.insert(path("blobs", digest), bytes.clone());
    content.insert(path("blobs", of(b"forged")), bytes.clone());
    let registry = Registry::serve(content);
    let take = |manifest: Digest, trust: &Trust| {
        let taken = from_registry(&registry.reference(manifest), None, trust);
        taken.map_err(|error| error.to_string())
    };
    let trust = Trust::default();
    assert_eq!(take(of(&good), &trust).unwrap().bytes.as_ref(), b"a plugin");
    let refused = |manifest: Digest| take(manifest, &trust).unwrap_err();
    assert!(refused(of(b"missing")).contains("it answers 404"));
    assert!(refused(of(b"else")).contains("what it gives is sha256:"));
    assert!(refused(of(&image)).contains("no layer of the type application/wasm"));
    assert!(refused(of(&lost)).contains("it answers 404"));
    assert!(refused(of(&forged)).contains("what it gives is sha256:"));
    let other = from_registry(&registry.reference(of(&good)), Some(of(b"x")), &trust);
    assert!(
        other
            .unwrap_err()
            .to_string()
            .contains("the configuration wants")
    );
    let strict = Trust {
        keys: vec![OURS.key()],
        is_required: true,
    };
    assert!(
        take(of(&good), &strict)
            .unwrap_err()
            .contains("in a registry")
    );
}
