//! Instances whose disk was replaced by an old backup: before they are made whole again nobody
//! sends them anything and asks them for nothing, but the jobs that do that.

use achromat_core::{catalog::Change, health::probe_target, ids::InstanceIx};
use serde_json::Value;

use super::Oracle;
use crate::{
    model::Server,
    wire::{Request, Sender},
};

impl Oracle {
    /// Whether a backup shows that it is older than what is durably known of its instance.
    pub fn is_past(&self, instance: InstanceIx, backup: &Server) -> bool {
        let Some(known) = self.markers.get(&instance) else {
            return false;
        };
        let target = probe_target(Some(*known));
        let answer = backup.clone().handle("GET", &target, b"");
        let shown: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = shown["metadata"]["token"].as_u64().unwrap_or_default();
        shown["id"] != known.id.0.to_string() || token < known.token.0
    }

    /// An instance has what it once had.
    pub fn set_back(&mut self, instance: InstanceIx) {
        self.wiped(instance);
        self.past.insert(instance);
        self.held.remove(&instance);
    }

    /// A follower gives its client what an instance has answered as it is now.
    pub fn given_by_follower(&mut self, instance: InstanceIx) {
        if self.past.contains(&instance) {
            let who = instance.0;
            self.violate(format!("a follower gives what {who} has from the past"));
        }
    }

    /// A request is about to be carried out.
    pub fn reaching(&mut self, request: &Request) {
        let instance = request.instance;
        let may_reach = match request.sender {
            // A follower asks the leader before it gives the answer.
            Sender::Probe { .. }
            | Sender::Read {
                by_follower: true, ..
            } => true,
            Sender::Job { .. } => self.held.contains(&instance),
            Sender::Entry { .. }
            | Sender::Question { .. }
            | Sender::Local { .. }
            | Sender::Read {
                by_follower: false, ..
            } => false,
        };
        if self.past.contains(&instance) && !may_reach {
            let (who, sender) = (instance.0, request.sender);
            self.violate(format!("{who} has data from the past and meets {sender:?}"));
        }
    }
}

/// The instance that is held by a change.
pub(super) fn held(change: &Change) -> Option<InstanceIx> {
    match change {
        Change::Instance { instance, record } if record.quarantine.is_some() => Some(*instance),
        _ => None,
    }
}
