//! Tests that every plugin must pass: inputs at the contract's edges, any configuration, its
//! limits, and the same question twice.

use std::sync::Arc;

use achromat_core::limits::{INSTANCES_MAX, TARGET_BYTES_MAX};
use http::{HeaderMap, HeaderValue};

use super::{
    inputs::{
        GuardInput, Headers, InstanceInput, OperationInput, QuestionInput, RecordsInput,
        RoutingInput, SizesInput, WalInput, three,
    },
    report::Finding,
    trial::{Trial, ask},
};
use crate::policy::{
    ACTIONS, Action, Class, DEEDS, Deed, Plugins, Source, Standing, Unfit, Version, World,
};

/// Bytes of a text that is longer than what a request's target can carry.
const LONG_BYTES: usize = 2 * TARGET_BYTES_MAX;

/// As many as the contract lets a guard see of a filter.
const FILTER_BYTES: usize = 64 * 1024;

/// Bytes of a long configuration.
const CONFIG_BYTES: usize = 64 * 1024;

/// As many as the contract lets a guard see.
const IDS: u64 = 1000;

/// Failures that are told of one kind.
const TOLD_MAX: usize = 10;

/// Text with difficult characters: other scripts, characters of four bytes, a change of direction,
/// a combining mark, a NUL, ends of lines and of quotations.
const STRANGE: &str = "名前 \u{1f980} \u{202e}e\u{301}\u{0}\"\\\n\r\t' ; -- %s {} \u{fffd}";

/// Runs all of it.
pub(super) fn run<W: Trial>(plugins: &Plugins, source: &Source, remembers: bool) -> Vec<Finding> {
    let load = || Version::<W>::load(plugins, source, &W::usual_facts());
    let (first, second) = match (load(), load()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(unfit), _) | (_, Err(unfit)) => {
            return vec![Finding::bad("it starts twice", [unfit.to_string()])];
        }
    };
    let inputs = W::battery();
    let (has_answers, dearest) = answers_all(&first, &inputs);
    let mut findings = vec![has_answers];
    if !remembers {
        findings.push(is_determined(&first, &second, &inputs));
    }
    findings.push(wants_the_same(&first, &second));
    findings.push(takes_any_configuration::<W>(plugins, source));
    findings.push(is_within_limits(&first, source, dearest));
    findings
}

/// Checks that the plugin answers every input. Returns the fuel of the dearest answer, too.
fn answers_all<W: Trial>(version: &Version<W>, inputs: &[(String, W::Input)]) -> (Finding, u64) {
    let (mut failures, mut dearest) = (Vec::new(), 0);
    for (name, input) in inputs {
        let before = version.figures().fuel;
        if let Err(trouble) = ask(version, &W::facts(input), input) {
            failures.push(format!("{name}: {trouble}"));
        }
        dearest = dearest.max(version.figures().fuel.saturating_sub(before));
    }
    let what = format!(
        "it has an answer to {} questions, hostile ones among them",
        inputs.len()
    );
    (told(what, failures), dearest)
}

fn told(what: String, mut failures: Vec<String>) -> Finding {
    if failures.is_empty() {
        return Finding::good(what);
    }
    let more = failures.len().saturating_sub(TOLD_MAX);
    failures.truncate(TOLD_MAX);
    if more > 0 {
        failures.push(format!("and {more} more"));
    }
    Finding::bad(what, failures)
}

