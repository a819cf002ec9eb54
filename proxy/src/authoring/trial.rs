//! A plugin on trial: started and asked as in a proxy, but by an author's cases and by the battery.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use achromat_core::policy::{Eligibility, Permission, Routing, Slot};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    answers, battery,
    cases::{self, Case},
    inputs::{
        GuardInput, RoutingInput, ShownOperation, ShownQuestion, ShownRouting, WalInput, three,
    },
    report::{Finding, Report},
    subject::Subject,
};
use crate::policy::{
    Digest, GuardSlot, Inspection, Member, Plugins, RoutingSlot, Source, Trouble, Unfit, Version,
    WalSlot, Wanted, World, inspect,
};

/// A slot whose plugins can be tried.
pub(super) trait Trial: World {
    /// A question as a case has it.
    type Input: DeserializeOwned;
    /// The parts of the question that a plugin sees.
    type Shown;

    /// Shows what a plugin wants to see.
    fn show(input: &Self::Input, wanted: &Wanted) -> Self::Shown;
    /// Lends what is shown to whoever asks.
    fn lend<R>(shown: &Self::Shown, ask: impl FnOnce(Self::Question<'_>) -> R) -> R;
    /// Facts that a plugin's instances get before this question.
    fn facts(input: &Self::Input) -> Arc<Self::Facts>;
    /// Facts that a plugin's instances get when there is no question yet.
    fn usual_facts() -> Arc<Self::Facts>;
    /// An answer as JSON.
    fn answer(answer: &Self::Answer) -> Value;
    /// The questions that every plugin of the slot must answer, each with its name.
    fn battery() -> Vec<(String, Self::Input)>;
    /// An everyday question, with all its fields filled.
    fn everyday() -> Self::Input;
}

impl Trial for RoutingSlot {
    type Input = RoutingInput;
    type Shown = ShownRouting;

    fn show(input: &RoutingInput, wanted: &Wanted) -> ShownRouting {
        input.show(wanted)
    }

    fn lend<R>(shown: &ShownRouting, ask: impl FnOnce(Self::Question<'_>) -> R) -> R {
        shown.lend(ask)
    }

    fn facts(input: &RoutingInput) -> Arc<Vec<Member>> {
        Arc::new(input.members())
    }

    fn usual_facts() -> Arc<Vec<Member>> {
        let operation = battery::everyday_operation();
        let instances = three();
        Self::facts(&RoutingInput {
            operation,
            instances,
        })
    }

    fn answer(answer: &Routing) -> Value {
        answers::routing(answer)
    }

    fn battery() -> Vec<(String, RoutingInput)> {
        battery::routing()
    }

    fn everyday() -> RoutingInput {
        RoutingInput {
            operation: battery::everyday_operation(),
            instances: three(),
        }
    }
}

impl Trial for WalSlot {
    type Input = WalInput;
    type Shown = ShownOperation;

    fn show(input: &WalInput, wanted: &Wanted) -> ShownOperation {
        input.operation.show(wanted)
    }

    fn lend<R>(shown: &ShownOperation, ask: impl FnOnce(Self::Question<'_>) -> R) -> R {
        shown.lend(ask)
    }

    fn facts(_: &WalInput) -> Arc<()> {
        Arc::new(())
    }

    fn usual_facts() -> Arc<()> {
        Arc::new(())
    }

    fn answer(answer: &Eligibility) -> Value {
        answers::eligibility(answer)
    }

    fn battery() -> Vec<(String, WalInput)> {
        battery::wal()
    }

    fn everyday() -> WalInput {
        let operation = battery::everyday_write();
        WalInput { operation }
    }
}

impl Trial for GuardSlot {
    type Input = GuardInput;
    type Shown = ShownQuestion;

    fn show(input: &GuardInput, wanted: &Wanted) -> ShownQuestion {
        input.question.show(wanted)
    }

    fn lend<R>(shown: &ShownQuestion, ask: impl FnOnce(Self::Question<'_>) -> R) -> R {
        shown.lend(ask)
    }

    fn facts(_: &GuardInput) -> Arc<()> {
        Arc::new(())
    }

    fn usual_facts() -> Arc<()> {
        Arc::new(())
    }

    fn answer(answer: &Permission) -> Value {
        answers::permission(answer)
    }

    fn battery() -> Vec<(String, GuardInput)> {
        battery::guard()
    }

    fn everyday() -> GuardInput {
        let question = battery::everyday_question();
        GuardInput { question }
    }
}

/// Traits of a plugin that can be taken into service.
#[derive(Clone, Debug)]
pub struct Fitness {
    /// Its slot and imports, as it declares them.
    pub inspection: Inspection,
    /// The digest of its component.
    pub digest: Digest,
    /// The parts of each request that it wants to see.
    pub wanted: Wanted,
    /// From the compiled component to a plugin that has answered once.
    pub started: Duration,
    /// Memory of an instance then.
    pub memory_bytes: usize,
}

/// Starts it as a proxy would, and says what it is like; or why it can't be taken into service.
pub fn check(plugins: &Plugins, source: &Source, wanted: Option<Slot>) -> Result<Fitness, Unfit> {
    let inspection = inspect(plugins, &source.bytes)?;
    match wanted.unwrap_or(inspection.slot) {
        Slot::Routing => fitness::<RoutingSlot>(plugins, source, inspection),
        Slot::WalEligibility => fitness::<WalSlot>(plugins, source, inspection),
        Slot::CleanupGuard => fitness::<GuardSlot>(plugins, source, inspection),
    }
}

fn fitness<W: Trial>(
    plugins: &Plugins,
    source: &Source,
    inspection: Inspection,
) -> Result<Fitness, Unfit> {
    let begun = Instant::now();
    let version = Version::<W>::load(plugins, source, &W::usual_facts())?;
    Ok(Fitness {
        inspection,
        digest: version.digest(),
        wanted: version.wanted().clone(),
        started: begun.elapsed(),
        memory_bytes: version.figures().memory_bytes_max,
    })
}

/// Has it answer its cases and the battery of its slot.
///
/// # Errors
///
/// It can't be taken into service, or its cases can't be read: there is nothing to report.
pub fn test(plugins: &Plugins, subject: &Subject) -> anyhow::Result<Report> {
    let slot = match &subject.project {
        Some(project) => project.slot,
        None => inspect(plugins, &subject.source.bytes)?.slot,
    };
    match slot {
        Slot::Routing => report::<RoutingSlot>(plugins, subject),
        Slot::WalEligibility => report::<WalSlot>(plugins, subject),
        Slot::CleanupGuard => report::<GuardSlot>(plugins, subject),
    }
}

fn report<W: Trial>(plugins: &Plugins, subject: &Subject) -> anyhow::Result<Report> {
    let cases = match &subject.project {
        Some(project) => cases::read(&project.cases)?,
        None => Vec::new(),
    };
    // Whether it is fit at all, before anything is found in detail.
    Version::<W>::load(plugins, &subject.source, &W::usual_facts())?;
    let ask = |case: &Case<W::Input>| ask_case::<W>(plugins, &subject.source, case);
    Ok(Report {
        cases: cases.iter().map(ask).collect(),
        conformance: battery::run::<W>(plugins, &subject.source, subject.remembers()),
    })
}

/// Asks a case of a plugin that has seen nothing before.
fn ask_case<W: Trial>(plugins: &Plugins, source: &Source, case: &Case<W::Input>) -> Finding {
    let what = format!("{}: {}", case.place, case.about);
    let what = what.trim_end_matches([':', ' ']).to_owned();
    let config = case
        .config
        .as_deref()
        .map_or(source.config.clone(), Arc::from);
    let source = Source {
        config,
        ..source.clone()
    };
    let facts = W::facts(&case.input);
    let version = match Version::<W>::load(plugins, &source, &facts) {
        Ok(version) => version,
        Err(unfit) => return Finding::bad(what, [unfit.to_string()]),
    };
    let finding = match ask(&version, &facts, &case.input).map(|answer| W::answer(&answer)) {
        Ok(given) if answers::agrees(&case.expect, &given) => Finding::good(what),
        Ok(given) => {
            let lines = [
                format!("expected {}", case.expect),
                format!("given    {given}"),
            ];
            Finding::bad(what, lines)
        }
        Err(trouble) => Finding::bad(what, [format!("no answer: {trouble}")]),
    };
    finding.and(told_to_the_host(&version))
}

/// Lists the lines and counters that a plugin gave to the host.
fn told_to_the_host<W: World>(version: &Version<W>) -> Vec<String> {
    let lines = version.lines().into_iter();
    let lines = lines.map(|line| format!("log      {line}"));
    let counters = version.own_counters().into_iter();
    let counters = counters.map(|(name, count)| format!("counted  {name}: {count}"));
    lines.chain(counters).collect()
}

/// Asks one thing.
pub(super) fn ask<W: Trial>(
    version: &Version<W>,
    facts: &Arc<W::Facts>,
    input: &W::Input,
) -> Result<W::Answer, Trouble> {
    let shown = W::show(input, version.wanted());
    W::lend(&shown, |question| version.ask(facts, question))
}
