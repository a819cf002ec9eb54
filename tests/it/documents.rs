//! The links of the documents: each leads to a file and a heading that are there, and one that shows a name
//! leads to the Rust file that defines it.

use std::{
    collections::BTreeSet,
    fs, iter,
    path::{Path, PathBuf},
};

/// Documents beside those in `FOLDER`, by their path from the root.
const DOCUMENTS: [&str; 8] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "examples/cms/README.md",
    "examples/deploy/README.md",
    "examples/deploy/fleet/README.md",
    "plugins/README.md",
    "proxy/README.md",
];

/// A folder of which every file is a document.
const FOLDER: &str = "proxy/docs";

/// Words before the name of an item where it is defined.
const KINDS: [&str; 9] = [
    "const",
    "enum",
    "fn",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
];

/// Words at the head of a block that gives a type methods, constants or variants.
const OWNERS: [&str; 3] = ["enum", "impl", "trait"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the project")
}

/// Every document, with its path from the root and its text.
fn documents() -> Vec<(String, String)> {
    let files = fs::read_dir(root().join(FOLDER)).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name());
    let names = names.map(|name| format!("{FOLDER}/{}", name.to_string_lossy()));
    let mut paths = Vec::from(DOCUMENTS.map(str::to_owned));
    paths.extend(names);
    paths.sort();
    let read = |path: String| {
        let text = fs::read_to_string(root().join(&path)).expect("a text");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The lines of a document outside its blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    let lines = text.lines().enumerate();
    let outside = lines.filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    outside.map(|(at, line)| (at + 1, line))
}

/// The links of a line: the text and the target of each. Brackets in code make no link.
fn links(line: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    let (mut begun, mut is_code) = (None, false);
    for (at, character) in line.char_indices() {
        match character {
            '`' => is_code = !is_code,
            '[' if !is_code => begun = Some(at + 1),
            ']' if !is_code => {
                let start = begun.take().unwrap_or(at);
                let rest = line[at + 1..].strip_prefix('(');
                if let Some((target, _)) = rest.and_then(|rest| rest.split_once(')')) {
                    links.push((&line[start..at], target));
                }
            }
            _ => {}
        }
    }
    links
}

/// Returns true when a target is not in the repository.
fn is_elsewhere(target: &str) -> bool {
    ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
}

/// The problems of a document's links, each with the document, the line and the link.
fn problems(document: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in prose(text) {
        for (shown, target) in links(line) {
            if is_elsewhere(target) {
                continue;
            }
            if let Err(problem) = check(document, text, shown, target) {
                problems.push(format!(
                    "{document}:{number}: [{shown}]({target}): {problem}"
                ));
            }
        }
    }
    problems
}

/// Follows a link of a document. Fails with a description of the problem.
fn check(document: &str, text: &str, shown: &str, target: &str) -> Result<(), String> {
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let place = if path.is_empty() {
        root().join(document)
    } else {
        find(document, path)?
    };
    if let Some(heading) = heading {
        let other = fs::read_to_string(&place).unwrap_or_default();
        let whole = if path.is_empty() { text } else { &other };
        if !fragments(whole).contains(heading) {
            return Err(format!("there is no heading #{heading}"));
        }
    }
    let Some(name) = name(shown) else {
        return Ok(());
    };
    if place.extension().is_none_or(|ending| ending != "rs") {
        return Err("a name must lead to the Rust file that defines it".to_owned());
    }
    let code = fs::read_to_string(&place).expect("a text");
    if !defines(&place, &code, name) {
        return Err(format!("the file does not define {name}"));
    }
    Ok(())
}

/// The file or folder that a path of a document means.
fn find(document: &str, path: &str) -> Result<PathBuf, String> {
    let from = root().join(document);
    let place = from.parent().expect("a folder").join(path).canonicalize();
    let place = place.map_err(|_| "there is no such file".to_owned())?;
    if !place.starts_with(root()) {
        return Err("it leads out of the repository".to_owned());
    }
    Ok(place)
}

/// The fragments of a document's headings, as GitHub makes them: a repeated one gets a number.
fn fragments(text: &str) -> BTreeSet<String> {
    let mut fragments = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let first = fragment(title.trim());
        let later = (1..).map(|number| format!("{first}-{number}"));
        let mut all = iter::once(first.clone()).chain(later);
        let free = all.find(|fragment| !fragments.contains(fragment));
        fragments.extend(free);
    }
    fragments
}

