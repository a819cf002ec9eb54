//! The manifests for Kubernetes: selectors, ports, probes, networks, confinement and secrets fit the binary and one
//! another.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, process::Command};

use achromat_tests::{
    deploy::{CONTAINERFILE, default_of, run, text},
    proxy::achromat,
};
use serde_json::json;
use tempfile::tempdir;

use super::{
    README, hosts,
    members::{Manifests, Secrets, container_port, kubernetes_members, list, name_of, pod},
};

/// The label by which everything in Kubernetes knows pods.
const LABEL: &str = "app.kubernetes.io/name";

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
    // A variable that Kubernetes makes of a Service of this name.
    let member = &kubernetes_members(&manifests)[0];
    let mut check = achromat(&["check"]);
    let check = check.envs(&member.variables);
    let refused = check.env("ACHROMAT_SERVICE_HOST", "10.0.0.1").output();
    assert!(!refused.expect("it runs").status.success());
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
