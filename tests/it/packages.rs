//! Packages of `examples/deploy`, for those who install Achromat: they are built, installed and
//! run, and every command, flag, key and port that its files name is one that the binary has.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use achromat::dev::toolbox::on_path;
use achromat_tests::{
    chroma::Chroma,
    deploy::{
        CONTAINERFILE, OTHER_VARIABLES, default_of, deploy, image_variables, project, run,
        settings_of, text, yaml,
    },
    proxy::{achromat, program},
    tools,
};
use serde_json::Value;
use tempfile::tempdir;

const README: &str = include_str!("../../examples/deploy/README.md");
const COMPOSE: &str = include_str!("../../examples/deploy/compose.yaml");
const UNIT: &str = include_str!("../../examples/deploy/achromat.service");
const CONFIGURATION: &str = include_str!("../../examples/deploy/achromat.toml");
const CLEANUP: &str = include_str!("../../examples/deploy/cleanup.toml");

/// Output of `achromat --version`.
const VERSION: &str = concat!("achromat ", env!("CARGO_PKG_VERSION"), "\n");

/// Names that the old test scripts gave to collections.
const OLD_NAMES: [&str; 7] = [
    "AUTOTEST_*",
    "test_*",
    "DEBUG_*",
    "UC2_MANUAL_*",
    "pool_test_*",
    "temp_*",
    "demo_*",
];

fn write_script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// A script that stands in for the binary: the tests' own binary has Achromat's commands behind a word.
fn stand_in(folder: &Path) -> PathBuf {
    let path = folder.join("achromat");
    let command = format!("exec '{}' achromat \"$@\"", program().display());
    write_script(&path, &command);
    path
}

/// The first script under a heading of the README, for this binary, with its packages in this folder.
fn script(heading: &str, binary: &Path, packages: &Path) -> String {
    let heading = format!("\n## {heading}\n");
    let (_, section) = README.split_once(&heading).expect("the heading");
    let (_, rest) = section.split_once("```sh\n").expect("a script");
    let (script, _) = rest.split_once("```").expect("its end");
    let script = script.replace("dist", &packages.display().to_string());
    script.replace("target/release/achromat", &binary.display().to_string())
}

/// The only file in a folder.
fn only_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files = entries.map(|entry| entry.expect("an entry").path());
    let file = files.next().expect("a file");
    assert_eq!(files.next(), None, "there is one file");
    file
}

/// The wheel installs a working command into an empty Python environment, as the README says, and pip
/// removes it again.
#[test]
fn the_wheel_installs_the_command() {
    let folder = tempdir().expect("a folder");
    let (packages, environment) = (folder.path().join("packages"), folder.path().join("venv"));
    let mut python = Command::new(tools::python().join("bin/python"));
    run(python.args(["-m", "venv"]).arg(&environment));
    let programs = environment.join("bin");
    let path = std::env::var("PATH").expect("a path");
    let script = script("Python wheel", &stand_in(folder.path()), &packages);
    let mut shell = Command::new("sh");
    shell
        .args(["-e", "-c", &script])
        .current_dir(project())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    let told = run(&mut shell);
    assert!(told.ends_with(VERSION), "{told}");
    assert_eq!(
        run(Command::new(programs.join("achromat")).arg("-V")),
        VERSION
    );
    run(Command::new(programs.join("pip")).args(["uninstall", "--yes", "achromat"]));
    assert!(!programs.join("achromat").exists(), "pip knows its files");
}

/// A wheel's platform says the newest glibc whose symbols the binary names.
#[test]
fn the_wheel_says_which_glibc_it_needs() {
    if !cfg!(target_env = "gnu") {
        return;
    }
    let code = "import pathlib, sys, wheel; \
                print(wheel.platform(pathlib.Path(sys.argv[1]).read_bytes()))";
    let mut python = Command::new(tools::python().join("bin/python"));
    python
        .env("PYTHONPATH", deploy(""))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-c", code])
        .arg(program());
    let scan = "grep -ao 'GLIBC_2\\.[0-9]*' \"$0\" | sort -uV | tail -n 1";
    let mut shell = Command::new("sh");
    shell.env("LC_ALL", "C").args(["-c", scan]).arg(program());
    let newest = run(&mut shell).trim().replace("GLIBC_", "");
    let expected = format!(
        "manylinux_{}_{}\n",
        newest.replace('.', "_"),
        std::env::consts::ARCH
    );
    assert_eq!(run(&mut python), expected);
}