fn fragment(title: &str) -> String {
    let title = title.to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The name that a link shows: its whole text is in backticks, and is words joined by `::`.
fn name(shown: &str) -> Option<&str> {
    let name = shown.strip_prefix('`')?.strip_suffix('`')?;
    let is_word = |word: &str| !word.is_empty() && word.chars().all(is_of_word);
    name.split("::").all(is_word).then_some(name)
}

/// Returns true when a file defines an item of this name. `Owner::item` is a function or a constant of a type
/// or a trait, or a variant of an enum; `module::item` stands at the top of the file of this module.
fn defines(file: &Path, code: &str, name: &str) -> bool {
    let Some((owner, item)) = name.rsplit_once("::") else {
        return has_item(code, name);
    };
    let owner = owner.rsplit("::").next().unwrap_or(owner);
    if owner == module(file) {
        return has_item(code, item);
    }
    // rustfmt ends a block at the top with a brace at the start of a line.
    code.split("\n}")
        .filter(|block| is_block_of(block, owner))
        .any(|block| has_item(block, item) || has_variant(block, item))
}

/// The name of the module that a file is: its own, or its folder's.
fn module(file: &Path) -> &str {
    let own = stem(file);
    match file.parent() {
        Some(folder) if own == "mod" => stem(folder),
        _ => own,
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    let words = line.split(|c| !is_of_word(c));
    words.filter(|word| !word.is_empty()).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn has_item(code: &str, name: &str) -> bool {
    let lines = code.lines().filter(|line| !is_comment(line));
    lines.map(words).any(|words| {
        words
            .windows(2)
            .any(|pair| KINDS.contains(&pair[0]) && pair[1] == name)
    })
}

/// Returns true when the head of a block, which may take several lines, gives this type its items.
fn is_block_of(block: &str, owner: &str) -> bool {
    let head = block.split("{\n").next().unwrap_or(block);
    let lines = head
        .lines()
        .filter(|line| !is_comment(line) && !line.ends_with(';'));
    let words: Vec<_> = lines.flat_map(words).collect();
    words.contains(&owner) && words.iter().any(|word| OWNERS.contains(word))
}

fn has_variant(block: &str, name: &str) -> bool {
    block.lines().any(|line| {
        let line = line.strip_prefix("    ");
        let rest = line.and_then(|line| line.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([',', ' ', '(']))
    })
}

/// Every link of every document leads to what it says.
#[test]
fn links_lead_to_what_they_say() {
    let (mut named, mut all) = (0, Vec::new());
    for (document, text) in documents() {
        let shown = prose(&text).flat_map(|(_, line)| links(line));
        named += shown.filter(|(shown, _)| name(shown).is_some()).count();
        all.extend(problems(&document, &text));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    assert!(named > 100, "the links to the code are there: {named}");
}

/// The one problem of a line that stands in a document of `FOLDER`.
fn problem(line: &str) -> String {
    let text = format!("# A title\n\n## One `more`: twice\n\n{line}\n");
    let mut problems = problems("proxy/docs/example.md", &text);
    assert!(problems.len() <= 1, "{problems:?}");
    problems.pop().unwrap_or_default()
}

/// Each way in which a link can be broken is told, with the document, the line and the link.
#[test]
fn broken_links_are_found() {
    for (link, told) in [
        ("[x](nowhere.md)", "there is no such file"),
        ("![x](../nowhere.svg)", "there is no such file"),
        ("[x](../README.md#nowhere)", "there is no heading #nowhere"),
        ("[x](#nowhere)", "there is no heading #nowhere"),
        ("[x](#one-more)", "there is no heading #one-more"),
        ("[x](../../../)", "it leads out of the repository"),
        (
            "[`Nowhere`](../core/src/lane/mod.rs)",
            "the file does not define Nowhere",
        ),
        (
            "[`nowhere::Lane`](../core/src/lane/mod.rs)",
            "the file does not define nowhere::Lane",
        ),
        (
            "[`Lane::nowhere`](../core/src/lane/mod.rs)",
            "the file does not define Lane::nowhere",
        ),
        (
            "[`Track::appended`](../core/src/lane/events.rs)",
            "the file does not define Track::appended",
        ),
        (
            "[`Event::Nowhere`](../core/src/engine/messages.rs)",
            "the file does not define Event::Nowhere",
        ),
        (
            "[`Lane`](../README.md)",
            "a name must lead to the Rust file that defines it",
        ),
    ] {
        let link_alone = link.trim_start_matches('!');
        let expected = format!("proxy/docs/example.md:5: {link_alone}: {told}");
        assert_eq!(problem(&format!("Some words, {link}.")), expected);
    }
}

/// Sound links are let through, and other text is not taken for links.
#[test]
fn sound_links_are_let_through() {
    for line in [
        "[x](https://nowhere.example/page) and [y](mailto:nobody@nowhere.example)",
        "[x](../README.md), [x](../README.md#invariants), [x](../core/), [x](#a-title)",
        "[x](#one-more-twice)",
        "[`Lane`](../core/src/lane/mod.rs)",
        "[`lane::Lane::head`](../core/src/lane/mod.rs)",
        "[`lane::Peer`](../core/src/lane/mod.rs), [`outcome::judge`](../core/src/outcome.rs)",
        "[`Lane::appended`](../core/src/lane/events.rs)",
        "[`Event::Tick`](../core/src/engine/messages.rs)",
        "[`Event::Appended`](../core/src/engine/messages.rs)",
        "[`GROUP_MAX`](../core/src/limits.rs)",
        "[`ROUTES`](../core/src/route/table.rs)",
        "[`core/src/lane/`](../core/src/lane)",
        "`[x](nowhere.md)` and `list[].field` (nowhere.md)",
        "```text\n[x](nowhere.md)\n```",
    ] {
        assert_eq!(problem(line), "", "{line}");
    }
}

/// A title that stands twice has two fragments.
#[test]
fn repeated_headings_are_numbered() {
    let text = "# A\n\n## Its *bounds* (all)\n\n## Its bounds (all)\n\n```sh\n# no heading\n```\n";
    let expected = ["a", "its-bounds-all", "its-bounds-all-1"];
    assert_eq!(fragments(text), expected.map(str::to_owned).into());
}
