//! Arguments for a plugin's own tests, and a host to look at, without WebAssembly.
//!
//! ```
//! use achromat_plugin::testing::{query, states};
//!
//! let mut operation = query("notes");
//! operation.tenant = Some("acme".to_owned());
//! let states = states(3);
//! # assert_eq!((operation.number, states[2].index), (0, 2));
//! ```

use crate::lean;
use crate::{
    Action, Class, Deed, Instance, InstanceState, Operation, Question, Records, Role, Standing,
};

/// A query of a collection, with the parts that a plugin asked for yet to be filled in.
pub fn query(collection: &str) -> Operation {
    operation(Action::Query, Class::Read, collection)
}

/// A request of this kind.
pub fn operation(action: Action, class: Class, collection: &str) -> Operation {
    Operation {
        number: 0,
        action,
        class,
        body_bytes: 0,
        tenant: None,
        database: None,
        collection: Some(collection.to_owned()),
        collection_id: None,
        client: None,
        sizes: None,
        headers: None,
    }
}

/// Instances that are all the same: up, eligible, idle. The first is the primary.
pub fn states(count: u8) -> Vec<InstanceState> {
    (0..count)
        .map(|index| InstanceState {
            index,
            standing: Standing::Up,
            eligible: true,
            in_flight: 0,
            latency_us: 0,
            lag_entries: 0,
        })
        .collect()
}

/// Their names (`a`, `b`, …) and roles.
pub fn instances(count: u8) -> Vec<Instance> {
    (0..count)
        .map(|index| Instance {
            name: char::from(b'a'.saturating_add(index)).to_string(),
            role: if index == 0 {
                Role::Primary
            } else {
                Role::Replica
            },
        })
        .collect()
}

/// The same for a plugin that decides by numbers alone.
pub fn lean_states(count: u8) -> lean::States {
    let all: lean::Places = (0..count).collect();
    lean::States {
        up: all.bits(),
        suspect: 0,
        eligible: all.bits(),
        in_flight: (0, 0, 0, 0),
    }
}

/// A query for such a plugin.
pub fn lean_query() -> lean::Request {
    lean::Request {
        number: 0,
        action: Action::Query,
        class: Class::Read,
        body_bytes: 0,
    }
}

/// A question to a guard about a collection.
pub fn question(deed: Deed, collection: &str) -> Question {
    Question {
        deed,
        tenant: Some("default_tenant".to_owned()),
        database: Some("default_database".to_owned()),
        collection: Some(collection.to_owned()),
        collection_id: None,
        new_name: None,
        records: None,
        subject: None,
        client: None,
        is_operator: false,
        headers: Vec::new(),
    }
}

/// A question about the deletion of this many of its records.
pub fn delete_records(collection: &str, count: u64, held: u64) -> Question {
    Question {
        records: Some(Records {
            ids: Vec::new(),
            filter: None,
            count: Some(count),
            held: Some(held),
        }),
        ..question(Deed::DeleteRecords, collection)
    }
}

/// A host of this thread's own.
pub mod host {
    use std::{cell::RefCell, collections::BTreeMap};

    use crate::host::{Full, Level};

    /// What a plugin has made of the host.
    #[derive(Debug, Default)]
    pub struct Host {
        /// The lines of its log.
        pub lines: Vec<String>,
        /// Its counters.
        pub counts: BTreeMap<String, u64>,
        /// What it keeps.
        pub kept: BTreeMap<String, Vec<u8>>,
        /// The time, as the test has set it, in milliseconds since 1970.
        pub now_ms: u64,
    }

    thread_local! {
        static HOST: RefCell<Host> = RefCell::new(Host::default());
    }

    /// Looks at the host, or changes it.
    pub fn with<R>(use_it: impl FnOnce(&mut Host) -> R) -> R {
        HOST.with(|host| use_it(&mut host.borrow_mut()))
    }

    pub(crate) fn log(_level: Level, message: &str) {
        with(|host| host.lines.push(message.to_owned()));
    }

    pub(crate) fn count(name: &str, delta: u64) {
        with(|host| *host.counts.entry(name.to_owned()).or_default() += delta);
    }

    pub(crate) fn wall_clock_ms() -> u64 {
        with(|host| host.now_ms)
    }

    pub(crate) fn monotonic_clock_ns() -> u64 {
        wall_clock_ms().saturating_mul(1_000_000)
    }

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        with(|host| host.kept.get(key).cloned())
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), Full> {
        if !(1..=256).contains(&key.len()) || value.len() > 4096 {
            return Err(Full::TooLarge);
        }
        with(|host| host.kept.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn add(key: &str, delta: i64) -> Result<i64, Full> {
        let before = match get(key) {
            None => 0,
            Some(bytes) => i64::from_le_bytes(bytes.try_into().map_err(|_| Full::NotANumber)?),
        };
        let sum = before.saturating_add(delta);
        set(key, &sum.to_le_bytes())?;
        Ok(sum)
    }

    pub(crate) fn remove(key: &str) {
        with(|host| host.kept.remove(key));
    }
}