/// Checks that the same question gets the same answer: twice from one instance, and from another
/// that has seen nothing before.
fn is_determined<W: Trial>(
    first: &Version<W>,
    second: &Version<W>,
    inputs: &[(String, W::Input)],
) -> Finding {
    let mut failures = Vec::new();
    for (name, input) in inputs {
        let facts = W::facts(input);
        let answer = |version: &Version<W>| {
            let answer = ask(version, &facts, input);
            answer.map(|answer| W::answer(&answer)).ok()
        };
        let answers = [answer(first), answer(first)];
        second.rest();
        let fresh = answer(second);
        let [once, again] = answers;
        if once != again || once != fresh {
            let tell = |answer: Option<serde_json::Value>| {
                answer.map_or_else(|| "no answer".to_owned(), |answer| answer.to_string())
            };
            failures.push(format!(
                "{name}: {}, then {}, in a fresh instance {}",
                tell(once),
                tell(again),
                tell(fresh)
            ));
        }
    }
    if !failures.is_empty() {
        failures.push(
            "a turn is taken by the operation's number; `remembers = true` in plugin.toml says that decisions depend on what the host keeps, or on a clock".to_owned(),
        );
    }
    told(
        "the same question gets the same answer, in each instance".to_owned(),
        failures,
    )
}

fn wants_the_same<W: World>(first: &Version<W>, second: &Version<W>) -> Finding {
    let what = "each instance wants to see the same";
    if first.wanted() == second.wanted() {
        return Finding::good(what);
    }
    let lines = [first, second].map(|version| format!("{:?}", version.wanted()));
    Finding::bad(what, lines)
}

/// Checks that the plugin takes or refuses any configuration. An operator's mistake must be told,
/// and a plugin that traps tells nothing.
fn takes_any_configuration<W: Trial>(plugins: &Plugins, source: &Source) -> Finding {
    let long = "x".repeat(CONFIG_BYTES);
    let configs = [
        ("none", ""),
        ("blanks", " \n\t "),
        ("strange signs", STRANGE),
        ("JSON that is cut off", "{\"a\": [1, 2"),
        ("another JSON", "[null, 1e309, {\"\": -0.0}]"),
        ("a number beyond all", "99999999999999999999999999"),
        ("64 KiB", long.as_str()),
    ];
    let mut failures = Vec::new();
    for (name, config) in configs {
        let source = Source {
            config: Arc::from(config),
            ..source.clone()
        };
        match Version::<W>::load(plugins, &source, &W::usual_facts()) {
            Err(Unfit::Start(trouble)) => failures.push(format!("{name}: {trouble}")),
            Err(Unfit::SelfTest(trouble)) => {
                failures.push(format!("{name}: taken, and then no answer: {trouble}"));
            }
            Ok(_) | Err(_) => {}
        }
    }
    told(
        "any configuration is taken, or refused in its own words".to_owned(),
        failures,
    )
}

fn is_within_limits<W: World>(version: &Version<W>, source: &Source, dearest: u64) -> Finding {
    let (fuel, memory) = (source.budget.fuel, source.budget.memory_bytes);
    let held = version.figures().memory_bytes_max;
    let what = format!(
        "the dearest answer took {dearest} of {fuel} fuel, an instance {held} of {memory} bytes"
    );
    // What costs so much for inputs like these has no room for what nobody thought of.
    if dearest > fuel / 2 || held > memory / 4 * 3 {
        let line = "that leaves too little room: half of the fuel and a quarter of the memory should stay free";
        return Finding::bad(what, [line.to_owned()]);
    }
    Finding::good(what)
}

fn strange_headers() -> Headers {
    let mut headers = HeaderMap::new();
    let names = (0..64).map(|number| format!("x-{number}"));
    let usual = [
        "authorization",
        "user-agent",
        "x-request-id",
        "content-type",
        "x-chroma-token",
    ];
    let values = ["x".repeat(8192), "\u{1f980}".repeat(2000), String::new()];
    for (name, value) in names
        .chain(usual.map(str::to_owned))
        .zip(values.iter().cycle())
    {
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value) {
            headers.append(name.clone(), value.clone());
            headers.append(name, value);
        }
    }
    Headers(headers)
}

