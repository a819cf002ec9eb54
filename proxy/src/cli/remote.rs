//! Commands that talk to an Achromat that runs: `verify`, `repair` and `jobs`.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Once,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use ureq::{Agent, RequestBuilder};

use super::socket;
use crate::access::{default_file, token_in};

/// For one call to be answered.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Deadline of a call that a script waits for.
const QUICK_DEADLINE: Duration = Duration::from_secs(5);

/// Interval between two questions about progress.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Longest time without progress.
const PATIENCE: Duration = Duration::from_secs(120);

/// Exit code for "they differ", as `diff` and `cmp` use it.
const DIFFERENT: u8 = 1;

pub(super) fn with_address(command: Command) -> Command {
    command
        .arg(
            Arg::new("url")
                .long("url")
                .env("ACHROMAT_URL")
                .default_value("http://127.0.0.1:8000")
                .help("Where Achromat listens: a URL, or the operators' Unix socket, such as unix:/run/achromat/operators.sock"),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .env("ACHROMAT_ADMIN_TOKEN")
                .hide_env_values(true)
                .help("The operator's token; rather keep it in a file"),
        )
        .arg(
            Arg::new("token-file")
                .long("token-file")
                .env("ACHROMAT_ADMIN_TOKEN_FILE")
                .help("The file with the operator's token [default: where an Achromat of this machine and user keeps it]"),
        )
}

fn with_collection(command: Command) -> Command {
    let text = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).default_value(default)
    };
    with_address(command)
        .arg(text("tenant", "default_tenant").help("The collection's tenant"))
        .arg(text("database", "default_database").help("The collection's database"))
}

pub(super) fn verify_command() -> Command {
    with_collection(
        Command::new("verify")
            .about("Compares the instances' copies of collections, while Achromat serves")
            .after_help(
                "Exits 0 when all copies are equal, 1 when some differ, 2 when that can't be told.",
            ),
    )
    .arg(
        Arg::new("collection")
            .long("collection")
            .help("The name or id of one collection; all of them when it is not given"),
    )
}

pub(super) fn repair_command() -> Command {
    with_collection(
        Command::new("repair")
            .about("Makes all copies of a collection equal to that of one instance, and writes only what differs")
            .after_help("`achromat verify` tells which copies differ. Reads go to the source until the others are equal."),
    )
    .arg(
        Arg::new("collection")
            .long("collection")
            .required(true)
            .help("The name or id of the collection"),
    )
    .arg(
        Arg::new("source")
            .long("source")
            .required_unless_present("dry-run")
            .help("The name of the instance whose copy is right"),
    )
    .arg(
        Arg::new("dry-run")
            .long("dry-run")
            .action(ArgAction::SetTrue)
            .help("Only compares, and says what would be mended"),
    )
}

pub(super) fn jobs_command() -> Command {
    with_address(Command::new("jobs").about(
        "Shows what goes on beside the writes: copies being made or compared, and what was found",
    ))
}

/// An Achromat that runs.
pub(super) struct Remote {
    agent: Agent,
    /// The address as it was given.
    address: String,
    /// The start of each URL.
    base: String,
    token: Option<String>,
    warned: Once,
}

