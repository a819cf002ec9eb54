//! C: bindings are made of the contract here, and compiled with the plugin's sources by Zig's C
//! compiler, which brings its own library for WebAssembly.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::{BuildError, names::only_names, run, scratch, write};
use crate::{
    authoring::project::Project,
    dev::{
        pins,
        toolbox::{Toolbox, on_path},
    },
};

/// Zig's linker sets 16 MiB apart, of each instance.
const STACK: &str = "-Wl,-z,stack-size=131072";

pub(super) async fn build(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let folder = scratch(project)?;
    let mut inputs = sources(&project.folder.join("src"))?;
    for (name, bytes) in bindings(project)? {
        let path = folder.join(&name);
        write(&path, &bytes)?;
        if path.extension().is_none_or(|ending| ending != "h") {
            inputs.push(path);
        }
    }
    let output = folder.join("module.wasm");
    let mut command = compiler(toolbox).await?;
    command
        .args([
            "-target",
            "wasm32-wasi",
            "-mexec-model=reactor",
            "-Oz",
            // Without it, the names of functions are left out as well.
            "-g",
            STACK,
            "-Wall",
            "-I",
        ])
        .arg(&folder)
        .args(inputs)
        .arg("-o")
        .arg(&output);
    run(command).await?;
    let unreadable = |source| BuildError::File {
        path: output.clone(),
        source,
    };
    let module = std::fs::read(&output).map_err(unreadable)?;
    write(&output, &only_names(module))?;
    Ok(output)
}

async fn compiler(toolbox: &Toolbox) -> Result<Command, BuildError> {
    let mut command = if let Some(zig) = on_path("zig") {
        Command::new(zig)
    } else {
        let environment = toolbox.python("zig", &[pins::ZIG]).await;
        let environment = environment.map_err(|error| BuildError::Tool {
            what: "a C compiler for WebAssembly",
            why: format!("{error:#}"),
            install: "run `pip install ziglang==0.17.1`, or install Zig",
        })?;
        let mut python = Command::new(environment.join("bin/python"));
        python.args(["-m", "ziglang"]);
        python
    };
    command.arg("cc");
    Ok(command)
}

/// The plugin's own sources, in the order of their names.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let wrong = |source| BuildError::File {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|ending| ending == "c") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A header, its source, and an object that says the world.
fn bindings(project: &Project) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let make = || {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&project.wit)?;
        let world = resolve.select_world(&[package], Some(project.slot.as_str()))?;
        let mut files = Files::default();
        let mut generator = wit_bindgen_c::Opts::default().build();
        generator.generate(&mut resolve, world, &mut files)?;
        anyhow::Ok(files)
    };
    let files = make().map_err(|error| BuildError::Contract {
        path: project.wit.clone(),
        why: format!("{error:#}"),
    })?;
    let owned = files
        .iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    Ok(owned.collect())
}
