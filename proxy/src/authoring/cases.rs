//! An author's cases: what is asked, and what is expected of the answer. A file has one, or a list.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::read_text;

/// Files of cases that one project may have.
const FILES_MAX: usize = 10_000;

/// A fault in a project's cases.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {why}")]
pub(super) struct CaseError {
    /// The file, and the case in it.
    place: String,
    /// The fault.
    why: String,
}

/// A case.
#[derive(Clone, Debug)]
pub(super) struct Case<I> {
    /// The file, and the case in it.
    pub(super) place: String,
    /// The author's description of the case.
    pub(super) about: String,
    /// A configuration other than the project's.
    pub(super) config: Option<String>,
    /// The question to the plugin.
    pub(super) input: I,
    /// The expected answer, in full or in part.
    pub(super) expect: Value,
}

/// All cases of a folder, in the order of their files' names. A folder that is not there has none.
pub(super) fn read<I: DeserializeOwned>(folder: &Path) -> Result<Vec<Case<I>>, CaseError> {
    let mut cases = Vec::new();
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wrong = |why: String| CaseError {
            place: path.display().to_string(),
            why,
        };
        let text = read_text(&path).map_err(|error| wrong(error.to_string()))?;
        let value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        let is_one = list.len() == 1;
        for (number, value) in (1..).zip(list) {
            let place = if is_one {
                name.to_string()
            } else {
                format!("{name} ({number})")
            };
            let case = parse(place.clone(), value);
            cases.push(case.map_err(|why| CaseError { place, why })?);
        }
    }
    Ok(cases)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let wrong = |why: String| CaseError {
        place: folder.display().to_string(),
        why,
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| wrong(error.to_string()))? {
        let path = entry.map_err(|error| wrong(error.to_string()))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(wrong(format!(
                "there are more than {FILES_MAX} files; put cases into lists"
            )));
        }
    }
    files.sort();
    Ok(files)
}

fn parse<I: DeserializeOwned>(place: String, value: Value) -> Result<Case<I>, String> {
    let Value::Object(mut object) = value else {
        return Err("a case is an object".to_owned());
    };
    let about = text(&mut object, "about")?.unwrap_or_default();
    let config = text(&mut object, "config")?;
    let expect = object.remove("expect");
    let expect = expect.ok_or("it does not say what it expects (`expect`)")?;
    let input = serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())?;
    Ok(Case {
        place,
        about,
        config,
        input,
        expect,
    })
}

fn text(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{key}` is a text, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::inputs::{GuardInput, RoutingInput};

    fn cases<I: DeserializeOwned>(text: &str) -> Result<Vec<Case<I>>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one.json"), text).unwrap();
        read(folder.path()).map_err(|error| error.to_string())
    }

    /// One case, a list of cases, or none at all.
    #[test]
    fn cases_are_read() {
        let one = r#"{"operation":{"action":"query"},"expect":"native"}"#;
        assert_eq!(cases::<RoutingInput>(one).unwrap()[0].place, "one.json");
        let two = cases::<RoutingInput>(&format!("[{one},{one}]")).unwrap();
        assert_eq!((two.len(), two[1].place.as_str()), (2, "one.json (2)"));
        assert_eq!(two[0].input.instances.len(), 3);
        let nowhere: Vec<Case<RoutingInput>> = read(Path::new("/nowhere")).unwrap();
        assert!(nowhere.is_empty());
    }

    /// A case that is not in the contract's words is refused, with its place.
    #[test]
    fn a_wrong_case_is_refused() {
        let wrong = |text: &str| cases::<GuardInput>(text).unwrap_err();
        assert!(wrong("{").contains("one.json: EOF"));
        assert!(wrong(r#"{"question":{"deed":"reset"}}"#).contains("`expect`"));
        let with =
            |question: &str| wrong(&format!(r#"{{"question":{question},"expect":"allow"}}"#));
        assert!(with(r#"{"deed":"burn"}"#).contains(r#"no deed "burn" in wit/"#));
        assert!(with(r#"{"deed":"reset","tennant":"x"}"#).contains("unknown field `tennant`"));
        assert!(with(r#"{"deed":"reset","headers":{"x y":"z"}}"#).contains("is no header"));
    }
}