/// The Debian package has the binary, the service and its configuration, with the right owners and
/// modes; unpacked into an empty folder it runs. Installing it starts nothing.
#[test]
fn the_debian_package_is_whole() {
    if on_path("dpkg-deb").is_none() {
        eprintln!("dpkg-deb is a part of Debian; there are no packages to build here");
        return;
    }
    let folder = tempdir().expect("a folder");
    let packages = folder.path().join("packages");
    let script = script("Debian package", &stand_in(folder.path()), &packages);
    let (build, _) = script.split_once("sudo").expect("what root does");
    run(Command::new("sh")
        .args(["-e", "-c", build])
        .current_dir(project()));
    let package = only_file(&packages);
    let dpkg = |action: &str, more: &[&Path]| {
        let mut command = Command::new("dpkg-deb");
        run(command.arg(action).arg(&package).args(more))
    };
    let info = dpkg("--info", &[]);
    for line in [
        "Package: achromat".to_owned(),
        format!("Version: {}", env!("CARGO_PKG_VERSION")),
        "Architecture: all".to_owned(),
    ] {
        assert!(info.contains(&format!(" {line}\n")), "{info}");
    }
    let contents = dpkg("--contents", &[]);
    for (mode, file) in [
        ("-rwxr-xr-x", "usr/bin/achromat"),
        ("-rw-r--r--", "usr/lib/systemd/system/achromat.service"),
        ("-rw-r--r--", "usr/lib/sysusers.d/achromat.conf"),
        ("-rw-r--r--", "etc/achromat/achromat.toml"),
        ("-rw-r--r--", "usr/share/doc/achromat/copyright"),
    ] {
        let is_file = |line: &&str| line.ends_with(&format!(" ./{file}"));
        let line = contents.lines().find(is_file).expect(file);
        assert!(line.starts_with(&format!("{mode} root/root ")), "{line}");
    }
    let (root, control) = (folder.path().join("root"), folder.path().join("control"));
    dpkg("--extract", &[&root]);
    dpkg("--control", &[&control]);
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/achromat.service"));
    assert_eq!(unit.expect("the unit"), UNIT);
    let kept = fs::read_to_string(control.join("conffiles")).expect("a list");
    assert_eq!(kept, "/etc/achromat/achromat.toml\n");
    let binary = root.join("usr/bin/achromat");
    assert_eq!(run(Command::new(&binary).arg("--version")), VERSION);
    for name in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(name)));
    }
    installing_starts_nothing(folder.path(), &control.join("postinst"));
}

/// Runs the package's script with commands that only write down how they were called.
fn installing_starts_nothing(folder: &Path, postinst: &Path) {
    let (commands, calls) = (folder.join("commands"), folder.join("calls"));
    fs::create_dir(&commands).expect("a folder");
    for name in ["systemctl", "systemd-sysusers"] {
        let record = format!("echo {name} \"$@\" >> '{}'", calls.display());
        write_script(&commands.join(name), &record);
    }
    let path = std::env::var("PATH").expect("a path");
    let mut shell = Command::new("sh");
    shell
        .arg(postinst)
        .args(["configure", ""])
        .env("PATH", format!("{}:{path}", commands.display()));
    let told = run(&mut shell);
    assert!(told.contains("/etc/achromat/achromat.toml"), "{told}");
    let calls = fs::read_to_string(calls).expect("calls");
    let harmless = ["systemd-sysusers achromat.conf", "systemctl daemon-reload"];
    for call in calls.lines() {
        assert!(harmless.contains(&call), "{calls}");
    }
}

