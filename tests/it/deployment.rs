//! Files of `examples/deploy/fleet`: each flag, key, port, path and selector in them fits the binary and the other
//! files, and a fleet runs with the configuration that each way to deploy it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use achromat::{dev::toolbox::on_path, run::HAND_OVER};
use achromat_tests::{
    authority::Authority,
    chroma::free_port,
    cluster::{folder, servers},
    deploy::{
        CONTAINERFILE, OTHER_VARIABLES, default_of, deploy, image_variables, number_in, project,
        run, settings_of, text, yaml,
    },
    postgres::Postgres,
    proxy::{Proxy, achromat, program},
    tools,
};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

const README: &str = include_str!("../../examples/deploy/fleet/README.md");
const UNIT: &str = include_str!("../../examples/deploy/achromat.service");
const UNIT_OF_MEMBER: &str = include_str!("../../examples/deploy/fleet/systemd/fleet.conf");
const SYSTEMD: &str = include_str!("../../examples/deploy/fleet/systemd/achromat.toml");

/// The label by which everything in Kubernetes knows pods.
const LABEL: &str = "app.kubernetes.io/name";

/// Where a key of the configuration stands, as a variable and in the file.
const PLACED: [(&str, &str); 4] = [
    ("ACHROMAT_LISTEN", "listen"),
    ("ACHROMAT_STORE", "store"),
    ("ACHROMAT_ADMIN_TOKEN_FILE", "token_file"),
    ("ACHROMAT_FLEET_ADVERTISE", "advertise"),
];

/// A proxy as the files of a deployment start it.
struct Member {
    name: String,
    /// Its variables, that of the configuration's file among them.
    variables: BTreeMap<String, String>,
    /// The text of that file.
    configuration: String,
}

impl Member {
    /// One of the image, with the variables of its deployment over those of the image.
    fn of_image(name: &str, more: Vec<(String, String)>, configuration: String) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut variables: BTreeMap<_, _> = image_variables().into_iter().map(owned).collect();
        variables.extend(more);
        Self {
            name: name.to_owned(),
            variables,
            configuration,
        }
    }

    /// The value of a key, from the variable or from the file.
    fn value(&self, variable: &str, key: &str) -> &str {
        let start = format!("{key} = \"");
        let mut lines = self.configuration.lines();
        let line = lines.find_map(|line| line.strip_prefix(&start));
        let of_file = line.map(|rest| rest.trim_end_matches('"'));
        let found = self.variables.get(variable).map(String::as_str).or(of_file);
        found.unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    /// The port that it listens on.
    fn port(&self) -> u64 {
        port_of(self.value("ACHROMAT_LISTEN", "listen"))
    }

    /// Milliseconds that it takes at most to stop.
    fn stop_ms_max(&self) -> u64 {
        let hand_over = u64::try_from(HAND_OVER.as_millis()).expect("a short time");
        number_in(&self.configuration, "stop", "drain_ms") + hand_over
    }
}

