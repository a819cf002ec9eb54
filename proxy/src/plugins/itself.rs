//! Records what a slot did by itself: a version taken out of service, a trial that ended.

use achromat_core::policy::{Decider, Tally, Verdict, VersionId};

use super::{
    LifeError,
    life::{Life, Reason},
    told::{Ended, Outcome},
};
use crate::policy::World;

impl<W: World> Life<W> {
    /// Records what the slot did when a version had trouble; when nothing was ready to go back to,
    /// goes back to the nearest version before.
    pub(super) async fn quarantined(
        &self,
        bad: Option<VersionId>,
        why: &str,
        ready: Option<VersionId>,
    ) {
        let shelf = self.shared.shelf();
        let active = shelf.last_swap(W::SLOT).map(|last| last.swap.to);
        if active != bad.map(Decider::Version) {
            // Somebody has swapped since.
            return;
        }
        let mut steps =
            std::iter::successors(shelf.last_swap(W::SLOT), |kept| shelf.before(&kept.swap));
        let good = steps.find(|kept| match (kept.swap.to, ready) {
            (Decider::Version(id), Some(ready)) => id == ready,
            (Decider::Version(id), None) => Some(id) != bad,
            (Decider::Native | Decider::Nobody, _) => false,
        });
        let to = good.map_or(Decider::Nobody, |kept| kept.swap.to);
        let before = good.and_then(|kept| kept.swap.before);
        if let (Decider::Version(id), None) = (to, ready) {
            self.restore(id).await;
        }
        let reason = Reason {
            taken_out: bad,
            ..Reason::new("achromat", why)
        };
        if let Err(error) = self.record(to, before, reason).await {
            tracing::error!(slot = W::SLOT.as_str(), %error, "a fallback could not be recorded");
        }
    }

    async fn restore(&self, id: VersionId) {
        let Some(kept) = self.kept(id) else {
            return;
        };
        match self.load(&kept).await {
            // Somebody may have put another one there since.
            Ok(version) if self.place().generation().is_vacant() => {
                self.place().roll_back_to(Some(version));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(slot = W::SLOT.as_str(), %error, "the last good version does not start");
            }
        }
    }

    /// Makes the version on trial the active one.
    async fn promote(&self, id: VersionId, tally: Tally) -> Result<(), LifeError> {
        let Some(kept) = self.kept(id) else {
            return Ok(());
        };
        let version = self.load(&kept).await?;
        let why = format!(
            "as a canary it made {} decisions, {} of them unlike the active version's, and had {} troubles",
            tally.decisions, tally.diverged, tally.troubles
        );
        let reason = Reason {
            outcome: Outcome::Promoted,
            ..Reason::new("achromat", &why)
        };
        self.put(Some((kept, version)), reason).await?;
        Ok(())
    }

    pub(super) async fn tried(&self, ended: Ended, verdict: Verdict) {
        match (verdict, ended.version) {
            (Verdict::Promote, Some(id)) => {
                let generation = self.place().generation();
                let tried = generation.trial().and_then(|tried| tried.version().id());
                // Somebody may have ended it since.
                if tried == Some(id)
                    && let Err(error) = self.promote(id, ended.tally).await
                {
                    tracing::error!(slot = W::SLOT.as_str(), %error, "a canary could not be promoted");
                }
            }
            (Verdict::End(reason), _) => self.remember_end(Ended {
                outcome: Outcome::RolledBack(reason),
                ..ended
            }),
            (Verdict::Promote | Verdict::GoesOn, _) => {}
        }
    }
}
