//! A WAL-eligibility plugin's question, made of a write.

use achromat_core::policy::Eligibility;

use super::{
    request::Request,
    slot::{Generation, Slot},
    world::WalSlot,
};

impl Slot<WalSlot> {
    /// What becomes of a write, as the generation's plugin says; what is configured when there is
    /// none.
    pub fn judge(&self, generation: &Generation<WalSlot>, request: &Request<'_>) -> Eligibility {
        let answer = self.consult(generation, request);
        answer.unwrap_or(Eligibility::SAFE)
    }
}
