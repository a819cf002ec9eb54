//! `achromat plugin check`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::subject::{plugins, subject, with_subject};
use crate::{
    authoring::{Fitness, Subject, check},
    policy::{Digest, PARTS},
};

pub(super) fn command() -> Command {
    with_subject(
        Command::new("check")
            .about("Says whether a component can be taken into service, and what it is like")
            .after_help("Exits 1 when it can't."),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let subject = subject(matches)?;
    let source = &subject.source;
    out!("{}", source.name);
    tell("size", &format!("{} bytes", source.bytes.len()));
    tell("digest", &format!("sha256:{}", Digest::of(&source.bytes)));
    let wanted = subject.project.as_ref().map(|project| project.slot);
    match check(&plugins()?, source, wanted) {
        Ok(fitness) => {
            describe(&fitness, &subject);
            Ok(ExitCode::SUCCESS)
        }
        Err(unfit) => {
            out!("unfit: {unfit}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tell(what: &str, found: &str) {
    out!("  {what:<9} {found}");
}

fn describe(fitness: &Fitness, subject: &Subject) {
    let or_nothing = |list: Vec<String>| match list.as_slice() {
        [] => "nothing".to_owned(),
        list => list.join(", "),
    };
    let slot = fitness.inspection.slot.as_str();
    tell("world", &format!("achromat:policy/{slot}"));
    tell("imports", &or_nothing(fitness.inspection.imports.clone()));
    let parts = PARTS
        .iter()
        .filter(|(_, part)| fitness.wanted.parts.contains(*part));
    let parts = parts.map(|(word, _)| (*word).to_owned());
    let headers = fitness
        .wanted
        .headers
        .iter()
        .map(|name| format!("header {name}"));
    tell("wants", &or_nothing(parts.chain(headers).collect()));
    let budget = subject.source.budget;
    let limits = format!(
        "{} fuel and {} ms a decision, {} bytes an instance",
        budget.fuel,
        budget.deadline.as_millis(),
        budget.memory_bytes
    );
    tell("limits", &limits);
    let started = format!(
        "in {} ms, with {} bytes of memory",
        fitness.started.as_millis(),
        fitness.memory_bytes
    );
    tell("started", &started);
    out!("fit for the slot {slot}");
}
