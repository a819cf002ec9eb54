//! `plugin push`, `list`, `swap` and `rollback`.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that lacks a field is null"
)]

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::remote::{Remote, with_address};
use crate::policy::{Reference, SCHEME, Trust, from_registry};

/// The digits of a digest that are shown.
const DIGITS: usize = 12;

pub(super) fn slot_argument() -> Arg {
    Arg::new("slot")
        .long("slot")
        .value_name("SLOT")
        .required(true)
        .help("routing, wal-eligibility or cleanup-guard")
}

/// A command about one slot of an Achromat that runs.
pub(super) fn of_slot(command: Command) -> Command {
    with_address(command.arg(slot_argument())).arg(who_argument())
}

pub(super) fn who_argument() -> Arg {
    Arg::new("who")
        .long("who")
        .env("USER")
        .hide_env_values(true)
        .help("Who does it, for the history")
}

/// A plugin's configuration: as it is, or in a file.
pub(super) fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("TEXT|@FILE")
        .allow_hyphen_values(true)
        .help("Its configuration: the text, or a file behind an @")
}

pub(super) fn push_command() -> Command {
    of_slot(Command::new("push").about("Has a plugin checked and kept as a version; nothing decides by it yet"))
        .after_help("Exits 2 when it can't be used, and says what is wrong with it. The version that decides is not touched.")
        .arg(Arg::new("file").value_name("FILE").required(true).help("The component, or core module: a file, or oci://HOST/REPOSITORY@sha256:DIGEST in a registry"))
        .arg(Arg::new("name").long("name").help("A name for people; the file's, when none is given"))
        .arg(config_argument())
        .arg(Arg::new("digest").long("digest").value_name("SHA256").help("The file's SHA-256, when what arrives must be exactly this"))
        .arg(
            Arg::new("swap")
                .long("swap")
                .action(ArgAction::SetTrue)
                .help("Puts it into service at once"),
        )
        .arg(again_argument())
}

pub(super) fn list_command() -> Command {
    with_address(
        Command::new("list")
            .about("Shows the versions of each slot, which one decides, and what is tried"),
    )
    .arg(slot_argument().required(false))
}

pub(super) fn swap_command() -> Command {
    of_slot(
        Command::new("swap")
            .about("Puts a version into service; requests that have begun end with the one before"),
    )
    .arg(Arg::new("to").value_name("VERSION").required(true).help(
        "Its number, its name, the beginning of its digest, `native` (no plugin) or `default`",
    ))
    .arg(again_argument())
}

fn again_argument() -> Arg {
    Arg::new("again")
        .long("again")
        .action(ArgAction::SetTrue)
        .help("Also when it was taken out of service because it had no answer too often")
}

pub(super) fn rollback_command() -> Command {
    of_slot(Command::new("rollback").about("Goes back to what decided before"))
}

pub(super) fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// The configuration that was given; none is the empty text.
pub(super) fn config(matches: &ArgMatches) -> anyhow::Result<String> {
    match text(matches, "config") {
        None => Ok(String::new()),
        Some(text) => match text.strip_prefix('@') {
            None => Ok(text.to_owned()),
            Some(path) => std::fs::read_to_string(path).with_context(|| path.to_owned()),
        },
    }
}

/// The path below which a slot's calls are.
pub(super) fn path(matches: &ArgMatches, call: &str) -> String {
    let slot = text(matches, "slot").unwrap_or_default();
    format!("/admin/plugins/{slot}/{call}")
}

/// The signature beside a file, when there is one.
fn signature(file: &Path) -> anyhow::Result<Option<String>> {
    let mut path = file.as_os_str().to_owned();
    path.push(".minisig");
    let path = Path::new(&path);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Some(text))
}

pub(super) fn push(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let named = text(matches, "file").unwrap_or_default();
    let pushed = if named.starts_with(SCHEME) {
        fetched(named)?
    } else {
        from_disk(Path::new(named))?
    };
    let label = Label {
        name: text(matches, "name").or(pushed.name.as_deref()),
        digest: text(matches, "digest"),
        signature: pushed.signature,
        config: &config(matches)?,
        swaps: matches.get_flag("swap"),
        again: matches.get_flag("again"),
        who: text(matches, "who"),
    };
    let slot = text(matches, "slot").unwrap_or_default();
    let remote = Remote::new(matches);
    tell(&push_to(&remote, slot, &label, &pushed.component)?);
    Ok(ExitCode::SUCCESS)
}

