//! Bad configurations and what is said about them; the layers; the published forms.

use std::ffi::OsString;

use expect_test::{Expect, expect, expect_file};

use super::*;

fn file(text: &str) -> (tempfile::TempDir, Layers) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("achromat.toml");
    std::fs::write(&path, text).unwrap();
    let layers = Layers {
        file: Some(path),
        overrides: Vec::new(),
    };
    (folder, layers)
}

fn check(text: &str, expect: &Expect) {
    let (folder, layers) = file(text);
    let message = match layers.resolve() {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let path = folder.path().display().to_string();
    expect.assert_eq(&message.replace(&format!("{path}/"), ""));
}

const INSTANCE: &str = "[[instances]]\nname = 'a'\nurl = 'http://127.0.0.1:8001'\n";

/// Each mistake is reported with its place.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    check(INSTANCE, &expect!["ok"]);
    check(
        &format!("{INSTANCE}[reads]\nstratgy = 'round_robin'\n"),
        &expect![[r#"
            achromat.toml: TOML parse error at line 5, column 1
              |
            5 | stratgy = 'round_robin'
              | ^^^^^^^
            unknown field `stratgy`, expected one of `strategy`, `replica_ratio`, `hedge_delay_ms`, `deadline_ms`, `eligible_wait_ms`"#]],
    );
    check(
        "[reads]\nstrategy = 'fastest'\n",
        &expect![[r#"
            achromat.toml: TOML parse error at line 2, column 12
              |
            2 | strategy = 'fastest'
              |            ^^^^^^^^^
            unknown variant `fastest`, expected one of `round_robin`, `read_replica`, `primary_only`"#]],
    );
    check(
        "listen = 8000\n",
        &expect![[r#"
            achromat.toml: TOML parse error at line 1, column 10
              |
            1 | listen = 8000
              |          ^^^^
            invalid type: integer `8000`, expected a string"#]],
    );
}

/// Everything that makes no sense is told at once.
#[test]
fn all_problems_are_told_at_once() {
    check(
        "listen = 'nowhere'\nstore = 'redis:x'\n[reads]\nreplica_ratio = 1.5\nhedge_delay_ms = 0\n\
         [limits]\nrequests_max = 0\n[admin]\ntoken = 'short'\n[log]\nlevel = 'a=b=c'\n[guard]\nprotected = ['']\n",
        &expect![[r#"
            listen: "nowhere" is not an address and a port, such as 127.0.0.1:8000
            store: "redis:x" is none of sqlite:PATH, postgres://USER@HOST/DATABASE and memory:
            instances: there is none; name at least one, such as --instance a=http://127.0.0.1:8001
            reads.replica_ratio: 1.5 is not between 0 and 1
            limits.requests_max: 0 is less than 1
            reads.hedge_delay_ms: 0 is not between 1 and 86400000 milliseconds
            guard.protected: an empty pattern protects nothing
            admin.token: it has fewer than 16 characters, which can be guessed
            log.level: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5"#]],
    );
    let two = "[[instances]]\nname = 'a'\nurl = 'http://x:1'\n[[instances]]\nname = 'a'\nurl = 'http://x:1/'\n\
               [[instances]]\nname = 'b c'\nurl = 'x'\n";
    check(
        two,
        &expect![[r#"
            instances: the name "a" is there twice
            instances: http://x:1 is there twice; two instances on one server would be one
            instances: "b c" is no name: 1 to 64 of a-z, A-Z, 0-9, -, _ and .
            instances: the URL "x" of "b c": it begins with neither http:// nor https://"#]],
    );
}

fn set(name: &str, value: &str, origin: &str) -> Override {
    Override {
        key: keys().into_iter().find(|key| key.name() == name).unwrap(),
        values: vec![value.to_owned()],
        origin: origin.to_owned(),
    }
}

/// A flag wins over a variable, a variable over the file.
#[test]
fn the_nearer_layer_wins() {
    let text = format!("listen = '127.0.0.1:1'\nstore = 'sqlite:file'\n{INSTANCE}");
    let (_folder, mut layers) = file(&text);
    let environment = [
        ("ACHROMAT_LISTEN", "127.0.0.1:2"),
        ("ACHROMAT_STORE", "sqlite://variable"),
        ("ACHROMAT_INSTANCES", "x=http://h:1, y=http://h:2"),
        ("ACHROMAT_CONFIG", "elsewhere"),
        ("HOME", "anywhere"),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    layers.overrides = Layers::variables(environment).unwrap();
    layers
        .overrides
        .push(set("listen", "127.0.0.1:3", "--listen"));
    let config = layers.resolve().unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.store, StoreUrl::Sqlite("variable".into()));
    let names: Vec<_> = config.instances.iter().map(|i| i.name.as_ref()).collect();
    assert_eq!(names, ["x", "y"]);
}

/// Of two configurations it is told which keys differ, but for those of plugins, which are taken in
/// while it runs.
#[test]
fn what_needs_another_start_is_told() {
    let read = |text: &str| {
        let (_folder, layers) = file(&format!("{text}\n{INSTANCE}"));
        layers.resolve().unwrap().keys
    };
    let before = read("");
    assert_eq!(before.changed_for_restart(&before), Vec::<String>::new());
    let other = "listen = '127.0.0.1:1'\n[policy]\nfolder = 'x'\n[policy.guard]\nplugin = 'default'\n[admin]\ntoken = '0123456789abcdef'\n";
    let changed = before.changed_for_restart(&read(other));
    assert_eq!(changed, ["admin.token", "listen", "policy.folder"]);
    assert!(!format!("{:?}", read(other)).contains("0123456789abcdef"));
}

/// A variable that looks like a key and is none is refused.
#[test]
fn a_mistyped_variable_is_refused() {
    let environment = [(OsString::from("ACHROMAT_LISTN"), OsString::new())];
    let refused = Layers::variables(environment).unwrap_err();
    expect!["ACHROMAT_LISTN: there is no such key; `achromat config --defaults` lists all"]
        .assert_eq(&refused.to_string());
}

/// A bad flag or variable is named in the message.
#[test]
fn a_bad_override_names_its_origin() {
    let wrong = |name, value, origin| {
        let layers = Layers {
            file: None,
            overrides: vec![set(name, value, origin)],
        };
        layers.resolve().unwrap_err().to_string()
    };
    expect!["--reads-strategy: unknown variant `x`, expected one of `round_robin`, `read_replica`, `primary_only`"]
        .assert_eq(&wrong("reads.strategy", "x", "--reads-strategy"));
    expect![[r#"ACHROMAT_LIMITS_REQUESTS_MAX: "many" is not a number"#]].assert_eq(&wrong(
        "limits.requests_max",
        "many",
        "ACHROMAT_LIMITS_REQUESTS_MAX",
    ));
    expect!["--limits-requests-max: invalid value: integer `-1`, expected usize"]
        .assert_eq(&wrong("limits.requests_max", "-1", "--limits-requests-max"));
    expect![[r#"--instance: "a" is not NAME=URL, such as a=http://127.0.0.1:8001"#]]
        .assert_eq(&wrong("instances", "a", "--instance"));
}

/// The names of flags and variables are those of the keys, and none is there twice.
#[test]
fn names_agree() {
    let keys = keys();
    let mut flags: Vec<_> = keys.iter().map(Key::flag).collect();
    let count = flags.len();
    flags.sort();
    flags.dedup();
    assert_eq!(flags.len(), count);
    let strategy = keys
        .iter()
        .find(|key| key.name() == "reads.strategy")
        .unwrap();
    assert_eq!(strategy.flag(), "reads-strategy");
    assert_eq!(strategy.variable(), "ACHROMAT_READS_STRATEGY");
    assert!(
        keys.iter().all(|key| !key.about.is_empty()),
        "every key is documented"
    );
}

/// A password in a URL is told to nobody.
#[test]
fn credentials_are_not_told() {
    let (_folder, layers) = file("[[instances]]\nname = \"a\"\nurl = \"http://u:secret@x:1\"\n");
    let told = layers.resolve().expect_err("it is refused").to_string();
    assert!(told.contains("@x:1") && !told.contains("secret"), "{told}");
    let (_folder, layers) = file("store = 'postgre://u:secret@x/log'\n");
    let told = layers.resolve().expect_err("it is refused").to_string();
    assert!(
        told.contains("@x/log") && !told.contains("secret"),
        "{told}"
    );
}

/// A certificate needs its key, and both need an encrypted connection.
#[test]
fn credentials_of_instances_belong_together() {
    let told = |url: &str, more: &str| {
        let text = format!("[[instances]]\nname = 'a'\nurl = '{url}'\n{more}\n");
        let (_folder, layers) = file(&text);
        layers
            .resolve()
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let all = "ca = 'ca.pem'\ncertificate = 'c.pem'\nkey = 'k.pem'\ntoken_file = 't'";
    assert_eq!(told("https://h/chroma-a", all), Ok(()));
    assert_eq!(told("http://h", "token_file = 't'"), Ok(()));
    let alone = told("https://h", "certificate = 'c.pem'").unwrap_err();
    assert!(alone.contains("belong together"), "{alone}");
    let plain = told("http://h", "ca = 'ca.pem'").unwrap_err();
    assert!(plain.contains("not https"), "{plain}");
    let header = told("http://h", "token_header = 'cookie'").unwrap_err();
    assert!(header.contains("x_chroma_token"), "{header}");
}

/// The published schema and the published defaults change only on purpose, and the defaults are a
/// configuration that can be used.
#[test]
fn the_published_forms_are_golden() {
    expect_file!["golden/schema.json"].assert_eq(&schema_json());
    expect_file!["golden/defaults.toml"].assert_eq(&defaults_toml());
    let (_folder, layers) = file(&format!("{}\n{INSTANCE}", defaults_toml()));
    let config = layers.resolve();
    assert!(config.is_ok(), "{}", config.unwrap_err());
}
