//! Rule 12 of the design: a copy is held to be missing only when its instance does not have it.

use achromat_core::{
    catalog::Change,
    durable::Write,
    ids::{CollectionId, InstanceIx},
};

use super::Oracle;
use crate::model::Server;

/// How a quarantine begins to say that an instance has answered 404.
const MISSING: &str = "answered 404";

impl Oracle {
    /// Something is about to become durable. Instances that are out of service are made whole by jobs,
    /// which drop what the catalog says of them.
    pub fn check_evidence(&mut self, write: &Write, servers: &[&Server]) {
        let (Write::Record { changes, .. }
        | Write::Settle { changes, .. }
        | Write::Change(changes)) = write
        else {
            return;
        };
        for change in changes {
            if let Some((collection, instance)) = said_to_be_missing(change)
                && !makes_whole(changes, instance)
                && self.is_there((collection, instance), servers)
            {
                let who = instance.0;
                self.violate(format!(
                    "rule 12: {collection} is held to be missing on {who}, which has it"
                ));
            }
            self.note_copy(change);
        }
    }

    fn is_there(&self, copy: (CollectionId, InstanceIx), servers: &[&Server]) -> bool {
        let instance = copy.1;
        let is_out = self.out.contains(&instance) || self.wiped.contains(&instance);
        let id = self.copies.get(&copy);
        let server = servers.get(instance.at());
        let has = id.zip(server).is_some_and(|(id, server)| server.has(id.0));
        has && !is_out
    }

    fn note_copy(&mut self, change: &Change) {
        match change {
            Change::Made(made) => {
                let copies = InstanceIx::all(made.copies.len()).zip(&made.copies);
                for (instance, copy) in copies {
                    if let Some(id) = copy.id {
                        self.copies.insert((made.id, instance), id);
                    }
                }
            }
            Change::Copied {
                collection,
                instance,
                id,
            } => {
                self.copies.insert((*collection, *instance), *id);
            }
            _ => {}
        }
    }
}

/// Whether an instance is taken into service by these changes, which may be written twice.
fn makes_whole(changes: &[Change], instance: InstanceIx) -> bool {
    let is_about = |change: &Change| matches!(change, Change::Instance { instance: of, .. } if *of == instance);
    changes.iter().any(is_about)
}

fn said_to_be_missing(change: &Change) -> Option<(CollectionId, InstanceIx)> {
    match change {
        Change::Lost {
            collection,
            instance,
            ..
        } => Some((*collection, *instance)),
        Change::Quarantined {
            collection,
            instance,
            reason,
        } if reason.starts_with(MISSING) => Some((*collection, *instance)),
        _ => None,
    }
}
