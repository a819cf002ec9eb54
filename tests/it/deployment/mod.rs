//! Files of `examples/deploy/fleet`: each flag, key, port, path and selector in them fits the binary and the other
//! files, and a fleet runs with the configuration that each way to deploy it has.

mod kubernetes;
mod members;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use achromat::dev::toolbox::on_path;
use achromat_tests::{
    api::Api,
    authority::Authority,
    chroma::{Chroma, free_port},
    cluster::{folder, servers},
    deploy::{CONTAINERFILE, OTHER_VARIABLES, deploy, project, run, settings_of, text, yaml},
    postgres::Postgres,
    proxy::{Proxy, achromat, program},
    tools,
};
use serde_json::{Value, json};
use tempfile::tempdir;

use self::members::{
    Manifests, Member, Secrets, compose, compose_members, kubernetes_members, list, pod, port_of,
    systemd_members,
};

const README: &str = include_str!("../../../examples/deploy/fleet/README.md");
const UNIT: &str = include_str!("../../../examples/deploy/achromat.service");
const UNIT_OF_MEMBER: &str = include_str!("../../../examples/deploy/fleet/systemd/fleet.conf");
const SYSTEMD: &str = include_str!("../../../examples/deploy/fleet/systemd/achromat.toml");

/// Keys that may stand in a variable or in the file: both names.
const PLACED: [(&str, &str); 4] = [
    ("ACHROMAT_LISTEN", "listen"),
    ("ACHROMAT_STORE", "store"),
    ("ACHROMAT_ADMIN_TOKEN_FILE", "token_file"),
    ("ACHROMAT_FLEET_ADVERTISE", "advertise"),
];

/// Seconds as Compose writes them.
fn seconds(value: &Value) -> u64 {
    let number = text(value).strip_suffix('s').expect("seconds");
    number.parse().expect("a number")
}

/// Output of `achromat check` for a member.
#[track_caller]
fn check(member: &Member) -> String {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("achromat.toml");
    fs::write(&file, &member.configuration).expect("a file");
    let mut check = achromat(&["check"]);
    run(check.envs(&member.variables).env("ACHROMAT_CONFIG", &file))
}

/// Each way to deploy a fleet gives two proxies the same servers in the same order and the same database, other
/// names, and addresses at which they listen; and no key stands both in the file and in a variable that wins.
#[test]
fn members_have_the_same_instances_and_names_of_their_own() {
    let manifests = Manifests::read();
    for members in [
        compose_members(),
        kubernetes_members(&manifests),
        systemd_members(),
    ] {
        let told: Vec<String> = members.iter().map(check).collect();
        let [first, second] = told.as_slice() else {
            panic!("two proxies: {told:?}");
        };
        assert_eq!(first, second);
        let of = |word: &str| first.lines().filter(|line| line.contains(word)).count();
        assert_eq!([of("(primary)"), of("(replica)")], [1, 1], "{first}");
        assert_eq!(of("listen on   0.0.0.0:8000"), 1, "{first}");
        let mut seen = BTreeSet::new();
        for member in &members {
            let name = member.value("ACHROMAT_FLEET_NAME", "name");
            assert_eq!(name, member.name);
            let advertised = member.value("ACHROMAT_FLEET_ADVERTISE", "advertise");
            assert!(advertised.starts_with("http://"), "{advertised}");
            assert_eq!(port_of(advertised), member.port());
            assert!(seen.insert(advertised), "{advertised} is there twice");
            for (variable, key) in PLACED {
                let has_key = member.configuration.contains(&format!("\n{key} = "));
                let has_variable = member.variables.contains_key(variable);
                assert!(has_key != has_variable, "{}: {key}", member.name);
            }
            let store = member.value("ACHROMAT_STORE", "store");
            assert!(store.starts_with("postgres://achromat@"), "{store}");
            assert!(member.variables.contains_key("PGPASSFILE"));
        }
    }
}

