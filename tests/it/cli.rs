//! The command line as operators meet it.

use std::process::Output;

use achromat_tests::{
    chroma::Chroma,
    cluster::folder,
    proxy::{Proxy, achromat},
};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = achromat(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

/// Help says what there is, and a mistake says what is wrong, with exit code 2.
#[test]
fn help_helps() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in ["serve", "dev", "check", "config", "achromat dev"] {
        assert!(out.contains(word), "{out}");
    }
    let (_, out, _) = run(&["serve", "--help"]);
    for word in [
        "--reads-strategy",
        "ACHROMAT_READS_STRATEGY",
        "--instance",
        "A flag wins",
    ] {
        assert!(out.contains(word), "{word} is not in {out}");
    }
    let (_, out, _) = run(&["store", "copy", "--help"]);
    for word in [
        "<FROM>",
        "<TO>",
        "Stop the proxies",
        "PGPASSFILE",
        "Exits 0",
    ] {
        assert!(out.contains(word), "{word} is not in {out}");
    }
    let (code, _, err) = run(&["server"]);
    assert_eq!(code, 2);
    assert!(err.contains("serve"), "it suggests what was meant: {err}");
}

/// `check` says what is wrong, and where; a sound configuration is summed up.
#[test]
fn check_says_what_is_wrong() {
    let folder = folder();
    let file = folder.path().join("achromat.toml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(
        &file,
        "listen = '127.0.0.1:1'\n[reads]\nstrategy = 'best'\n",
    )
    .expect("a file");
    let (code, _, err) = run(&["check", "--config", path]);
    assert_eq!(code, 1);
    assert!(
        err.contains("line 3") && err.contains("round_robin"),
        "{err}"
    );
    std::fs::write(&file, "[[instances]]\nname = 'x'\nurl = 'http://h:1'\n").expect("a file");
    let (code, out, _) = run(&["check", "--config", path, "--listen", "127.0.0.1:7"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("127.0.0.1:7") && out.contains("x at http://h:1 (primary)"),
        "{out}"
    );
    let (code, _, err) = run(&["check"]);
    assert_eq!(code, 1);
    assert!(err.contains("--instance a=http://127.0.0.1:8001"), "{err}");
}

/// A port that is taken, and a store that another process holds, refuse to start with the reason
/// and the mend.
#[test]
fn a_start_that_can_not_be_is_refused() {
    let folder = folder();
    let chroma = Chroma::start(&folder.path().join("a"));
    let proxy = Proxy::start(folder.path(), &[("a", &chroma)], &[]);
    let instance = format!("--instance=a={}", chroma.url());
    let listen = format!("--listen=127.0.0.1:{}", proxy.port);
    let store = format!(
        "--store=sqlite:{}",
        folder.path().join("log.sqlite").display()
    );
    let (code, _, err) = run(&["serve", &listen, &instance, "--store=memory:"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("can't be listened to") && err.contains("--listen"),
        "{err}"
    );
    let (code, _, err) = run(&["serve", "--listen=127.0.0.1:0", &instance, &store]);
    assert_eq!(code, 1);
    assert!(err.contains("another process holds"), "{err}");
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "no database\n".repeat(500)).expect("a file");
    let store = format!("--store=sqlite:{}", garbage.display());
    let (code, _, err) = run(&["serve", "--listen=127.0.0.1:0", &instance, &store]);
    assert_eq!(code, 1);
    assert!(
        err.contains("garbage") && err.contains("can't be opened"),
        "{err}"
    );
}

/// `config` prints a file that can be used as it is, and a schema.
#[test]
fn config_prints_what_there_is() {
    let (code, defaults, _) = run(&["config", "--defaults"]);
    assert_eq!(code, 0);
    let folder = folder();
    let file = folder.path().join("achromat.toml");
    std::fs::write(&file, defaults).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let (code, _, err) = run(&["check", "--config", path, "--instance", "a=http://h:1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, schema, _) = run(&["config", "--schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(schema["properties"]["listen"]["description"].is_string());
    assert_eq!(run(&["config"]).0, 2);
}
