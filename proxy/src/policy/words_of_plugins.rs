//! A plugin's own words, and the names of its functions, made fit for a line of a log.

use std::fmt::Write as _;

use wasmtime::WasmBacktrace;

use super::limits::{FUNCTION_NAME_BYTES_MAX, FUNCTIONS_TOLD_MAX};

/// Beginnings of names that say nothing about a plugin: the panic's own way, what the bindings add, and
/// what hands out memory.
const NOT_THE_AUTHORS: [&str; 18] = [
    "<dlmalloc::",
    "heap.",
    "malloc",
    "<std::",
    "<core::",
    "<alloc::",
    "std::",
    "core::",
    "alloc::",
    "__rust",
    "rust_",
    "__rustc",
    "achromat_plugin::",
    "<achromat_plugin::",
    "__wasm_export_",
    "__wit_",
    "abort",
    "panic",
];

/// Beginnings of names in an interpreter, whose functions are not the plugin's.
const INTERPRETERS: [&str; 4] = ["_PyEval", "PyEval", "JS_Call", "componentize_"];

/// The text on one line, without control characters, cut to so many bytes.
pub(super) fn clipped(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max));
    for word in text.split(|c: char| c.is_control() || c == ' ') {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > bytes_max {
            let room = bytes_max.saturating_sub('…'.len_utf8());
            line.truncate(line.floor_char_boundary(room));
            line.push('…');
            break;
        }
    }
    line
}

/// The plugin's functions that were under way when it trapped, the innermost first. Nothing when it was
/// built without their names, or runs in an interpreter.
pub(super) fn functions(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    told(names)
}

fn told<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let is_of = |name: &str, beginnings: &[&str]| beginnings.iter().any(|b| name.starts_with(b));
    let mut functions: Vec<String> = Vec::new();
    for name in names {
        let name = format!("{:#}", rustc_demangle::demangle(name));
        if is_of(&name, &INTERPRETERS) {
            return String::new();
        }
        if !is_of(&name, &NOT_THE_AUTHORS) && functions.last() != Some(&name) {
            functions.push(clipped(&name, FUNCTION_NAME_BYTES_MAX));
        }
    }
    let mut line = String::new();
    for (number, name) in functions.iter().take(FUNCTIONS_TOLD_MAX).enumerate() {
        let before = if number == 0 { "" } else { ", called by " };
        let _never = write!(line, "{before}`{name}`");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text becomes one line, and a long one is cut between two characters.
    #[test]
    fn words_fit_a_line() {
        let words = "panicked at src/lib.rs:3:9:\nboom\u{7}\r\n  twice";
        assert_eq!(
            clipped(words, 100),
            "panicked at src/lib.rs:3:9: boom twice"
        );
        assert_eq!(clipped("aé ééé", 7), "aé …");
        assert_eq!(clipped(&"x".repeat(100), 10).len(), 10);
        assert_eq!(clipped("", 10), "");
    }

    /// Names are told as their authors wrote them, without those of the library; an interpreter has none
    /// that help.
    #[test]
    fn functions_are_told_by_name() {
        let names = [
            "abort",
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_ZN5first4spin17h0123456789abcdefE",
            "_ZN5first4spin17h0123456789abcdefE",
            "explain",
            "achromat:policy/route-policy@0.1.1#route",
        ];
        assert_eq!(
            told(names.into_iter()),
            "`first::spin`, called by `explain`, called by `achromat:policy/route-policy@0.1.1#route`"
        );
        let many: Vec<_> = (0..20).map(|n| format!("f{n}")).collect();
        assert_eq!(
            told(many.iter().map(String::as_str)).matches('`').count(),
            2 * FUNCTIONS_TOLD_MAX
        );
        assert_eq!(told(["malloc", "_PyEval_EvalFrameDefault"].into_iter()), "");
    }
}
