//! The CMS of `examples/cms` on Achromat: it works on while servers, Achromat itself and the parts of a fleet
//! die and freeze, and afterwards every server's own copy has each chunk of each file that was acknowledged.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::{Cluster, NAMES},
    ends::Ends,
    tools,
    wait::eventually,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::fleet::Fleet;

const README: &str = include_str!("../../examples/cms/README.md");

/// Clients of a load that change documents, and as many that search.
const CLIENTS: u64 = 3;

/// A program in the folder of the CMS, with the tests' Python first on its path.
fn program(name: &Path) -> Command {
    let path = std::env::var("PATH").expect("a path");
    let python = tools::python().join("bin");
    let mut command = Command::new(name);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cms"))
        .env("PATH", format!("{}:{path}", python.display()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    for variable in [
        "CMS_URL",
        "CMS_LIBRARY",
        "CMS_TOKEN_FILE",
        "CMS_CA",
        "CMS_TEST_URL",
    ] {
        command.env_remove(variable);
    }
    command
}

/// A command of the CMS on a library behind this Achromat.
fn cms(api: &Api, command: &str, library: &str) -> Command {
    let mut python = program(&tools::python().join("bin/python"));
    python
        .args(["-m", "cms", command, "--json", "--library", library])
        .env("CMS_URL", api.base());
    python
}

/// A load under way.
struct Load {
    process: Ends,
    files: PathBuf,
    progress: PathBuf,
    report: PathBuf,
}

impl Load {
    /// Starts one on a library of its own, with its files in a folder; it goes on until it is stopped.
    fn start((api, folder): (&Api, &Path), library: &str, flags: &[&str]) -> Self {
        let path = |ending: &str| folder.join(format!("{library}.{ending}"));
        let (files, progress, report) = (path("files"), path("progress"), path("report"));
        let clients = CLIENTS.to_string();
        let mut command = cms(api, "load", library);
        command
            .args(["--seconds", "600"])
            .args(["--writers", &clients, "--readers", &clients])
            .args(flags)
            .arg("--folder")
            .arg(&files)
            .stdout(File::create(&report).expect("a file"))
            .stderr(File::create(&progress).expect("a file"));
        Self {
            process: Ends(command.spawn().expect("it starts")),
            files,
            progress,
            report,
        }
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.progress).unwrap_or_default()
    }

    /// A figure of its last line of progress.
    fn figure(&self, name: &str) -> u64 {
        let told = self.told();
        let mut lines = told.lines().rev();
        let last = lines.find_map(|line| serde_json::from_str::<Value>(line).ok());
        last.map_or(0, |figures| figures[name].as_u64().unwrap_or(0))
    }

    /// Waits until so many more requests are answered.
    fn wait_answered(&mut self, more: u64) {
        self.wait_more("answered", more);
    }

    /// Waits until a figure has grown by so much.
    fn wait_more(&mut self, name: &str, more: u64) {
        let goal = self.figure(name) + more;
        let what = format!("the load goes on: {name}");
        eventually(&what, Duration::from_secs(120), || {
            let ended = self.process.0.try_wait().expect("its state");
            assert!(ended.is_none(), "it has ended: {}", self.told());
            let now = self.figure(name);
            if now >= goal {
                Ok(())
            } else {
                Err(format!("{now} of {goal} requests"))
            }
        });
    }

    /// Ends it; returns its report, and the folder with the files that the library must equal.
    fn stop(mut self) -> (Value, PathBuf) {
        kill_process(Pid::from_child(&self.process.0), Signal::INT).expect("a signal");
        eventually("the load ends", Duration::from_secs(150), || {
            let ended = self.process.0.try_wait().expect("its state");
            ended.ok_or("it runs")
        });
        let report = std::fs::read_to_string(&self.report).expect("a report");
        let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{}", self.told()));
        (report, self.files.clone())
    }
}

/// Asserts that no request failed, that each change was read back, and that the library had every
/// file at the end, as the clients' address shows it.
#[track_caller]
fn assert_sound(report: &Value) {
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["failed"], 0, "{report:#}");
    assert_eq!(report["uncertain"], Value::Array(Vec::new()), "{report:#}");
    let documents = report["verified"]["documents"].as_u64();
    assert!(documents.is_some_and(|count| count > 0), "{report:#}");
}

