//! The bugs that are planted: those of `core`, and those of the world around it.

use achromat_core::planted::Bug;

use super::{
    mix::Mix,
    scopes::{self, Scope},
};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planting {
    /// One of `core`'s.
    Core(Bug),
    /// The store takes cursors from a proxy that was deposed.
    DeposedCursors,
    /// A positional body is logged as if nothing stood in it.
    BlindToPositions,
    /// The trash is emptied before its time.
    PurgesEarly,
}

impl Planting {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Core(Bug::AcknowledgesBeforeAppend),
        Self::Core(Bug::TwoUnrecorded),
        Self::Core(Bug::SkipsFailing),
        Self::Core(Bug::ForgetsUnknown),
        Self::Core(Bug::DoesNotSettle),
        Self::Core(Bug::RecreatesOldIdentity),
        Self::Core(Bug::ServesLagging),
        Self::Core(Bug::ShowsUndecided),
        Self::Core(Bug::TrimsTooFar),
        Self::Core(Bug::RebuildsWithoutLastStep),
        Self::Core(Bug::MergesDependent),
        Self::Core(Bug::HedgesHeavy),
        Self::Core(Bug::BusyIsDown),
        Self::Core(Bug::AnyMissingIsLoss),
        Self::Core(Bug::LosesLetters),
        Self::Core(Bug::NeverGone),
        Self::Core(Bug::SendsBeforeHome),
        Self::Core(Bug::StaysHome),
        Self::Core(Bug::LeavesHomeEarly),
        Self::Core(Bug::TrashVoids),
        Self::Core(Bug::BelievesOldView),
        Self::Core(Bug::OverlooksRevision),
        Self::Core(Bug::LosesDifference),
        Self::DeposedCursors,
        Self::BlindToPositions,
        Self::PurgesEarly,
    ];

    /// What it is called.
    pub fn name(self) -> String {
        match self {
            Self::Core(bug) => format!("{bug:?}"),
            Self::DeposedCursors => "DeposedCursors".to_owned(),
            Self::BlindToPositions => "BlindToPositions".to_owned(),
            Self::PurgesEarly => "PurgesEarly".to_owned(),
        }
    }

    /// The small scope in which it is looked for; any history will do for the others.
    pub fn scope(self) -> Option<Scope> {
        let is_meant = |scope: &Scope| match self {
            Self::Core(Bug::RebuildsWithoutLastStep) => scope.rebuilds,
            Self::Core(Bug::MergesDependent) => scope.name == scopes::MERGED,
            _ => false,
        };
        scopes::all().into_iter().find(is_meant)
    }

    /// The mix in which it is looked for.
    pub fn mix(self) -> Mix {
        match self {
            Self::Core(Bug::BelievesOldView | Bug::OverlooksRevision | Bug::LosesDifference) => {
                Mix::Fleet
            }
            _ => Mix::default(),
        }
    }

    /// The bug, when it is `core`'s.
    pub fn in_core(self) -> Option<Bug> {
        match self {
            Self::Core(bug) => Some(bug),
            Self::DeposedCursors | Self::BlindToPositions | Self::PurgesEarly => None,
        }
    }
}
