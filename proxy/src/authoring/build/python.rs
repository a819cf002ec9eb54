//! Python: `CPython` as a component, with the plugin's modules imported once and kept.

use std::path::PathBuf;

use tokio::process::Command;

use super::{BuildError, run, scratch, write};
use crate::{
    authoring::project::Project,
    dev::{
        pins,
        toolbox::{Toolbox, on_path},
    },
};

const PROGRAM: &str = "componentize-py";

/// The module that Achromat calls, around the author's.
const ENTRY: &str = include_str!("../../../../plugins/entries/entry.py");

/// Its name: no author's module has it.
const ENTRY_NAME: &str = "achromat_entry";

pub(super) async fn build(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let program = program(project, toolbox).await?;
    let folder = scratch(project)?;
    write(
        &folder.join(ENTRY_NAME).with_extension("py"),
        ENTRY.as_bytes(),
    )?;
    let output = folder.join("component.wasm");
    let mut command = Command::new(program);
    command
        .current_dir(&project.folder)
        // Its own frames would stand between an author and the exception.
        .env("RUST_BACKTRACE", "0")
        .arg("--quiet")
        .arg("--wit-path")
        .arg(std::path::absolute(&project.wit).unwrap_or_else(|_| project.wit.clone()))
        .args([
            "--world",
            project.slot.as_str(),
            "componentize",
            ENTRY_NAME,
            "--stub-wasi",
            "--python-path",
            "build",
            "--python-path",
            ".",
        ])
        .args(["--output", "build/component.wasm"]);
    run(command).await?;
    Ok(output)
}

/// The project's own, the one on the path, or one that is fetched.
async fn program(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let own = project.folder.join(".venv/bin").join(PROGRAM);
    if own.is_file() {
        return Ok(std::path::absolute(&own).unwrap_or(own));
    }
    if let Some(found) = on_path(PROGRAM) {
        return Ok(found);
    }
    let environment = toolbox.python("plugins", &[pins::COMPONENTIZE_PY]).await;
    let environment = environment.map_err(|error| BuildError::Tool {
        what: PROGRAM,
        why: format!("{error:#}"),
        install: "install Python 3.10 or newer, and run `pip install componentize-py==0.25.0`",
    })?;
    Ok(environment.join("bin").join(PROGRAM))
}
