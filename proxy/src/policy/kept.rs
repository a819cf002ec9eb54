//! State that all instances of one version share: its log, its counters, its key-value store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    contract::routing::achromat::policy::host::{Full, Level},
    limits::{
        COUNTER_NAME_MAX, COUNTERS_MAX, KEY_BYTES_MAX, KEYS_MAX, LINES_KEPT_MAX, LOG_LINES_PER_S,
        VALUE_BYTES_MAX,
    },
};

/// Only calls to the host come here, so that a plugin that makes none never waits for a lock.
pub(super) struct Shared {
    label: Arc<str>,
    origin: Instant,
    lines: Mutex<Lines>,
    /// The last lines, for an author.
    said: Mutex<VecDeque<String>>,
    counters: Mutex<BTreeMap<String, u64>>,
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    memory_bytes_max_seen: AtomicUsize,
}

/// The lines of one second.
#[derive(Default)]
struct Lines {
    second: u64,
    count: u32,
}

impl Shared {
    pub(super) fn new(label: Arc<str>) -> Self {
        Self {
            label,
            origin: Instant::now(),
            lines: Mutex::default(),
            said: Mutex::default(),
            counters: Mutex::default(),
            values: Mutex::default(),
            memory_bytes_max_seen: AtomicUsize::new(0),
        }
    }

    pub(super) fn origin(&self) -> Instant {
        self.origin
    }

    pub(super) fn saw_memory(&self, bytes: usize) {
        self.memory_bytes_max_seen.fetch_max(bytes, Relaxed);
    }

    /// The most memory that an instance has had.
    pub(super) fn memory_high_water(&self) -> usize {
        self.memory_bytes_max_seen.load(Relaxed)
    }

    /// Writes a line, which has no more bytes than it may have.
    pub(super) fn log(&self, level: Level, message: &str) {
        if !self.may_log() {
            return;
        }
        self.keep_line(level, message);
        let plugin = self.label.as_ref();
        match level {
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Error => tracing::error!(plugin, "{message}"),
        }
    }

    fn keep_line(&self, level: Level, message: &str) {
        let word = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let mut said = self.said.lock();
        if said.len() >= LINES_KEPT_MAX {
            said.pop_front();
        }
        said.push_back(format!("{word}: {message}"));
    }

    /// The last lines that the version wrote into the log, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.said.lock().iter().cloned().collect()
    }

    fn may_log(&self) -> bool {
        let second = self.origin.elapsed().as_secs();
        let mut lines = self.lines.lock();
        if lines.second != second {
            *lines = Lines { second, count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        lines.count <= LOG_LINES_PER_S
    }

    pub(super) fn count(&self, name: &str, delta: u64) {
        let is_name = (1..=COUNTER_NAME_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let mut counters = self.counters.lock();
        if let Some(count) = counters.get_mut(name) {
            *count = count.saturating_add(delta);
        } else if is_name && counters.len() < COUNTERS_MAX {
            counters.insert(name.to_owned(), delta);
        }
    }

    /// The version's own counters.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.lock().clone()
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values.lock().get(key).cloned()
    }

    pub(super) fn set(&self, key: String, value: Vec<u8>) -> Result<(), Full> {
        put(&mut self.values.lock(), key, value)
    }

    pub(super) fn add(&self, key: String, delta: i64) -> Result<i64, Full> {
        let mut values = self.values.lock();
        let before = match values.get(&key) {
            None => 0,
            Some(value) => {
                let bytes = value.as_slice().try_into().map_err(|_| Full::NotANumber)?;
                i64::from_le_bytes(bytes)
            }
        };
        let sum = before.saturating_add(delta);
        put(&mut values, key, sum.to_le_bytes().to_vec())?;
        Ok(sum)
    }

    pub(super) fn remove(&self, key: &str) {
        self.values.lock().remove(key);
    }
}

fn put(values: &mut BTreeMap<String, Vec<u8>>, key: String, value: Vec<u8>) -> Result<(), Full> {
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || value.len() > VALUE_BYTES_MAX {
        return Err(Full::TooLarge);
    }
    if values.len() >= KEYS_MAX && !values.contains_key(&key) {
        return Err(Full::TooMany);
    }
    values.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The store has bounds, and what is beyond them is not kept.
    #[test]
    fn what_is_kept_has_bounds() {
        let shared = Shared::new("test".into());
        assert_eq!(shared.set(String::new(), vec![]), Err(Full::TooLarge));
        assert_eq!(shared.set("k".repeat(257), vec![]), Err(Full::TooLarge));
        assert_eq!(
            shared.set("k".to_owned(), vec![0; 4097]),
            Err(Full::TooLarge)
        );
        for number in 0..KEYS_MAX {
            assert_eq!(shared.set(number.to_string(), vec![1]), Ok(()));
        }
        assert_eq!(
            shared.set("one more".to_owned(), vec![]),
            Err(Full::TooMany)
        );
        assert_eq!(shared.set("7".to_owned(), vec![2]), Ok(()));
        shared.remove("8");
        assert_eq!(shared.add("n".to_owned(), 5), Ok(5));
        assert_eq!(shared.add("n".to_owned(), i64::MAX), Ok(i64::MAX));
        assert_eq!(shared.add("7".to_owned(), 1), Err(Full::NotANumber));
        assert_eq!(shared.get("n"), Some(i64::MAX.to_le_bytes().to_vec()));
    }

    /// Counters and lines have bounds, as the key-value store has.
    #[test]
    fn counters_and_lines_have_bounds() {
        let shared = Shared::new("test".into());
        for name in ["", "Big", "a b", &"x".repeat(65)] {
            shared.count(name, 1);
        }
        assert!(shared.counters().is_empty());
        for number in 0..COUNTERS_MAX + 5 {
            shared.count(&format!("c{number}"), 2);
        }
        shared.count("c0", u64::MAX);
        assert_eq!(shared.counters().len(), COUNTERS_MAX);
        assert_eq!(shared.counters()["c0"], u64::MAX);
        let written = (0..30).filter(|_| shared.may_log()).count();
        assert!((10..=20).contains(&written), "{written}");
    }
}
