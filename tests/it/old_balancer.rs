//! The page for those who come from the old load balancer, word for word: its keys exist, its commands
//! move the data of two servers, and its calls answer with the fields that old scripts read.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::Duration,
};

use achromat_tests::{
    api::Api,
    chroma::Chroma,
    cluster::folder,
    proxy::{Proxy, achromat},
    tools,
    wait::eventually,
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../proxy/docs/coming-from-the-old-load-balancer.md");

/// The part of the page under a heading.
fn section(heading: &str) -> &'static str {
    let start = format!("\n## {heading}\n");
    let (_, rest) = PAGE.split_once(&start).expect("the heading");
    rest.split("\n## ").next().expect("its part")
}

/// The first block of a language that holds this word, as it would stand without a list around it.
fn block(language: &str, word: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(&fence).skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().expect("its end"));
    let block = blocks.find(|block| block.contains(word)).expect("a block");
    let is_in_a_list = block.starts_with("   ");
    let lines = block.lines().map(|line| {
        let line = if is_in_a_list {
            line.strip_prefix("   ").unwrap_or(line)
        } else {
            line
        };
        format!("{line}\n")
    });
    lines.collect()
}

/// The words of a text that stand between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every key that replaces an old variable is one of the configuration.
#[test]
fn the_keys_that_replace_variables_exist() {
    let output = achromat(&["config", "--defaults"])
        .output()
        .expect("it runs");
    let defaults = String::from_utf8(output.stdout).expect("text");
    let mut keys = BTreeSet::new();
    let mut part = String::new();
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[') {
            part = name.replace(']', ".");
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{part}{key}"));
        }
    }
    let is_key = |word: &&str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
        word.contains('.') && word.chars().all(is_plain)
    };
    let named: Vec<_> = quoted(section("Variables")).filter(is_key).collect();
    assert!(named.len() > 15, "{named:?}");
    for key in named {
        assert!(keys.contains(key), "{key}");
    }
}

/// Two servers as the old load balancer has left them, and an Achromat in front of them.
struct Moved {
    servers: [Chroma; 2],
    proxy: Option<Proxy>,
    folder: tempfile::TempDir,
}

impl Moved {
    fn new() -> Self {
        let folder = folder();
        let servers = ["primary", "replica"].map(|name| Chroma::start(&folder.path().join(name)));
        let held: [&[(&str, &[&str])]; 2] = [
            &[("contracts", &["c1", "c2", "c3"]), ("news", &["n1"])],
            &[("contracts", &["c1", "c2"]), ("images", &["i1"])],
        ];
        for (server, collections) in servers.iter().zip(held) {
            for (name, ids) in collections {
                add(&server.api(), name, ids);
            }
        }
        Self {
            servers,
            proxy: None,
            folder,
        }
    }

    /// Starts Achromat and waits until it has taken everything over.
    fn start(&mut self) -> Api {
        let [primary, replica] = &self.servers;
        let named = [("primary", primary), ("replica", replica)];
        let proxy = Proxy::start(self.folder.path(), &named, &[]);
        let api = proxy.api();
        eventually("all is taken over", Duration::from_secs(60), || {
            let instances = api.get("/admin/instances").ok();
            let due = |place: usize| instances["instances"][place]["copies_due"] == 0;
            let count = api.get("/admin/collection_mappings").ok()["count"] == 3;
            if due(0) && due(1) && count {
                Ok(())
            } else {
                Err(instances.to_string())
            }
        });
        self.proxy = Some(proxy);
        api
    }

    /// Runs a command of the page; returns its exit code and what it prints.
    fn command(&self, line: &str) -> (Option<i32>, String) {
        let proxy = self.proxy.as_ref().expect("Achromat runs");
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let output = achromat(&words)
            .args(["--url", proxy.api().base()])
            .env("ACHROMAT_ADMIN_TOKEN_FILE", proxy.token_file())
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told)
    }
}

