//! The plugin on trial: a component with its configuration, and the bounds within which it runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::project::{PROJECT_FILE, Project, ProjectError};
use crate::policy::{
    Source,
    limits::{Budget, COMPONENT_BYTES_MAX},
};

/// The command line's choice of a component.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// A component; without one, the project's of `folder`.
    pub file: Option<PathBuf>,
    /// The folder of the project.
    pub folder: PathBuf,
    /// A configuration other than the project's.
    pub config: Option<String>,
}

/// The reason why there is nothing to try.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Its project is not valid.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The component can't be read.
    #[error("{path}: {source}{}", mend(*.is_built))]
    Unreadable {
        /// The component.
        path: PathBuf,
        /// The error of reading it.
        source: std::io::Error,
        /// True when a project's build makes it.
        is_built: bool,
    },
    /// It is larger than any component may be.
    #[error(
        "{path}: it has {bytes} bytes, and may have {COMPONENT_BYTES_MAX}: strip it, or build it optimised for size"
    )]
    TooLarge {
        /// The component.
        path: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
    },
}

fn mend(is_built: bool) -> &'static str {
    if is_built {
        "; `achromat plugin build` makes it"
    } else {
        ""
    }
}

/// The plugin on trial.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The component with its configuration.
    pub source: Source,
    /// Its project, when it has one.
    pub project: Option<Project>,
}

impl Subject {
    /// Finds it. A component beside a `plugin.toml` that says it makes it is the project's.
    pub fn find(named: &Named) -> Result<Self, SubjectError> {
        let project = match &named.file {
            None => Some(Project::open(&named.folder)?),
            Some(file) => project_of(file)?,
        };
        let file = match (&named.file, &project) {
            (Some(file), _) => file.clone(),
            (None, Some(project)) => project.component(),
            (None, None) => PathBuf::new(),
        };
        let own = project.as_ref().map(|project| project.config.clone());
        let config = named.config.clone().or(own).unwrap_or_default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let source = Source {
            name: name.into(),
            bytes: read(&file, project.is_some())?,
            config: config.into(),
            budget: project
                .as_ref()
                .map_or_else(Budget::default, |project| project.budget),
        };
        Ok(Self { source, project })
    }

    /// Returns true when its decisions may depend on more than their arguments.
    pub fn remembers(&self) -> bool {
        self.project
            .as_ref()
            .is_some_and(|project| project.remembers)
    }
}

fn project_of(file: &Path) -> Result<Option<Project>, ProjectError> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.join(PROJECT_FILE).is_file() {
        return Ok(None);
    }
    let project = Project::open(folder)?;
    let makes_it = project.component().file_name() == file.file_name();
    Ok(Some(project).filter(|_| makes_it))
}

fn read(path: &Path, is_built: bool) -> Result<Arc<[u8]>, SubjectError> {
    let unreadable = |source| SubjectError::Unreadable {
        path: path.to_owned(),
        source,
        is_built,
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if usize::try_from(bytes).map_or(true, |bytes| bytes > COMPONENT_BYTES_MAX) {
        let path = path.to_owned();
        return Err(SubjectError::TooLarge { path, bytes });
    }
    Ok(std::fs::read(path).map_err(unreadable)?.into())
}
