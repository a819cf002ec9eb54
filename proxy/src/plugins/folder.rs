//! The watched folder: a plugin that is put there is put into service.
//!
//! The system tells of changes where it can; what it does not tell (file systems of other machines,
//! too many watchers) is seen by looking again every now and then. A plugin, its configuration and its
//! signature are taken together, once none of them changes any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use achromat_core::policy::{Digest, Origin, Slot};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::Notify, time::Instant};

use super::{LifeError, Lifecycle, Offer, source};
use crate::{
    files::{Stamp, read_regular, stamp},
    policy::{Unfit, limits::CONFIG_BYTES_MAX},
};

/// Pause between two looks at the folder when no change is reported.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A file is whole when it has not changed for so long.
const SETTLED: Duration = Duration::from_millis(250);

/// Time for which a configuration, or a signature, may come after its plugin.
const COMPLETE: Duration = Duration::from_secs(3);

/// Names of files that are told to be nobody's.
const STRANGERS_MAX: usize = 100;

/// The files of one slot, as they are at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    plugin: PathBuf,
    of_plugin: Stamp,
    of_config: Option<Stamp>,
    of_signature: Option<Stamp>,
}

impl Files {
    /// The files of a slot; none when its plugin is not there.
    fn find(folder: &Path, slot: Slot) -> Option<Self> {
        names(slot).into_iter().find_map(|name| {
            let plugin = folder.join(format!("{name}.wasm"));
            Some(Self {
                of_plugin: stamp(&plugin)?,
                of_config: stamp(&plugin.with_extension("json")),
                of_signature: stamp(&plugin.with_extension("wasm.minisig")),
                plugin,
            })
        })
    }

    /// Time without a change after which they are taken.
    fn quiet(&self, wants_signature: bool) -> Duration {
        let lacks_signature = wants_signature && self.of_signature.is_none();
        if self.of_config.is_none() || lacks_signature {
            COMPLETE
        } else {
            SETTLED
        }
    }
}

/// The names that a slot's files may have: that of its world, and that of its section in the configuration.
fn names(slot: Slot) -> [&'static str; 2] {
    [slot.as_str(), slot.section()]
}

/// One slot's files at the last look.
struct Seen {
    now: Option<Files>,
    /// Time of the look that found them as they are.
    since: Instant,
    /// The files that were handed in last.
    taken: Option<Files>,
}

impl Seen {
    fn nothing() -> Self {
        Self {
            now: None,
            since: Instant::now(),
            taken: None,
        }
    }
}

pub(super) async fn watch(folder: PathBuf, lifecycle: Arc<Lifecycle>) {
    let changed = Arc::new(Notify::new());
    let _watcher = watcher(&folder, &changed);
    let mut seen = BTreeMap::new();
    let mut strangers = BTreeSet::new();
    loop {
        let mut pause = LOOK_AGAIN;
        tell_strangers(&folder, &mut strangers);
        for slot in lifecycle.slots() {
            let seen = seen.entry(slot).or_insert_with(Seen::nothing);
            if look(&folder, slot, seen, &lifecycle).await {
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

/// Tells of each plugin whose name says no slot, and of each whose slot another one has, once.
fn tell_strangers(folder: &Path, told: &mut BTreeSet<OsString>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for name in entries.map(|entry| entry.file_name()) {
        let text = name.to_string_lossy();
        let Some(stem) = text
            .strip_suffix(".wasm")
            .filter(|stem| !stem.starts_with('.'))
        else {
            continue;
        };
        let slot = Slot::ALL
            .into_iter()
            .find(|slot| names(*slot).contains(&stem));
        let hint = match slot {
            None => "no slot has this name: call it routing.wasm, wal-eligibility.wasm or cleanup-guard.wasm".to_owned(),
            Some(slot) if stem != slot.as_str() && stamp(&folder.join(format!("{}.wasm", slot.as_str()))).is_some() => {
                format!("{}.wasm is there, and is the one that counts: remove one of them", slot.as_str())
            }
            Some(_) => continue,
        };
        if told.len() < STRANGERS_MAX && told.insert(name.clone()) {
            tracing::warn!(folder = %folder.display(), file = text.as_ref(), "a plugin in the folder is not used: {hint}");
        }
    }
}

/// Looks at a slot's files. Says whether they are changing, and are to be looked at again soon.
async fn look(folder: &Path, slot: Slot, seen: &mut Seen, lifecycle: &Lifecycle) -> bool {
    let now = Files::find(folder, slot);
    if now != seen.now {
        if let (Some(before), None) = (&seen.now, &now) {
            tell_removed(slot, &before.plugin);
            seen.taken = None;
        }
        seen.now.clone_from(&now);
        seen.since = Instant::now();
    }
    let Some(files) = now.filter(|files| seen.taken.as_ref() != Some(files)) else {
        return false;
    };
    if seen.since.elapsed() < files.quiet(lifecycle.trust().is_required) {
        return true;
    }
    seen.taken = Some(files.clone());
    if let Err(error) = take(&files, slot, lifecycle).await {
        tracing::error!(
            slot = slot.as_str(),
            folder = %folder.display(),
            %error,
            "a plugin in the folder can't be used; nothing was changed"
        );
    }
    false
}

fn tell_removed(slot: Slot, plugin: &Path) {
    tracing::warn!(
        slot = slot.as_str(),
        file = %plugin.display(),
        "a plugin was removed from the folder; what it has brought stays in service: `achromat plugin rollback --slot {}` goes back to what decided before",
        slot.as_str()
    );
}

async fn take(files: &Files, slot: Slot, lifecycle: &Lifecycle) -> Result<(), LifeError> {
    let component = source::read(&files.plugin, None, &lifecycle.trust()).await?;
    let config_file = files.plugin.with_extension("json");
    let config = read_config(&config_file).await?;
    let said = lifecycle.said_last(slot, Origin::Folder);
    let had_one = said
        .as_deref()
        .and_then(|said| said.split_once(' '))
        .is_some_and(|(_, config)| !config.is_empty());
    let Some(config) = config.or_else(|| (!had_one).then(String::new)) else {
        return Err(LifeError::ConfigGone { path: config_file });
    };
    let words = format!("{} {config}", Digest::of(&component.bytes));
    if said.as_deref() == Some(words.as_str()) {
        return Ok(());
    }
    let offer = Offer {
        name: component.name,
        bytes: component.bytes,
        config: config.into(),
        origin: Origin::Folder,
        who: Origin::Folder.as_str().into(),
        swaps: true,
        again: true,
        words: Some(words),
        signature: component.signature,
    };
    lifecycle.push(slot, offer).await?;
    Ok(())
}

/// The configuration beside a plugin; `None` when there is none.
async fn read_config(path: &Path) -> Result<Option<String>, LifeError> {
    let unreadable = |source| LifeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let path_read = path.to_owned();
    let most = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX);
    let read = tokio::task::spawn_blocking(move || read_regular(&path_read, most));
    let contents = match read.await.map_err(std::io::Error::other).flatten() {
        Ok(contents) => contents,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
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
    let text = String::from_utf8(contents);
    text.map(Some)
        .map_err(|error| unreadable(std::io::Error::other(error)))
}
