//! A sample of a slot's decisions, each with what it was made of: the last ones, within bounds.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use achromat_core::policy::is_in_share;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    limits::{RECORDED_BYTES_MAX, RECORDED_MAX},
    world::World,
};

/// The share and the parts of decisions that are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recording {
    /// The share of all decisions, from 0 to 1.
    pub share: f64,
    /// True when the ids and filters of deletes are recorded.
    pub contents: bool,
}

/// A decision. One line of JSON is one of these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Decision<W: World> {
    /// The slot.
    pub slot: String,
    /// Time of the decision, in milliseconds since 1970.
    pub at_ms: u64,
    /// The number of the version that has decided, when it is kept.
    pub version: Option<u64>,
    /// The name of that version; none when there was no plugin.
    pub plugin: Option<String>,
    /// The facts that instances of plugins had.
    pub facts: W::Facts,
    /// The question.
    pub question: W::Recorded,
    /// The answer, in words.
    pub answer: String,
}

/// The last decisions of a sample.
#[derive(Default)]
pub(super) struct Recorder {
    /// The bits of the share.
    share: AtomicU64,
    contents: AtomicBool,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Recorder {
    pub(super) fn set(&self, recording: Recording) {
        self.share.store(recording.share.to_bits(), Relaxed);
        self.contents.store(recording.contents, Relaxed);
    }

    /// Returns true when a decision is in the sample.
    pub(super) fn takes(&self, number: u64) -> bool {
        let share = f64::from_bits(self.share.load(Relaxed));
        share > 0.0 && is_in_share(share, number)
    }

    pub(super) fn takes_any(&self) -> bool {
        f64::from_bits(self.share.load(Relaxed)) > 0.0
    }

    pub(super) fn takes_contents(&self) -> bool {
        self.contents.load(Relaxed)
    }

    pub(super) fn push<W: World>(&self, decision: &Decision<W>) {
        let Ok(line) = serde_json::to_string(decision) else {
            return;
        };
        let mut kept = self.lines.lock();
        kept.bytes += line.len();
        kept.lines.push_back(line.into());
        while kept.lines.len() > RECORDED_MAX || kept.bytes > RECORDED_BYTES_MAX {
            let Some(line) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= line.len();
        }
    }

    /// All lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<Arc<str>> {
        self.lines.lock().lines.iter().cloned().collect()
    }
}