/// Every service of `compose.yaml` that a proxy names is there, can be reached by it and by nobody else, and each
/// proxy has time to stop.
#[test]
fn proxies_of_compose_reach_what_they_name() {
    let compose = compose();
    let services = &compose["services"];
    let names = |value: &Value| -> BTreeSet<String> {
        let list = list(value).iter();
        list.map(|name| text(name).to_owned()).collect()
    };
    let mut published = BTreeSet::new();
    for member in compose_members() {
        let service = &services[&member.name];
        let reach = names(&service["networks"]);
        let is_reached = |host: &str| {
            let other = &services[host];
            assert!(!other.is_null(), "there is no {host}");
            assert!(!names(&other["networks"]).is_disjoint(&reach), "{host}");
            assert!(other["ports"].is_null(), "{host} is published");
        };
        assert_eq!(
            member.variables["ACHROMAT_FLEET_ADVERTISE"],
            format!("http://{}:{}", member.name, member.port())
        );
        for (host, port) in hosts(&member.configuration) {
            assert_eq!(port, 8000, "Chroma's port in its image");
            is_reached(&host);
            assert_eq!(service["depends_on"][&host]["condition"], "service_started");
        }
        is_reached("postgres");
        assert_eq!(
            member.variables["ACHROMAT_STORE"],
            "postgres://achromat@postgres/achromat"
        );
        assert_eq!(
            service["depends_on"]["postgres"]["condition"],
            "service_healthy"
        );
        for variable in ["PGPASSFILE", "ACHROMAT_ADMIN_TOKEN_FILE"] {
            let secret = member.variables[variable].strip_prefix("/run/secrets/");
            let secret = secret.expect("a secret");
            assert!(names(&service["secrets"]).contains(secret), "{secret}");
        }
        let port = text(&service["ports"][0]);
        assert!(port.starts_with("127.0.0.1:${ACHROMAT_"), "{port}");
        assert_eq!(port_of(port), member.port());
        assert!(published.insert(port.to_owned()), "{port} is there twice");
        // The image's health check asks this port.
        assert!(service["healthcheck"].is_null());
        let asked = format!("--url http://127.0.0.1:{} ", member.port());
        assert!(CONTAINERFILE.contains(&asked));
        assert!(seconds(&service["stop_grace_period"]) * 1000 > member.stop_ms_max());
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], json!(["ALL"]));
        assert!(names(&service["tmpfs"]).contains("/var/lib/achromat"));
    }
}

/// The services of `compose.yaml` start again and keep their data, and the secrets stand in files that the README
/// makes.
#[test]
fn services_of_compose_keep_what_they_have() {
    let compose = compose();
    let services = &compose["services"];
    for (name, service) in services.as_object().expect("services") {
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        for volume in list(&service["volumes"]) {
            let (volume, _) = text(volume).split_once(':').expect("a place");
            assert_eq!(volume, name, "each has a volume of its own");
            assert!(compose["volumes"].get(volume).is_some(), "{volume}");
        }
    }
    let database = &services["postgres"]["environment"];
    assert_eq!(
        [&database["POSTGRES_USER"], &database["POSTGRES_DB"]],
        ["achromat"; 2]
    );
    assert_eq!(
        database["POSTGRES_PASSWORD_FILE"],
        "/run/secrets/postgres_password"
    );
    for network in ["servers", "database"] {
        assert_eq!(compose["networks"][network]["internal"], true, "{network}");
    }
    let made = Secrets::make();
    for (name, secret) in compose["secrets"].as_object().expect("secrets") {
        let file = text(&secret["file"]).strip_prefix("./secrets/");
        assert!(made.file(file.expect("beside it")).is_file(), "{name}");
    }
    let single = yaml("compose.yaml").remove(0);
    assert_eq!(
        services["chroma-a"]["healthcheck"], single["services"]["chroma-a"]["healthcheck"],
        "the one that a test of the packages runs"
    );
}

/// Host and port of each server of a configuration, in its order.
fn hosts(configuration: &str) -> Vec<(String, u64)> {
    let lines = configuration.lines();
    let urls = lines.filter_map(|line| line.strip_prefix("url = \"http://"));
    let addresses = urls.map(|url| url.trim_end_matches('"'));
    addresses
        .map(|address| {
            let (host, _) = address.split_once(':').expect("a port");
            (host.to_owned(), port_of(address))
        })
        .collect()
}

/// Images are of the versions that the tests run.
#[test]
fn images_are_of_tested_versions() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    let of_compose = services.values().map(|service| service["image"].clone());
    let manifests = Manifests::read();
    let sets = manifests.of_kind("StatefulSet").into_iter();
    let containers = sets.flat_map(|set| {
        ["initContainers", "containers"].map(|kind| list(&pod(set)[kind]).to_vec())
    });
    let of_kubernetes = containers
        .flatten()
        .map(|container| container["image"].clone());
    let images = of_compose.chain(of_kubernetes);
    let images: BTreeSet<String> = images.map(|image| text(&image).to_owned()).collect();
    let version = run(Command::new(tools::newest_postgres().join("psql")).arg("--version"));
    let number = version.split_whitespace().last().expect("a version");
    let (major, _) = number.split_once('.').expect("a minor version");
    let expected = [
        "achromat".to_owned(),
        concat!("achromat:", env!("CARGO_PKG_VERSION")).to_owned(),
        format!("docker.io/chromadb/chroma:{}", tools::NEWEST),
        format!("docker.io/library/postgres:{major}-trixie"),
    ];
    assert_eq!(images, BTreeSet::from(expected));
}

