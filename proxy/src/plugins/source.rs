//! Plugins in files, and what the configuration says of a slot as one text.

use std::{path::Path, sync::Arc};

use achromat_core::policy::Digest;
use bytes::Bytes;
use serde::Serialize;

use super::LifeError;
use crate::policy::{Choice, SlotConfig, Supplied, SupplyError, Trust, from_file, from_registry};

/// The longest name of a version.
const NAME_CHARS_MAX: usize = 128;

/// A component that was fetched.
#[derive(Clone)]
pub(super) struct Component {
    /// A name for people.
    pub(super) name: Arc<str>,
    /// The component, or a core module.
    pub(super) bytes: Bytes,
    /// Its signature, when one is beside it.
    pub(super) signature: Option<Arc<str>>,
}

/// Reads a plugin from a file, and makes sure that it is the one that is meant.
pub(super) async fn read(
    path: &Path,
    digest: Option<Digest>,
    trust: &Trust,
) -> Result<Component, LifeError> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = named(&name.to_string_lossy());
    let (path, trust) = (path.to_owned(), trust.clone());
    fetch(name, move || from_file(&path, digest, &trust)).await
}

/// Gets what the configuration of a slot names; `None` where that is no component.
pub(super) async fn configured(
    config: &SlotConfig,
    trust: &Trust,
) -> Result<Option<Component>, LifeError> {
    match &config.plugin {
        Choice::Native | Choice::Default => Ok(None),
        Choice::File(path) => read(path, config.digest, trust).await.map(Some),
        Choice::Registry(reference) => {
            let name = named(&reference.name());
            let (reference, digest, trust) = (reference.clone(), config.digest, trust.clone());
            let got = fetch(name, move || from_registry(&reference, digest, &trust));
            got.await.map(Some)
        }
    }
}

fn named(name: &str) -> Arc<str> {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    name.into()
}

async fn fetch(
    name: Arc<str>,
    get: impl FnOnce() -> Result<Supplied, SupplyError> + Send + 'static,
) -> Result<Component, LifeError> {
    match tokio::task::spawn_blocking(get).await? {
        Ok(supplied) => Ok(Component {
            name,
            bytes: Bytes::from_owner(supplied.bytes),
            signature: supplied.signature,
        }),
        Err(source) => Err(LifeError::Supply { name, source }),
    }
}

/// Returns true for a possible name of a version: one that can't be mistaken for something else.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && !["native", "default"].contains(&name)
        && name.parse::<u64>().is_err()
}

#[derive(Serialize)]
struct Words<'a> {
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a str>,
}

/// The configuration of a slot, as text.
pub(super) struct Said {
    /// All of it as one text: when this has changed, it counts as said again. The bounds are no part
    /// of it, and hold for whatever decides.
    pub(super) words: String,
    /// The component, when it had to be read for that.
    pub(super) component: Option<Component>,
}

impl Said {
    /// Reads what the configuration says of a slot.
    pub(super) async fn of(config: &SlotConfig, trust: &Trust) -> Result<Self, LifeError> {
        let (plugin, component) = match &config.plugin {
            Choice::Native => ("native".to_owned(), None),
            Choice::Default => ("default".to_owned(), None),
            Choice::File(file) => {
                let component = configured(config, trust).await?;
                (file.to_string_lossy().into_owned(), component)
            }
            // It names its digest.
            Choice::Registry(reference) => (reference.to_string(), None),
        };
        let sha256 = component
            .as_ref()
            .map(|component| Digest::of(&component.bytes));
        let words = Words {
            plugin: &plugin,
            sha256: sha256.map(|digest| digest.to_string()),
            config: (config.plugin != Choice::Native).then_some(&*config.config),
        };
        Ok(Self {
            words: serde_json::to_string(&words).unwrap_or_default(),
            component,
        })
    }
}
