//! `bench instructions`: how many instructions of its own Achromat spends on a request, counted by
//! callgrind. Unlike times they are the same on a busy machine as on an idle one, to about one in a
//! hundred, so the last figures are kept beside this file and a regression is seen.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    time::Duration,
};

use achromat::dev::toolbox::on_path;
use achromat_tests::{
    api::Api,
    chroma::{Chroma, free_port},
    cluster::folder,
    ends::Ends,
    proxy::program,
    wait::eventually,
};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    figures::{self, ACHROMAT},
    load::Client,
    peers::{Peer, fill},
    requests::{Request, get, query, upsert_one},
};

/// What was counted last.
const KEPT: &str = include_str!("instructions.json");

/// Requests that are counted.
const COUNTED: usize = 500;

/// Requests before: connections are made, and code is in its place.
const BEFORE: usize = 100;

/// For a proxy that runs fifty times as slow as usual to start.
const PATIENCE: Duration = Duration::from_mins(3);

/// What is asked, and what the name in the file says of it.
const PATHS: [(&str, Request); 3] = [
    ("get one by id", get),
    ("query ten", query),
    ("upsert one", upsert_one),
];

/// Instructions for each request, by what was asked.
type Counts = BTreeMap<String, usize>;

pub(super) fn command() -> Command {
    Command::new("instructions")
        .about("Instructions for each request, counted by callgrind, beside those that were counted last")
        .arg(
            Arg::new("keep")
                .long("keep")
                .action(ArgAction::SetTrue)
                .help("Writes them into the source, as those that were counted last"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let folder = folder();
    let start = |name| Chroma::start(&folder.path().join(name));
    let instances = ["a", "b"].map(start);
    let mut counts = Counts::new();
    count(folder.path(), &instances, "", &[], &mut counts)?;
    let plugins = [
        "--policy-routing-plugin=default",
        "--policy-wal-plugin=default",
        "--policy-guard-plugin=default",
    ];
    count(
        folder.path(),
        &instances,
        ", with three components",
        &plugins,
        &mut counts,
    )?;
    let kept: Counts = serde_json::from_str(KEPT)?;
    println!("{:<40} {:>9} {:>9} {:>6}", "", "now", "before", "");
    for (what, now) in &counts {
        let before = kept.get(what).copied().unwrap_or(0);
        let ratio = figures::count(*now) / figures::count(before);
        println!("{what:<40} {now:>9} {before:>9} {ratio:>6.3}");
    }
    if matches.get_flag("keep") {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bin/bench/instructions.json");
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Counts all paths of a proxy with these flags.
fn count(
    folder: &Path,
    instances: &[Chroma],
    suffix: &str,
    flags: &[&str],
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let own = folder.join(format!("proxy{}", flags.len()));
    std::fs::create_dir_all(&own)?;
    let counted = Counted::start(&own, instances, flags)?;
    let name = format!("bench{}", flags.len());
    let peer = Peer {
        name: ACHROMAT,
        port: counted.port,
        records: fill(&Api::at(counted.port), &name, 1000),
    };
    for (what, request) in PATHS {
        let mut client = Client::connect(peer.port)?;
        for number in 0..BEFORE {
            client.ask(&request(&peer, number))?;
        }
        counted.tell("--instr=on")?;
        for number in 0..COUNTED {
            client.ask(&request(&peer, number))?;
        }
        counted.tell("--instr=off")?;
        let each = counted.total()? / COUNTED;
        counts.insert(format!("{what}{suffix}"), each);
    }
    Ok(())
}

/// A proxy whose instructions are counted while that is wanted.
struct Counted {
    port: u16,
    output: PathBuf,
    child: Ends,
}

impl Counted {
    fn start(folder: &Path, instances: &[Chroma], flags: &[&str]) -> anyhow::Result<Self> {
        let valgrind = on_path("valgrind").context("valgrind is not on the path: install it")?;
        let (port, output) = (free_port(), folder.join("callgrind"));
        let mut command = Process::new(valgrind);
        command
            .args(["--tool=callgrind", "--instr-atstart=no"])
            .arg(format!("--callgrind-out-file={}", output.display()))
            .arg(program())
            .args(["achromat", "serve", "--log-level=error"])
            // The second for which it would be measured beside the requests is long here.
            .arg("--health-probe-interval-ms=60000")
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!(
                "--store=sqlite:{}",
                folder.join("log.sqlite").display()
            ));
        for (name, chroma) in ["a", "b"].into_iter().zip(instances) {
            command.arg(format!("--instance={name}={}", chroma.url()));
        }
        command
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = Ends(command.spawn()?);
        let api = Api::at(port);
        eventually("it is ready", PATIENCE, || {
            match api.try_call("GET", "/readyz", &serde_json::Value::Null) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        });
        Ok(Self {
            port,
            output,
            child,
        })
    }

    /// Has callgrind do something.
    fn tell(&self, what: &str) -> anyhow::Result<()> {
        let told = Process::new("callgrind_control")
            .arg(what)
            .arg(self.child.0.id().to_string())
            .output()
            .context("callgrind_control, which comes with valgrind")?;
        anyhow::ensure!(told.status.success(), "callgrind does not listen: {told:?}");
        Ok(())
    }

    /// What was counted since the last time.
    fn total(&self) -> anyhow::Result<usize> {
        self.tell("--dump")?;
        let folder = self.output.parent().context("a folder")?;
        let is_dump = |path: &PathBuf| {
            path.to_string_lossy()
                .starts_with(&*format!("{}.", self.output.display()))
        };
        let files = std::fs::read_dir(folder)?;
        let mut dumps: Vec<_> = files
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(is_dump)
            .collect();
        dumps.sort();
        let last = dumps.pop().context("callgrind has written nothing")?;
        let text = std::fs::read_to_string(&last)?;
        // Each is read once.
        dumps.push(last);
        for dump in dumps {
            std::fs::remove_file(dump)?;
        }
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        line.and_then(|total| total.trim().parse().ok())
            .context("callgrind has counted nothing")
    }
}