impl Remote {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_DEADLINE))
            .build();
        let address = matches.get_one::<String>("url");
        let address = address.map_or("", |url| url.trim_end_matches('/'));
        let (agent, base, token) = match address.strip_prefix("unix:") {
            Some(path) => (
                socket::agent(config, path.into()),
                "http://localhost".to_owned(),
                None,
            ),
            None => (config.into(), address.to_owned(), token(matches, address)),
        };
        Self {
            agent,
            address: address.to_owned(),
            base,
            token,
            warned: Once::new(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Has a request show the operator's token, and says so where others can read it on its way.
    fn show<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let Some(token) = &self.token else {
            return request;
        };
        if is_readable_on_its_way(&self.base) {
            self.warned.call_once(|| {
                eprintln!(
                    "achromat: the operator's token goes to {} unencrypted; use an https:// URL, or a tunnel to an address of this machine",
                    self.address
                );
            });
        }
        request.header("Authorization", format!("Bearer {token}"))
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.show(self.agent.get(self.url(path)));
        self.read(request.call(), path)
    }

    /// The status and the body of an answer, whatever it is, within a few seconds.
    pub(super) fn ask(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let request = self.agent.get(self.url(path)).config();
        let request = request.timeout_global(Some(QUICK_DEADLINE)).build();
        let mut answer = request.call().with_context(|| self.silent(path))?;
        let body = answer.body_mut().read_json();
        let body = body.with_context(|| self.garbled(path))?;
        Ok((answer.status().as_u16(), body))
    }

    /// Returns the text of a successful answer as it is.
    pub(super) fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let request = self.show(self.agent.get(self.url(path)));
        match request.call() {
            Ok(mut answer) if answer.status().is_success() => {
                Ok(answer.body_mut().read_to_string()?)
            }
            refused => self.read(refused, path).map(|value| value.to_string()),
        }
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.show(self.agent.post(self.url(path)));
        self.read(request.send_json(body), path)
    }

    pub(super) fn post_bytes(&self, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let request = self.show(self.agent.post(self.url(path)));
        let request = request.header("Content-Type", "application/octet-stream");
        self.read(request.send(body), path)
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.show(self.agent.delete(self.url(path)));
        self.read(request.call(), path)
    }

    fn silent(&self, path: &str) -> String {
        let address = &self.address;
        format!("{address}{path} does not answer; is Achromat there? See --url")
    }

    fn garbled(&self, path: &str) -> String {
        format!("{}{path} did not answer as Achromat does", self.address)
    }

    fn read(
        &self,
        answer: Result<http::Response<ureq::Body>, ureq::Error>,
        path: &str,
    ) -> anyhow::Result<Value> {
        let mut answer = answer.with_context(|| self.silent(path))?;
        let body: Value = answer
            .body_mut()
            .read_json()
            .with_context(|| self.garbled(path))?;
        if !answer.status().is_success() {
            bail!("{}", body["detail"].as_str().unwrap_or("it was refused"));
        }
        Ok(body)
    }
}

/// The operator's token: given, in the file that is named, or where an Achromat of this machine has put it.
fn token(matches: &ArgMatches, url: &str) -> Option<String> {
    if let Some(token) = matches.get_one::<String>("token") {
        return Some(token.clone());
    }
    let named = matches.get_one::<String>("token-file").map(PathBuf::from);
    let file = match named {
        Some(file) => file,
        None => default_file(local_port(url)?).filter(|file| file.exists())?,
    };
    match token_in(&file) {
        Ok(token) => Some(token.to_string()),
        Err(error) => {
            eprintln!("achromat: {error}");
            None
        }
    }
}

/// The port of a URL of this machine. Another one is not shown this machine's token.
fn local_port(url: &str) -> Option<u16> {
    let uri: http::Uri = url.parse().ok()?;
    let is_local = matches!(uri.host()?, "127.0.0.1" | "localhost" | "[::1]");
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
    is_local.then_some(port)
}

/// Returns true for a URL whose requests others can read: one without encryption, of another machine.
fn is_readable_on_its_way(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    uri.scheme_str() != Some("https") && !is_here
}

fn which(matches: &ArgMatches) -> Value {
    let text = |name| matches.get_one::<String>(name);
    let mut body = json!({ "tenant": text("tenant"), "database": text("database") });
    for name in ["collection", "source"] {
        if let Ok(Some(value)) = matches.try_get_one::<String>(name) {
            body[name] = json!(value);
        }
    }
    body
}

/// Exits as `diff` does when something could not be found out.
pub(super) fn or_trouble(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("achromat: {error:#}");
        ExitCode::from(super::USAGE)
    })
}

pub(super) fn verify(matches: &ArgMatches) -> ExitCode {
    or_trouble(try_verify(matches))
}

pub(super) fn repair(matches: &ArgMatches) -> ExitCode {
    or_trouble(try_repair(matches))
}

fn try_verify(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    let wanted = remote.post("/admin/verify", &which(matches))?;
    let findings = wait_for(&remote, &wanted, "verify")?;
    Ok(tell_comparisons(&findings))
}