/// A query of every day.
pub(super) fn everyday_operation() -> OperationInput {
    OperationInput {
        number: 4711,
        body_bytes: 6_000,
        tenant: Some("default_tenant".to_owned()),
        database: Some("default_database".to_owned()),
        collection: Some("articles".to_owned()),
        collection_id: Some(uuid::Uuid::from_u64_pair(
            0x1234_5678_9abc_4def,
            0x8123_4567_89ab_cdef,
        )),
        client: Some("203.0.113.7".to_owned()),
        sizes: Some(SizesInput {
            records: 0,
            queries: 1,
            results: 10,
        }),
        ..OperationInput::of(Action::Query, Class::Read)
    }
}

/// A write of every day.
pub(super) fn everyday_write() -> OperationInput {
    OperationInput {
        action: (Action::Upsert, Class::Write),
        sizes: Some(SizesInput {
            records: 32,
            ..SizesInput::default()
        }),
        ..everyday_operation()
    }
}

/// A delete of every day.
pub(super) fn everyday_question() -> QuestionInput {
    QuestionInput {
        tenant: Some("default_tenant".to_owned()),
        database: Some("default_database".to_owned()),
        collection: Some("articles".to_owned()),
        client: Some("203.0.113.7".to_owned()),
        ..QuestionInput::of(Deed::DeleteCollection)
    }
}

/// A request with everything that it can have, all of it this text.
fn said_everywhere(text: &str, operation: OperationInput) -> OperationInput {
    let text = || Some(text.to_owned());
    OperationInput {
        tenant: text(),
        database: text(),
        collection: text(),
        client: text(),
        ..operation
    }
}

/// Requests at the edges: of each action one, and what is hard about each part.
fn operations(usual: &OperationInput) -> Vec<(String, OperationInput)> {
    let mut all = Vec::new();
    for (name, action, class) in ACTIONS {
        all.push((format!("{name}, bare"), OperationInput::of(action, class)));
        let action = (action, class);
        let full = OperationInput {
            action,
            ..usual.clone()
        };
        all.push((name.to_owned(), full));
    }
    let most = OperationInput {
        number: u64::MAX,
        body_bytes: u32::MAX,
        collection_id: Some(uuid::Uuid::max()),
        sizes: Some(SizesInput {
            records: u32::MAX,
            queries: u32::MAX,
            results: u32::MAX,
        }),
        ..usual.clone()
    };
    let with_headers = OperationInput {
        headers: strange_headers(),
        ..usual.clone()
    };
    let texts = [
        ("empty texts", String::new()),
        ("strange signs", STRANGE.to_owned()),
        ("long texts", "x".repeat(LONG_BYTES)),
        (
            "long texts of strange signs",
            "\u{1f980}\u{301}".repeat(LONG_BYTES / 6),
        ),
        ("only blanks", " \t\n".to_owned()),
    ];
    for (name, text) in texts {
        all.push((name.to_owned(), said_everywhere(&text, usual.clone())));
    }
    all.push(("the largest numbers".to_owned(), most));
    all.push(("many large headers".to_owned(), with_headers));
    all
}

pub(super) fn wal() -> Vec<(String, WalInput)> {
    let all = operations(&everyday_write()).into_iter();
    all.map(|(name, operation)| (name, WalInput { operation }))
        .collect()
}

pub(super) fn routing() -> Vec<(String, RoutingInput)> {
    let usual = everyday_operation();
    let with = |instances: Vec<InstanceInput>| RoutingInput {
        operation: usual.clone(),
        instances,
    };
    let all = operations(&usual).into_iter();
    let mut all: Vec<_> = all
        .map(|(name, operation)| {
            let instances = three();
            (
                name,
                RoutingInput {
                    operation,
                    instances,
                },
            )
        })
        .collect();
    for (name, instances) in conditions() {
        all.push((name.to_owned(), with(instances)));
    }
    for number in 0..32 {
        let mut turn = with(three());
        turn.operation.number = number;
        all.push((format!("request {number}"), turn));
    }
    all
}

