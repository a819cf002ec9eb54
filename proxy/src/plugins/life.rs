//! The versions of one slot: pushed, swapped, rolled back, and what comes of the slot's own doing.

use std::sync::Arc;

use achromat_core::policy::{
    Decider, Digest, KeptSwap, KeptVersion, NewSwap, Origin, ShelfWrite, Slot, SwapSeq, Trial,
    VersionId,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    LifeError,
    shared::Shared,
    source::Said,
    told::{Ended, Offer, Outcome, Stands, Swapped},
};
use crate::{
    clock,
    policy::{
        Difference, Notice, Policies, Recording, Slot as PolicySlot, SlotConfig, Tried, Version,
        World,
    },
};

/// The versions of one slot, whichever slot that is.
#[async_trait]
pub(super) trait SlotLife: Send + Sync {
    fn slot(&self) -> Slot;
    fn stands(&self) -> Stands;
    fn listen(&self, notices: mpsc::UnboundedSender<(Slot, Notice)>);
    fn set_recording(&self, recording: Recording);
    fn recorded(&self) -> Vec<Arc<str>>;
    async fn begin(&self) -> Result<(), LifeError>;
    async fn push(&self, offer: Offer) -> Result<Swapped, LifeError>;
    async fn swap(&self, word: &str, who: &str, again: bool) -> Result<Swapped, LifeError>;
    async fn roll_back(&self, who: &str) -> Result<Swapped, LifeError>;
    async fn try_out(
        &self,
        word: &str,
        trial: Trial,
        replaces: Option<&str>,
    ) -> Result<(), LifeError>;
    fn end_trial(&self, who: &str) -> bool;
    async fn reload(&self, config: SlotConfig) -> Result<(), LifeError>;
    async fn noticed(&self, notice: Notice);
}

/// The versions of a slot.
pub(super) struct Life<W: World> {
    pub(super) shared: Arc<Shared>,
    of: fn(&Policies) -> &PolicySlot<W>,
    pub(super) config: Mutex<SlotConfig>,
    ended: Mutex<Option<Ended>>,
}

/// The author, the reason and the outcome of a swap.
pub(super) struct Reason<'a> {
    pub(super) who: &'a str,
    pub(super) why: &'a str,
    /// The origin, and the text that named the version there. It is kept with the swap: the same text is
    /// no news later.
    pub(super) said: Option<(Origin, String)>,
    /// The outcome for the version on trial.
    pub(super) outcome: Outcome,
    /// The version that is taken out of service for its troubles.
    pub(super) taken_out: Option<VersionId>,
}

impl<'a> Reason<'a> {
    pub(super) fn new(who: &'a str, why: &'a str) -> Self {
        Self {
            who,
            why,
            said: None,
            outcome: Outcome::Ended("the slot was swapped".to_owned()),
            taken_out: None,
        }
    }
}

impl<W: World> Life<W> {
    pub(super) fn new(
        shared: &Arc<Shared>,
        of: fn(&Policies) -> &PolicySlot<W>,
        config: SlotConfig,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            of,
            config: Mutex::new(config),
            ended: Mutex::new(None),
        }
    }

    pub(super) fn place(&self) -> &PolicySlot<W> {
        (self.of)(self.shared.policies())
    }

    /// Records that somebody else decides from now on.
    pub(super) async fn record(
        &self,
        to: Decider,
        before: Option<SwapSeq>,
        reason: Reason<'_>,
    ) -> Result<SwapSeq, LifeError> {
        let shelf = self.shared.shelf();
        let seq = shelf.next_swap();
        let swap = NewSwap {
            slot: W::SLOT,
            to,
            before,
            at: clock::wall_time(),
            who: reason.who.into(),
            why: reason.why.into(),
            taken_out: reason.taken_out,
        };
        let mut writes = vec![ShelfWrite::Swap(KeptSwap { seq, swap })];
        writes.extend(said::<W>(reason.said));
        let old = shelf.old_swaps(W::SLOT).into_iter();
        writes.extend(old.map(ShelfWrite::ForgetSwap));
        self.shared.write(&writes).await?;
        // That a new store begins without plugins is no news.
        if before.is_some() || to != Decider::Native {
            tracing::info!(
                slot = W::SLOT.as_str(),
                decides = ?to,
                who = reason.who,
                why = reason.why,
                "a slot was swapped"
            );
        }
        Ok(seq)
    }

    /// Puts a version into service, or Achromat's own rules.
    pub(super) async fn put(
        &self,
        version: Option<(KeptVersion, Arc<Version<W>>)>,
        reason: Reason<'_>,
    ) -> Result<Swapped, LifeError> {
        let to = version
            .as_ref()
            .map_or(Decider::Native, |(kept, _)| Decider::Version(kept.id));
        let shelf = self.shared.shelf();
        let last = shelf.last_swap(W::SLOT);
        let (kept, version) = version.unzip();
        if last.is_some_and(|last| last.swap.to == to) {
            self.shared.write(&said::<W>(reason.said)).await?;
            return Ok(Swapped {
                version: kept,
                seq: None,
            });
        }
        let outcome = reason.outcome.clone();
        let seq = self.record(to, last.map(|last| last.seq), reason).await?;
        self.tell_end(outcome);
        self.activate(version);
        Ok(Swapped {
            version: kept,
            seq: Some(seq),
        })
    }

    fn activate(&self, version: Option<Arc<Version<W>>>) {
        match version {
            Some(version) => self.place().swap(version),
            None => self.place().swap_native(),
        }
    }

    /// Remembers how a trial ended, when there is one.
    pub(super) fn tell_end(&self, outcome: Outcome) {
        let generation = self.place().generation();
        let Some(tried) = generation.trial() else {
            return;
        };
        let ended = Ended {
            version: tried.version().id(),
            kind: tried.trial().kind,
            outcome,
            tally: tried.tally(),
            differences: newest_first(tried.differences()),
        };
        self.remember_end(ended);
    }

    pub(super) fn remember_end(&self, ended: Ended) {
        tracing::info!(
            slot = W::SLOT.as_str(),
            version = ended.version.map(|id| id.0),
            kind = ended.kind.as_str(),
            outcome = ?ended.outcome,
            decisions = ended.tally.decisions,
            diverged = ended.tally.diverged,
            troubles = ended.tally.troubles,
            "a trial is over"
        );
        *self.ended.lock() = Some(ended);
    }
}

