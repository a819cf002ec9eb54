//! Python: `CPython` as a component, with the plugin's modules imported once and kept.

use std::path::PathBuf;

use tokio::process::Command;

use super::{BuildError, run, scratch};
use crate::{
    authoring::project::Project,
    dev::{
        pins,
        toolbox::{Toolbox, on_path},
    },
};

const PROGRAM: &str = "componentize-py";

pub(super) async fn build(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let program = program(project, toolbox).await?;
    let output = scratch(project)?.join("component.wasm");
    let mut command = Command::new(program);
    command
        .current_dir(&project.folder)
        .arg("--quiet")
        .arg("--wit-path")
        .arg(std::path::absolute(&project.wit).unwrap_or_else(|_| project.wit.clone()))
        .args([
            "--world",
            project.slot.as_str(),
            "componentize",
            "plugin",
            "--stub-wasi",
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
