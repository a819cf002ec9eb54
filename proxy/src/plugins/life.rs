//! The versions of one slot: pushed, swapped, rolled back, and what comes of the slot's own doing.

use std::sync::Arc;

use achromat_core::policy::{
    Decider, Digest, KeptSwap, KeptVersion, NewSwap, NewVersion, Origin, ShelfWrite, Slot, SwapSeq,
    Tally, Trial, TrialKind, Verdict, VersionId,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{LifeError, shared::Shared, source};
use crate::{
    clock,
    policy::{
        Choice, Difference, Notice, Policies, Recording, Slot as PolicySlot, SlotConfig, Source,
        Tried, Version, World, default_component, default_source,
    },
};

/// A version that is handed in.
#[derive(Clone, Debug)]
pub struct Offer {
    /// For people.
    pub name: Arc<str>,
    /// The component, or a core module.
    pub bytes: Bytes,
    /// Its configuration.
    pub config: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// Who hands it in.
    pub who: Arc<str>,
    /// Whether it is put into service.
    pub swaps: bool,
    /// What is kept together with the swap, so that it counts as said.
    pub words: Option<String>,
    /// Its signature, as minisign writes it, when it came along.
    pub signature: Option<Arc<str>>,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The version that it is about; `None` for Achromat's own rules.
    pub version: Option<KeptVersion>,
    /// The swap; `None` when the version decides already, or was only kept.
    pub seq: Option<SwapSeq>,
}

/// How the last trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The version that was tried.
    pub version: Option<VersionId>,
    /// How.
    pub kind: TrialKind,
    /// What became of it.
    pub outcome: Outcome,
    /// What it had come to.
    pub tally: Tally,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is active.
    Promoted,
    /// It went by itself, for this reason.
    RolledBack(String),
    /// Somebody ended it.
    Ended(String),
}

/// How a slot stands.
#[derive(Clone, Debug)]
pub struct Stands {
    /// The slot.
    pub slot: Slot,
    /// Who decides.
    pub decider: Decider,
    /// Its versions, the newest first.
    pub versions: Vec<KeptVersion>,
    /// Its swaps, the newest first.
    pub swaps: Vec<KeptSwap>,
    /// What is on trial.
    pub trial: Option<(Option<VersionId>, Trial, Tally)>,
    /// Where it differs, the newest first.
    pub differences: Vec<Difference>,
    /// How the last trial ended.
    pub ended: Option<Ended>,
}

/// The versions of one slot, whichever slot that is.
#[async_trait]
pub(super) trait SlotLife: Send + Sync {
    fn slot(&self) -> Slot;
    fn stands(&self) -> Stands;
    fn listen(&self, notices: mpsc::UnboundedSender<(Slot, Notice)>);
    fn record(&self, recording: Recording);
    fn recorded(&self) -> Vec<Arc<str>>;
    async fn begin(&self) -> Result<(), LifeError>;
    async fn push(&self, offer: Offer) -> Result<Swapped, LifeError>;
    async fn swap(&self, word: &str, who: &str) -> Result<Swapped, LifeError>;
    async fn roll_back(&self, who: &str) -> Result<Swapped, LifeError>;
    async fn try_out(&self, word: &str, trial: Trial) -> Result<(), LifeError>;
    fn end_trial(&self, who: &str) -> bool;
    async fn reload(&self, config: SlotConfig) -> Result<(), LifeError>;
    async fn noticed(&self, notice: Notice);
}

/// The versions of a slot.
pub(super) struct Life<W: World> {
    shared: Arc<Shared>,
    of: fn(&Policies) -> &PolicySlot<W>,
    config: Mutex<SlotConfig>,
    ended: Mutex<Option<Ended>>,
}

/// Why a swap is made, and by whom.
struct Reason<'a> {
    who: &'a str,
    why: &'a str,
    /// What is kept with it, so that it counts as said.
    said: Option<(Origin, String)>,
    /// What that is for what was on trial.
    outcome: Outcome,
}