/// systemd reads the unit without a complaint; the unit calls Achromat as Achromat is called, has a
/// place for all that the configuration keeps, and stops after Achromat has.
#[test]
fn the_unit_is_sound() {
    let settings = settings_of(UNIT);
    assert_eq!(
        settings["ExecStart"],
        ["/usr/bin/achromat serve --config /etc/achromat/achromat.toml"]
    );
    assert!(run(&mut achromat(&["serve", "--help"])).contains("--config <FILE>"));
    assert_eq!(settings["ExecReload"], ["/bin/kill -HUP $MAINPID"]);
    let stop_s: u64 = settings["TimeoutStopSec"][0].parse().expect("seconds");
    assert!(stop_s * 1000 > default_of("stop", "drain_ms"));
    for (name, value) in [
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("Restart", "on-failure"),
        ("StateDirectory", "achromat"),
        ("CacheDirectory", "achromat"),
    ] {
        assert_eq!(settings[name], [value], "{name}");
    }
    // Plugins are compiled to machine code in a child that limits itself.
    assert!(!settings.contains_key("MemoryDenyWriteExecute"));
    assert_eq!(
        settings["SystemCallFilter"],
        ["@system-service", "~@privileged"]
    );
    let words = CONFIGURATION.split(|c: char| c == '"' || c.is_whitespace());
    let places = words.filter_map(|word| word.strip_prefix("sqlite:").or(Some(word)));
    let places: Vec<_> = places.filter(|word| word.starts_with("/var/")).collect();
    assert!(places.len() >= 3, "{places:?}");
    for place in places {
        let writable = ["/var/lib/achromat/", "/var/cache/achromat"];
        assert!(writable.iter().any(|w| place.starts_with(w)), "{place}");
    }
    if on_path("systemd-analyze").is_none() {
        eprintln!("systemd-analyze is not on this machine; the unit was only read here");
        return;
    }
    let folder = tempdir().expect("a folder");
    let binary = stand_in(folder.path()).display().to_string();
    let unit = folder.path().join("achromat.service");
    fs::write(&unit, UNIT.replace("/usr/bin/achromat", &binary)).expect("a unit");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&unit);
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!complaints.contains("achromat.service"), "{complaints}");
}

/// Achromat takes the configurations as they are, and the one for clean-ups has every pattern of the
/// old scripts.
#[test]
fn the_configurations_are_sound() {
    for name in ["achromat.toml", "cleanup.toml"] {
        let told = run(achromat(&["check", "--config"]).arg(deploy(name)));
        for word in ["is sound", "(primary)", "(replica)", "127.0.0.1:8000"] {
            assert!(told.contains(word), "{name}: {told}");
        }
    }
    let (_, list) = CLEANUP.split_once("cleanup = [").expect("the patterns");
    let (list, _) = list.split_once(']').expect("their end");
    let patterns: BTreeSet<_> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(patterns, BTreeSet::from(OLD_NAMES));
}

/// Every variable that the files name is one that Achromat knows, and the image is built by the Rust
/// that the project pins.
#[test]
fn the_image_names_what_there_is() {
    let defaults = run(&mut achromat(&["config", "--defaults"]));
    let words = |text: &'static str| {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        words.filter(|word| word.starts_with("ACHROMAT_"))
    };
    for text in [README, CONTAINERFILE, COMPOSE, UNIT] {
        for word in words(text) {
            let is_key = defaults.contains(&format!("# {word}, --"));
            assert!(is_key || OTHER_VARIABLES.contains(&word), "{word}");
        }
    }
    let toolchain = include_str!("../../rust-toolchain.toml");
    let (_, rest) = toolchain.split_once("channel = \"").expect("a channel");
    let (channel, rest) = rest.split_once('"').expect("its end");
    assert!(CONTAINERFILE.contains(&format!("FROM docker.io/library/rust:{channel}-")));
    let (_, target) = rest.split_once("targets = [\"").expect("a target");
    let (target, _) = target.split_once('"').expect("its end");
    assert!(CONTAINERFILE.contains(&format!("rustup target add {target}\n")));

    let variables = image_variables();
    let (_, port) = variables["ACHROMAT_LISTEN"]
        .split_once(':')
        .expect("a port");
    for line in [
        format!("\nEXPOSE {port}\n"),
        format!("achromat health --url http://127.0.0.1:{port} || test $? -eq 1\n"),
        "\nUSER 10001:10001\n".to_owned(),
        "\nVOLUME /var/lib/achromat\n".to_owned(),
        "\nENTRYPOINT [\"achromat\"]\nCMD [\"serve\"]\n".to_owned(),
    ] {
        assert!(CONTAINERFILE.contains(&line), "{line}");
    }
    assert!(run(&mut achromat(&["health", "--help"])).contains("--url"));
}

