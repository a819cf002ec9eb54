//! Reasons for which a plugin has no answer.

use achromat_core::policy::Nonsense;
use wasmtime::Trap;

use super::host::Overstep;

/// The reason for which a call has no answer. The plugin's instance is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It used up its fuel.
    #[error("it used up its fuel")]
    Fuel,
    /// It met its deadline.
    #[error("it did not end before its deadline")]
    Deadline,
    /// It met another bound.
    #[error(transparent)]
    Overstep(#[from] Overstep),
    /// It trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// Its answer can't be read.
    #[error("what it answered can't be read: {0}")]
    Unreadable(String),
    /// Its answer makes no sense.
    #[error("its answer makes no sense: {0}")]
    Nonsense(#[from] Nonsense),
    /// No instance could be made.
    #[error("no instance of it could be made: {0}")]
    NoInstance(String),
}

/// Kinds of [`Trouble`], for figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "as in Trouble")]
pub enum TroubleKind {
    Fuel,
    Deadline,
    Overstep,
    Trap,
    Nonsense,
    NoInstance,
}

impl TroubleKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Fuel,
        Self::Deadline,
        Self::Overstep,
        Self::Trap,
        Self::Nonsense,
        Self::NoInstance,
    ];

    /// The word in the operator's interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Deadline => "deadline",
            Self::Overstep => "limit",
            Self::Trap => "trap",
            Self::Nonsense => "nonsense",
            Self::NoInstance => "no_instance",
        }
    }
}

impl Trouble {
    /// The trouble behind an error of wasmtime.
    pub(super) fn of(error: &wasmtime::Error) -> Self {
        if let Some(overstep) = error.downcast_ref::<Overstep>() {
            return Self::Overstep(*overstep);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::Fuel,
            Some(Trap::Interrupt) => Self::Deadline,
            Some(trap) => Self::Trap(trap.to_string()),
            None => Self::Unreadable(error.root_cause().to_string()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Fuel => TroubleKind::Fuel,
            Self::Deadline => TroubleKind::Deadline,
            Self::Overstep(_) => TroubleKind::Overstep,
            Self::Trap(_) => TroubleKind::Trap,
            Self::Unreadable(_) | Self::Nonsense(_) => TroubleKind::Nonsense,
            Self::NoInstance(_) => TroubleKind::NoInstance,
        }
    }
}