/// Makes a collection with records of these ids.
fn add(api: &Api, name: &str, ids: &[&str]) {
    let collection = api.create(name);
    let embeddings: Vec<_> = (0..ids.len()).map(|n| json!([n, 1])).collect();
    let body = json!({ "ids": ids, "documents": ids, "embeddings": embeddings });
    api.records(&collection, "add", &body).ok();
}

/// Lines of a comparison without the checksums.
fn without_checksums(told: &str) -> Vec<String> {
    let lines = told.lines().map(|line| {
        let words = line.split_whitespace();
        let words: Vec<_> = words.filter(|word| word.len() < 64).collect();
        words.join(" ")
    });
    lines.collect()
}

/// The data of two servers that differ is moved as the page says: what one server alone has is listed
/// before, what differs is told in the page's words, and the page's commands make both equal.
#[test]
fn the_data_is_moved_as_the_page_says() {
    let mut moved = Moved::new();
    let mut script = block("python", "on the replica only");
    for (port, server) in ["8001", "8002"].into_iter().zip(&moved.servers) {
        script = script.replace(port, &server.port.to_string());
    }
    let mut python = Command::new(tools::python().join("bin/python"));
    let output = python.args(["-c", &script]).stdin(Stdio::null()).output();
    let output = output.expect("python");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "on the primary only: news\non the replica only: images\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    moved.start();
    let (code, told) = moved.command("achromat verify");
    assert_eq!(code, Some(1), "{told}");
    let shown = without_checksums(&block("text", "DIFFERENT"));
    let told = without_checksums(&told);
    assert!(
        told.windows(shown.len()).any(|lines| lines == shown),
        "{told:#?}"
    );
    for line in block("sh", "achromat repair").lines() {
        let (code, told) = moved.command(line);
        let expected = i32::from(line.ends_with("--dry-run"));
        assert_eq!(code, Some(expected), "{line}: {told}");
    }
    let (code, told) = moved.command("achromat verify");
    assert_eq!(code, Some(0), "{told}");
}

/// Returns true when an answer has a field: `summary.collections`, or `instances[].name` for each of a list.
fn has(value: &Value, field: &str) -> bool {
    let (first, rest) = match field.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (field, None),
    };
    let (name, is_list) = match first.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (first, false),
    };
    let Some(found) = value.get(name) else {
        return false;
    };
    let Some(rest) = rest else {
        return true;
    };
    match found.as_array() {
        Some(list) if is_list => list.iter().all(|one| has(one, rest)),
        _ => has(found, rest),
    }
}

/// Every reading call of the page answers with the fields that stand there.
#[test]
fn the_calls_answer_as_the_page_says() {
    let mut moved = Moved::new();
    let api = moved.start();
    add(&api, "made", &["m1"]);
    let body = json!({ "healthy": true, "duration_seconds": 1 });
    api.post("/admin/instances/primary/health", &body).ok();
    // A field's name has no blank, brace or upper case; words such as `healthy` are values.
    let values = [
        "healthy",
        "degraded",
        "primary",
        "replica",
        "complete",
        "partial",
        "completed",
        "refused",
        "failed",
        "change",
        "destruction",
        "denial",
        "/admin/instances",
        "wal",
    ];
    let mut asked = BTreeSet::new();
    for row in section("Calls").lines() {
        let mut columns = row.split(" | ");
        let (Some(calls), Some(fields)) = (columns.next(), columns.next()) else {
            continue;
        };
        for path in quoted(calls).filter_map(|call| call.strip_prefix("GET ")) {
            let answer = api.get(path).ok();
            asked.insert(path);
            for field in quoted(fields).filter(|word| !values.contains(word)) {
                assert!(has(&answer, field), "{path} has no {field}: {answer}");
            }
        }
    }
    for path in [
        "/status",
        "/wal/status",
        "/collection/mappings",
        "/admin/audit",
    ] {
        assert!(asked.contains(path), "{asked:?}");
    }
    assert!(asked.len() >= 11, "{asked:?}");
}