fn try_repair(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    let mut body = which(matches);
    if matches.get_flag("dry-run") {
        if let Some(body) = body.as_object_mut() {
            body.remove("source");
        }
        let wanted = remote.post("/admin/verify", &body)?;
        let findings = wait_for(&remote, &wanted, "verify")?;
        println!("Nothing was changed. A repair would make these equal:");
        return Ok(tell_comparisons(&findings));
    }
    let wanted = remote.post("/admin/repair", &body)?;
    for finding in wait_for(&remote, &wanted, "rebuild")? {
        let instance = finding["instance"].as_str().unwrap_or("?");
        match finding["refused"].as_str() {
            None => println!("{instance} is equal to the source now"),
            Some(reason) => bail!("{instance} could not be repaired: {reason}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits, with progress, until each of the wanted collections has been seen to.
fn wait_for(remote: &Remote, wanted: &Value, task: &str) -> anyhow::Result<Vec<Value>> {
    let after = wanted["after"].as_u64().unwrap_or(0);
    let ids = wanted["collections"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut open: BTreeSet<String> = ids
        .iter()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} records, {eta} left")?;
    let bar = ProgressBar::no_length().with_style(style);
    let mut findings = Vec::new();
    let mut moved = (Value::Null, Instant::now());
    while !open.is_empty() {
        let jobs = remote.get("/admin/jobs")?;
        for finding in jobs["findings"].as_array().into_iter().flatten() {
            let is_new = finding["number"].as_u64() > Some(after) && finding["task"] == task;
            let id = finding["collection_id"].as_str().unwrap_or_default();
            if is_new && open.remove(id) {
                findings.push(finding.clone());
            }
        }
        if let Some(job) = jobs["active"].as_array().and_then(|jobs| jobs.first()) {
            bar.set_message(job["collection"].as_str().unwrap_or_default().to_owned());
            bar.set_length(job["records_total"].as_u64().unwrap_or(0));
            bar.set_position(job["records"].as_u64().unwrap_or(0));
        }
        let now = json!([open.len(), jobs["active"].get(0).map(|job| &job["records"])]);
        if moved.0 != now {
            moved = (now, Instant::now());
        } else if moved.1.elapsed() > PATIENCE {
            bail!("nothing has moved for {PATIENCE:?}; `achromat jobs` tells why");
        }
        if !open.is_empty() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    bar.finish_and_clear();
    Ok(findings)
}

/// Says how copies compare. What can't be told outweighs what differs.
fn tell_comparisons(findings: &[Value]) -> ExitCode {
    let (mut differ, mut unknown) = (false, false);
    for finding in findings {
        let name = finding["collection"].as_str().unwrap_or("?");
        if let Some(reason) = finding["refused"].as_str() {
            println!("{name}: can't be compared: {reason}");
            unknown = true;
            continue;
        }
        let comparison = &finding["comparison"];
        let records = comparison["records"].as_u64().unwrap_or(0);
        let is_equal = comparison["equal"] == true;
        differ |= !is_equal;
        let word = if is_equal { "equal" } else { "DIFFERENT" };
        println!("{name}: {word}, {records} records");
        for copy in comparison["copies"].as_array().into_iter().flatten() {
            tell_copy(copy);
        }
    }
    match (unknown, differ) {
        (true, _) => ExitCode::from(super::USAGE),
        (false, true) => ExitCode::from(DIFFERENT),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn tell_copy(copy: &Value) {
    let text = |name: &str| copy[name].as_str().unwrap_or("?").to_owned();
    println!("  {}  {}", text("checksum"), text("instance"));
    for kind in ["missing", "extra", "different"] {
        let count = copy[kind]["count"].as_u64().unwrap_or(0);
        if count > 0 {
            println!("    {count} {kind}: {}", words(&copy[kind]["ids"]));
        }
    }
    let unlike = words(&copy["unlike"]);
    if !unlike.is_empty() {
        println!("    made differently: {unlike}");
    }
}

fn words(list: &Value) -> String {
    let all = list.as_array().into_iter().flatten();
    let words: Vec<_> = all.filter_map(Value::as_str).collect();
    words.join(", ")
}

pub(super) fn jobs(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let jobs = Remote::new(matches).get("/admin/jobs")?;
    let text = |job: &Value, name: &str| job[name].as_str().unwrap_or("").to_owned();
    for job in jobs["active"].as_array().into_iter().flatten() {
        println!(
            "{} {} {} {}: {} {}/{} records, {} bytes, {} s so far{} {}",
            text(job, "task"),
            text(job, "collection"),
            text(job, "instance"),
            text(job, "state"),
            text(job, "doing"),
            job["records"],
            job["records_total"],
            job["bytes"],
            job["seconds"],
            job["seconds_left"]
                .as_f64()
                .map_or_else(String::new, |left| format!(", {left} s left")),
            text(job, "last_failure"),
        );
    }
    let found = jobs["findings"].as_array().cloned().unwrap_or_default();
    let comparisons: Vec<_> = found
        .into_iter()
        .filter(|finding| finding["task"] == "verify")
        .collect();
    tell_comparisons(&comparisons);
    Ok(ExitCode::SUCCESS)
}
