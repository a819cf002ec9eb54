//! A version on trial: what it was asked, what came of it, and samples of where it differs.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use achromat_core::{
    policy::{Subject, Tally, Trial, TrialKind, Verdict},
    time::WallTime,
};
use parking_lot::Mutex;

use super::{
    asked::Asked, limits::DIFFERENCES_MAX, trouble::Trouble, version::Version, world::World,
};
use crate::clock;

/// A decision in which two versions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Time of the decision.
    pub at: WallTime,
    /// The number of the request.
    pub number: u64,
    /// The action of the request, or the deed that a guard was asked about.
    pub action: &'static str,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The name of its collection.
    pub collection: Option<String>,
    /// The active version's answer.
    pub active: String,
    /// The tried version's answer, or its trouble.
    pub tried: String,
}

/// A version on trial.
pub struct Tried<W: World> {
    trial: Trial,
    version: Arc<Version<W>>,
    decisions: AtomicU64,
    diverged: AtomicU64,
    troubles: AtomicU64,
    is_over: AtomicBool,
    differences: Mutex<VecDeque<Difference>>,
}

impl<W: World> Tried<W> {
    /// A trial that begins.
    pub fn new(trial: Trial, version: Arc<Version<W>>) -> Self {
        Self {
            trial,
            version,
            decisions: AtomicU64::new(0),
            diverged: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            differences: Mutex::default(),
        }
    }

    /// The kind, share and end of the trial.
    pub fn trial(&self) -> &Trial {
        &self.trial
    }

    /// The version.
    pub fn version(&self) -> &Arc<Version<W>> {
        &self.version
    }

    /// The trial's counts so far.
    pub fn tally(&self) -> Tally {
        Tally {
            decisions: self.decisions.load(Relaxed),
            diverged: self.diverged.load(Relaxed),
            troubles: self.troubles.load(Relaxed),
        }
    }

    /// The last decisions in which it differed.
    pub fn differences(&self) -> Vec<Difference> {
        self.differences.lock().iter().cloned().collect()
    }

    /// Returns true when the tried version is asked about this subject.
    pub(super) fn takes(&self, subject: Subject<'_>) -> bool {
        self.trial.share.takes(subject) && !self.is_over.load(Relaxed)
    }

    /// Returns true when the tried version's answers are used.
    pub(super) fn is_used(&self) -> bool {
        self.trial.kind == TrialKind::Canary
    }

    /// Counts what it said beside the active one. Says what becomes of the trial, once, when that
    /// is decided.
    pub(super) fn saw(
        &self,
        asked: &impl Asked<W>,
        active: &W::Answer,
        tried: &Result<W::Answer, Trouble>,
    ) -> Option<Verdict> {
        match tried {
            Ok(answer) => {
                self.decisions.fetch_add(1, Relaxed);
                if answer != active {
                    self.diverged.fetch_add(1, Relaxed);
                    self.sample(asked, active, W::words(answer));
                }
            }
            Err(trouble) => {
                self.troubles.fetch_add(1, Relaxed);
                self.sample(asked, active, format!("no answer: {trouble}"));
            }
        }
        match self.trial.verdict(self.tally()) {
            Verdict::GoesOn => None,
            _ if self.is_over.swap(true, Relaxed) => None,
            Verdict::End(reason) => Some(Verdict::End(match tried {
                Err(trouble) => format!("{reason}; the last: {trouble}"),
                Ok(_) => reason,
            })),
            Verdict::Promote => Some(Verdict::Promote),
        }
    }

    fn sample(&self, asked: &impl Asked<W>, active: &W::Answer, tried: String) {
        let subject = asked.subject();
        let difference = Difference {
            at: clock::wall_time(),
            number: subject.number,
            action: asked.action(),
            tenant: subject.tenant.map(str::to_owned),
            collection: subject.collection.map(str::to_owned),
            active: W::words(active),
            tried,
        };
        let mut differences = self.differences.lock();
        if differences.len() >= DIFFERENCES_MAX {
            differences.pop_front();
        }
        differences.push_back(difference);
    }
}
