//! Versions of plugins from their first day to their last: kept, put into service, tried, and taken
//! back.
//!
//! Every change is checked first, then durable, then visible: what is active in the store is active
//! again after a restart. What was said last holds, whoever said it: an operator, the watched
//! folder, or the configuration, which counts as said again when its text, or the file that it
//! names, has changed. This room compiles nothing on a thread that serves, and never asks a plugin
//! anything itself.

mod configured;
mod error;
mod folder;
mod itself;
mod keeping;
mod life;
mod shared;
mod source;
mod told;

use std::sync::Arc;

use achromat_core::policy::{Origin, Slot, Trial};
use tokio::{sync::mpsc, task::JoinSet};

pub use self::{
    error::LifeError,
    source::is_name,
    told::{Ended, Offer, Outcome, Stands, Swapped},
};
use self::{
    life::{Life, SlotLife},
    shared::Shared,
};
use crate::{
    policy::{Policies, PolicyConfig, Trust, judge},
    store::VersionStore,
};

/// All slots' versions.
pub struct Lifecycle {
    shared: Arc<Shared>,
    lives: Vec<Arc<dyn SlotLife>>,
}

/// Tasks in the background: the watched folder, and the slots' notices. They end when this is dropped.
pub struct Watching(#[expect(dead_code, reason = "held")] JoinSet<()>);

impl Lifecycle {
    /// Fills the slots: with what is active in the store, or with what the configuration says when
    /// that is news.
    pub async fn start(
        config: PolicyConfig,
        store: Arc<dyn VersionStore>,
        policies: Arc<Policies>,
    ) -> Result<(Arc<Self>, Watching), LifeError> {
        let shelf = store.shelf().await?;
        let folder = config.folder.clone();
        let shared = Arc::new(Shared::new(
            policies,
            store,
            shelf,
            (config.cache, config.compile),
            config.trust,
        ));
        let lives: Vec<Arc<dyn SlotLife>> = vec![
            Arc::new(Life::new(
                &shared,
                |policies| &policies.routing,
                config.routing,
            )),
            Arc::new(Life::new(&shared, |policies| &policies.wal, config.wal)),
            Arc::new(Life::new(&shared, |policies| &policies.guard, config.guard)),
        ];
        let lifecycle = Arc::new(Self { shared, lives });
        for life in &lifecycle.lives {
            life.set_recording(config.recording);
            life.begin().await?;
        }
        let mut tasks = JoinSet::new();
        let (notices, mut inbox) = mpsc::unbounded_channel();
        for life in &lifecycle.lives {
            life.listen(notices.clone());
        }
        let listening = Arc::clone(&lifecycle);
        tasks.spawn(async move {
            while let Some((slot, notice)) = inbox.recv().await {
                if let Ok(life) = listening.life(slot) {
                    let _changing = listening.shared.changing().await;
                    life.noticed(notice).await;
                }
            }
        });
        if let Some(folder) = folder {
            tasks.spawn(folder::watch(folder, Arc::clone(&lifecycle)));
        }
        Ok((lifecycle, Watching(tasks)))
    }

    fn life(&self, slot: Slot) -> Result<&dyn SlotLife, LifeError> {
        let mut lives = self.lives.iter();
        let life = lives.find(|life| life.slot() == slot);
        life.map(AsRef::as_ref).ok_or(LifeError::NoSlot { slot })
    }

    /// Keys and rules by which a plugin's origin is trusted.
    fn trust(&self) -> Arc<Trust> {
        self.shared.trust()
    }

    /// The slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.lives.iter().map(|life| life.slot())
    }

    /// The last words that were kept for a slot from this origin.
    fn said_last(&self, slot: Slot, origin: Origin) -> Option<String> {
        self.shared.shelf().said.get(&(slot, origin)).cloned()
    }

    /// The present state of a slot.
    pub fn stands(&self, slot: Slot) -> Result<Stands, LifeError> {
        Ok(self.life(slot)?.stands())
    }

    /// The recorded decisions of a slot as lines of JSON, the oldest first.
    pub fn recorded(&self, slot: Slot) -> Result<Vec<Arc<str>>, LifeError> {
        Ok(self.life(slot)?.recorded())
    }

    /// Checks a version and keeps it; puts it into service when that is wanted.
    pub async fn push(&self, slot: Slot, offer: Offer) -> Result<Swapped, LifeError> {
        // The other ways in have looked at the signature themselves.
        if offer.origin == Origin::Operator {
            let judged = judge(
                &offer.bytes,
                offer.signature.as_deref(),
                &self.shared.trust(),
            );
            judged.map_err(|source| LifeError::Supply {
                name: Arc::clone(&offer.name),
                source,
            })?;
        }
        let _changing = self.shared.changing().await;
        self.life(slot)?.push(offer).await
    }

    /// Puts into service what a word means: a version's number, name or digest, `native` or
    /// `default`.
    /// `again` lets it be one that was taken out of service for its troubles.
    pub async fn swap(
        &self,
        slot: Slot,
        word: &str,
        who: &str,
        again: bool,
    ) -> Result<Swapped, LifeError> {
        let _changing = self.shared.changing().await;
        self.life(slot)?.swap(word, who, again).await
    }

    /// Goes back to what decided before.
    pub async fn roll_back(&self, slot: Slot, who: &str) -> Result<Swapped, LifeError> {
        let _changing = self.shared.changing().await;
        self.life(slot)?.roll_back(who).await
    }

    /// Puts on trial what a word means. While another version is on trial, `replaces` must name that one.
    pub async fn try_out(
        &self,
        slot: Slot,
        word: &str,
        trial: Trial,
        replaces: Option<&str>,
    ) -> Result<(), LifeError> {
        let _changing = self.shared.changing().await;
        self.life(slot)?.try_out(word, trial, replaces).await
    }

    /// Ends a trial. Says whether there was one.
    pub async fn end_trial(&self, slot: Slot, who: &str) -> Result<bool, LifeError> {
        let _changing = self.shared.changing().await;
        Ok(self.life(slot)?.end_trial(who))
    }

    /// Takes in what a configuration says that was read again. What can't be used changes nothing,
    /// and the other slots are seen to all the same.
    pub async fn reload(&self, config: &PolicyConfig) -> Vec<LifeError> {
        let _changing = self.shared.changing().await;
        let mut errors = Vec::new();
        self.shared.set_trust(config.trust.clone());
        for life in &self.lives {
            life.set_recording(config.recording);
            let config = config.slot(life.slot()).clone();
            errors.extend(life.reload(config).await.err());
        }
        errors
    }
}
