//! JavaScript: `QuickJS` as a component, with the plugin's source run once and kept.

use std::path::PathBuf;

use tokio::process::Command;

use super::{BuildError, run, scratch};
use crate::{
    authoring::project::Project,
    dev::{pins, toolbox::Toolbox},
};

/// The program, within a folder that npm has filled.
const PROGRAM: &str = "node_modules/componentize-qjs/bin/componentize-qjs";

pub(super) async fn build(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let missing = |error: anyhow::Error| BuildError::Tool {
        what: "componentize-qjs",
        why: format!("{error:#}"),
        install: "install Node 20 or newer, and run `npm install componentize-qjs@0.4.5` in the project",
    };
    let node = toolbox.node().await.map_err(missing)?;
    let own = project.folder.join(PROGRAM);
    let program = if own.is_file() {
        own
    } else {
        let folder = toolbox.npm("npm-plugins", pins::COMPONENTIZE_QJS).await;
        folder.map_err(missing)?.join(PROGRAM)
    };
    let output = scratch(project)?.join("component.wasm");
    let mut command = Command::new(node);
    command
        .current_dir(&project.folder)
        .arg(std::path::absolute(&program).unwrap_or(program))
        .arg("--wit")
        .arg(std::path::absolute(&project.wit).unwrap_or_else(|_| project.wit.clone()))
        .args([
            "--world",
            project.slot.as_str(),
            "--js",
            "plugin.js",
            "--sync",
            "--stub-wasi",
        ])
        .args(["--output", "build/component.wasm"]);
    run(command).await?;
    Ok(output)
}
