//! A slot asked with all that stands beside the decision: what is on trial, and the record.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use achromat_core::policy::Verdict;
use http::HeaderName;

use super::{Generation, Notice, Occupant, Slot};
use crate::{
    clock,
    policy::{
        asked::Asked,
        recorded::Taking,
        recorder::{Decision, Recording},
        trial::Tried,
        version::Version,
        world::World,
    },
};

impl<W: World> Slot<W> {
    /// Sets the share and the parts of decisions that are recorded.
    pub fn record(&self, recording: Recording) {
        self.recorder.set(recording);
    }

    /// The recorded decisions as lines of JSON, the oldest first.
    pub fn recorded(&self) -> Vec<Arc<str>> {
        self.recorder.lines()
    }

    /// Returns true when any decision is recorded.
    pub(in crate::policy) fn is_recording(&self) -> bool {
        self.recorder.takes_any()
    }

    /// Returns true when a question must be put: to a plugin, or for the record.
    pub fn is_concerned(&self, generation: &Generation<W>, number: u64) -> bool {
        !generation.is_native() || self.recorder.takes(number)
    }

    /// A number for a question that has none of its own.
    pub(in crate::policy) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Decides as [`Self::decide`] does, and asks what is on trial as well, where it is to be.
    pub fn consult(&self, generation: &Generation<W>, asked: &impl Asked<W>) -> Option<W::Answer> {
        let (answer, decider) = self.consult_both(generation, asked);
        let number = asked.subject().number;
        if self.recorder.takes(number) {
            let answer = answer.clone().unwrap_or_else(W::native);
            self.keep_decision(generation, asked, decider, &answer);
        }
        answer
    }

    fn keep_decision(
        &self,
        generation: &Generation<W>,
        asked: &impl Asked<W>,
        decider: Option<&Arc<Version<W>>>,
        answer: &W::Answer,
    ) {
        let tried = generation.trial.as_ref().map(|tried| tried.version());
        let versions = generation.version().into_iter().chain(tried);
        let headers: BTreeSet<_> = versions
            .flat_map(|version| &version.wanted().headers)
            .map(HeaderName::as_str)
            .collect();
        let headers: Vec<_> = headers.into_iter().map(HeaderName::try_from).collect();
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        let taking = Taking {
            headers: &headers,
            contents: self.recorder.takes_contents(),
        };
        self.recorder.push::<W>(&Decision {
            slot: W::SLOT.as_str().to_owned(),
            at_ms: clock::wall_time().0,
            version: decider.and_then(|version| version.id()).map(|id| id.0),
            plugin: decider.map(|version| version.name().to_string()),
            facts: generation.facts.as_ref().clone(),
            question: asked.record(taking),
            answer: W::words(answer),
        });
    }

    /// The answer that is used, and which version has given it.
    fn consult_both<'a>(
        &self,
        generation: &'a Generation<W>,
        asked: &impl Asked<W>,
    ) -> (Option<W::Answer>, Option<&'a Arc<Version<W>>>) {
        let tried = generation.trial.as_ref();
        let tried = tried.filter(|tried| tried.takes(asked.subject()));
        let active = (self.ask_active(generation, asked), generation.version());
        let Some(tried) = tried else {
            return active;
        };
        let other = asked.put(tried.version().wanted(), |question| {
            tried.version().ask(&generation.facts, question)
        });
        let compared = active.0.clone().unwrap_or_else(W::native);
        if let Some(verdict) = tried.saw(asked, &compared, &other) {
            self.tried(tried, verdict);
        }
        match other {
            // A canary's own trouble is nobody's: what is active has answered.
            Ok(answer) if tried.is_used() && W::may_be_tried(&compared, &answer) => {
                (Some(answer), Some(tried.version()))
            }
            _ => active,
        }
    }

    fn ask_active(&self, generation: &Generation<W>, asked: &impl Asked<W>) -> Option<W::Answer> {
        match &generation.occupant {
            Occupant::Native => None,
            Occupant::Vacant => Some(W::safe()),
            Occupant::Version(version) => asked.put(version.wanted(), |question| {
                self.decide(generation, question)
            }),
        }
    }

    /// A trial is over. What is to become active is made so by whoever listens, once that is
    /// recorded.
    fn tried(&self, tried: &Arc<Tried<W>>, verdict: Verdict) {
        if !matches!(verdict, Verdict::Promote) {
            self.end_trial(tried);
        }
        self.notify(Notice::Tried {
            version: tried.version().id(),
            kind: tried.trial().kind,
            tally: tried.tally(),
            verdict,
            differences: tried.differences(),
        });
    }

    fn end_trial(&self, tried: &Arc<Tried<W>>) {
        let mut changes = self.changes.lock();
        let generation = self.generation();
        let is_it = |now: &Arc<Tried<W>>| Arc::ptr_eq(now, tried);
        if generation.trial.as_ref().is_some_and(is_it) {
            tried.version().rest();
            changes.retire(tried.version());
            self.active.store(Arc::new(Generation {
                occupant: generation.occupant.clone(),
                facts: Arc::clone(&generation.facts),
                trial: None,
            }));
        }
    }
}
