//! The watched folder: a plugin that is put there is put into service.
//!
//! The system tells of changes where it can; what it does not tell (file systems of other machines,
//! too many watchers) is seen by looking again every now and then.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use achromat_core::policy::{Digest, Origin, Slot};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::{LifeError, Lifecycle, Offer, source};
use crate::{
    files::{Stamp, read_regular, stamp},
    policy::{Unfit, limits::CONFIG_BYTES_MAX},
};

/// Pause between two looks at the folder when no change is reported.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A file is whole when it has not changed for so long.
const SETTLED: Duration = Duration::from_millis(250);

/// The stamps of a plugin and of its configuration.
type Stamps = (Stamp, Option<Stamp>);

/// The stamps of one slot's files.
#[derive(Default)]
struct Seen {
    /// Stamps at the last look.
    now: Option<Stamps>,
    /// Stamps of the files that were handed in last.
    taken: Option<Stamps>,
}

pub(super) async fn watch(folder: PathBuf, lifecycle: Arc<Lifecycle>) {
    let changed = Arc::new(Notify::new());
    let _watcher = watcher(&folder, &changed);
    let mut seen = BTreeMap::new();
    loop {
        let mut pause = LOOK_AGAIN;
        for slot in lifecycle.slots() {
            if look(&folder, slot, seen.entry(slot).or_default(), &lifecycle).await {
                pause = SETTLED;
            }
        }
        tokio::select! {
            () = changed.notified(), if pause == LOOK_AGAIN => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn watcher(folder: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let made = notify::recommended_watcher(move |_| changed.notify_one());
    let watched = made.and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the folder of plugins is looked at every {LOOK_AGAIN:?}, because changes are not told");
            None
        }
    }
}

/// Looks at a slot's files. Says whether they are changing, and are to be looked at again soon.
async fn look(folder: &Path, slot: Slot, seen: &mut Seen, lifecycle: &Lifecycle) -> bool {
    let plugin = folder.join(format!("{}.wasm", slot.as_str()));
    let config = plugin.with_extension("json");
    let now = stamp(&plugin).map(|of_plugin| (of_plugin, stamp(&config)));
    let is_settled = now == seen.now;
    seen.now = now;
    if now == seen.taken || now.is_none() {
        return false;
    }
    if !is_settled {
        return true;
    }
    seen.taken = now;
    if let Err(error) = take(&plugin, &config, slot, lifecycle).await {
        tracing::error!(
            slot = slot.as_str(),
            folder = %folder.display(),
            %error,
            "a plugin in the folder can't be used; nothing was changed"
        );
    }
    false
}

async fn take(
    plugin: &Path,
    config: &Path,
    slot: Slot,
    lifecycle: &Lifecycle,
) -> Result<(), LifeError> {
    let (name, bytes) = source::read(plugin, None, &lifecycle.trust()).await?;
    let config = read_config(config).await?;
    let words = format!("{} {config}", Digest::of(&bytes));
    if lifecycle.was_said(slot, Origin::Folder, &words) {
        return Ok(());
    }
    let offer = Offer {
        name,
        bytes,
        config: config.into(),
        origin: Origin::Folder,
        who: Origin::Folder.as_str().into(),
        swaps: true,
        words: Some(words),
        signature: None,
    };
    lifecycle.push(slot, offer).await?;
    Ok(())
}

/// The configuration beside a plugin; none is the empty text.
async fn read_config(path: &Path) -> Result<String, LifeError> {
    let unreadable = |source| LifeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let path_read = path.to_owned();
    let most = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX);
    let read = tokio::task::spawn_blocking(move || read_regular(&path_read, most));
    let contents = match read.await.map_err(std::io::Error::other).flatten() {
        Ok(contents) => contents,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(unreadable(error)),
    };
    if contents.len() > CONFIG_BYTES_MAX {
        return Err(LifeError::Unfit {
            name: path.to_string_lossy().into(),
            unfit: Box::new(Unfit::ConfigTooLarge {
                bytes: contents.len(),
            }),
        });
    }
    String::from_utf8(contents).map_err(|error| unreadable(std::io::Error::other(error)))
}
