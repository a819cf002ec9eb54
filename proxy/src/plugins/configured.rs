//! Puts into service the configured plugin of a slot, or the active version of the store.

use std::sync::Arc;

use achromat_core::policy::{Decider, Digest, KeptVersion, Origin, Slot};
use bytes::Bytes;

use super::{
    LifeError,
    life::{Life, Reason},
    source::{self, Said},
    told::Offer,
};
use crate::policy::{Choice, SlotConfig, World, default_component, default_source};

impl<W: World> Life<W> {
    /// The default policy, with the configuration that the slot's has when it is for it.
    pub(super) fn default_offer(&self, who: &str) -> Offer {
        let config = self.config.lock();
        let text = match config.plugin {
            Choice::Default => Arc::clone(&config.config),
            Choice::Native | Choice::File(_) | Choice::Registry(_) => "".into(),
        };
        offer_default(W::SLOT, &text, who)
    }

    /// Puts into service what the configuration says.
    pub(super) async fn apply(&self, config: &SlotConfig, said: Said) -> Result<(), LifeError> {
        let who = Origin::Configuration.as_str();
        let offer = match &config.plugin {
            Choice::Native => None,
            Choice::Default => Some(offer_default(W::SLOT, &config.config, who)),
            Choice::File(_) | Choice::Registry(_) => {
                let got = match said.component {
                    None => source::configured(config, &self.shared.trust()).await?,
                    got => got,
                };
                got.map(|component| Offer {
                    name: component.name,
                    bytes: component.bytes,
                    config: Arc::clone(&config.config),
                    origin: Origin::Configuration,
                    who: who.into(),
                    swaps: true,
                    again: true,
                    words: None,
                    signature: component.signature,
                })
            }
        };
        let version = match &offer {
            Some(offer) => Some(self.keep(offer).await?),
            None => None,
        };
        let reason = Reason {
            said: Some((Origin::Configuration, said.words)),
            ..Reason::new(who, "the configuration says so")
        };
        self.put(version, reason).await?;
        Ok(())
    }

    /// Puts into service what is active in the store.
    pub(super) async fn resume(&self) -> Result<(), LifeError> {
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
        again: true,
        words: None,
        signature: None,
    }
}