/// The number behind the last colon.
#[track_caller]
fn port_of(address: &str) -> u64 {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

/// Seconds as Compose writes them.
fn seconds(value: &Value) -> u64 {
    let number = text(value).strip_suffix('s').expect("seconds");
    number.parse().expect("a number")
}

fn compose() -> Value {
    yaml("fleet/compose.yaml").remove(0)
}

fn compose_members() -> Vec<Member> {
    let compose = compose();
    let member = |name: &str| {
        let service = &compose["services"][name];
        let variables = service["environment"].as_object().expect("variables");
        let own = variables
            .iter()
            .map(|(name, value)| (name.clone(), text(value).to_owned()));
        let config = &service["configs"][0];
        assert_eq!(config["target"], service["environment"]["ACHROMAT_CONFIG"]);
        let file = &compose["configs"][text(&config["source"])]["file"];
        let file = text(file).strip_prefix("./").expect("beside it");
        let configuration = fs::read_to_string(deploy("fleet").join(file)).expect("a file");
        Member::of_image(name, own.collect(), configuration)
    };
    ["achromat-1", "achromat-2"].map(member).into()
}

/// The manifests for Kubernetes.
struct Manifests(Vec<Value>);

impl Manifests {
    fn read() -> Self {
        let files = ["achromat", "chroma", "network", "postgres"];
        let all = files.map(|name| yaml(&format!("fleet/kubernetes/{name}.yaml")));
        let folder = fs::read_dir(deploy("fleet/kubernetes")).expect("a folder");
        assert_eq!(folder.count(), files.len(), "each file is read");
        Self(all.into_iter().flatten().collect())
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|m| m["kind"] == kind).collect()
    }

    #[track_caller]
    fn get(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.of_kind(kind).into_iter();
        let found = found.find(|m| m["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The stateful sets whose pods a selector selects.
    fn selected(&self, labels: &Value) -> Vec<&str> {
        let labels = labels.as_object().expect("labels");
        assert!(!labels.is_empty(), "it would select everything");
        let sets = self.of_kind("StatefulSet").into_iter();
        let fits = |set: &&Value| {
            let own = &set["spec"]["template"]["metadata"]["labels"];
            labels.iter().all(|(name, value)| own[name] == *value)
        };
        sets.filter(fits).map(name_of).collect()
    }
}

fn name_of(manifest: &Value) -> &str {
    text(&manifest["metadata"]["name"])
}

fn pod(set: &Value) -> &Value {
    &set["spec"]["template"]["spec"]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The port of a container that a name means.
#[track_caller]
fn container_port(set: &Value, name: &Value) -> u64 {
    let ports = list(&pod(set)["containers"][0]["ports"]);
    let port = ports.iter().find(|port| port["name"] == *name);
    let port = port.unwrap_or_else(|| panic!("{} has no port {name}", name_of(set)));
    port["containerPort"].as_u64().expect("a number")
}

fn kubernetes_members(manifests: &Manifests) -> Vec<Member> {
    let set = manifests.get("StatefulSet", "achromat");
    let container = &pod(set)["containers"][0];
    let data = &manifests.get("ConfigMap", "achromat")["data"];
    let mount = &container["volumeMounts"][0];
    assert_eq!(pod(set)["volumes"][0]["configMap"]["name"], "achromat");
    assert_eq!(mount["name"], pod(set)["volumes"][0]["name"]);
    let replicas = set["spec"]["replicas"].as_u64().expect("a number");
    let member = |number: u64| {
        let name = format!("achromat-{number}");
        let mut variables = Vec::<(String, String)>::new();
        for entry in list(&container["env"]) {
            let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => name.clone(),
                Some("status.podIP") => format!("10.0.0.{}", number + 1),
                other => {
                    assert_eq!(other, None, "{entry}");
                    let expand = |value: String, (name, with): &(String, String)| {
                        value.replace(&format!("$({name})"), with)
                    };
                    variables
                        .iter()
                        .fold(text(&entry["value"]).to_owned(), expand)
                }
            };
            variables.push((text(&entry["name"]).to_owned(), value));
        }
        let member = Member::of_image(&name, variables, text(&data["achromat.toml"]).to_owned());
        let file = format!("{}/achromat.toml", text(&mount["mountPath"]));
        assert_eq!(member.variables["ACHROMAT_CONFIG"], file);
        member
    };
    (0..replicas).map(member).collect()
}

fn systemd_members() -> Vec<Member> {
    let (_, file) = UNIT.split_once("--config ").expect("a file");
    let (file, _) = file.split_once('\n').expect("its end");
    let of_unit = settings_of(UNIT_OF_MEMBER);
    let member = |machine: &str| {
        let lines = of_unit["Environment"].iter();
        let pairs = lines.map(|line| line.split_once('=').expect("a variable"));
        let own = pairs.map(|(name, value)| (name.to_owned(), value.replace("%H", machine)));
        let mut variables: BTreeMap<String, String> = own.collect();
        variables.insert("ACHROMAT_CONFIG".to_owned(), file.to_owned());
        Member {
            name: machine.to_owned(),
            variables,
            configuration: SYSTEMD.to_owned(),
        }
    };
    ["one", "two"].map(member).into()
}

/// What Achromat says of a member's configuration.
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

/// Every service of `compose.yaml` that another one names is there and can be reached, the secrets stand in files
/// that the README makes, and each proxy has time to stop.
#[test]
fn compose_is_sound() {
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

/// In Kubernetes every selector selects the pods that it is for and no others, and every port and host that is
/// named is there.
#[test]
fn selectors_ports_and_hosts_fit() {
    let manifests = Manifests::read();
    for set in manifests.of_kind("StatefulSet") {
        let (name, spec) = (name_of(set), &set["spec"]);
        assert_eq!(manifests.selected(&spec["selector"]["matchLabels"]), [name]);
        manifests.get("Service", text(&spec["serviceName"]));
        for spread in list(&pod(set)["topologySpreadConstraints"]) {
            let labels = &spread["labelSelector"]["matchLabels"];
            assert_eq!(manifests.selected(labels), [name]);
            assert_eq!(spread["topologyKey"], "kubernetes.io/hostname");
        }
        let replicas = spec["replicas"].as_u64().expect("a number");
        if replicas > 1 {
            let budget = &manifests.get("PodDisruptionBudget", name)["spec"];
            assert_eq!(
                manifests.selected(&budget["selector"]["matchLabels"]),
                [name]
            );
            let away_max = budget["maxUnavailable"].as_u64().expect("a number");
            assert!((1..replicas).contains(&away_max), "{budget}");
            assert!(!pod(set)["topologySpreadConstraints"].is_null(), "{name}");
        }
    }
    for service in manifests.of_kind("Service") {
        let set = match name_of(service) {
            "achromat-proxies" => "achromat",
            name => name,
        };
        assert_eq!(manifests.selected(&service["spec"]["selector"]), [set]);
        let port = &service["spec"]["ports"][0];
        let behind = container_port(manifests.get("StatefulSet", set), &port["targetPort"]);
        assert_eq!(port["port"], behind);
    }
    let chroma = manifests.get("StatefulSet", "chroma");
    let service = text(&chroma["spec"]["serviceName"]);
    let port = manifests.get("Service", service)["spec"]["ports"][0]["port"].as_u64();
    let replicas = chroma["spec"]["replicas"].as_u64().expect("a number");
    let expected = (0..replicas).map(|n| (format!("chroma-{n}.{service}"), port.expect("a port")));
    let expected: Vec<_> = expected.collect();
    for member in kubernetes_members(&manifests) {
        assert_eq!(hosts(&member.configuration), expected);
        assert_eq!(
            member.variables["ACHROMAT_STORE"],
            "postgres://achromat@postgres/achromat"
        );
        let own = manifests.get("StatefulSet", "achromat");
        assert_eq!(container_port(own, &json!("http")), member.port());
    }
    let database = &manifests.get("Service", "postgres")["spec"]["ports"][0];
    assert_eq!(
        database["port"], 5432,
        "PostgreSQL's, which the address does not name"
    );
}

/// Only Achromat reaches Chroma and the database, which reach nobody; only the fleet's proxies and labelled
/// clients reach Achromat.
#[test]
fn networks_are_closed() {
    let manifests = Manifests::read();
    for set in manifests.of_kind("StatefulSet") {
        let policy = &manifests.get("NetworkPolicy", name_of(set))["spec"];
        let selector = &policy["podSelector"]["matchLabels"];
        assert_eq!(manifests.selected(selector), [name_of(set)]);
        let [rule] = list(&policy["ingress"]) else {
            panic!("one rule: {policy}");
        };
        let named = &rule["ports"][0]["port"];
        container_port(set, named);
        let ours = json!({ "podSelector": { "matchLabels": { LABEL: "achromat" } } });
        let (first, others) = list(&rule["from"]).split_first().expect("somebody");
        assert_eq!(*first, ours);
        if name_of(set) == "achromat" {
            let label = json!({ "podSelector": { "matchLabels": { "achromat-client": "true" } } });
            assert_eq!(others, [label]);
            assert!(README.contains("`achromat-client: \"true\"`"));
        } else {
            assert!(others.is_empty(), "{others:?}");
            assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
            assert!(policy["egress"].is_null(), "{policy}");
        }
    }
}

/// Probes ask paths that there are at ports that there are; a pod has more time to stop than Achromat takes; its
/// memory is enough for what the configuration allows.
#[test]
fn probes_and_resources_fit_the_binary() {
    let manifests = Manifests::read();
    let set = manifests.get("StatefulSet", "achromat");
    let container = &pod(set)["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        let ask = &container[probe]["httpGet"];
        assert_eq!(ask["path"], path);
        container_port(set, &ask["port"]);
    }
    let grace = &pod(set)["terminationGracePeriodSeconds"];
    let grace_ms = grace.as_u64().expect("seconds") * 1000;
    let pause = &container["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(pause[0], "sleep");
    let pause_ms = text(&pause[1]).parse::<u64>().expect("seconds") * 1000;
    for member in kubernetes_members(&manifests) {
        assert!(grace_ms > pause_ms + member.stop_ms_max());
    }
    let memory = text(&container["resources"]["limits"]["memory"]);
    let mebibytes: u64 = memory
        .strip_suffix("Mi")
        .expect("a unit")
        .parse()
        .expect("a number");
    let needed =
        default_of("limits", "memory_bytes_max") + default_of("policy", "compile_memory_bytes_max");
    assert!(mebibytes << 20 > needed, "{memory}");

    let chroma = manifests.get("StatefulSet", "chroma");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let ask = &pod(chroma)["containers"][0][probe]["httpGet"];
        assert_eq!(ask["path"], "/api/v2/heartbeat");
        container_port(chroma, &ask["port"]);
    }
}

/// No pod is root, may write to its own image, or is given variables that Achromat takes for keys.
#[test]
fn pods_are_confined() {
    let manifests = Manifests::read();
    for set in manifests.of_kind("StatefulSet") {
        let (name, pod) = (name_of(set), pod(set));
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert!(context["runAsUser"].as_u64().is_some_and(|user| user > 0));
        assert_eq!(context["runAsUser"], context["fsGroup"], "{name}");
        assert_eq!(
            context["seccompProfile"]["type"], "RuntimeDefault",
            "{name}"
        );
        let both = ["initContainers", "containers"].map(|kind| list(&pod[kind]));
        for container in both.concat() {
            let own = &container["securityContext"];
            assert_eq!(own["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(own["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(own["capabilities"]["drop"], json!(["ALL"]), "{container}");
            let resources = &container["resources"];
            for figure in [
                &resources["requests"]["cpu"],
                &resources["limits"]["memory"],
            ] {
                assert!(figure.is_string(), "{container}");
            }
            let volumes = list(&pod["volumes"]).iter();
            let claims = list(&set["spec"]["volumeClaimTemplates"])
                .iter()
                .map(name_of);
            let names = volumes.map(|volume| text(&volume["name"])).chain(claims);
            let names: BTreeSet<_> = names.collect();
            for mount in list(&container["volumeMounts"]) {
                assert!(names.contains(text(&mount["name"])), "{mount}");
            }
        }
    }
    let context = &pod(manifests.get("StatefulSet", "achromat"))["securityContext"];
    let user = format!("\nUSER {0}:{0}\n", context["runAsUser"]);
    assert!(CONTAINERFILE.contains(&user), "{user}");
    // What a Service of this name makes in each pod that has such variables.
    let member = &kubernetes_members(&manifests)[0];
    let mut check = achromat(&["check"]);
    let check = check.envs(&member.variables);
    let refused = check.env("ACHROMAT_SERVICE_HOST", "10.0.0.1").output();
    assert!(!refused.expect("it runs").status.success());
}

/// The files that the README's first script makes.
struct Secrets(TempDir);

impl Secrets {
    /// Runs the script in a folder of its own.
    fn make() -> Self {
        let folder = tempdir().expect("a folder");
        let inner = "examples/deploy/fleet";
        fs::create_dir_all(folder.path().join(inner)).expect("a folder");
        let (_, rest) = README.split_once("\n## Secrets\n").expect("the heading");
        let (_, rest) = rest.split_once("```sh\n").expect("a script");
        let (script, _) = rest.split_once("```").expect("its end");
        let mut shell = Command::new("sh");
        run(shell.args(["-e", "-c", script]).current_dir(folder.path()));
        Self(folder)
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("examples/deploy/fleet/secrets")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.file(name)).expect("a secret");
        text.trim().to_owned()
    }
}

/// Secrets are their owner's alone from the start, and the pod of a proxy makes copies of those that it is given
/// that are its user's alone, where its variables name them.
#[test]
fn secrets_come_to_whoever_needs_them() {
    let manifests = Manifests::read();
    let given = Secrets::make();
    let line = format!("*:*:*:achromat:{}", given.read("postgres.password"));
    assert_eq!(given.read("pgpass"), line);
    for name in ["operator.token", "postgres.password", "pgpass"] {
        let mode = fs::metadata(given.file(name))
            .expect("a file")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        let flag = format!("--from-file=examples/deploy/fleet/secrets/{name}");
        assert!(README.contains(&flag), "{flag}");
    }
    for set in ["achromat", "postgres"] {
        let set = manifests.get("StatefulSet", set);
        let volumes = list(&pod(set)["volumes"]).iter();
        let secret = volumes
            .map(|v| &v["secret"])
            .find(|secret| !secret.is_null());
        let secret = secret.expect("a secret");
        let make = format!(
            "kubectl create secret generic {} \\\n",
            text(&secret["secretName"])
        );
        assert!(README.contains(&make), "{make}");
        assert_eq!(
            secret["defaultMode"], 0o440,
            "the group of the pod can read it"
        );
        for item in list(&secret["items"]) {
            assert_eq!(item["key"], item["path"]);
            assert!(given.file(text(&item["key"])).is_file(), "{item}");
        }
    }
    let set = manifests.get("StatefulSet", "achromat");
    let own = tempdir().expect("a folder");
    let words = list(&pod(set)["initContainers"][0]["command"]).iter();
    let words = words.map(|word| {
        let word = text(word).replace("/run/secret", &given.folder().display().to_string());
        word.replace("/run/achromat", &own.path().display().to_string())
    });
    let words: Vec<_> = words.collect();
    run(Command::new(&words[0]).args(&words[1..]));
    let member = &kubernetes_members(&manifests)[0];
    for variable in ["PGPASSFILE", "ACHROMAT_ADMIN_TOKEN_FILE"] {
        let name = member.variables[variable].strip_prefix("/run/achromat/");
        let copy = own.path().join(name.expect("a file of its own"));
        let mode = fs::metadata(&copy).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{variable}");
        let text = fs::read_to_string(copy).expect("a copy");
        assert_eq!(text.trim(), given.read(name.expect("a name")));
    }
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
        sections.iter().any(|section| word.starts_with(section)) && !word.ends_with(".conf")
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
    let urls: Vec<_> = instances.iter().map(|chroma| chroma.url()).collect();
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
    let found = |api: &achromat_tests::api::Api, uuid: &str| {
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
