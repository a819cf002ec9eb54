//! A WAL-eligibility plugin's question, made of a write.

use achromat_core::policy::Eligibility;

use super::{
    request::Request,
    slot::{Generation, Slot},
    world::WalSlot,
};

impl Slot<WalSlot> {
    /// Asks the generation's plugin what becomes of a write. Without a plugin, the write is logged
    /// and replicated as configured.
    pub fn judge(&self, generation: &Generation<WalSlot>, request: &Request<'_>) -> Eligibility {
        let answer = self.consult(generation, request);
        answer.unwrap_or(Eligibility::SAFE)
    }
}
