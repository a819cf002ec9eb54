//! The files of `examples/deploy/fleet` as data: the proxies that each way to deploy a fleet starts, the manifests for
//! Kubernetes, and the secrets.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use achromat::run::HAND_OVER;
use achromat_tests::deploy::{deploy, image_variables, number_in, run, settings_of, text, yaml};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::{README, SYSTEMD, UNIT, UNIT_OF_MEMBER};

/// A proxy as the files of a deployment start it.
pub(super) struct Member {
    pub(super) name: String,
    /// Its variables, that of the configuration's file among them.
    pub(super) variables: BTreeMap<String, String>,
    /// The text of that file.
    pub(super) configuration: String,
}

impl Member {
    /// One of the image, with the variables of its deployment over those of the image.
    pub(super) fn of_image(name: &str, more: Vec<(String, String)>, configuration: String) -> Self {
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
    pub(super) fn value(&self, variable: &str, key: &str) -> &str {
        let start = format!("{key} = \"");
        let mut lines = self.configuration.lines();
        let line = lines.find_map(|line| line.strip_prefix(&start));
        let of_file = line.map(|rest| rest.trim_end_matches('"'));
        let found = self.variables.get(variable).map(String::as_str).or(of_file);
        found.unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    /// The port that it listens on.
    pub(super) fn port(&self) -> u64 {
        port_of(self.value("ACHROMAT_LISTEN", "listen"))
    }

    /// Milliseconds that it takes at most to stop.
    pub(super) fn stop_ms_max(&self) -> u64 {
        let hand_over = u64::try_from(HAND_OVER.as_millis()).expect("a short time");
        number_in(&self.configuration, "stop", "drain_ms") + hand_over
    }
}

/// The number behind the last colon.
#[track_caller]
pub(super) fn port_of(address: &str) -> u64 {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

pub(super) fn compose() -> Value {
    yaml("fleet/compose.yaml").remove(0)
}

pub(super) fn compose_members() -> Vec<Member> {
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
pub(super) struct Manifests(Vec<Value>);

impl Manifests {
    pub(super) fn read() -> Self {
        let files = ["achromat", "chroma", "network", "postgres"];
        let all = files.map(|name| yaml(&format!("fleet/kubernetes/{name}.yaml")));
        let folder = fs::read_dir(deploy("fleet/kubernetes")).expect("a folder");
        assert_eq!(folder.count(), files.len(), "each file is read");
        Self(all.into_iter().flatten().collect())
    }

    pub(super) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|m| m["kind"] == kind).collect()
    }

    #[track_caller]
    pub(super) fn get(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.of_kind(kind).into_iter();
        let found = found.find(|m| m["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The stateful sets whose pods a selector selects.
    pub(super) fn selected(&self, labels: &Value) -> Vec<&str> {
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

pub(super) fn name_of(manifest: &Value) -> &str {
    text(&manifest["metadata"]["name"])
}

pub(super) fn pod(set: &Value) -> &Value {
    &set["spec"]["template"]["spec"]
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The port of a container that a name means.
#[track_caller]
pub(super) fn container_port(set: &Value, name: &Value) -> u64 {
    let ports = list(&pod(set)["containers"][0]["ports"]);
    let port = ports.iter().find(|port| port["name"] == *name);
    let port = port.unwrap_or_else(|| panic!("{} has no port {name}", name_of(set)));
    port["containerPort"].as_u64().expect("a number")
}

pub(super) fn kubernetes_members(manifests: &Manifests) -> Vec<Member> {
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

pub(super) fn systemd_members() -> Vec<Member> {
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

/// The files that the README's first script makes.
pub(super) struct Secrets(TempDir);

impl Secrets {
    /// Runs the script in a folder of its own.
    pub(super) fn make() -> Self {
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

    pub(super) fn folder(&self) -> PathBuf {
        self.0.path().join("examples/deploy/fleet/secrets")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.file(name)).expect("a secret");
        text.trim().to_owned()
    }
}
