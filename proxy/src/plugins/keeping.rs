//! Versions checked and kept, found and made ready again.

use std::sync::Arc;

use achromat_core::policy::{Digest, KeptVersion, NewVersion, Origin, ShelfWrite, VersionId};
use bytes::Bytes;

use super::{LifeError, life::Life, told::Offer};
use crate::{
    clock,
    policy::{Source, Version, World, judge},
};

impl<W: World> Life<W> {
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
    pub(super) async fn keep(
        &self,
        offer: &Offer,
    ) -> Result<(KeptVersion, Arc<Version<W>>), LifeError> {
        let new = NewVersion {
            slot: W::SLOT,
            name: Arc::clone(&offer.name),
            digest: Digest::of(&offer.bytes),
            config: Arc::clone(&offer.config),
            origin: offer.origin,
            at: clock::wall_time(),
            who: Arc::clone(&offer.who),
            signature: offer.signature.clone(),
        };
        let shelf = self.shared.shelf();
        if let Some(kept) = shelf.like(&new) {
            let kept = self
                .sign(kept, &offer.bytes, new.signature.as_ref())
                .await?;
            let version = self.load(&kept).await?;
            return Ok((kept, version));
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

    /// Keeps another signature of a version that is kept, when there is one.
    pub(super) async fn sign(
        &self,
        kept: &KeptVersion,
        bytes: &Bytes,
        signature: Option<&Arc<str>>,
    ) -> Result<KeptVersion, LifeError> {
        let mut kept = kept.clone();
        if signature.is_some() && signature != kept.version.signature.as_ref() {
            kept.version.signature = signature.cloned();
            let write = ShelfWrite::Keep(kept.clone(), bytes.clone());
            self.shared.write(&[write]).await?;
        }
        Ok(kept)
    }

    /// A version that is kept, ready to be asked. Its signature is judged again by the present rules.
    pub(super) async fn load(&self, kept: &KeptVersion) -> Result<Arc<Version<W>>, LifeError> {
        let budget = self.config.lock().budget;
        let trust = self.shared.trust();
        // What came with the binary needs no signature.
        let is_judged = kept.version.origin != Origin::Default && trust.judges();
        let ready = self.place().ready(kept.id, budget);
        if let Some(ready) = ready.filter(|_| !is_judged) {
            return Ok(ready);
        }
        let digest = kept.version.digest;
        let bytes = self.shared.store().component(digest).await?;
        let bytes = bytes.ok_or(LifeError::Lost { digest })?;
        if is_judged {
            let judged = judge(&bytes, kept.version.signature.as_deref(), &trust);
            judged.map_err(|source| LifeError::Supply {
                name: Arc::clone(&kept.version.name),
                source,
            })?;
        }
        if let Some(ready) = self.place().ready(kept.id, budget) {
            return Ok(ready);
        }
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

    pub(super) fn kept(&self, id: VersionId) -> Option<KeptVersion> {
        self.shared.shelf().versions.get(&id).cloned()
    }

    /// Refuses a version that was taken out of service for its troubles, unless it is wanted again.
    pub(super) fn check_again(&self, id: VersionId, again: bool) -> Result<(), LifeError> {
        let shelf = self.shared.shelf();
        match shelf.taken_out(id) {
            Some(swap) if !again => Err(LifeError::TakenOut {
                id: id.0,
                why: swap.swap.why.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses another trial while one goes on, unless the version on trial is named.
    pub(super) fn check_replaces(&self, named: Option<&str>) -> Result<(), LifeError> {
        let generation = self.place().generation();
        let tried = generation.trial().and_then(|tried| tried.version().id());
        let replaced = named.map(|word| self.meant(word)).transpose()?;
        match (tried, replaced.map(|kept| kept.id), named) {
            (tried, Some(replaced), Some(word)) if tried != Some(replaced) => {
                let word = word.to_owned();
                Err(LifeError::NotOnTrial { word })
            }
            (Some(tried), None, _) => Err(LifeError::OnTrial { id: tried.0 }),
            _ => Ok(()),
        }
    }

    /// The version that a word means.
    pub(super) fn meant(&self, word: &str) -> Result<KeptVersion, LifeError> {
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
}
