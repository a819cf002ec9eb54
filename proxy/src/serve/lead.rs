//! The lease of a proxy that leads its fleet, as its requests need it.
//!
//! A process that was frozen for longer than its lease goes on as if it still led. So each request asks for the
//! lease when it comes, and a read again before its answer is given: another proxy may have led in between, and
//! have acknowledged writes that this one does not know.

use std::sync::Arc;

use achromat_core::{
    fleet::{Question, Reserve, Teller},
    health::Sign,
    reply::{self, Reply},
    route::Target,
};

use parking_lot::Mutex;

use super::{App, Follower, follow};
use crate::{
    fleet::Fleet,
    leave::{self, Leave, Standing},
};

/// The part of a fleet's leader.
pub struct Lead {
    /// Leave to send and to answer, as long as the lease lasts.
    pub leave: Leave,
    /// Teller of the view to followers.
    pub teller: Arc<Mutex<Teller>>,
    /// Its fleet.
    pub fleet: Arc<Fleet>,
    /// Server of those who still come when another proxy leads.
    pub follower: Arc<Follower>,
    /// True when reads are served while the database can't be reached.
    pub reads_when_blind: bool,
}

impl App {
    /// The server of a request when another proxy of the fleet leads. Waits until that is known.
    pub(super) async fn successor(&self) -> Option<&Follower> {
        let lead = self.lead.as_ref()?;
        let is_over = lead.leave.settled().await == Standing::Ended;
        is_over.then_some(&lead.follower)
    }

    /// Judges if the answer of a read may be given: as far as this proxy knows, nobody else leads. Waits until
    /// that is known.
    pub(super) async fn may_answer(&self) -> Result<(), Reply> {
        let Some(lead) = &self.lead else {
            return Ok(());
        };
        match lead.leave.settled().await {
            Standing::Valid => Ok(()),
            Standing::Blind if lead.reads_when_blind => Ok(()),
            Standing::Blind | Standing::Lapsed => Err(reply::unavailable(
                "The database can't be reached, so that another proxy may lead and know of newer writes",
                1,
            )),
            Standing::Ended => Err(reply::unavailable("Another proxy leads the fleet now", 1)),
        }
    }

    /// Refusal of a write while the database has gone back.
    pub(super) fn refusal_of_writes(&self) -> Option<Reply> {
        let loss = self.lead.as_ref()?.fleet.loss()?;
        Some(follow::refusal(loss))
    }

    /// The answer to a follower that asks for the view.
    pub(super) fn tell_follower(&self, target: &Target<'_>) -> Reply {
        let question = Question::parse(target.path, target.query);
        let (Some(lead), Some(question)) = (&self.lead, question) else {
            return reply::unknown_route("GET", target.path);
        };
        let reserve = Reserve {
            is_routed: !self.policies.routing.generation().is_native(),
            needs_token: self.edge.access.is_required(),
            has_quotas: self.edge.quotas.counts_requests(),
        };
        for instance in question.silent(self.instances.len()) {
            self.replicator.notice(instance, Sign::Silent);
        }
        let view = self.replicator.view();
        let mut teller = lead.teller.lock();
        let told = teller.answer(question, &view, reserve, leave::now());
        drop(teller);
        // After the view was taken: nobody else has led up to then.
        if !lead.leave.is_valid() {
            return reply::unavailable("The lease is over", 1);
        }
        match serde_json::to_string(&told) {
            Ok(told) => Reply::json(200, told),
            Err(error) => {
                tracing::error!(%error, "the view can't be told to a follower");
                reply::unavailable("The view can't be told", 1)
            }
        }
    }
}
