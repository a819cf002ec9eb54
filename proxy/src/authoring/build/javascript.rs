//! JavaScript: `QuickJS` as a component, with the plugin's source run once and kept.

use std::path::PathBuf;

use tokio::process::Command;

use achromat_core::policy::Slot;

use super::{BuildError, run, scratch, write};
use crate::{
    authoring::project::Project,
    dev::{pins, toolbox::Toolbox},
};

/// The module that Achromat calls, around the author's.
const ENTRY: &str = include_str!("../../../../plugins/entries/entry.js");

/// `console`, which `QuickJS` does not have.
const CONSOLE: &str = include_str!("../../../../plugins/entries/console.js");

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
    let folder = scratch(project)?;
    write(&folder.join("console.js"), CONSOLE.as_bytes())?;
    write(&folder.join("entry.js"), entry(project.slot).as_bytes())?;
    let output = folder.join("component.wasm");
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
            "build/entry.js",
            "--module-root",
            ".",
            "--sync",
            "--stub-wasi",
        ])
        .args(["--output", "build/component.wasm"]);
    run(command).await?;
    Ok(output)
}

/// The entry for the world of a slot.
fn entry(slot: Slot) -> String {
    let (policy, calls): (_, &[&str]) = match slot {
        Slot::Routing => ("routePolicy", &["instances", "route"]),
        Slot::WalEligibility => ("walPolicy", &["judge"]),
        Slot::CleanupGuard => ("guardPolicy", &["permit"]),
    };
    let call = |name: &&str| {
        format!("  {name}: told(\"{name}\", (first, second) => policy.{name}(first, second)),\n")
    };
    let calls: String = calls.iter().map(call).collect();
    ENTRY
        .replace("{{policy}}", policy)
        .replace("{{calls}}", &calls)
}