pub(super) fn newest_first(mut differences: Vec<Difference>) -> Vec<Difference> {
    differences.reverse();
    differences
}

fn said<W: World>(said: Option<(Origin, String)>) -> Vec<ShelfWrite> {
    let said = said.map(|(origin, words)| ShelfWrite::Said {
        slot: W::SLOT,
        origin,
        words,
    });
    said.into_iter().collect()
}

#[async_trait]
impl<W: World> SlotLife for Life<W> {
    fn slot(&self) -> Slot {
        W::SLOT
    }

    fn stands(&self) -> Stands {
        let shelf = self.shared.shelf();
        let generation = self.place().generation();
        let tried = generation.trial();
        let of_slot = |slot: Slot| slot == W::SLOT;
        let versions = shelf.versions.values().rev();
        let taken_out = shelf.versions.keys().filter_map(|id| {
            let swap = shelf.taken_out(*id)?;
            Some((*id, swap.clone()))
        });
        let trouble = generation
            .version()
            .and_then(|version| version.last_trouble());
        let swaps = shelf.swaps.values().rev();
        Stands {
            slot: W::SLOT,
            decider: shelf
                .last_swap(W::SLOT)
                .map_or(Decider::Native, |last| last.swap.to),
            versions: versions
                .filter(|kept| of_slot(kept.version.slot))
                .cloned()
                .collect(),
            taken_out: taken_out.collect(),
            trouble: trouble.map(|(at, trouble)| (at, trouble.to_string())),
            swaps: swaps
                .filter(|kept| of_slot(kept.swap.slot))
                .cloned()
                .collect(),
            trial: tried.map(|tried| {
                let id = tried.version().id();
                (id, tried.trial().clone(), tried.tally())
            }),
            differences: tried.map_or_else(Vec::new, |tried| newest_first(tried.differences())),
            ended: self.ended.lock().clone(),
        }
    }

    fn listen(&self, notices: mpsc::UnboundedSender<(Slot, Notice)>) {
        self.place().listen(Box::new(move |notice| {
            // Nobody listens any more when the proxy stops.
            let _told = notices.send((W::SLOT, notice));
        }));
    }

    fn set_recording(&self, recording: Recording) {
        self.place().record(recording);
    }

    fn recorded(&self) -> Vec<Arc<str>> {
        self.place().recorded()
    }

    async fn begin(&self) -> Result<(), LifeError> {
        let config = self.config.lock().clone();
        let configured = |error| LifeError::Configured {
            slot: W::SLOT,
            error: Box::new(error),
        };
        let said = Said::of(&config, &self.shared.trust())
            .await
            .map_err(configured)?;
        let key = (W::SLOT, Origin::Configuration);
        let shelf = self.shared.shelf();
        if shelf.said.get(&key) == Some(&said.words) {
            if let Some(component) = &said.component {
                let digest = Digest::of(&component.bytes);
                let is_it = |kept: &&KeptVersion| {
                    let version = &kept.version;
                    version.slot == W::SLOT
                        && version.digest == digest
                        && version.origin == Origin::Configuration
                };
                for kept in shelf.versions.values().filter(is_it) {
                    self.sign(kept, &component.bytes, component.signature.as_ref())
                        .await?;
                }
            }
            return self.resume().await;
        }
        self.apply(&config, said).await.map_err(configured)
    }

