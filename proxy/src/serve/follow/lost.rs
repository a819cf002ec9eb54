//! Answers of a proxy that follows nobody, because its database has gone back and no proxy leads.

use achromat_core::{
    fleet::Loss,
    reply::{self, Reply},
};
use serde_json::json;

use super::{Follower, Passed};
use crate::admin::accept_database;

/// Path of the call by which an operator accepts the database.
const ACCEPT: &str = "/admin/fleet/accept-database";

/// Seconds after which a client may ask again: an operator has to do something first.
const RETRY_AFTER_S: u32 = 5;

/// Refusal of a request while the database has gone back.
pub(in crate::serve) fn refusal(loss: Loss) -> Reply {
    let mut words = loss.to_string();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    reply::unavailable(&format!("{words}. Nothing was done"), RETRY_AFTER_S)
}

impl Follower {
    /// The answer when the leader can't be asked because the database has gone back.
    pub(super) async fn answer_without_leader(&self, passed: &Passed<'_>) -> Option<Reply> {
        let loss = self.trust.fleet.loss()?;
        let path = passed.target.split('?').next().unwrap_or_default();
        Some(match (passed.method, path) {
            ("POST", ACCEPT) if passed.may_operate => accept_database(&self.trust.fleet).await,
            ("POST", ACCEPT) => reply::denied("The operator's token is needed"),
            ("GET", "/health" | "/status") => {
                let reasons = [loss.to_string()];
                let body = json!({
                    "status": "degraded",
                    "service": "achromat",
                    "version": env!("CARGO_PKG_VERSION"),
                    "reasons": reasons,
                    "degraded_because": reasons,
                });
                Reply::json(503, body.to_string())
            }
            _ => refusal(loss),
        })
    }
}
