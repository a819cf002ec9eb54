//! The documents that are answered about versions of plugins.

use achromat_core::policy::{
    Decider, KeptSwap, KeptVersion, Share, Tally, Trial, TrialKind, VersionId,
};
use serde::Serialize;

use crate::{
    plugins::{Ended, Outcome, Stands},
    policy::Difference,
};

/// Swaps that are listed of a slot.
const SWAPS_LISTED_MAX: usize = 50;

#[derive(Serialize)]
pub(super) struct All {
    pub(super) slots: Vec<OneSlot>,
}

#[derive(Serialize)]
pub(super) struct OneSlot {
    pub(super) slot: &'static str,
    /// `native`, `version`, or `nobody` when the last version was taken out of service.
    pub(super) decides: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    /// The newest first.
    pub(super) versions: Vec<OneVersion>,
    /// The last call of the deciding version that had no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_trouble: Option<OneReason>,
    /// The newest first.
    pub(super) swaps: Vec<OneSwap>,
    pub(super) trial: Option<OneTrial>,
    pub(super) last_trial: Option<OneTrial>,
}

#[derive(Serialize)]
pub(super) struct OneVersion {
    pub(super) version: u64,
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) bytes: u64,
    pub(super) config: String,
    pub(super) source: &'static str,
    pub(super) made_at_ms: u64,
    pub(super) who: String,
    /// Set when it was taken out of service because it had no answer too often, until it is put into
    /// service again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) taken_out: Option<OneReason>,
}

/// An event and its reason.
#[derive(Serialize)]
pub(super) struct OneReason {
    pub(super) at_ms: u64,
    pub(super) why: String,
}

#[derive(Serialize)]
pub(super) struct OneSwap {
    pub(super) seq: u64,
    #[serde(flatten)]
    pub(super) to: OneDecider,
    pub(super) swapped_at_ms: u64,
    pub(super) who: String,
    pub(super) why: String,
}

#[derive(Serialize)]
pub(super) struct OneDecider {
    pub(super) decides: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
}

/// A trial that goes on, or the last one that ended.
#[derive(Serialize)]
pub(in crate::admin) struct OneTrial {
    pub(super) kind: &'static str,
    pub(super) version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<OneShare>,
    pub(super) decisions: u64,
    pub(super) diverged: u64,
    pub(super) troubles: u64,
    /// `promoted`, `rolled back` or `ended`, when it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OneShare {
    Share(f64),
    Tenant(String),
    Collection(String),
}

#[derive(Serialize)]
pub(super) struct Comparison {
    pub(super) trial: Option<OneTrial>,
    /// The end of the last trial, when none goes on.
    pub(super) last_trial: Option<OneTrial>,
    /// Those of the trial that goes on, or of the last one. The newest first.
    pub(super) differences: Vec<OneDifference>,
}

#[derive(Serialize)]
pub(super) struct OneDifference {
    pub(super) at_ms: u64,
    pub(super) request: u64,
    pub(super) action: &'static str,
    pub(super) tenant: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) active: String,
    pub(super) tried: String,
}

#[derive(Serialize)]
pub(super) struct Done {
    pub(super) slot: &'static str,
    /// `swapped`, `kept`, or `unchanged` when it decides already.
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) swap: Option<u64>,
    /// None for Achromat's own rules.
    pub(super) version: Option<OneVersion>,
}

impl From<Decider> for OneDecider {
    fn from(decider: Decider) -> Self {
        let (decides, version) = match decider {
            Decider::Native => ("native", None),
            Decider::Version(id) => ("version", Some(id.0)),
            Decider::Nobody => ("nobody", None),
        };
        Self { decides, version }
    }
}

impl From<KeptVersion> for OneVersion {
    fn from(kept: KeptVersion) -> Self {
        let version = kept.version;
        Self {
            version: kept.id.0,
            name: version.name.to_string(),
            digest: version.digest.to_string(),
            bytes: kept.bytes,
            config: version.config.to_string(),
            source: version.origin.as_str(),
            made_at_ms: version.at.0,
            who: version.who.to_string(),
            taken_out: None,
        }
    }
}

impl From<KeptSwap> for OneSwap {
    fn from(kept: KeptSwap) -> Self {
        Self {
            seq: kept.seq.0,
            to: kept.swap.to.into(),
            swapped_at_ms: kept.swap.at.0,
            who: kept.swap.who.to_string(),
            why: kept.swap.why.to_string(),
        }
    }
}

impl From<Difference> for OneDifference {
    fn from(difference: Difference) -> Self {
        Self {
            at_ms: difference.at.0,
            request: difference.number,
            action: difference.action,
            tenant: difference.tenant,
            collection: difference.collection,
            active: difference.active,
            tried: difference.tried,
        }
    }
}

impl OneTrial {
    fn new(kind: TrialKind, version: Option<VersionId>, tally: Tally) -> Self {
        Self {
            kind: kind.as_str(),
            version: version.map(|id| id.0),
            asked: None,
            decisions: tally.decisions,
            diverged: tally.diverged,
            troubles: tally.troubles,
            outcome: None,
            reason: None,
        }
    }

    /// One that goes on.
    pub(in crate::admin) fn going(version: Option<VersionId>, trial: &Trial, tally: Tally) -> Self {
        let asked = match trial.share.clone() {
            Share::Of(share) => OneShare::Share(share),
            Share::Tenant(name) => OneShare::Tenant(name),
            Share::Collection(name) => OneShare::Collection(name),
        };
        Self {
            asked: Some(asked),
            ..Self::new(trial.kind, version, tally)
        }
    }

    fn ended(ended: Ended) -> Self {
        let (outcome, reason) = match ended.outcome {
            Outcome::Promoted => ("promoted", None),
            Outcome::RolledBack(reason) => ("rolled back", Some(reason)),
            Outcome::Ended(reason) => ("ended", Some(reason)),
        };
        Self {
            outcome: Some(outcome),
            reason,
            ..Self::new(ended.kind, ended.version, ended.tally)
        }
    }
}

impl From<Stands> for OneSlot {
    fn from(stands: Stands) -> Self {
        let decider = OneDecider::from(stands.decider);
        let taken_out = stands.taken_out;
        let versions = stands.versions.into_iter().map(|kept| OneVersion {
            taken_out: taken_out.get(&kept.id).map(|out| OneReason {
                at_ms: out.swap.at.0,
                why: out.swap.why.to_string(),
            }),
            ..OneVersion::from(kept)
        });
        let swaps = stands.swaps.into_iter().take(SWAPS_LISTED_MAX);
        Self {
            slot: stands.slot.as_str(),
            decides: decider.decides,
            version: decider.version,
            versions: versions.collect(),
            last_trouble: stands
                .trouble
                .map(|(at, why)| OneReason { at_ms: at.0, why }),
            swaps: swaps.map(Into::into).collect(),
            trial: stands
                .trial
                .map(|(version, trial, tally)| OneTrial::going(version, &trial, tally)),
            last_trial: stands.ended.map(OneTrial::ended),
        }
    }
}