/// `compose.yaml` as data.
fn compose() -> Value {
    yaml("compose.yaml").remove(0)
}

/// Achromat takes its configuration from the variables of the image and of `compose.yaml`; its port is
/// published to this machine alone, and the servers' ports to nobody.
#[test]
fn compose_fits_the_image_and_the_servers() {
    let compose = compose();
    let services = &compose["services"];
    let proxy = &services["achromat"];
    let mut check = achromat(&["check"]);
    check.envs(image_variables());
    let variables = proxy["environment"].as_object().expect("variables");
    check.envs(variables.iter().map(|(name, value)| (name, text(value))));
    let told = run(&mut check);
    for (name, server) in [("a", "chroma-a"), ("b", "chroma-b")] {
        let line = format!("{name} at http://{server}:8000");
        assert!(told.contains(&line), "{told}");
        let service = &services[server];
        let image = format!("docker.io/chromadb/chroma:{}", tools::NEWEST);
        assert_eq!(text(&service["image"]), image);
        assert_eq!(text(&service["volumes"][0]), format!("{server}:/data"));
        assert_eq!(text(&service["networks"][0]), "servers");
        assert_eq!(text(&service["restart"]), "unless-stopped");
        assert!(service["ports"].is_null(), "{service}");
        assert!(compose["volumes"].get(server).is_some(), "{server}");
    }
    assert_eq!(compose["networks"]["servers"]["internal"], true);
    assert!(told.contains("listen on   0.0.0.0:8000"), "{told}");
    assert_eq!(
        text(&proxy["ports"][0]),
        "127.0.0.1:${ACHROMAT_PORT:-8000}:8000"
    );
    assert_eq!(text(&proxy["volumes"][0]), "log:/var/lib/achromat");
    assert_eq!(text(&proxy["restart"]), "unless-stopped");
    let secret = text(&proxy["secrets"][0]);
    assert_eq!(
        text(&proxy["environment"]["ACHROMAT_ADMIN_TOKEN_FILE"]),
        format!("/run/secrets/{secret}")
    );
    let file = text(&compose["secrets"][secret]["file"]);
    let file = file.strip_prefix("./").expect("beside it");
    assert!(README.contains(&format!(
        "-m 600 -o 10001 -g 10001 /dev/stdin examples/deploy/{file}\n"
    )));
    let grace = text(&proxy["stop_grace_period"]).strip_suffix('s');
    let grace: u64 = grace.expect("seconds").parse().expect("a number");
    assert!(grace * 1000 > default_of("stop", "drain_ms"));
}

/// The servers' health check tells a server that answers from one that is gone.
#[test]
fn composes_health_check_is_true() {
    let folder = tempdir().expect("a folder");
    let mut chroma = Chroma::start(&folder.path().join("a"));
    let test = compose()["services"]["chroma-a"]["healthcheck"]["test"].clone();
    let words: Vec<_> = test.as_array().expect("a list").iter().map(text).collect();
    let ["CMD", "bash", "-c", script] = words.as_slice() else {
        panic!("{words:?}");
    };
    let script = script.replace("/8000", &format!("/{}", chroma.port));
    let check = || {
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).stdin(Stdio::null());
        bash.output().expect("bash").status.success()
    };
    assert!(check(), "the server answers");
    chroma.kill();
    assert!(!check(), "the server is gone");
}
