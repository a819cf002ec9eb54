//! Files with digests and signatures, good and bad.

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
    assert_eq!(from_file(&path, None, &trust).unwrap().as_ref(), b"a plugin");
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
    assert!(from_file(&path, None, &trust(&[], false)).is_ok(), "nobody asks");
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

/// What is no key is told at the start.
#[test]
fn a_wrong_key_is_refused() {
    for text in ["", "RW", "untrusted comment: minisign public key"] {
        assert!(text.parse::<TrustedKey>().is_err(), "{text:?}");
    }
}
