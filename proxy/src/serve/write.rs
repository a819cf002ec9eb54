//! A write: judged, then handed to the log.
//!
//! A write with a key is first looked for in the store: what was done under it is not judged anew
//! (a repeated delete would find nothing to delete) but told again.

use std::time::Duration;

use achromat_core::{
    ids::LaneId,
    key::{Fingerprint, KeyRecord, Keyed, Under},
    reply::{self, Reply},
    route::{Captures, Route, Target},
    write::{Permit, WriteRules, permit},
};
use bytes::Bytes;
use http::header;
use tokio::time::{Instant, sleep};

use super::{App, intake::Intake};
use crate::{clock, policy::Asker, replicate::Told};

/// Pause before the store is asked again for an outcome that is about to be recorded.
const OUTCOME_PAUSE: Duration = Duration::from_millis(20);

/// A write as its client sent it.
struct Asked<'a> {
    intake: &'a Intake,
    route: &'a Route,
    captures: &'a Captures<'a>,
}

impl App {
    pub(super) async fn write(
        &self,
        intake: &Intake,
        route: &Route,
        captures: &Captures<'_>,
        target: &Target<'_>,
        body: Bytes,
    ) -> Reply {
        let key = match intake.key() {
            Ok(key) => key,
            Err(reply) => return reply,
        };
        let keyed = key.map(|key| Keyed {
            key,
            fingerprint: Fingerprint::of(intake.method.as_str(), target, &body),
        });
        let asked = Asked {
            intake,
            route,
            captures,
        };
        match keyed {
            None => self.write_plainly(&asked, body).await,
            Some(keyed) => self.write_under(&keyed, &asked, body).await,
        }
    }

    async fn write_plainly(&self, asked: &Asked<'_>, body: Bytes) -> Reply {
        let permit = match self.judge(asked, body) {
            Ok(permit) => permit,
            Err(reply) => return reply,
        };
        let deadline = self.settings.write_deadline;
        match self.replicator.submit(permit, deadline).await {
            Told::Reply(reply) => reply,
            Told::AskAgain => reply::outcome_unknown("its collection was deleted meanwhile"),
        }
    }

    /// A write with a key: done once, by whoever comes first.
    async fn write_under(&self, keyed: &Keyed, asked: &Asked<'_>, body: Bytes) -> Reply {
        let until = Instant::now() + self.settings.write_deadline;
        let mut refusal = None;
        loop {
            let record = match self.replicator.key(&keyed.key).await {
                Ok(record) => record,
                Err(error) => return unreadable(&error),
            };
            let left = until.saturating_duration_since(Instant::now());
            let told = match Under::of(record, keyed) {
                Under::Reused(reply) => return reply,
                Under::Repeat(record) => self.repeat(record, left).await,
                Under::First => match (refusal.take(), self.judge(asked, body.clone())) {
                    (_, Ok(permit)) => {
                        let permit = permit.under(keyed.clone());
                        self.replicator.submit(permit, left).await
                    }
                    (Some(reply), Err(_)) => return reply,
                    // The first one under the key may have been done since the store was asked,
                    // and be what this one is refused for.
                    (None, Err(reply)) => {
                        refusal = Some(reply);
                        continue;
                    }
                },
            };
            match told {
                Told::Reply(reply) => return reply,
                Told::AskAgain if left.is_zero() => {
                    return reply::outcome_unknown("it was not recorded in time");
                }
                Told::AskAgain => sleep(OUTCOME_PAUSE).await,
            }
        }
    }

    /// Waits for what was begun under a key.
    async fn repeat(&self, record: KeyRecord, left: Duration) -> Told {
        let level = match record.lane {
            LaneId::Collection(_) => self.settings.levels.records,
            LaneId::Schema => self.settings.levels.schema,
        };
        self.replicator.join(record, level, left).await
    }

    /// What stands above every policy judges first; then the guard's plugin may deny it.
    fn judge(&self, asked: &Asked<'_>, body: Bytes) -> Result<Permit, Reply> {
        let view = self.replicator.view();
        let rules = WriteRules {
            catalog: &view.catalog,
            guard: &self.guard,
            levels: self.settings.levels,
        };
        let content_type = asked.intake.header(&header::CONTENT_TYPE);
        let permit = permit(
            rules,
            asked.route.action,
            asked.captures,
            content_type,
            body,
            clock::fresh(),
        )?;
        let asker = Asker {
            client: asked.intake.client,
            is_operator: self.admin.is_operators(asked.intake.token()),
            headers: &asked.intake.headers,
        };
        let guard = &self.policies.guard;
        guard.permits(&guard.generation(), &view.catalog, permit.entry(), asker)?;
        Ok(permit)
    }
}

fn unreadable(error: &crate::store::StoreError) -> Reply {
    tracing::debug!(%error, "a key can't be looked up");
    let message = "The log can't be read at the moment; repeat the request under its key";
    reply::unavailable(message, 1)
}
