//! A new project: what `plugins/templates` has for its language and its slot, the contract, and for
//! Rust the SDK. All of it is in the binary, so that nothing else is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use achromat_core::policy::Slot;
use include_dir::{Dir, File, include_dir};
use serde::Deserialize;

use super::project::{Language, check_name};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugins/templates");
static CONTRACT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugins/sdk/src");

/// The folder of the SDK in a project in Rust.
const VENDORED: &str = "vendor/achromat-plugin/src";

/// The reason why there is no new project.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is not valid for a project.
    #[error("{0}")]
    Name(String),
    /// Something is there already.
    #[error("{0} is there and not empty: choose another name, or another --folder")]
    NotEmpty(PathBuf),
    /// It can't be written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of writing it.
        source: std::io::Error,
    },
    /// The binary has no such template.
    #[error("there is no template for {0} in {1}")]
    NoTemplate(&'static str, &'static str),
}

/// `template.toml`: what there is to say of a language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    /// The language's name for people.
    title: String,
    /// The file where decisions are made.
    edit: String,
    /// The tools that a build needs.
    needs: String,
    /// True when a copy of the SDK comes along.
    #[serde(default)]
    sdk: bool,
}

/// A project that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its folder.
    pub folder: PathBuf,
    /// The language's name for people.
    pub title: String,
    /// The file where decisions are made.
    pub edit: String,
    /// The tools that a build needs.
    pub needs: String,
}

/// Makes a project in a folder that is not there, or empty.
pub fn create(
    name: &str,
    slot: Slot,
    language: Language,
    folder: &Path,
) -> Result<Created, CreateError> {
    check_name(name).map_err(CreateError::Name)?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(CreateError::NotEmpty(folder.to_owned()));
    }
    let none = || CreateError::NoTemplate(slot.as_str(), language.as_str());
    let of_language = TEMPLATES.get_dir(language.as_str()).ok_or_else(none)?;
    let template = template(of_language).ok_or_else(none)?;
    let target = Target { folder, name };
    for part in [
        format!("slots/{}", slot.as_str()),
        format!("{}/all", language.as_str()),
        format!("{}/{}", language.as_str(), slot.as_str()),
    ] {
        let part = TEMPLATES.get_dir(&part).ok_or_else(none)?;
        target.fill(part, part.path(), Path::new(""), language)?;
    }
    for text in CONTRACT.files() {
        let name = text.path();
        target.write(&Path::new("wit").join(name), text.contents())?;
    }
    if template.sdk {
        for source in SDK.files() {
            target.write(&Path::new(VENDORED).join(source.path()), source.contents())?;
        }
    }
    Ok(Created {
        folder: folder.to_owned(),
        title: template.title,
        edit: template.edit,
        needs: template.needs,
    })
}

fn template(of_language: &Dir<'_>) -> Option<Template> {
    let path = of_language.path().join("template.toml");
    let text = TEMPLATES.get_file(path)?.contents_utf8()?;
    toml::from_str(text).ok()
}

/// The place and the name of a new project.
struct Target<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl Target<'_> {
    /// Copies a part of the templates, its words filled in.
    fn fill(
        &self,
        part: &Dir<'_>,
        root: &Path,
        within: &Path,
        language: Language,
    ) -> Result<(), CreateError> {
        for file in part.files() {
            let path = file.path().strip_prefix(root).unwrap_or(file.path());
            self.write(&within.join(renamed(path)), &self.filled(file, language))?;
        }
        part.dirs()
            .try_for_each(|inner| self.fill(inner, root, within, language))
    }

    fn filled(&self, file: &File<'_>, language: Language) -> Vec<u8> {
        match file.contents_utf8() {
            Some(text) => text
                .replace("{{name}}", self.name)
                .replace("{{lang}}", language.as_str())
                .into_bytes(),
            None => file.contents().to_vec(),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CreateError> {
        let path = self.folder.join(path);
        let parent = path.parent().unwrap_or(self.folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes));
        written.map_err(|source| CreateError::File { path, source })
    }
}

/// A template's `gitignore` must not hide what stands beside it here.
fn renamed(path: &Path) -> PathBuf {
    if path == Path::new("gitignore") {
        return ".gitignore".into();
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::project::Project;

    /// Every slot has a template in every language, which makes a project that can be opened, with
    /// all of the contract.
    #[test]
    fn every_slot_has_a_template_in_every_language() {
        for slot in Slot::ALL {
            for (_, language) in Language::ALL {
                let folder = tempfile::tempdir().unwrap();
                let made = create("my-plugin", slot, language, folder.path()).unwrap();
                let project = Project::open(folder.path()).unwrap();
                assert_eq!((project.slot, project.language), (slot, language));
                assert_eq!(project.name, "my-plugin");
                assert!(folder.path().join(&made.edit).is_file(), "{}", made.edit);
                let cases = fs::read_dir(&project.cases).unwrap().count();
                assert!(cases > 0);
                let texts = fs::read_dir(&project.wit).unwrap().count();
                assert_eq!(texts, 6);
                let again = create("my-plugin", slot, language, folder.path()).unwrap_err();
                assert!(again.to_string().contains("not empty"), "{again}");
            }
        }
    }

    /// A project's SDK depends on what this one's depends on.
    #[test]
    fn the_vendored_sdk_depends_on_the_same() {
        let dependency = |text: &str, path: [&str; 2]| {
            let table: toml::Table = text.parse().unwrap();
            let section = table.get(path[0]).unwrap();
            let section = section.get(path[1]).unwrap_or(section);
            section.get("wit-bindgen").unwrap().clone()
        };
        let own = dependency(
            include_str!("../../../Cargo.toml"),
            ["workspace", "dependencies"],
        );
        let vendored = "../../../plugins/templates/rust/all/vendor/achromat-plugin/Cargo.toml";
        let vendored = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src/authoring")
                .join(vendored),
        )
        .unwrap();
        assert_eq!(dependency(&vendored, ["dependencies", ""]), own);
    }
}
