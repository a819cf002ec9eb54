//! All keys by name, read off the written form's schema.

use serde_json::Value;

use super::written::Written;

/// Kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Text, or one word of a list.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Several texts, separated by commas.
    Texts,
    /// `NAME=URL`, several times or separated by commas.
    Instances,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The way to it, such as `["reads", "strategy"]`.
    pub path: Vec<String>,
    /// Description of the key for users.
    pub about: String,
    /// Kind of value that the key takes.
    pub kind: KeyKind,
    /// Its default, as it would be written in the file.
    pub default: Option<String>,
}

impl Key {
    /// The name in the file: `reads.strategy`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }

    /// The name of the flag, without dashes in front: `reads-strategy`.
    pub fn flag(&self) -> String {
        if self.kind == KeyKind::Instances {
            return "instance".to_owned();
        }
        self.path.join("-").replace('_', "-")
    }

    /// The name of the environment variable: `ACHROMAT_READS_STRATEGY`.
    pub fn variable(&self) -> String {
        format!("ACHROMAT_{}", self.path.join("_").to_uppercase())
    }
}

/// All keys, in the order in which they are documented.
pub fn keys() -> Vec<Key> {
    let schema = schemars::schema_for!(Written).to_value();
    let defaults = toml::Value::try_from(Written::default()).ok();
    let mut keys = Vec::new();
    collect(&schema, &schema, &mut Vec::new(), &mut keys);
    for key in &mut keys {
        let mut parts = key.path.iter();
        let value = parts.try_fold(defaults.as_ref(), |value, part| {
            Some(value.and_then(|value| value.get(part)))
        });
        key.default = value.flatten().map(toml::Value::to_string);
    }
    keys
}

fn collect(root: &Value, node: &Value, path: &mut Vec<String>, keys: &mut Vec<Key>) {
    let node = resolve(root, node);
    let Some(properties) = node.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        path.push(name.clone());
        let target = resolve(root, property);
        if target.get("properties").is_some() {
            collect(root, target, path, keys);
        } else {
            let about = property
                .get("description")
                .or_else(|| target.get("description"));
            keys.push(Key {
                path: path.clone(),
                about: about.and_then(Value::as_str).unwrap_or_default().to_owned(),
                kind: kind(name, target),
                default: None,
            });
        }
        path.pop();
    }
}

fn kind(name: &str, node: &Value) -> KeyKind {
    let is = |word: &str| node.get("type").and_then(Value::as_str) == Some(word);
    if name == "instances" {
        KeyKind::Instances
    } else if is("array") {
        KeyKind::Texts
    } else if is("integer") || is("number") {
        KeyKind::Number
    } else if is("boolean") {
        KeyKind::Switch
    } else {
        KeyKind::Text
    }
}

/// Follows a `$ref` into the schema's definitions.
pub(super) fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    node.get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.trim_start_matches('#')))
        .unwrap_or(node)
}
