//! A write: judged, then handed to the log.
//!
//! A write with a key is first looked for in the store: what was done under it is not judged anew
//! (a repeated delete would find nothing to delete) but told again.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use achromat_core::{
    ids::LaneId,
    key::{Fingerprint, KeyRecord, Keyed, Under},
    reply::{self, Reply},
    route::{Captures, Route, Target},
};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{App, intake::Intake, judge::Judged};
use crate::{policy::Generations, replicate::Told};

/// Pause before the store is asked again for an outcome that is about to be recorded.
const OUTCOME_PAUSE: Duration = Duration::from_millis(20);

/// A write as its client sent it.
pub(super) struct Asked<'a> {
    pub(super) intake: &'a Intake,
    pub(super) route: &'a Route,
    pub(super) captures: &'a Captures<'a>,
    /// Counts writes.
    pub(super) number: u64,
    /// The policies that it lives in.
    pub(super) generations: Generations,
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
        if let Some(reply) = self.refusal_of_writes() {
            return reply;
        }
        let key = match intake.key(captures.tenant.as_deref()) {
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
            number: self.writes.fetch_add(1, Relaxed),
            generations: self.policies.generations(),
        };
        match keyed {
            None => self.write_plainly(&asked, body).await,
            Some(keyed) => self.write_under(&keyed, &asked, body).await,
        }
    }

    async fn write_plainly(&self, asked: &Asked<'_>, body: Bytes) -> Reply {
        let deadline = self.settings.write_deadline;
        let (judged, _space) = match self.judge(asked, body).await {
            Ok(judged) => judged,
            Err(reply) => return reply,
        };
        let (told, unknown) = match judged {
            Judged::Logged(permit) => (
                self.replicator.submit(permit, deadline).await,
                "its collection was deleted meanwhile",
            ),
            Judged::Local(write) => (
                self.replicator.submit_locally(write, deadline).await,
                "it has no key, and one was found",
            ),
        };
        match told {
            Told::Reply(reply) => reply,
            Told::AskAgain => reply::outcome_unknown(unknown),
        }
    }

    /// A write with a key: done once, by whoever comes first.
    async fn write_under(&self, keyed: &Keyed, asked: &Asked<'_>, body: Bytes) -> Reply {
        // The question would wait for a database that does not answer.
        if !self.replicator.view().store_is_up {
            return unreadable_now();
        }
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
                Under::First => match (refusal.take(), self.judge(asked, body.clone()).await) {
                    (_, Ok((Judged::Local(_), _))) => return without_key(),
                    (_, Ok((Judged::Logged(permit), _space))) => {
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
}

/// Refusal of a key for a write that is not logged: its outcome is not remembered either.
fn without_key() -> Reply {
    let message = "The WAL policy keeps this write out of the log, so that a key can't be kept for it; send it without one";
    Reply::error(400, "InvalidArgumentError", message)
}

fn unreadable(error: &crate::store::StoreError) -> Reply {
    tracing::debug!(%error, "a key can't be looked up");
    unreadable_now()
}

fn unreadable_now() -> Reply {
    let message = "The log can't be read at the moment; repeat the request under its key";
    reply::unavailable(message, 1)
}
