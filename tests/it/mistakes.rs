//! Mistakes that authors make, in each language: an exception, a loop without an end, too much memory, a
//! wrong configuration, a source that does not compile. Author and operator read where it happened and why.

use std::{path::Path, time::Duration};

use achromat_tests::{cluster::folder, proxy::achromat, wait::eventually};
use serde_json::json;
use tempfile::TempDir;

use crate::authors::{good, plugin, run, serve};

/// A project whose plugin does what its configuration says, once it is asked a request with a number.
struct Mistaken {
    folder: TempDir,
    component: String,
}

impl Mistaken {
    /// A project as `achromat plugin new` makes it, with another source.
    fn build(language: &str, file: &str, source: &str) -> (TempDir, String) {
        let folder = folder();
        let project = folder.path().join("first");
        let mut new = achromat(&[
            "plugin", "new", "first", "--slot", "routing", "--lang", language,
        ]);
        new.arg("--folder").arg(&project);
        good(run(new));
        std::fs::remove_dir_all(project.join("cases")).expect("it has cases");
        std::fs::write(project.join(file), source).expect("a file");
        let component = project.join("first.wasm").display().to_string();
        (folder, component)
    }

    fn built(language: &str, file: &str, source: &str) -> Self {
        let (folder, component) = Self::build(language, file, source);
        good(plugin(&["build"], &folder.path().join("first")));
        Self { folder, component }
    }

    fn project(&self) -> std::path::PathBuf {
        self.folder.path().join("first")
    }

    /// The words of `plugin test` about one case with this configuration.
    fn test(&self, config: &str) -> String {
        let case =
            json!({ "config": config, "operation": { "action": "query" }, "expect": "native" });
        let cases = self.project().join("cases");
        std::fs::create_dir_all(&cases).expect("a folder");
        std::fs::write(cases.join("one.json"), case.to_string()).expect("a file");
        let (_, told) = plugin(&["test", "--config", "well"], &self.project());
        let (_, case) = told.split_once("one.json").expect("the case");
        let (case, _) = case.split_once("conformance").expect("its end");
        case.to_owned()
    }

    /// The words of `plugin check` with this configuration.
    fn check(&self, config: &str) -> String {
        let (is_good, told) = plugin(&["check", "--config", config], &self.project());
        assert!(!is_good, "{told}");
        let unfit = told.lines().find(|line| line.starts_with("unfit"));
        unfit.expect("it is unfit").to_owned()
    }

    /// The words for an operator, when the plugin does this to each read: in the status, in the log, in
    /// `plugin list`.
    fn in_service(&self, config: &str) -> [String; 3] {
        let cluster = serve("routing", &self.component, config);
        let api = cluster.api();
        let id = api.create("notes");
        api.records(&id, "get", &json!({})).ok();
        let status = api.get("/status").ok()["policy"]["routing"].clone();
        let status = status["last_trouble"]["message"].as_str();
        let (_, listed) = cluster.command(&["plugin", "list", "--slot", "routing"]);
        let line = eventually("it is logged", Duration::from_secs(10), || {
            let told = cluster.proxy.told();
            let line = told.lines().find(|line| line.contains("has no answer"));
            line.map(str::to_owned).ok_or(told)
        });
        [status.unwrap_or_default().to_owned(), line, listed]
    }
}

/// Each part stands in the text.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// All mistakes of one language; `exception` is what must be told of an exception, `place` of a loop.
fn each_mistake(mistaken: &Mistaken, exception: &[&str], place: &[&str]) {
    let told = mistaken.test("exception");
    says(&told, exception);
    let told = [
        ("exception", told),
        ("at the start", mistaken.check("exception at once")),
        ("loop", mistaken.test("loop")),
        ("memory", mistaken.test("memory")),
        ("configuration", mistaken.check("wrong")),
    ];
    for (what, words) in &told {
        println!("{what}: {}", words.trim());
    }
    let [_, (_, start), (_, endless), (_, memory), (_, config)] = &told;
    says(start, exception);
    says(endless, &["it used up its fuel", "`fuel` is the bound"]);
    says(endless, place);
    says(
        memory,
        &[
            "bytes of memory, and may have",
            "`memory_bytes_max` is the bound",
        ],
    );
    says(config, &["refuses its configuration: say exception"]);
    for words in mistaken.in_service("exception") {
        println!("in service: {words}");
        says(&words, exception);
        assert!(words.len() < 4096, "{words}");
    }
}

