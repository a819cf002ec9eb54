//! Versions that are handed in, and reports on a slot's versions.

use std::{collections::BTreeMap, sync::Arc};

use achromat_core::{
    policy::{
        Decider, KeptSwap, KeptVersion, Origin, Slot, SwapSeq, Tally, Trial, TrialKind, VersionId,
    },
    time::WallTime,
};
use bytes::Bytes;

use crate::policy::Difference;

/// A version that is handed in.
#[derive(Clone, Debug)]
pub struct Offer {
    /// A name for people.
    pub name: Arc<str>,
    /// The component, or a core module.
    pub bytes: Bytes,
    /// Its configuration.
    pub config: Arc<str>,
    /// The origin of the version.
    pub origin: Origin,
    /// The person or part of Achromat that hands it in.
    pub who: Arc<str>,
    /// True when it is put into service.
    pub swaps: bool,
    /// True when it is put into service although it was taken out for its troubles.
    pub again: bool,
    /// The text that named it, in the configuration or by the folder's files. It is kept with the swap:
    /// the same text is no news later.
    pub words: Option<String>,
    /// Its signature, as minisign writes it, when it came along.
    pub signature: Option<Arc<str>>,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The version that it is about; `None` for Achromat's own rules.
    pub version: Option<KeptVersion>,
    /// The swap; `None` when the version decides already, or was only kept.
    pub seq: Option<SwapSeq>,
}

/// The end of the last trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The version that was tried.
    pub version: Option<VersionId>,
    /// The kind of trial.
    pub kind: TrialKind,
    /// The outcome for the version.
    pub outcome: Outcome,
    /// The trial's counts at its end.
    pub tally: Tally,
    /// Decisions in which it differed, the newest first.
    pub differences: Vec<Difference>,
}

/// The outcome of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is active.
    Promoted,
    /// It was withdrawn automatically, for this reason.
    RolledBack(String),
    /// Somebody ended it.
    Ended(String),
}

/// The present state of a slot.
#[derive(Clone, Debug)]
pub struct Stands {
    /// The slot.
    pub slot: Slot,
    /// The present decider.
    pub decider: Decider,
    /// Its versions, the newest first.
    pub versions: Vec<KeptVersion>,
    /// Those of them that were taken out of service because they had no answer too often, and were not put
    /// into service since.
    pub taken_out: BTreeMap<VersionId, KeptSwap>,
    /// The last call of the deciding version that had no answer: when it was, and why.
    pub trouble: Option<(WallTime, String)>,
    /// Its swaps, the newest first.
    pub swaps: Vec<KeptSwap>,
    /// The version on trial, its trial, and the counts so far.
    pub trial: Option<(Option<VersionId>, Trial, Tally)>,
    /// Decisions in which the version on trial differs, the newest first.
    pub differences: Vec<Difference>,
    /// The end of the last trial.
    pub ended: Option<Ended>,
}