/// Instances at the edges.
fn conditions() -> Vec<(&'static str, Vec<InstanceInput>)> {
    let many = |change: fn(&mut InstanceInput)| {
        let numbers = 0..INSTANCES_MAX;
        let instance = |number| {
            let mut instance = InstanceInput::idle(&format!("i{number}"));
            change(&mut instance);
            instance
        };
        numbers.map(instance).collect::<Vec<_>>()
    };
    let mut mixed = many(|_| {});
    let standings = [Standing::Up, Standing::Suspect, Standing::Down];
    for (at, instance) in mixed.iter_mut().enumerate() {
        instance.standing = standings
            .into_iter()
            .cycle()
            .nth(at)
            .unwrap_or(Standing::Up);
        instance.eligible = Some(at % 2 == 0);
    }
    let mut strange = three();
    for (instance, name) in strange.iter_mut().zip([STRANGE, "", "a"]) {
        name.clone_into(&mut instance.name);
    }
    vec![
        ("one instance", vec![InstanceInput::idle("a")]),
        ("as many instances as there can be", many(|_| {})),
        (
            "all instances down",
            many(|instance| instance.standing = Standing::Down),
        ),
        (
            "all instances suspect",
            many(|instance| instance.standing = Standing::Suspect),
        ),
        (
            "no instance eligible",
            many(|instance| instance.eligible = Some(false)),
        ),
        ("instances in every state", mixed),
        ("instances with strange names", strange),
        (
            "instances with the largest numbers",
            many(|instance| {
                instance.in_flight = u32::MAX;
                instance.latency_us = u32::MAX;
                instance.lag_entries = u32::MAX;
            }),
        ),
    ]
}

pub(super) fn guard() -> Vec<(String, GuardInput)> {
    let usual = everyday_question();
    let texts = [
        ("empty texts", String::new()),
        ("strange signs", STRANGE.to_owned()),
        ("long texts", "x".repeat(LONG_BYTES)),
    ];
    let mut all = Vec::new();
    for (name, deed) in DEEDS {
        all.push((format!("{name}, bare"), QuestionInput::of(deed)));
        let full = QuestionInput {
            deed,
            is_operator: true,
            headers: strange_headers(),
            collection_id: Some(uuid::Uuid::max()),
            ..usual.clone()
        };
        all.push((name.to_owned(), full));
        for (what, text) in &texts {
            let text = || Some(text.clone());
            let said = QuestionInput {
                tenant: text(),
                database: text(),
                collection: text(),
                new_name: text(),
                subject: text(),
                client: text(),
                ..QuestionInput::of(deed)
            };
            all.push((format!("{name}, {what}"), said));
        }
    }
    for (name, records) in deletions() {
        let question = QuestionInput {
            records: Some(records),
            deed: Deed::DeleteRecords,
            ..usual.clone()
        };
        all.push((name.to_owned(), question));
    }
    let all = all.into_iter();
    all.map(|(name, question)| (name, GuardInput { question }))
        .collect()
}

/// Deletes of records at the edges.
fn deletions() -> Vec<(&'static str, RecordsInput)> {
    let many = RecordsInput {
        ids: (0..IDS).map(|number| format!("{number:060}")).collect(),
        count: Some(IDS),
        held: Some(IDS),
        ..RecordsInput::default()
    };
    let strange = RecordsInput {
        ids: vec![STRANGE.to_owned(), String::new()],
        filter: Some(format!(
            "{{\"where\":{{\"k\":\"{}\"}}}}",
            "x".repeat(FILTER_BYTES - 32)
        )),
        ..RecordsInput::default()
    };
    let most = RecordsInput {
        count: Some(u64::MAX),
        held: Some(0),
        ..RecordsInput::default()
    };
    vec![
        ("records of which nothing is known", RecordsInput::default()),
        ("as many ids as can be shown", many),
        ("strange ids and a large filter", strange),
        ("the largest numbers of records", most),
    ]
}
