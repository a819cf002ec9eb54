//! The values of all keys, by which two configurations are compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::written::Written;

/// Every key with its value, to be compared with another configuration's.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, String>);

/// Keys of plugins that are read once, at the start.
const READ_AT_START: [&str; 4] = [
    "policy.cache",
    "policy.compile_deadline_ms",
    "policy.compile_memory_bytes_max",
    "policy.folder",
];

impl Keys {
    pub(super) fn of(written: &Written) -> Self {
        let mut keys = BTreeMap::new();
        if let Ok(value) = toml::Value::try_from(written) {
            collect("", &value, &mut keys);
        }
        Self(keys)
    }

    /// The keys that have another value in `other`, and mean nothing before the next start.
    pub fn changed_for_restart(&self, other: &Self) -> Vec<String> {
        let has_changed = |key: &&String| self.0.get(*key) != other.0.get(*key);
        let is_taken_in = |key: &str| key.starts_with("policy.") && !READ_AT_START.contains(&key);
        let all: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let changed = all.into_iter().filter(has_changed);
        changed.filter(|key| !is_taken_in(key)).cloned().collect()
    }
}

/// Values may be secrets.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn collect(path: &str, value: &toml::Value, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(name, value)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            collect(&path, value, keys);
        }),
        value => {
            keys.insert(path.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key that is read once exists; a key that was renamed would be taken in silently.
    #[test]
    fn keys_read_at_the_start_exist() {
        let keys = Keys::of(&Written::default());
        for key in READ_AT_START {
            assert!(keys.0.contains_key(key), "{key}");
        }
    }

    /// A key that is taken in while the proxy runs needs no restart; every other does.
    #[test]
    fn changes_that_need_a_restart_are_told() {
        let before = Written::default();
        let mut after = before.clone();
        after.policy.compile_deadline_ms += 1;
        after.policy.record_share = 1.0;
        after.reads.replica_ratio = 0.5;
        let changed = Keys::of(&before).changed_for_restart(&Keys::of(&after));
        assert_eq!(
            changed,
            ["policy.compile_deadline_ms", "reads.replica_ratio"]
        );
    }
}
