//! File, environment and flags, one over the other; each value is checked where it comes from.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, ConfigError, Key, KeyKind, keys, written::Written};

/// Prefix of the names of our variables.
const PREFIX: &str = "ACHROMAT_";

/// Variables that are no keys: they say where the file and the state folder are, and what commands talk to.
const OTHER_VARIABLES: [&str; 3] = ["ACHROMAT_CONFIG", "ACHROMAT_STATE", "ACHROMAT_URL"];

/// A value from outside the file.
#[derive(Clone, Debug)]
pub struct Override {
    /// The key.
    pub key: Key,
    /// Values of the key, as they came; several for a flag that may stand several times.
    pub values: Vec<String>,
    /// The flag or the variable, for messages.
    pub origin: String,
}

/// Sources of a configuration.
#[derive(Debug, Default)]
pub struct Layers {
    /// The file.
    pub file: Option<PathBuf>,
    /// The variables and flags, the later winning.
    pub overrides: Vec<Override>,
}

impl Layers {
    /// The keys among the environment's variables. One that begins with `ACHROMAT_` and is no key
    /// is refused: it is a typing error that would otherwise go unseen.
    pub fn variables(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<Override>, ConfigError> {
        let keys = keys();
        let mut overrides = Vec::new();
        for (name, value) in environment {
            let Some(origin) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            if OTHER_VARIABLES.contains(&origin) {
                continue;
            }
            let wrong = |message: &str| ConfigError::Override {
                origin: origin.to_owned(),
                message: message.to_owned(),
            };
            let key = keys.iter().find(|key| key.variable() == origin);
            let key = key.ok_or_else(|| {
                wrong("there is no such key; `achromat config --defaults` lists all")
            })?;
            let value = value.into_string().map_err(|_| wrong("it is not UTF-8"))?;
            overrides.push(Override {
                key: key.clone(),
                values: vec![value],
                origin: origin.to_owned(),
            });
        }
        Ok(overrides)
    }

    /// The configuration as it is meant.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut table = match &self.file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        for set in &self.overrides {
            let one = set.as_table()?;
            Written::deserialize_table(one.clone()).map_err(|message| ConfigError::Override {
                origin: set.origin.clone(),
                message,
            })?;
            merge(&mut table, one);
        }
        // Each part was checked by itself, so the whole can be read.
        let written =
            Written::deserialize_table(table).map_err(|message| ConfigError::Override {
                origin: "the configuration as a whole".to_owned(),
                message,
            })?;
        Config::mean(&written)
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |error: toml::de::Error| ConfigError::File {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    };
    toml::from_str::<Written>(&text).map_err(wrong)?;
    toml::from_str::<Table>(&text).map_err(wrong)
}

impl Written {
    fn deserialize_table(table: Table) -> Result<Self, String> {
        Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

impl Override {
    /// A table with this key alone.
    fn as_table(&self) -> Result<Table, ConfigError> {
        let wrong = |message: String| ConfigError::Override {
            origin: self.origin.clone(),
            message,
        };
        let last = || self.values.last().cloned().unwrap_or_default();
        let value = match self.key.kind {
            KeyKind::Text => Value::String(last()),
            KeyKind::Switch => switch(&last()).map_err(wrong)?,
            KeyKind::Number => number(&last()).map_err(wrong)?,
            KeyKind::Texts => Value::Array(split(&self.values).map(Value::String).collect()),
            KeyKind::Instances => split(&self.values)
                .map(|pair| instance(&pair))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array)
                .map_err(wrong)?,
        };
        let mut path = self.key.path.iter().rev();
        let leaf = path.next().cloned().unwrap_or_default();
        let table = Table::from_iter([(leaf, value)]);
        Ok(path.fold(table, |table, part| {
            Table::from_iter([(part.clone(), Value::Table(table))])
        }))
    }
}

fn switch(text: &str) -> Result<Value, String> {
    let parsed = text.trim().parse().map(Value::Boolean);
    parsed.map_err(|_| format!("{text:?} is neither true nor false"))
}

fn number(text: &str) -> Result<Value, String> {
    let plain = text.replace('_', "");
    plain
        .parse()
        .map(Value::Integer)
        .or_else(|_| plain.parse().map(Value::Float))
        .map_err(|_| format!("{text:?} is not a number"))
}

fn split(values: &[String]) -> impl Iterator<Item = String> {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
}

fn instance(pair: &str) -> Result<Value, String> {
    let (name, url) = pair
        .split_once('=')
        .ok_or_else(|| format!("{pair:?} is not NAME=URL, such as a=http://127.0.0.1:8001"))?;
    let text = |text: &str| Value::String(text.trim().to_owned());
    Ok(Value::Table(Table::from_iter([
        ("name".to_owned(), text(name)),
        ("url".to_owned(), text(url)),
    ])))
}

/// Puts `over` over `table`, section by section; lists are replaced whole.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => merge(below, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
