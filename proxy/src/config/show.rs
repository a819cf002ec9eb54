//! The configuration shown: every key with its documentation and default, and the schema.

use std::fmt::Write as _;

use super::{Key, KeyKind, keys, written::Written};

/// Every key with its default, as a file that could be used as it is.
pub fn defaults_toml() -> String {
    let mut text = String::from(
        "# Achromat's configuration: every key, with its default.\n\
         # A flag wins over the environment, the environment over this file, this file over the defaults.\n",
    );
    let keys = keys();
    let (sections, top): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| key.path.len() > 1);
    for key in top {
        push(&mut text, key);
    }
    let mut section = String::new();
    for key in sections {
        let within = key.path.split_last().map_or(&[][..], |(_, within)| within);
        let within = within.join(".");
        if section != within {
            section = within;
            push_line(&mut text, &format!("\n[{section}]"));
        }
        push(&mut text, key);
    }
    text
}

fn push(text: &mut String, key: &Key) {
    let name = key.path.last().map_or("", String::as_str);
    push_line(text, "");
    push_line(text, &format!("# {}", key.about));
    push_line(text, &format!("# {}, --{}", key.variable(), key.flag()));
    if key.kind == KeyKind::Instances {
        push_line(
            text,
            "# [[instances]]\n# name = \"a\"\n# url = \"http://127.0.0.1:8001\"",
        );
    } else {
        let default = key.default.as_deref().unwrap_or("\"\"");
        push_line(text, &format!("{name} = {default}"));
    }
}

fn push_line(text: &mut String, line: &str) {
    // Writing into a String can't fail.
    let _written = writeln!(text, "{line}");
}

/// The JSON Schema of the file.
pub fn schema_json() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(Written)).unwrap_or_default()
}
