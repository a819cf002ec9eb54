//! Reads of records as reads of registers: nobody reads an older state than what was read before.

use std::collections::BTreeMap;

use achromat_core::ids::CollectionId;

use super::homes::Place;

/// The states of collections that were read so far, by reads in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Shown(BTreeMap<CollectionId, Vec<(u64, Place)>>);

impl Shown {
    /// The earliest state of a collection that a read may see which begins now: none before what an
    /// earlier read has seen that had ended.
    pub(super) fn floor(&self, collection: CollectionId, began: u64) -> Place {
        let shown = self.0.get(&collection).into_iter().flatten();
        let ended = shown.filter(|(ended, _)| *ended < began);
        ended
            .map(|(_, position)| *position)
            .max()
            .unwrap_or_default()
    }

    /// A read has seen a state. Of all states that it may have seen this is the earliest one, so that
    /// later reads are bound no more than they must be.
    pub(super) fn note(&mut self, collection: CollectionId, ended: u64, position: Place) {
        self.0
            .entry(collection)
            .or_default()
            .push((ended, position));
    }
}
