//! Rust: cargo makes a core module, which says its world itself.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::process::Command;

use super::{BuildError, shown};
use crate::{authoring::project::Project, dev::toolbox::on_path};

/// The target that plugins are built for.
const TARGET: &str = "wasm32-unknown-unknown";

/// Lines that cargo writes in one build, of which only those about what it made are read.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn build(project: &Project) -> Result<PathBuf, BuildError> {
    let cargo = on_path("cargo").ok_or_else(|| BuildError::Tool {
        what: "cargo",
        why: "it is not on the path".to_owned(),
        install: "install Rust with rustup",
    })?;
    have_target(&project.folder).await?;
    let mut command = Command::new(cargo);
    command
        .current_dir(&project.folder)
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&project.folder))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let name = shown(&command);
    let failed = |how: String| BuildError::Failed {
        command: name.clone(),
        how,
    };
    // `Command::output` would keep the compiler's words to itself.
    let output = match command.spawn() {
        Ok(cargo) => cargo.wait_with_output().await,
        Err(error) => Err(error),
    };
    let output = output.map_err(|error| failed(format!("can't be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!(
            "ended with {}; its words stand above",
            output.status
        )));
    }
    let told = output
        .stdout
        .get(..OUTPUT_BYTES_MAX)
        .unwrap_or(&output.stdout);
    module(told).ok_or_else(|| {
        failed(
            r#"made no module: Cargo.toml needs `[lib]` with `crate-type = ["cdylib", "rlib"]`"#
                .to_owned(),
        )
    })
}

/// The last module that cargo says it made: the project's own comes after all it depends on.
fn module(told: &[u8]) -> Option<PathBuf> {
    let lines = told.split(|byte| *byte == b'\n').rev();
    let mut artifacts = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    artifacts.find_map(|artifact| {
        let files = artifact.get("filenames")?.as_array()?.iter();
        let mut files = files.filter_map(Value::as_str).map(PathBuf::from);
        files.find(|file| file.extension().is_some_and(|ending| ending == "wasm"))
    })
}

/// Adds the target to the toolchain when it is missing and rustup is there.
async fn have_target(folder: &Path) -> Result<(), BuildError> {
    let run = async |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .args(arguments)
            .stdin(Stdio::null());
        command.output().await
    };
    let print = run("rustc", &["--print", "target-libdir", "--target", TARGET]).await;
    let is_there = print.is_ok_and(|output| {
        let place = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&place).is_dir()
    });
    if is_there {
        return Ok(());
    }
    let added = run("rustup", &["target", "add", TARGET]).await;
    let why = match added {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("rustup: {error}"),
    };
    Err(BuildError::Tool {
        what: "Rust's target for WebAssembly",
        why,
        install: "run `rustup target add wasm32-unknown-unknown`",
    })
}

/// The same source gives the same bytes in every folder.
fn flags(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=/plugin", folder.display())];
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags.join("\u{1f}")
}
