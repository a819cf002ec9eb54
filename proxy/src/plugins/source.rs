//! Plugins in files, and what the configuration says of a slot as one text.

use std::{path::Path, sync::Arc};

use achromat_core::policy::Digest;
use bytes::Bytes;
use serde::Serialize;

use super::LifeError;
use crate::policy::{Choice, SlotConfig, Unfit, limits::COMPONENT_BYTES_MAX};

/// The longest name of a version.
const NAME_CHARS_MAX: usize = 128;

/// A file's name and what is in it.
pub(super) async fn read(path: &Path) -> Result<(Arc<str>, Bytes), LifeError> {
    let unreadable = |source| LifeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name: String = name
        .to_string_lossy()
        .chars()
        .take(NAME_CHARS_MAX)
        .collect();
    let name: Arc<str> = name.into();
    let about = tokio::fs::metadata(path).await.map_err(unreadable)?;
    let bytes = usize::try_from(about.len()).unwrap_or(usize::MAX);
    if bytes > COMPONENT_BYTES_MAX {
        let unfit = Box::new(Unfit::TooLarge { bytes });
        return Err(LifeError::Unfit { name, unfit });
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    Ok((name, bytes.into()))
}

/// Whether a version may be called so: by what can't be mistaken for something else.
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

/// What the configuration says of a slot. When this has changed, it counts as said again; the bounds
/// are no part of it, and hold for whatever decides.
pub(super) async fn words(config: &SlotConfig) -> Result<String, LifeError> {
    let said = match &config.plugin {
        Choice::Native => Words {
            plugin: "native",
            sha256: None,
            config: None,
        },
        Choice::Default => Words {
            plugin: "default",
            sha256: None,
            config: Some(&config.config),
        },
        Choice::File(path) => Words {
            plugin: &path.to_string_lossy(),
            sha256: Some(Digest::of(&read(path).await?.1).to_string()),
            config: Some(&config.config),
        },
    };
    Ok(serde_json::to_string(&said).unwrap_or_default())
}