impl<'a> Reason<'a> {
    fn new(who: &'a str, why: &'a str) -> Self {
        Self {
            who,
            why,
            said: None,
            outcome: Outcome::Ended("the slot was swapped".to_owned()),
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

    fn place(&self) -> &PolicySlot<W> {
        (self.of)(self.shared.policies())
    }

    /// Compiles, starts and asks it, beside the threads that serve.
    async fn compile(&self, source: Source) -> Result<Arc<Version<W>>, LifeError> {
        let shared = Arc::clone(&self.shared);
        let facts = self.place().facts();
        let compiled = tokio::task::spawn_blocking(move || {
            let engine = shared.engine()?;
            let version = Version::load(&engine, &source, &facts);
            version.map_err(|unfit| LifeError::Unfit {
                name: source.name,
                unfit: Box::new(unfit),
            })
        });
        Ok(Arc::new(compiled.await??))
    }

    /// Checks what is handed in, and keeps it unless it is kept.
    async fn keep(&self, offer: &Offer) -> Result<(KeptVersion, Arc<Version<W>>), LifeError> {
        let new = NewVersion {
            slot: W::SLOT,
            name: Arc::clone(&offer.name),
            digest: Digest::of(&offer.bytes),
            config: Arc::clone(&offer.config),
            origin: offer.origin,
            at: clock::wall_time(),
            who: Arc::clone(&offer.who),
        };
        let shelf = self.shared.shelf();
        if let Some(kept) = shelf.like(&new) {
            return Ok((kept.clone(), self.load(kept).await?));
        }
        let source = Source {
            name: Arc::clone(&offer.name),
            bytes: Arc::from(offer.bytes.as_ref()),
            config: Arc::clone(&offer.config),
            budget: self.config.lock().budget,
        };
        let version = self.compile(source).await?;
        let kept = KeptVersion {
            id: shelf.next_version(),
            bytes: u64::try_from(offer.bytes.len()).unwrap_or(u64::MAX),
            version: new,
        };
        let generation = self.place().generation();
        let tried = generation.trial().and_then(|tried| tried.version().id());
        let superfluous = shelf.superfluous(W::SLOT, tried).into_iter();
        let mut writes = vec![ShelfWrite::Keep(kept.clone(), offer.bytes.clone())];
        writes.extend(superfluous.map(ShelfWrite::Forget));
        self.shared.write(&writes).await?;
        version.is_kept_as(kept.id);
        tracing::info!(
            slot = W::SLOT.as_str(),
            plugin = kept.version.name.as_ref(),
            digest = %kept.version.digest,
            version = kept.id.0,
            "a version of a policy plugin is kept"
        );
        Ok((kept, version))
    }

    /// A version that is kept, ready to be asked.
    async fn load(&self, kept: &KeptVersion) -> Result<Arc<Version<W>>, LifeError> {
        let budget = self.config.lock().budget;
        if let Some(ready) = self.place().ready(kept.id, budget) {
            return Ok(ready);
        }
        let digest = kept.version.digest;
        let bytes = self.shared.store().component(digest).await?;
        let bytes = bytes.ok_or(LifeError::Lost { digest })?;
        let source = Source {
            name: Arc::clone(&kept.version.name),
            bytes: Arc::from(bytes.as_ref()),
            config: Arc::clone(&kept.version.config),
            budget,
        };
        let version = self.compile(source).await?;
        version.is_kept_as(kept.id);
        Ok(version)
    }

    fn kept(&self, id: VersionId) -> Option<KeptVersion> {
        self.shared.shelf().versions.get(&id).cloned()
    }

    /// Records that somebody else decides from now on.
    async fn record(
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
        };
        let mut writes = vec![ShelfWrite::Swap(KeptSwap { seq, swap })];
        writes.extend(said::<W>(reason.said));
        let old = shelf.old_swaps(W::SLOT).into_iter();
        writes.extend(old.map(ShelfWrite::ForgetSwap));
        self.shared.write(&writes).await?;
        tracing::info!(
            slot = W::SLOT.as_str(),
            decides = ?to,
            who = reason.who,
            why = reason.why,
            "a slot was swapped"
        );
        Ok(seq)
    }

    /// Puts a version into service, or Achromat's own rules.
    async fn put(
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
    fn tell_end(&self, outcome: Outcome) {
        let generation = self.place().generation();
        let Some(tried) = generation.trial() else {
            return;
        };
        let ended = Ended {
            version: tried.version().id(),
            kind: tried.trial().kind,
            outcome,
            tally: tried.tally(),
        };
        self.remember_end(ended);
    }

    fn remember_end(&self, ended: Ended) {
        tracing::info!(
            slot = W::SLOT.as_str(),
            version = ended.version.map(|id| id.0),
            kind = ended.kind.as_str(),
            outcome = ?ended.outcome,
            tally = ?ended.tally,
            "a trial is over"
        );
        *self.ended.lock() = Some(ended);
    }

    /// The version that a word means.
    fn meant(&self, word: &str) -> Result<KeptVersion, LifeError> {
        let shelf = self.shared.shelf();
        let found = shelf.find(W::SLOT, word);
        let number = word.parse().ok().map(VersionId);
        let by_number = found.iter().find(|kept| Some(kept.id) == number);
        if let Some(kept) = by_number {
            return Ok((*kept).clone());
        }
        let Some(newest) = found.first() else {
            let word = word.to_owned();
            return Err(LifeError::NoVersion {
                slot: W::SLOT,
                word,
            });
        };
        // A name means its newest version; the beginning of a digest means one component.
        let is_like = |kept: &&KeptVersion| {
            kept.version.name == newest.version.name || kept.version.digest == newest.version.digest
        };
        if found.iter().all(is_like) {
            return Ok((*newest).clone());
        }
        let ids: Vec<_> = found.iter().map(|kept| kept.id.0.to_string()).collect();
        Err(LifeError::Several {
            word: word.to_owned(),
            ids: ids.join(", "),
        })
    }

    /// The default policy, with the configuration that the slot's has when it is for it.
    fn default_offer(&self, who: &str) -> Offer {
        let config = self.config.lock();
        let text = match config.plugin {
            Choice::Default => Arc::clone(&config.config),
            Choice::Native | Choice::File(_) | Choice::Registry(_) => "".into(),
        };
        offer_default(W::SLOT, &text, who)
    }

    /// Puts into service what the configuration says.
    async fn apply(&self, config: &SlotConfig, words: String) -> Result<(), LifeError> {
        let who = Origin::Configuration.as_str();
        let offer = match &config.plugin {
            Choice::Native => None,
            Choice::Default => Some(offer_default(W::SLOT, &config.config, who)),
            Choice::File(_) | Choice::Registry(_) => {
                let got = source::configured(config, self.shared.trust()).await?;
                got.map(|(name, bytes)| Offer {
                    name,
                    bytes,
                    config: Arc::clone(&config.config),
                    origin: Origin::Configuration,
                    who: who.into(),
                    swaps: true,
                    words: None,
                    signature: None,
                })
            }
        };
        let version = match &offer {
            Some(offer) => Some(self.keep(offer).await?),
            None => None,
        };
        let reason = Reason {
            said: Some((Origin::Configuration, words)),
            ..Reason::new(who, "the configuration says so")
        };
        self.put(version, reason).await?;
        Ok(())
    }

    /// Puts into service what is active in the store.
    async fn resume(&self) -> Result<(), LifeError> {
        let shelf = self.shared.shelf();
        let Some(last) = shelf.last_swap(W::SLOT) else {
            return Ok(());
        };
        match last.swap.to {
            Decider::Native => {}
            Decider::Nobody => {
                tracing::warn!(
                    slot = W::SLOT.as_str(),
                    "no plugin decides: the last one was taken out of service, and the safe answer holds; `achromat plugin swap` puts one into service"
                );
                self.place().vacate();
            }
            Decider::Version(id) => match shelf.versions.get(&id) {
                Some(kept) => self.resume_version(kept).await?,
                None => self.place().vacate(),
            },
        }
        Ok(())
    }

    async fn resume_version(&self, kept: &KeptVersion) -> Result<(), LifeError> {
        let is_default = kept.version.origin == Origin::Default;
        let embedded = Digest::of(default_component(W::SLOT));
        if is_default && kept.version.digest != embedded {
            let offer = offer_default(W::SLOT, &kept.version.config, Origin::Default.as_str());
            let version = self.keep(&offer).await?;
            let why = "this Achromat brings another default policy";
            let reason = Reason::new(Origin::Default.as_str(), why);
            self.put(Some(version), reason).await?;
            return Ok(());
        }
        match self.load(kept).await {
            Ok(version) => self.place().swap(version),
            Err(error) => {
                tracing::error!(
                    slot = W::SLOT.as_str(),
                    %error,
                    "the active version can't be put into service again; the safe answer holds until another one is"
                );
                self.place().vacate();
            }
        }
        Ok(())
    }

    /// Records what the slot did when a version had trouble; when nothing was ready to go back to,
    /// goes back to the nearest version before.
    async fn quarantined(&self, bad: Option<VersionId>, ready: Option<VersionId>) {
        let shelf = self.shared.shelf();
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
        let reason = Reason::new("achromat", "a version had no answer too often");
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

    /// What was on trial becomes active.
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

    async fn tried(&self, ended: Ended, verdict: Verdict) {
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

fn said<W: World>(said: Option<(Origin, String)>) -> Vec<ShelfWrite> {
    let said = said.map(|(origin, words)| ShelfWrite::Said {
        slot: W::SLOT,
        origin,
        words,
    });
    said.into_iter().collect()
}

fn offer_default(slot: Slot, config: &str, who: &str) -> Offer {
    let source = default_source(slot, config);
    Offer {
        name: source.name,
        bytes: Bytes::from_static(default_component(slot)),
        config: source.config,
        origin: Origin::Default,
        who: who.into(),
        swaps: true,
        words: None,
        signature: None,
    }
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
            swaps: swaps
                .filter(|kept| of_slot(kept.swap.slot))
                .cloned()
                .collect(),
            trial: tried.map(|tried| {
                let id = tried.version().id();
                (id, tried.trial().clone(), tried.tally())
            }),
            differences: tried.map_or_else(Vec::new, |tried| {
                tried.differences().into_iter().rev().collect()
            }),
            ended: self.ended.lock().clone(),
        }
    }

    fn listen(&self, notices: mpsc::UnboundedSender<(Slot, Notice)>) {
        self.place().listen(Box::new(move |notice| {
            // Nobody listens any more when the proxy stops.
            let _told = notices.send((W::SLOT, notice));
        }));
    }

    fn record(&self, recording: Recording) {
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
        let words = source::words(&config, self.shared.trust())
            .await
            .map_err(configured)?;
        let key = (W::SLOT, Origin::Configuration);
        if self.shared.shelf().said.get(&key) == Some(&words) {
            return self.resume().await;
        }
        self.apply(&config, words).await.map_err(configured)
    }

    async fn push(&self, offer: Offer) -> Result<Swapped, LifeError> {
        let version = self.keep(&offer).await?;
        if offer.swaps {
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

    async fn swap(&self, word: &str, who: &str) -> Result<Swapped, LifeError> {
        let version = match word {
            "native" => None,
            "default" => Some(self.keep(&self.default_offer(who)).await?),
            word => {
                let kept = self.meant(word)?;
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

    async fn try_out(&self, word: &str, trial: Trial) -> Result<(), LifeError> {
        trial.check().map_err(LifeError::Trial)?;
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
        let words = source::words(&config, self.shared.trust())
            .await
            .map_err(configured)?;
        let before = std::mem::replace(&mut *self.config.lock(), config.clone());
        let key = (W::SLOT, Origin::Configuration);
        let result = if self.shared.shelf().said.get(&key) != Some(&words) {
            self.apply(&config, words).await
        } else if before.budget != config.budget {
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
            Notice::Quarantined { version, back_to } => self.quarantined(version, back_to).await,
            Notice::Tried {
                version,
                kind,
                tally,
                verdict,
            } => {
                let ended = Ended {
                    version,
                    kind,
                    outcome: Outcome::Promoted,
                    tally,
                };
                self.tried(ended, verdict).await;
            }
        }
    }
}