/// Has the CMS compare its files with each server's own copy, by the UUID that this server gave it.
#[track_caller]
fn assert_everywhere((api, instances): (&Api, &[Chroma]), library: &str, files: &Path) {
    api.wait_nothing_owed(Duration::from_secs(90));
    let mut command = cms(api, "verify", library);
    for instance in instances {
        let id = instance.own_id(&format!("{library}-1"));
        command.args(["--instance", &instance.url(), "--collection-id", &id]);
    }
    let output = command.arg(files).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    let compared: Value = serde_json::from_str(&told).expect("JSON");
    let compared = compared.as_array().expect("a list");
    assert_eq!(compared.len(), instances.len() + 1, "{told}");
    for source in compared {
        assert_eq!(source["differing"], 0, "{source:#}");
    }
}

/// F1, F2, F3: each server is killed and started again, then frozen and thawed; no request fails,
/// and both servers have every chunk in the end.
#[test]
fn the_cms_does_not_notice_what_befalls_servers() {
    let mut cluster = Cluster::start();
    let mut load = Load::start((&cluster.api(), cluster.folder()), "servers", &[]);
    load.wait_answered(100);
    for (place, name) in NAMES.into_iter().enumerate().take(2) {
        cluster.instances[place].kill();
        load.wait_answered(100);
        cluster.instances[place].up();
        cluster.wait_state(name, &["up"]);
        load.wait_answered(100);
    }
    for (place, name) in NAMES.into_iter().enumerate().take(2) {
        cluster.instances[place].freeze();
        // The length of the freeze is what is tested, not something that is waited for.
        thread::sleep(Duration::from_secs(5));
        load.wait_answered(100);
        cluster.instances[place].thaw();
        cluster.wait_state(name, &["up"]);
        load.wait_answered(100);
    }
    let (report, files) = load.stop();
    assert_sound(&report);
    assert_eq!(report["interrupted"], 0, "{report:#}");
    assert_everywhere((&cluster.api(), &cluster.instances), "servers", &files);
    cluster.proxy.assert_calm();
}

/// T2: Achromat is killed three times. Each client loses at most the request that was under way
/// each time, and repeats it; every server has every acknowledged chunk, and none that was deleted.
#[test]
fn the_cms_outlives_achromats_own_restart() {
    let mut cluster = Cluster::start();
    let patient = ["--pause-while-refused", "60"];
    let mut load = Load::start((&cluster.api(), cluster.folder()), "proxy", &patient);
    load.wait_answered(100);
    let kills = 3;
    for _ in 0..kills {
        cluster.proxy.kill();
        cluster.proxy.up();
        load.wait_answered(100);
    }
    let (report, files) = load.stop();
    assert_sound(&report);
    let interrupted = report["interrupted"].as_u64().expect("a number");
    assert!(interrupted <= 2 * CLIENTS * kills, "{report:#}");
    assert_everywhere((&cluster.api(), &cluster.instances), "proxy", &files);
    cluster.proxy.assert_calm();
}

/// Has a proxy of a fleet lead, while loads go on.
fn hand_over(fleet: &Fleet, to: usize, loads: &mut [Load]) {
    let name = format!("proxy-{to}");
    let (is_good, told) = fleet.command(to, &["fleet", "hand-over", &name]);
    assert!(is_good, "{told}");
    for load in loads {
        load.wait_answered(50);
    }
}

