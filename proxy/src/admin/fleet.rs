//! The proxies of a fleet: who is there, who leads, and the lease handed over.

use std::sync::Arc;

use achromat_core::reply::Reply;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Admin, json, problem};
use crate::{
    fleet::{Fleet, HandOverError},
    store::{Seen, StoreError},
};

#[derive(Serialize)]
struct List {
    /// Name of the proxy that leads; null when none does.
    leader: Option<String>,
    /// Number of the proxies that have led so far, each time counted.
    epoch: u64,
    proxy_count: usize,
    proxies: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    id: String,
    address: String,
    version: String,
    role: &'static str,
    /// False for one that has ended without saying so, or that can't reach the database.
    is_there: bool,
    seen_seconds_ago: f64,
    /// Number of reads that it has carried out itself while it followed; null when it passes all of them on.
    reads: Option<u64>,
}

impl Line {
    fn new(seen: Seen, reads: Option<u64>) -> Self {
        Self {
            reads,
            is_there: seen.is_there(),
            name: seen.proxy.name,
            id: seen.proxy.id.to_string(),
            address: seen.proxy.address,
            version: seen.version,
            role: if seen.leads { "leader" } else { "follower" },
            seen_seconds_ago: seen.ago.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
    /// Number of collections with a copy that is not read until it was compared.
    collections_to_compare: u64,
}

#[derive(Serialize)]
struct HandingOver {
    status: &'static str,
    to: String,
}

impl Admin {
    pub(super) async fn fleet(&self) -> Reply {
        let fleet = match self.fleet_if_any() {
            Ok(fleet) => fleet,
            Err(refusal) => return refusal,
        };
        match self.list(fleet).await {
            Ok(list) => json(200, &list),
            Err(error) => unanswered(&error),
        }
    }

    /// Has the lease handed over to another proxy.
    pub(super) async fn hand_over(&self, body: &Bytes) -> Reply {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct To {
            to: Option<String>,
        }
        let To { to } = match serde_json::from_slice(body) {
            Ok(to) => to,
            Err(_) if body.is_empty() => To::default(),
            Err(error) => {
                let detail = format!("The body must be like {{\"to\": \"NAME\"}}: {error}");
                return problem(400, "Bad body", &detail);
            }
        };
        let fleet = match self.fleet_if_any() {
            Ok(fleet) => fleet,
            Err(refusal) => return refusal,
        };
        match fleet.hand_over(to.as_deref()).await {
            Ok(heir) => json(
                202,
                &HandingOver {
                    status: "handing over",
                    to: heir.name,
                },
            ),
            Err(HandOverError::Store(error)) => unanswered(&error),
            Err(error) => problem(409, "Nothing is handed over", &error.to_string()),
        }
    }

    async fn list(&self, fleet: &Fleet) -> Result<List, StoreError> {
        let (epoch, holder) = fleet.lease().await?;
        let line = |seen: Seen| {
            let teller = self.facts.teller.as_ref();
            let reads = teller.and_then(|teller| teller.lock().reads_of(seen.proxy.id));
            Line::new(seen, reads)
        };
        let proxies: Vec<Line> = fleet.members().await?.into_iter().map(line).collect();
        Ok(List {
            leader: holder.map(|holder| holder.name),
            epoch: epoch.0,
            proxy_count: proxies.len(),
            proxies,
        })
    }

    /// Accepts a database that has gone back as it is.
    pub(super) async fn accept_database(&self) -> Reply {
        match self.fleet_if_any() {
            Ok(fleet) => accept_database(fleet).await,
            Err(refusal) => refusal,
        }
    }

    fn fleet_if_any(&self) -> Result<&Arc<Fleet>, Reply> {
        self.facts.fleet.as_ref().ok_or_else(|| {
            let kind = self.facts.capacity.database;
            let detail = format!(
                "This proxy is alone: its store is {kind}, and proxies of a fleet share a PostgreSQL database"
            );
            problem(404, "No fleet", &detail)
        })
    }
}

/// Accepts a database that has gone back, at whichever proxy an operator says so.
pub async fn accept_database(fleet: &Fleet) -> Reply {
    match fleet.accept_database().await {
        Ok(Some(collections_to_compare)) => json(
            200,
            &Accepted {
                status: "accepted",
                collections_to_compare,
            },
        ),
        Ok(None) => {
            let detail = "The database lacks nothing that a proxy has seen";
            problem(409, "Nothing is to be accepted", detail)
        }
        Err(error) => unanswered(&error),
    }
}

fn unanswered(error: &StoreError) -> Reply {
    problem(503, "The database does not answer", &error.to_string())
}