    async fn push(&self, offer: Offer) -> Result<Swapped, LifeError> {
        let version = self.keep(&offer).await?;
        if offer.swaps {
            self.check_again(version.0.id, offer.again)?;
            let reason = Reason {
                said: offer.words.map(|words| (offer.origin, words)),
                ..Reason::new(&offer.who, "pushed")
            };
            return self.put(Some(version), reason).await;
        }
        Ok(Swapped {
            version: Some(version.0),
            seq: None,
        })
    }

    async fn swap(&self, word: &str, who: &str, again: bool) -> Result<Swapped, LifeError> {
        let version = match word {
            "native" => None,
            "default" => {
                let (kept, version) = self.keep(&self.default_offer(who)).await?;
                self.check_again(kept.id, again)?;
                Some((kept, version))
            }
            word => {
                let kept = self.meant(word)?;
                self.check_again(kept.id, again)?;
                let version = self.load(&kept).await?;
                Some((kept, version))
            }
        };
        self.put(version, Reason::new(who, "swapped")).await
    }

    async fn roll_back(&self, who: &str) -> Result<Swapped, LifeError> {
        let shelf = self.shared.shelf();
        let last = shelf.last_swap(W::SLOT);
        let target = last.and_then(|last| shelf.before(&last.swap));
        let nothing = LifeError::NothingBefore { slot: W::SLOT };
        let target = target.ok_or(nothing)?.swap.clone();
        let kept = match target.to {
            Decider::Version(id) => self.kept(id),
            Decider::Native | Decider::Nobody => None,
        };
        let version = match &kept {
            Some(kept) => Some(self.load(kept).await?),
            None if matches!(target.to, Decider::Version(_)) => {
                return Err(LifeError::NothingBefore { slot: W::SLOT });
            }
            None => None,
        };
        let reason = Reason::new(who, "rolled back");
        let seq = self.record(target.to, target.before, reason).await?;
        self.tell_end(Outcome::Ended("the slot was rolled back".to_owned()));
        match target.to {
            Decider::Nobody => self.place().vacate(),
            Decider::Native | Decider::Version(_) => self.place().roll_back_to(version),
        }
        Ok(Swapped {
            version: kept,
            seq: Some(seq),
        })
    }

    async fn try_out(
        &self,
        word: &str,
        trial: Trial,
        replaces: Option<&str>,
    ) -> Result<(), LifeError> {
        trial.check().map_err(LifeError::Trial)?;
        self.check_replaces(replaces)?;
        let (kept, version) = match word {
            "default" => {
                self.keep(&self.default_offer(Origin::Operator.as_str()))
                    .await?
            }
            word => {
                let kept = self.meant(word)?;
                let version = self.load(&kept).await?;
                (kept, version)
            }
        };
        let shelf = self.shared.shelf();
        let last = shelf.last_swap(W::SLOT);
        if last.is_some_and(|last| last.swap.to == Decider::Version(kept.id)) {
            return Err(LifeError::DecidesAlready(kept.id.0));
        }
        self.tell_end(Outcome::Ended("another one is tried".to_owned()));
        tracing::info!(
            slot = W::SLOT.as_str(),
            plugin = kept.version.name.as_ref(),
            version = kept.id.0,
            kind = trial.kind.as_str(),
            "a trial begins"
        );
        let tried = Tried::new(trial, version);
        self.place().try_out(Some(Arc::new(tried)));
        Ok(())
    }

    fn end_trial(&self, who: &str) -> bool {
        let has_one = self.place().generation().trial().is_some();
        self.tell_end(Outcome::Ended(format!("{who} ended it")));
        self.place().try_out(None);
        has_one
    }

    async fn reload(&self, config: SlotConfig) -> Result<(), LifeError> {
        let configured = |error| LifeError::Configured {
            slot: W::SLOT,
            error: Box::new(error),
        };
        let said = Said::of(&config, &self.shared.trust())
            .await
            .map_err(configured)?;
        let before = std::mem::replace(&mut *self.config.lock(), config.clone());
        let key = (W::SLOT, Origin::Configuration);
        let result = if self.shared.shelf().said.get(&key) != Some(&said.words) {
            self.apply(&config, said).await
        } else if before.budget != config.budget {
            self.tell_end(Outcome::Ended("the bounds have changed".to_owned()));
            self.resume().await
        } else {
            Ok(())
        };
        result.map_err(|error| {
            *self.config.lock() = before;
            configured(error)
        })
    }

    async fn noticed(&self, notice: Notice) {
        match notice {
            Notice::Quarantined {
                version,
                why,
                back_to,
            } => self.quarantined(version, &why, back_to).await,
            Notice::Tried {
                version,
                kind,
                tally,
                verdict,
                differences,
            } => {
                let ended = Ended {
                    version,
                    kind,
                    outcome: Outcome::Promoted,
                    tally,
                    differences: newest_first(differences),
                };
                self.tried(ended, verdict).await;
            }
        }
    }
}