/// The proxy that leads a fleet is killed, comes back, and leads again when an operator says so; the primary
/// server is killed, and frozen. Clients of the other proxy do not notice it. Those of the killed one find it
/// away, and lose nothing else.
#[test]
fn the_cms_does_not_notice_what_befalls_a_fleet() {
    let mut fleet = Fleet::start(2);
    let leader = fleet.leader();
    let [killed, spared] = [leader, 1 - leader].map(|number| fleet.proxies[number].api());
    let mut loads = [
        Load::start((&spared, fleet.folder()), "spared", &[]),
        Load::start(
            (&killed, fleet.folder()),
            "killed",
            &["--pause-while-refused", "60"],
        ),
    ];
    for load in &mut loads {
        load.wait_answered(50);
    }
    fleet.proxies[leader].kill();
    fleet.wait_for_another(leader);
    loads[0].wait_answered(50);
    fleet.proxies[leader].up();
    loads[1].wait_answered(50);
    hand_over(&fleet, leader, &mut loads);

    fleet.instances[0].kill();
    loads[0].wait_answered(50);
    fleet.instances[0].up();
    spared.wait_state(NAMES[0], &["up"]);
    fleet.instances[0].freeze();
    hand_over(&fleet, 1 - leader, &mut loads);
    fleet.instances[0].thaw();
    spared.wait_state(NAMES[0], &["up"]);

    for (load, library) in loads.into_iter().zip(["spared", "killed"]) {
        let (report, files) = load.stop();
        assert_sound(&report);
        let interrupted = report["interrupted"].as_u64().expect("a number");
        let interrupted_max = if library == "spared" { 0 } else { 2 * CLIENTS };
        assert!(interrupted <= interrupted_max, "{report:#}");
        assert_everywhere((&spared, &fleet.instances), library, &files);
    }
}

/// The database of a fleet dies and comes back: changes are refused with 503 meanwhile, searches go on, and
/// afterwards one `ingest` mends the documents whose change was cut off.
#[test]
fn the_cms_outlives_a_fleets_database() {
    let mut fleet = Fleet::start(2);
    let follower = fleet.proxies[1 - fleet.leader()].api();
    let mut load = Load::start((&follower, fleet.folder()), "database", &[]);
    load.wait_answered(100);
    fleet.postgres.kill();
    load.wait_more("failed", 10);
    load.wait_answered(50);
    fleet.postgres.up();
    load.wait_answered(100);
    let (report, files) = load.stop();
    assert_eq!(report["stale_count"], 0, "{report:#}");
    assert_eq!(report["unfinished"], 0, "{report:#}");
    assert_eq!(report["verified"]["differing"], 0, "{report:#}");
    for (figure, allowed) in [
        ("failed_by_status", &["503"][..]),
        ("failed_by_kind", &["upsert", "delete"]),
    ] {
        let found = report[figure].as_object().expect("figures");
        let are_right = found.keys().all(|key| allowed.contains(&key.as_str()));
        assert!(are_right && !found.is_empty(), "{report:#}");
    }
    let mut ingest = cms(&follower, "ingest", "database");
    let output = ingest.arg("--delete-missing").arg(&files).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_everywhere((&follower, &fleet.instances), "database", &files);
}

/// The scripts of the README that use the CMS, each with what it is said to print, if anything is.
fn scripts() -> Vec<(&'static str, Option<&'static str>)> {
    let blocks = README.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("```").expect("the end of a block"));
    blocks
        .filter(|(script, _)| script.contains("python -m cms"))
        .map(|(script, rest)| {
            let shown = rest.trim_start().strip_prefix("```text\n");
            let shown = shown.and_then(|text| text.split_once("```"));
            (script, shown.map(|(text, _)| text))
        })
        .collect()
}

/// Each command of the CMS's README works as it stands there, and prints what is shown.
#[test]
fn the_cms_is_as_its_readme_says() {
    let cluster = Cluster::start();
    let scripts = scripts();
    assert!(scripts.len() > 4, "the scripts are there");
    for (script, shown) in scripts {
        let mut shell = program(Path::new("sh"));
        shell.env("CMS_URL", cluster.api().base());
        let output = shell.args(["-e", "-c", script]).output().expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{errors}");
        let told = String::from_utf8_lossy(&output.stdout);
        let told = told.replace(cluster.api().base(), "http://127.0.0.1:8000");
        if let Some(shown) = shown {
            assert_eq!(told, shown, "{script}\n{errors}");
        }
    }
    cluster.settle();
    cluster.proxy.assert_calm();
}

/// The CMS's own tests pass, against the Chroma server that they start.
#[test]
fn the_cms_passes_its_own_tests() {
    let mut python = program(&tools::python().join("bin/python"));
    let words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"];
    let output = python.args(words).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}