/// systemd reads the unit with the settings for a fleet without a complaint; files are where the service may read
/// and write, and it has time to stop.
#[test]
fn the_unit_of_a_member_is_sound() {
    let settings = settings_of(UNIT_OF_MEMBER);
    assert_eq!(settings["StartLimitIntervalSec"], ["0"]);
    let stop_s: u64 = settings_of(UNIT)["TimeoutStopSec"][0]
        .parse()
        .expect("seconds");
    for member in systemd_members() {
        assert!(stop_s * 1000 > member.stop_ms_max());
        for (variable, key) in [
            ("PGPASSFILE", ""),
            ("ACHROMAT_ADMIN_TOKEN_FILE", "token_file"),
        ] {
            let file = member
                .value(variable, key)
                .strip_prefix("/var/lib/achromat/");
            let source = format!("fleet/secrets/{}", file.expect("a file of the service"));
            assert!(README.contains(&source), "{source}");
        }
    }
    for (file, place) in [
        ("systemd/achromat.toml", "/etc/achromat/achromat.toml"),
        (
            "systemd/fleet.conf",
            "/etc/systemd/system/achromat.service.d/fleet.conf",
        ),
    ] {
        assert!(deploy("fleet").join(file).is_file());
        assert!(README.contains(&format!("examples/deploy/fleet/{file} {place}\n")));
    }
    if on_path("systemd-analyze").is_none() {
        eprintln!("systemd-analyze is not on this machine; the unit was only read here");
        return;
    }
    let folder = tempdir().expect("a folder");
    let unit = folder.path().join("achromat.service");
    let binary = program().display().to_string();
    fs::write(&unit, UNIT.replace("/usr/bin/achromat", &binary)).expect("a unit");
    let more = folder.path().join("achromat.service.d");
    fs::create_dir(&more).expect("a folder");
    fs::write(more.join("fleet.conf"), UNIT_OF_MEMBER).expect("a file");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&unit);
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    for word in ["achromat.service", "fleet.conf"] {
        assert!(!complaints.contains(word), "{complaints}");
    }
}

/// Every variable, command and file that the README names is there.
#[test]
fn the_readme_names_what_there_is() {
    let defaults = run(&mut achromat(&["config", "--defaults"]));
    let files = ["fleet/compose.yaml", "fleet/kubernetes/achromat.yaml"];
    let texts = files.map(|name| fs::read_to_string(deploy(name)).expect("a file"));
    for text in [README, UNIT_OF_MEMBER, &texts[0], &texts[1]] {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for word in words.filter(|word| word.starts_with("ACHROMAT_") && word.len() > 9) {
            let is_key = defaults.contains(&format!("# {word}, --"));
            assert!(is_key || OTHER_VARIABLES.contains(&word), "{word}");
        }
    }
    for (shown, command) in [
        (
            "`achromat fleet hand-over NAME`",
            &["fleet", "hand-over", "--help"][..],
        ),
        ("-- achromat fleet\n", &["fleet", "--help"]),
        ("`achromat health`", &["health", "--help"]),
    ] {
        assert!(README.contains(shown), "{shown}");
        run(&mut achromat(command));
    }
    let quoted = README.split('`').skip(1).step_by(2);
    let keys = quoted.filter(|word| {
        let sections = ["fleet.", "tls.", "stop."];
        *word != "fleet.conf" && sections.iter().any(|section| word.starts_with(section))
    });
    for key in keys {
        let variable = format!("# ACHROMAT_{}, --", key.replace('.', "_").to_uppercase());
        assert!(defaults.contains(&variable), "{key}");
    }
    for word in README.split_whitespace() {
        if word.starts_with("examples/") && !word.contains("/secrets") {
            assert!(project().join(word).exists(), "{word}");
        }
    }
}

