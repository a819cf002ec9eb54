//! What a plugin is: one trait for its start, and one for each slot.

use crate::{Choice, Eligibility, Instance, InstanceState, Operation, Permission, Question, Wants};

/// How every plugin begins.
pub trait Plugin: Sized + 'static {
    /// Takes the configuration as the operator wrote it; the empty text when there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right: the operator reads it.
    fn configure(config: &str) -> Result<(Self, Wants), String>;
}

/// A plugin of the routing slot.
pub trait Route: Plugin {
    /// All instances, in the order of the configuration; told before the first decision, and when
    /// they have changed.
    fn instances(&mut self, instances: Vec<Instance>) {
        drop(instances);
    }

    /// Where a request goes. `states` has every instance once, in their order.
    fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice;
}

/// A plugin of the WAL eligibility slot.
pub trait Judge: Plugin {
    /// What becomes of a write.
    fn judge(&mut self, operation: &Operation) -> Eligibility;
}

/// A plugin of the clean-up guard's slot.
pub trait Permit: Plugin {
    /// Whether something may be destroyed.
    fn permit(&mut self, question: &Question) -> Permission;
}
