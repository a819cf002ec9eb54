//! From a project to its component. What is needed for a language is taken from the path, or is
//! fetched once into the state folder, as `achromat dev` does with Chroma.

mod c;
mod javascript;
mod names;
mod python;
mod rust;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::Command;

use super::project::{Language, OwnBuild, Project};
use crate::{
    dev::toolbox::Toolbox,
    policy::{Unfit, component_of},
};

/// The reason why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something is not installed.
    #[error("{what} is not there and could not be fetched ({why}): {install}")]
    Tool {
        /// The name of the tool.
        what: &'static str,
        /// The failure of fetching it.
        why: String,
        /// The remedy, in one line.
        install: &'static str,
    },
    /// A command did not do what it should.
    #[error("{command} {how}")]
    Failed {
        /// The command.
        command: String,
        /// The failure, in words that follow the command.
        how: String,
    },
    /// The contract can't be read.
    #[error("{path}: {why}")]
    Contract {
        /// Its folder.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of reading or writing it.
        source: std::io::Error,
    },
    /// The build's result is no component.
    #[error("what was built can't be used: {0}")]
    Unfit(#[from] Unfit),
}

/// Time between two signs of life of a build.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Builds a project; returns its component's file. Tells on standard error how far it is.
pub async fn build(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let expected = match project.language {
        Language::Rust => "the first build compiles the SDK too, in about a minute",
        Language::JavaScript => "some seconds",
        Language::Python => "half a minute",
        Language::C => "the first build compiles C's library too",
    };
    eprintln!("Building {} ({expected})", project.name);
    let begun = Instant::now();
    let building = make(project, toolbox);
    tokio::pin!(building);
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE, &mut building).await {
            Ok(made) => return made,
            Err(_) => eprintln!("Still building, {} s", begun.elapsed().as_secs()),
        }
    }
}

async fn make(project: &Project, toolbox: &Toolbox) -> Result<PathBuf, BuildError> {
    let made = match (&project.build, project.language) {
        (Some(own), _) => run_own(project, own).await?,
        (None, Language::Rust) => rust::build(project).await?,
        (None, Language::JavaScript) => javascript::build(project, toolbox).await?,
        (None, Language::Python) => python::build(project, toolbox).await?,
        (None, Language::C) => c::build(project, toolbox).await?,
    };
    let bytes = std::fs::read(&made).map_err(|source| BuildError::File {
        path: made.clone(),
        source,
    })?;
    let component = project.component();
    write(&component, &component_of(&bytes)?)?;
    Ok(component)
}

async fn run_own(project: &Project, own: &OwnBuild) -> Result<PathBuf, BuildError> {
    let mut words = own.command.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).current_dir(&project.folder);
    run(command).await?;
    Ok(project.folder.join(&own.output))
}

/// The folder for files that a build makes on its way.
fn scratch(project: &Project) -> Result<PathBuf, BuildError> {
    let folder = project.folder.join("build");
    std::fs::create_dir_all(&folder).map_err(|source| BuildError::File {
        path: folder.clone(),
        source,
    })?;
    Ok(folder)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    std::fs::write(path, bytes).map_err(|source| BuildError::File {
        path: path.to_owned(),
        source,
    })
}

/// Runs a command whose words are the author's to read.
async fn run(mut command: Command) -> Result<(), BuildError> {
    let shown = shown(&command);
    let failed = |how: String| BuildError::Failed {
        command: shown.clone(),
        how,
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    let status = command.status().await;
    let status = status.map_err(|error| failed(format!("can't be run: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "ended with {status}; its words stand above"
    )))
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