/// Starts each member of a deployment where it can run here: addresses and paths are others, and all else is as
/// it stands.
fn start(
    members: &[Member],
    urls: &[String],
    (secrets, database, folder): (&Secrets, &str, &Path),
) -> Vec<Proxy> {
    let start = |member: &Member| {
        let (own, port) = (folder.join(&member.name), free_port());
        fs::create_dir(&own).expect("a folder");
        let token = secrets.file("operator.token");
        let local = |name: &str, as_it_stands: &str| match name {
            "listen" | "ACHROMAT_LISTEN" => format!("127.0.0.1:{port}"),
            "store" | "ACHROMAT_STORE" => database.to_owned(),
            "token_file" | "ACHROMAT_ADMIN_TOKEN_FILE" => token.display().to_string(),
            "PGPASSFILE" => secrets.file("pgpass").display().to_string(),
            "ACHROMAT_FLEET_ADVERTISE" => format!("http://127.0.0.1:{port}"),
            "ACHROMAT_CONFIG" => own.join("achromat.toml").display().to_string(),
            "ACHROMAT_STATE" | "cache" => own.display().to_string(),
            _ => as_it_stands.to_owned(),
        };
        let mut urls = urls.iter();
        let lines = member.configuration.lines().map(|line| {
            match line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                Some(("url", _)) => format!("url = {:?}\n", urls.next().expect("a server")),
                Some((key, value)) if value.starts_with('"') => {
                    format!("{key} = {:?}\n", local(key, value.trim_matches('"')))
                }
                _ => format!("{line}\n"),
            }
        });
        fs::write(own.join("achromat.toml"), lines.collect::<String>()).expect("a file");
        let variables = member.variables.iter();
        let variables = variables.map(|(name, value)| (name.clone(), local(name, value)));
        let variables = variables.collect();
        Proxy::configured(&own, port, token, variables)
    };
    members.iter().map(start).collect()
}

/// Runs a fleet as its deployment configures it, with a database that wants the password of the README's script.
/// A record that is written through each proxy is on each server, and through each proxy it is found by the UUID
/// that each server gave the collection.
fn lives(members: &[Member]) {
    let folder = folder();
    let secrets = Secrets::make();
    let mut postgres = Postgres::start().expect("PostgreSQL runs here");
    let port = postgres.open_port(&Authority::new());
    let password = secrets.read("postgres.password");
    let role = format!(
        "CREATE ROLE achromat LOGIN PASSWORD '{password}';
         GRANT CREATE ON SCHEMA public TO achromat;"
    );
    postgres.run(&role).expect("its role");
    let database = format!("postgres://achromat@127.0.0.1:{port}/postgres");
    let instances = servers(folder.path(), 2);
    let urls: Vec<_> = instances.iter().map(Chroma::url).collect();
    let proxies = start(members, &urls, (&secrets, &database, folder.path()));
    for proxy in &proxies {
        proxy.wait_ready();
    }
    let apis: Vec<_> = proxies.iter().map(Proxy::api).collect();
    apis[0].create("kept");
    let expected: Vec<_> = members.iter().map(|member| json!(member.name)).collect();
    for (api, id) in apis.iter().zip(&expected) {
        let record = json!({ "ids": [id], "embeddings": [[1.0, 2.0]] });
        api.records("kept", "add", &record).ok();
        assert_eq!(api.get("/livez").status, 200);
    }
    apis[0].wait_nothing_owed(Duration::from_secs(60));
    let found = |api: &Api, uuid: &str| {
        let answer = api.records(uuid, "get", &json!({})).ok();
        let mut ids = list(&answer["ids"]).to_vec();
        ids.sort_by_key(Value::to_string);
        ids
    };
    for instance in &instances {
        let own = instance.own_id("kept");
        assert_eq!(found(&instance.api(), &own), expected);
        for api in &apis {
            assert_eq!(found(api, &own), expected);
        }
    }
    for proxy in &proxies {
        let (code, told) = proxy.command(&["fleet"]);
        assert!(code == Some(0) && told.contains("2 proxies"), "{told}");
        for member in members {
            assert!(told.contains(&format!(" {} at ", member.name)), "{told}");
        }
        assert!(!proxy.told().contains(&password));
        proxy.assert_calm();
    }
}

#[test]
fn the_fleet_of_compose_lives() {
    lives(&compose_members());
}

#[test]
fn the_fleet_of_kubernetes_lives() {
    lives(&kubernetes_members(&Manifests::read()));
}

#[test]
fn the_fleet_of_systemd_lives() {
    lives(&systemd_members());
}
