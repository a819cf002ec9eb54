//! The question of a slot. It is put to one version after the other, and each sees the parts that it wants.

use achromat_core::policy::Subject;

use super::{recorded::Taking, version::Wanted, world::World};

/// A question to versions.
pub trait Asked<W: World> {
    /// Makes the question for a version that wants to see this, and has it asked.
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(W::Question<'_>) -> R) -> R;

    /// The number, tenant and collection of the question, for a trial's share and its differences.
    fn subject(&self) -> Subject<'_>;

    /// The action of the request, or the deed, in the contract's word.
    fn action(&self) -> &'static str;

    /// Records the question in a form that can be asked again.
    fn record(&self, taking: Taking<'_>) -> W::Recorded;
}
