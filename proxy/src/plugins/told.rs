//! What is handed in, and what is told, of a slot's versions.

use std::sync::Arc;

use achromat_core::policy::{
    Decider, KeptSwap, KeptVersion, Origin, Slot, SwapSeq, Tally, Trial, TrialKind, VersionId,
};
use bytes::Bytes;

use crate::policy::Difference;

/// A version that is handed in.
#[derive(Clone, Debug)]
pub struct Offer {
    /// For people.
    pub name: Arc<str>,
    /// The component, or a core module.
    pub bytes: Bytes,
    /// Its configuration.
    pub config: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// Who hands it in.
    pub who: Arc<str>,
    /// Whether it is put into service.
    pub swaps: bool,
    /// What is kept together with the swap, so that it counts as said.
    pub words: Option<String>,
    /// Its signature, as minisign writes it, when it came along.
    pub signature: Option<Arc<str>>,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The version that it is about; `None` for Achromat's own rules.
    pub version: Option<KeptVersion>,
    /// The swap; `None` when the version decides already, or was only kept.
    pub seq: Option<SwapSeq>,
}

/// How the last trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The version that was tried.
    pub version: Option<VersionId>,
    /// How.
    pub kind: TrialKind,
    /// What became of it.
    pub outcome: Outcome,
    /// What it had come to.
    pub tally: Tally,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is active.
    Promoted,
    /// It went by itself, for this reason.
    RolledBack(String),
    /// Somebody ended it.
    Ended(String),
}

/// How a slot stands.
#[derive(Clone, Debug)]
pub struct Stands {
    /// The slot.
    pub slot: Slot,
    /// Who decides.
    pub decider: Decider,
    /// Its versions, the newest first.
    pub versions: Vec<KeptVersion>,
    /// Its swaps, the newest first.
    pub swaps: Vec<KeptSwap>,
    /// What is on trial.
    pub trial: Option<(Option<VersionId>, Trial, Tally)>,
    /// Where it differs, the newest first.
    pub differences: Vec<Difference>,
    /// How the last trial ended.
    pub ended: Option<Ended>,
}