const RUST: &str = r#"
use achromat_plugin::{Choice, InstanceState, Operation, Plugin, Route, Wants};

struct Policy {
    deed: String,
}

impl Plugin for Policy {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        if config == "wrong" {
            return Err("say exception, loop or memory".to_owned());
        }
        let deed = config.to_owned();
        Ok((Self { deed }, Wants::nothing()))
    }
}

#[inline(never)]
fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

#[inline(never)]
fn hoard() {
    let all: Vec<u8> = Vec::with_capacity(100 << 20);
    std::hint::black_box(all);
}

impl Route for Policy {
    fn route(&mut self, operation: &Operation, _states: &[InstanceState]) -> Choice {
        match (self.deed.as_str(), operation.number) {
            ("exception", 1..) | ("exception at once", _) => panic!("boom {}", operation.number),
            ("loop", 1..) => spin(),
            ("memory", 1..) => hoard(),
            _ => {}
        }
        Choice::Native
    }
}

achromat_plugin::routing!(Policy);
"#;

#[test]
fn mistakes_in_rust_are_told() {
    let mistaken = Mistaken::built("rust", "src/lib.rs", RUST);
    let exception = ["it trapped: panicked at src/lib.rs:", "boom "];
    each_mistake(&mistaken, &exception, &["`first::spin`"]);
    // Nobody is warned of what is not his own to mend.
    let mut check = std::process::Command::new("cargo");
    check
        .args(["check", "--offline"])
        .current_dir(mistaken.project());
    let told = good(run(check));
    assert!(!told.contains("warning"), "{told}");
}

const PYTHON: &str = r#"
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.route_policy import Choice_Native
from wit_world.imports.types import Parts, Wants


class RoutePolicy(exports.RoutePolicy):
    deed = ""

    def configure(self, config):
        if config == "wrong":
            raise Err("say exception, loop or memory")
        RoutePolicy.deed = config
        return Wants(parts=Parts(0), headers=[])

    def instances(self, instances):
        pass

    def route(self, operation, states):
        deed = RoutePolicy.deed
        if deed == "exception at once" or (deed == "exception" and operation.number):
            explode(operation)
        while deed == "loop" and operation.number:
            pass
        if deed == "memory" and operation.number:
            bytearray(100 << 20)
        if deed == "wrong type" and operation.number:
            return 7
        return Choice_Native()


def explode(operation):
    return operation.nothing_of_this_name
"#;

#[test]
fn mistakes_in_python_are_told() {
    let mistaken = Mistaken::built("python", "plugin.py", PYTHON);
    let exception = [
        "AttributeError: ",
        "nothing_of_this_name",
        "in explode (plugin.py:34), called by route (plugin.py:",
    ];
    each_mistake(&mistaken, &exception, &[]);
    says(
        &mistaken.test("wrong type"),
        &["TypeError: route answered 7, which is not of "],
    );
}

const JAVASCRIPT: &str = r#"
let deed = "";

export const routePolicy = {
  configure(config) {
    if (config === "wrong") throw "say exception, loop or memory";
    console.log("configured with", { config });
    deed = config;
    return { parts: {}, headers: [] };
  },

  instances(_instances) {},

  route(operation, _states) {
    const isAsked = Number(operation.number) > 0;
    if (deed === "exception at once" || (deed === "exception" && isAsked)) explode(operation);
    while (deed === "loop" && isAsked);
    if (deed === "memory" && isAsked) new Uint8Array(100 << 20);
    if (deed === "wrong type" && isAsked) return 7;
    return { tag: "native" };
  },
};

