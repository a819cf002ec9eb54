//! What a slot is asked, put to one version after the other: each sees of it what it wants.

use achromat_core::policy::Subject;

use super::{recorded::Taking, version::Wanted, world::World};

/// Something that versions are asked.
pub trait Asked<W: World> {
    /// Makes the question for a version that wants to see this, and has it asked.
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(W::Question<'_>) -> R) -> R;

    /// What it is about, for those who choose and those who compare.
    fn subject(&self) -> Subject<'_>;

    /// What is recorded of it, so that it can be asked again.
    fn record(&self, taking: Taking<'_>) -> W::Recorded;
}
