//! A plugin's project: a folder with a `plugin.toml` that says what it makes, and of what.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use achromat_core::policy::Slot;
use serde::Deserialize;

use super::read_text;
use crate::policy::limits::Budget;

/// The file that makes a folder a project.
pub const PROJECT_FILE: &str = "plugin.toml";

/// Characters of a project's name.
const NAME_CHARS_MAX: usize = 64;

/// A fault of a project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is none.
    #[error(
        "{path}: {source}. A plugin's project has a plugin.toml; `achromat plugin new` makes one"
    )]
    Unreadable {
        /// The path where it should be.
        path: PathBuf,
        /// The error of reading it.
        source: std::io::Error,
    },
    /// It says what makes no sense.
    #[error("{path}: {why}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
}

/// A language that there are templates and a way to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// JavaScript.
    JavaScript,
    /// Python.
    Python,
    /// C.
    C,
}

impl Language {
    /// All of them, by the words of the command line.
    pub const ALL: [(&'static str, Self); 4] = [
        ("rust", Self::Rust),
        ("js", Self::JavaScript),
        ("python", Self::Python),
        ("c", Self::C),
    ];

    /// Its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }
}

/// `plugin.toml` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    slot: String,
    lang: String,
    #[serde(default)]
    config: String,
    #[serde(default = "cases")]
    cases: PathBuf,
    #[serde(default = "wit")]
    wit: PathBuf,
    #[serde(default)]
    remembers: bool,
    #[serde(default)]
    limits: Limits,
    build: Option<OwnBuild>,
}

fn cases() -> PathBuf {
    "cases".into()
}

fn wit() -> PathBuf {
    "wit".into()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    fuel: Option<u64>,
    memory_bytes_max: Option<usize>,
    deadline_ms: Option<u64>,
}

impl Limits {
    fn budget(&self) -> Budget {
        let usual = Budget::default();
        Budget {
            fuel: self.fuel.unwrap_or(usual.fuel),
            memory_bytes: self.memory_bytes_max.unwrap_or(usual.memory_bytes),
            deadline: self
                .deadline_ms
                .map_or(usual.deadline, Duration::from_millis),
        }
    }
}

/// A way to build that is the project's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnBuild {
    /// A program and its arguments, run in the project's folder.
    pub(super) command: Vec<String>,
    /// The file that the command makes: a component, or a core module with its world inside.
    pub(super) output: PathBuf,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name, and its component's without `.wasm`.
    pub name: String,
    /// The slot that it is for.
    pub slot: Slot,
    /// The language that it is written in.
    pub language: Language,
    /// The configuration with which it is tried.
    pub config: String,
    /// The folder of its cases.
    pub cases: PathBuf,
    /// The folder of the contract.
    pub wit: PathBuf,
    /// True when its decisions depend on the host's store for it, or on a clock.
    pub remembers: bool,
    /// The bounds within which it is tried.
    pub budget: Budget,
    pub(super) build: Option<OwnBuild>,
}

impl Project {
    /// The project of a folder.
    pub fn open(folder: &Path) -> Result<Self, ProjectError> {
        let path = folder.join(PROJECT_FILE);
        let text = read_text(&path).map_err(|source| ProjectError::Unreadable {
            path: path.clone(),
            source,
        })?;
        Self::parse(folder, &text).map_err(|why| ProjectError::Wrong { path, why })
    }

    fn parse(folder: &Path, text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        check_name(&written.name)?;
        let slot = slot_named(&written.slot)?;
        let known = Language::ALL
            .into_iter()
            .find(|(word, _)| *word == written.lang);
        let Some((_, language)) = known else {
            return Err(format!(
                "lang: {:?} is not rust, js, python or c",
                written.lang
            ));
        };
        if written
            .build
            .as_ref()
            .is_some_and(|build| build.command.is_empty())
        {
            return Err("build.command: it is empty; name a program and its arguments".to_owned());
        }
        Ok(Self {
            folder: folder.to_owned(),
            name: written.name,
            slot,
            language,
            config: written.config,
            cases: folder.join(written.cases),
            wit: folder.join(written.wit),
            remembers: written.remembers,
            budget: written.limits.budget(),
            build: written.build,
        })
    }

    /// Its component.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }
}

/// A slot by its word.
pub(super) fn slot_named(word: &str) -> Result<Slot, String> {
    let found = Slot::ALL.into_iter().find(|slot| slot.as_str() == word);
    found.ok_or_else(|| format!("slot: {word:?} is not routing, wal-eligibility or cleanup-guard"))
}

/// A name is a file's, a crate's and a package's at once.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let begins_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if begins_well && chars.all(is_plain) && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name for a plugin: a letter, then letters, digits and -, all small, {NAME_CHARS_MAX} at most"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Project, String> {
        Project::parse(Path::new("/p"), text)
    }

    /// An optional field that is left out has its usual value, and paths are relative to the project.
    #[test]
    fn a_project_is_read() {
        let project = parse("name = 'big'\nslot = 'routing'\nlang = 'js'").unwrap();
        assert_eq!(project.component(), Path::new("/p/big.wasm"));
        assert_eq!(project.cases, Path::new("/p/cases"));
        assert_eq!(project.wit, Path::new("/p/wit"));
        assert_eq!(project.budget, Budget::default());
        assert!(!project.remembers);
        let text = "name = 'big'\nslot = 'cleanup-guard'\nlang = 'c'\nwit = '../wit'\n\
                    [limits]\nfuel = 5\n[build]\ncommand = ['make']\noutput = 'out.wasm'";
        let project = parse(text).unwrap();
        assert_eq!((project.slot, project.budget.fuel), (Slot::CleanupGuard, 5));
        assert_eq!(project.build.unwrap().command, ["make"]);
    }

    /// A project that makes no sense is refused, and the error names the fault.
    #[test]
    fn a_wrong_project_is_refused() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("name = 'big'").contains("missing field `slot`"));
        let with = |name: &str, slot: &str, lang: &str, rest: &str| {
            refused(&format!(
                "name = '{name}'\nslot = '{slot}'\nlang = '{lang}'\n{rest}"
            ))
        };
        assert!(with("Big", "routing", "c", "").contains("is no name"));
        assert!(with("../big", "routing", "c", "").contains("is no name"));
        assert!(with("big", "router", "c", "").contains("\"router\" is not routing"));
        assert!(with("big", "routing", "go", "").contains("\"go\" is not rust"));
        assert!(with("big", "routing", "c", "confg = ''").contains("unknown field `confg`"));
        let build = "[build]\ncommand = []\noutput = 'x'";
        assert!(with("big", "routing", "c", build).contains("build.command"));
    }
}
