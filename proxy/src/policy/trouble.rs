//! Reasons for which a plugin has no answer, in words that lead its author to the place.

use std::fmt;

use achromat_core::policy::Nonsense;
use wasmtime::Trap;

use super::{
    host::{Overstep, State},
    limits::TROUBLE_BYTES_MAX,
    words_of_plugins,
};

/// The reason for which a call has no answer. The plugin's instance is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    cause: Cause,
    /// The functions in which it happened, the innermost first, or nothing when their names are not known.
    functions: String,
    /// The last error that the plugin logged in the same call, or nothing.
    words: String,
}

/// The kind of a trouble, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// It used up its fuel.
    Fuel,
    /// It met its deadline.
    Deadline,
    /// It met another bound.
    Overstep(Overstep),
    /// It ended itself: a panic, an exception that nobody caught.
    Abort,
    /// It trapped.
    Trap(Trap),
    /// Its answer can't be read.
    Unreadable(String),
    /// Its answer makes no sense.
    Nonsense(Nonsense),
    /// No instance could be made.
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

impl From<Nonsense> for Trouble {
    fn from(nonsense: Nonsense) -> Self {
        Self::bare(Cause::Nonsense(nonsense))
    }
}

impl Trouble {
    fn bare(cause: Cause) -> Self {
        Self {
            cause,
            functions: String::new(),
            words: String::new(),
        }
    }

    /// No instance could be made, for this reason.
    pub(super) fn no_instance(why: String) -> Self {
        Self::bare(Cause::NoInstance(why))
    }

    /// The trouble behind an error of wasmtime, and what the instance said last.
    pub(super) fn of(error: &wasmtime::Error, state: &State) -> Self {
        Self {
            cause: Cause::of(error),
            functions: words_of_plugins::functions(error),
            words: state.words().to_owned(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> TroubleKind {
        match &self.cause {
            Cause::Fuel => TroubleKind::Fuel,
            Cause::Deadline => TroubleKind::Deadline,
            Cause::Overstep(_) => TroubleKind::Overstep,
            Cause::Abort | Cause::Trap(_) => TroubleKind::Trap,
            Cause::Unreadable(_) | Cause::Nonsense(_) => TroubleKind::Nonsense,
            Cause::NoInstance(_) => TroubleKind::NoInstance,
        }
    }

    fn text(&self) -> String {
        let cause = &self.cause;
        let mut text = match (cause, self.words.as_str()) {
            // What it said is why it ended.
            (Cause::Abort, words) if !words.is_empty() => format!("it trapped: {words}"),
            (_, "") => format!("{cause}{}", self.place()),
            (_, words) => format!(
                "{cause}{}; the last error that it logged: {words}",
                self.place()
            ),
        };
        text.push_str(cause.mend(self.functions.is_empty() && self.words.is_empty()));
        words_of_plugins::clipped(&text, TROUBLE_BYTES_MAX)
    }

    fn place(&self) -> String {
        match self.functions.as_str() {
            "" => String::new(),
            functions => format!(", in {functions}"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for Trouble {}

impl Cause {
    fn of(error: &wasmtime::Error) -> Self {
        if let Some(overstep) = error.downcast_ref::<Overstep>() {
            return Self::Overstep(*overstep);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::Fuel,
            Some(Trap::Interrupt) => Self::Deadline,
            Some(Trap::UnreachableCodeReached) => Self::Abort,
            Some(trap) => Self::Trap(*trap),
            None => Self::Unreadable(error.root_cause().to_string()),
        }
    }

    /// The remedy, where there is one for all plugins. `is_bare` when nothing says where it happened.
    fn mend(&self, is_bare: bool) -> &'static str {
        match self {
            Self::Fuel => ". A loop may have no end; `fuel` is the bound",
            Self::Deadline => ". `deadline_ms` is the bound",
            Self::Overstep(Overstep::Memory { .. }) => ". `memory_bytes_max` is the bound",
            Self::Abort | Self::Trap(_) if is_bare => {
                ". It was built without names of functions, and logged no error in this call"
            }
            Self::Overstep(Overstep::Table { .. } | Overstep::HostCalls)
            | Self::Abort
            | Self::Trap(_)
            | Self::Unreadable(_)
            | Self::Nonsense(_)
            | Self::NoInstance(_) => "",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fuel => f.write_str("it used up its fuel"),
            Self::Deadline => f.write_str("it did not end before its deadline"),
            Self::Overstep(overstep) => overstep.fmt(f),
            Self::Abort => write!(f, "it trapped: {}", Trap::UnreachableCodeReached),
            Self::Trap(trap) => write!(f, "it trapped: {trap}"),
            Self::Unreadable(why) => write!(f, "what it answered can't be read: {why}"),
            Self::Nonsense(nonsense) => write!(f, "its answer makes no sense: {nonsense}"),
            Self::NoInstance(why) => write!(f, "no instance of it could be made: {why}"),
        }
    }
}