function explode(operation) {
  return nothingOfThisName(operation);
}
"#;

#[test]
fn mistakes_in_javascript_are_told() {
    let mistaken = Mistaken::built("js", "plugin.js", JAVASCRIPT);
    let exception = [
        "ReferenceError: nothingOfThisName is not defined",
        "in explode (plugin.js:25",
    ];
    each_mistake(&mistaken, &exception, &[]);
    says(
        &mistaken.test("wrong type"),
        &["TypeError: route answered 7, which has no tag"],
    );
    says(
        &mistaken.test("well"),
        &[r#"log      info: configured with {"config":"well"}"#],
    );
}

const C: &str = r#"
#include <stdlib.h>
#include <string.h>

#include "routing.h"

static char deed[64];

bool exports_achromat_policy_route_policy_configure(
    routing_string_t *config, exports_achromat_policy_route_policy_wants_t *ret,
    routing_string_t *err) {
  memset(deed, 0, sizeof deed);
  memcpy(deed, config->ptr, config->len < sizeof deed ? config->len : sizeof deed - 1);
  routing_string_free(config);
  if (strcmp(deed, "wrong") == 0) {
    routing_string_dup(err, "say exception, loop or memory");
    return false;
  }
  memset(ret, 0, sizeof *ret);
  return true;
}

void exports_achromat_policy_route_policy_instances(
    exports_achromat_policy_route_policy_list_instance_t *instances) {
  exports_achromat_policy_route_policy_list_instance_free(instances);
}

__attribute__((noinline)) static void explode(void) {
  __builtin_trap();
}

__attribute__((noinline)) static void spin(void) {
  for (volatile unsigned turns = 0;; turns++) {
  }
}

__attribute__((noinline)) static void hoard(void) {
  char *volatile piece = malloc(100 << 20);
  *piece = 1;
}

void exports_achromat_policy_route_policy_route(
    exports_achromat_policy_route_policy_operation_t *operation,
    exports_achromat_policy_route_policy_list_instance_state_t *states,
    exports_achromat_policy_route_policy_choice_t *ret) {
  bool is_asked = operation->number > 0;
  if (strcmp(deed, "exception at once") == 0 || (strcmp(deed, "exception") == 0 && is_asked)) explode();
  if (strcmp(deed, "loop") == 0 && is_asked) spin();
  if (strcmp(deed, "memory") == 0 && is_asked) hoard();
  ret->tag = EXPORTS_ACHROMAT_POLICY_ROUTE_POLICY_CHOICE_NATIVE;
  exports_achromat_policy_route_policy_operation_free(operation);
  exports_achromat_policy_route_policy_list_instance_state_free(states);
}
"#;

#[test]
fn mistakes_in_c_are_told() {
    let mistaken = Mistaken::built("c", "src/plugin.c", C);
    each_mistake(&mistaken, &["it trapped: ", "in `explode`"], &["in `spin`"]);
}

/// The compiler's words about a source are told in each language, and a build says that it goes on.
#[test]
fn a_source_that_does_not_compile_is_told() {
    for (language, file, source, part) in [
        (
            "rust",
            "src/lib.rs",
            "fn broken() -> u32 { \"no number\" }",
            "mismatched types",
        ),
        (
            "c",
            "src/plugin.c",
            "int broken(void) { return none; }",
            "undeclared identifier",
        ),
        (
            "js",
            "plugin.js",
            "export const routePolicy = {",
            "plugin.js",
        ),
        ("python", "plugin.py", "class RoutePolicy(:", "SyntaxError"),
    ] {
        let (folder, _) = Mistaken::build(language, file, source);
        let (is_good, told) = plugin(&["build"], &folder.path().join("first"));
        assert!(!is_good, "{told}");
        println!("{language}: {told}");
        says(
            &told,
            &[
                "Building first",
                part,
                Path::new(file)
                    .file_name()
                    .expect("one")
                    .to_str()
                    .expect("UTF-8"),
            ],
        );
    }
}