/// A component to be pushed, and what came with it.
struct Pushed {
    name: Option<String>,
    component: Vec<u8>,
    signature: Option<String>,
}

fn from_disk(file: &Path) -> anyhow::Result<Pushed> {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(Pushed {
        name,
        component: std::fs::read(file).with_context(|| file.display().to_string())?,
        signature: signature(file)?,
    })
}

/// Fetches a component from a registry, from here: the Achromat that runs need not reach it.
fn fetched(named: &str) -> anyhow::Result<Pushed> {
    let reference: Reference = named.parse()?;
    let supplied = from_registry(&reference, None, &Trust::default())?;
    Ok(Pushed {
        name: Some(reference.name()),
        component: supplied.bytes.to_vec(),
        signature: None,
    })
}

/// Description of a pushed component.
#[derive(Default, Serialize)]
pub(super) struct Label<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
    pub(super) signature: Option<String>,
    pub(super) config: &'a str,
    #[serde(rename = "swap")]
    pub(super) swaps: bool,
    pub(super) again: bool,
    pub(super) who: Option<&'a str>,
}

/// Has a component checked and kept: a line of JSON about it, then its bytes.
pub(super) fn push_to(
    remote: &Remote,
    slot: &str,
    label: &Label<'_>,
    component: &[u8],
) -> anyhow::Result<Value> {
    let mut body = serde_json::to_vec(label)?;
    body.push(b'\n');
    body.extend(component);
    remote.post_bytes(&format!("/admin/plugins/{slot}/versions"), &body)
}

pub(super) fn swap(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let body = json!({
        "to": text(matches, "to"),
        "who": text(matches, "who"),
        "again": matches.get_flag("again"),
    });
    tell(&Remote::new(matches).post(&path(matches, "swap"), &body)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn roll_back(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let body = json!({ "who": text(matches, "who") });
    tell(&Remote::new(matches).post(&path(matches, "rollback"), &body)?);
    Ok(ExitCode::SUCCESS)
}

/// Says what a change came to.
pub(super) fn tell(done: &Value) {
    let slot = done["slot"].as_str().unwrap_or("?");
    let version = match &done["version"] {
        Value::Null => "Achromat's own rules".to_owned(),
        version => in_short(version),
    };
    let told = match done["status"].as_str() {
        Some("swapped") => "decides now",
        Some("kept") => "is kept; `achromat plugin swap` puts it into service",
        _ => "decides already",
    };
    out!("{slot}: {version} {told}");
}

fn in_short(version: &Value) -> String {
    let digest: String = version["digest"]
        .as_str()
        .unwrap_or("?")
        .chars()
        .take(DIGITS)
        .collect();
    format!(
        "version {} ({}, {digest})",
        version["version"],
        version["name"].as_str().unwrap_or("?")
    )
}

pub(super) fn list(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(matches);
    match text(matches, "slot") {
        Some(slot) => list_slot(&remote.get(&format!("/admin/plugins/{slot}"))?),
        None => {
            let all = remote.get("/admin/plugins")?;
            let slots = all["slots"].as_array().into_iter().flatten();
            slots.for_each(list_slot);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_slot(slot: &Value) {
    let name = slot["slot"].as_str().unwrap_or("?");
    let decides = match slot["decides"].as_str() {
        Some("native") => "Achromat's own rules decide",
        Some("nobody") => "nobody decides, and the safe answer holds",
        _ => "a version decides",
    };
    out!("{name}: {decides}");
    for version in slot["versions"].as_array().into_iter().flatten() {
        let is_active = version["version"] == slot["version"];
        out!(
            "  {} {}, {} bytes, from {} ({})",
            if is_active { "*" } else { " " },
            in_short(version),
            version["bytes"],
            version["source"].as_str().unwrap_or("?"),
            version["who"].as_str().unwrap_or("?"),
        );
        if let Some(why) = version["taken_out"]["why"].as_str() {
            out!("      taken out of service: {why}");
        }
        if let Some(why) = slot["last_trouble"]["why"].as_str().filter(|_| is_active) {
            out!("      its last call without an answer: {why}");
        }
    }
    for (what, trial) in [
        ("trial", &slot["trial"]),
        ("last trial", &slot["last_trial"]),
    ] {
        if trial.is_object() {
            out!("  {what}: {}", super::trials::in_short(trial));
        }
    }
}
