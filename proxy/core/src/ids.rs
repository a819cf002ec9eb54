//! One type for each id and number that crosses a function, so that none is mistaken for another.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::KEY_CHARACTERS_MAX;

/// The id that clients see, stable for the collection's life. The proxy owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionId(pub Uuid);

/// The UUID that one instance gave a collection; every instance mints its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

/// The id of a database that clients see; instances mint their own for it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseId(pub Uuid);

/// An entry's own name, by which the store tells whether an append whose answer was lost happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(pub Uuid);

/// The tenant that every server has.
pub const DEFAULT_TENANT: &str = "default_tenant";

/// Name that a client gives one write, so that it may repeat the request and have it done once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// A key as a client or the store gives it: 1 to [`KEY_CHARACTERS_MAX`] visible ASCII
    /// characters.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let is_key = (1..=KEY_CHARACTERS_MAX).contains(&bytes.len())
            && bytes.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(bytes).ok().filter(|_| is_key)?;
        Some(Self(text.into()))
    }

    /// A key as the store gives it.
    pub fn stored(text: &str) -> Option<Self> {
        let (_, own) = text.rsplit_once(' ').unwrap_or(("", text));
        Self::parse(own.as_bytes()).map(|_| Self(text.into()))
    }

    /// The key as one tenant's: the same word is another key in another tenant. Keys of the default tenant
    /// are stored as they are, as all keys were once.
    #[must_use]
    pub fn of_tenant(self, tenant: &str) -> Self {
        if tenant == DEFAULT_TENANT {
            return self;
        }
        Self(format!("{tenant} {}", self.0).into())
    }

    /// The key as the store has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as its client knows it.
    pub fn word(&self) -> &str {
        self.0.rsplit_once(' ').map_or(&self.0, |(_, word)| word)
    }
}

/// An instance's place in the configuration, from 0; the first is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceIx(pub u8);

impl InstanceIx {
    /// The place as an index into per-instance arrays.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }

    /// All places of a configuration with `count` instances.
    pub fn all(count: usize) -> impl DoubleEndedIterator<Item = Self> {
        (0..u8::try_from(count).unwrap_or(u8::MAX)).map(Self)
    }
}

/// An ordered stream of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneId {
    /// Tenants, databases and collections themselves.
    Schema,
    /// The records of one collection.
    Collection(CollectionId),
}

/// An entry's place in its lane, from 1; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The next place.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Number of entries after `earlier`, up to and with this one; 0 when there are none.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A number in an instance's marker that only rises: an instance that shows a lower one than it is
/// known to have had holds data from the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl Token {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of times that a lane has changed its owner. An embedded store has one owner for each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// One client's request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One piece of work that goes on beside the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// One sending of one entry to one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);

macro_rules! display {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display!(
    CollectionId,
    InstanceId,
    DatabaseId,
    EntryId,
    Position,
    Epoch
);

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema => f.write_str("schema"),
            Self::Collection(id) => id.fmt(f),
        }
    }
}
