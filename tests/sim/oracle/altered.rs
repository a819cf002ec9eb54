//! A record that somebody has changed on one instance, behind the proxy's back.
//!
//! Chroma shows in nothing that this did not come from the proxy: only a comparison of copies finds it.
//! When the instance becomes its collection's home before one has, its copy counts and the others do
//! not, so that the change is part of the collection from then on, like a write that is not logged.

use achromat_core::{
    catalog::Change,
    durable::Write,
    ids::{CollectionId, EntryId, InstanceIx},
    log::RecordAct,
};
use uuid::Uuid;

use super::Oracle;
use crate::model::Server;

/// The document that somebody gives a record.
pub const DOCUMENT: &str = "changed";

/// The body of the request by which somebody changes a record.
pub fn body(record: &str) -> String {
    format!(r#"{{"ids":["{record}"],"documents":["{DOCUMENT}"]}}"#)
}

impl Oracle {
    /// A record has been changed on an instance, by no fault of the proxy.
    pub fn altered(&mut self, instance: InstanceIx) {
        self.altered.insert(instance);
    }

    /// Whether somebody has changed a record.
    pub fn is_altered(&self) -> bool {
        !self.altered.is_empty()
    }

    /// Something has become durable. What somebody has changed in a copy that counts alone now is there.
    pub fn note_altered_homes(&mut self, write: &Write, servers: &[&Server], now: u64) {
        let Write::Settle { changes, .. } = write else {
            return;
        };
        for change in changes {
            if let Change::Homed {
                collection,
                home: Some(home),
            } = change
                && self.altered.contains(home)
            {
                self.note_altered_home((*collection, *home), servers, now);
            }
        }
    }

    fn note_altered_home(
        &mut self,
        copy: (CollectionId, InstanceIx),
        servers: &[&Server],
        now: u64,
    ) {
        let id = self.copies.get(&copy).copied();
        let Some((id, server)) = id.zip(servers.get(copy.1.at())) else {
            return;
        };
        let records = server.records_of(id.0).into_iter();
        let altered = records.filter(|(_, record)| record.document.as_deref() == Some(DOCUMENT));
        for (record, _) in altered {
            let number = self.homes.of(copy.0).len();
            let entry = EntryId(Uuid::from_u128(u128::try_from(number).expect("a count")));
            let change = (RecordAct::Update, body(&record).into());
            self.note_local((copy.0, entry), change, (now, 200));
        }
    }
}
