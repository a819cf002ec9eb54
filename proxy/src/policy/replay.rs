//! Recorded decisions, asked again of another version.

use std::sync::Arc;

use achromat_core::policy::Slot;

use super::{
    asked::Asked as _,
    check::Unfit,
    engine::Plugins,
    recorder::Decision,
    version::{Source, Version},
    world::{GuardSlot, RoutingSlot, WalSlot, World},
};

/// The reason why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is no plugin for this slot.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A line is no recorded decision.
    #[error("line {line} is no decision that was recorded: {why}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The parser's message.
        why: String,
    },
    /// A line is of another slot.
    #[error("line {line} is a decision of the slot {is}, and not of {}", .wanted.as_str())]
    OtherSlot {
        /// The number of the line, from 1.
        line: usize,
        /// The slot of the decision.
        is: String,
        /// The slot of the replay.
        wanted: Slot,
    },
}

/// A decision that would be another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The line on which it was recorded, from 1.
    pub line: usize,
    /// The number of the request.
    pub number: u64,
    /// The name of its collection.
    pub collection: Option<String>,
    /// The recorded answer.
    pub before: String,
    /// The answer of the replayed version, or its trouble.
    pub after: String,
}

/// The result of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions that were asked again.
    pub decisions: usize,
    /// Decisions that would be different.
    pub changes: Vec<Change>,
}

/// Asks a version what was decided before. It takes what lines say, and changes nothing anywhere.
pub fn replay(
    slot: Slot,
    plugins: &Plugins,
    source: &Source,
    lines: &str,
) -> Result<Replayed, ReplayError> {
    match slot {
        Slot::Routing => replay_in::<RoutingSlot>(plugins, source, lines),
        Slot::WalEligibility => replay_in::<WalSlot>(plugins, source, lines),
        Slot::CleanupGuard => replay_in::<GuardSlot>(plugins, source, lines),
    }
}

fn replay_in<W: World>(
    plugins: &Plugins,
    source: &Source,
    lines: &str,
) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    let mut version: Option<(Arc<W::Facts>, Version<W>)> = None;
    for (line, text) in (1..).zip(lines.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let decision = read::<W>(line, text)?;
        let (facts, version) = match &mut version {
            Some(version) => version,
            none => {
                let facts = Arc::new(decision.facts.clone());
                let loaded = Version::load(plugins, source, &facts)?;
                none.insert((facts, loaded))
            }
        };
        if **facts != decision.facts {
            *facts = Arc::new(decision.facts.clone());
        }
        let question = &decision.question;
        let answer = question.put(version.wanted(), |asked| version.ask(facts, asked));
        let after = match answer {
            Ok(answer) => W::words(&answer),
            Err(trouble) => format!("no answer: {trouble}"),
        };
        replayed.decisions += 1;
        if after != decision.answer {
            let subject = question.subject();
            replayed.changes.push(Change {
                line,
                number: subject.number,
                collection: subject.collection.map(str::to_owned),
                before: decision.answer.clone(),
                after,
            });
        }
    }
    Ok(replayed)
}

fn read<W: World>(line: usize, text: &str) -> Result<Decision<W>, ReplayError> {
    #[derive(serde::Deserialize)]
    struct Head {
        slot: String,
    }
    let wrong = |error: serde_json::Error| ReplayError::Line {
        line,
        why: error.to_string(),
    };
    let head: Head = serde_json::from_str(text).map_err(wrong)?;
    if Slot::parse(&head.slot) != Some(W::SLOT) {
        return Err(ReplayError::OtherSlot {
            line,
            is: head.slot,
            wanted: W::SLOT,
        });
    }
    serde_json::from_str(text).map_err(wrong)
}
