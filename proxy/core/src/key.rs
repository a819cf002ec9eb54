//! Keys: what is remembered of a write that a client may repeat, and what a repeat is told.
//!
//! One key is one entry is one effect (I15). The store keeps a record for each key, made together
//! with its entry and settled together with the entry's verdict, and keeps it longer than the
//! entry. A request under a key that has a record is never logged again.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    ids::{CollectionId, Key, LaneId, Position},
    limits::KEY_CHARACTERS_MAX,
    reply::{self, Reply},
    route::Target,
    time::WallTime,
};

/// The headers that carry a key, the newer first.
pub const KEY_HEADERS: [&str; 2] = ["Idempotency-Key", "Transaction-ID"];

/// Digest that tells two requests under one key apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a request as its client sent it. Each part stands behind its length, so that no two
    /// requests run together into the same bytes.
    pub fn of(method: &str, target: &Target<'_>, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        let query = target.query.unwrap_or_default();
        for part in [
            method.as_bytes(),
            target.path.as_bytes(),
            query.as_bytes(),
            body,
        ] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key with the request that it was given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// The request.
    pub fingerprint: Fingerprint,
}

/// Final state of an entry with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It was done.
    Completed,
    /// It was done, but only after a client had been told that its outcome is unknown, or after
    /// the proxy had been started again.
    Recovered,
    /// It was refused.
    Failed,
    /// It was given up before an instance took it: nothing was done, and the same request may be
    /// made again under its key.
    Withdrawn,
    /// It was given up after instances had failed it.
    Abandoned,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Recovered,
        Self::Failed,
        Self::Withdrawn,
        Self::Abandoned,
    ];

    /// The word for it in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Outcome of an entry with a key, and the answer to a repeat of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutcome {
    /// The final state.
    pub state: KeyState,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The `Content-Type` of the answer.
    pub content_type: Option<String>,
    /// The answer's body.
    pub body: Bytes,
}

impl KeyOutcome {
    /// An outcome with its answer.
    pub fn new(state: KeyState, reply: Reply) -> Self {
        Self {
            state,
            status: reply.status,
            content_type: reply.content_type,
            body: reply.body,
        }
    }

    /// Of what was open when its collection was deleted.
    pub fn void(collection: CollectionId) -> Self {
        let reply = reply::no_such_collection_id(&collection.to_string());
        Self::new(KeyState::Failed, reply)
    }

    /// Answer to a repeat.
    pub fn reply(&self) -> Reply {
        Reply {
            content_type: self.content_type.clone(),
            ..Reply::json(self.status, self.body.clone())
        }
    }
}

/// A key whose entry has ended, on its way into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The key.
    pub key: Key,
    /// Outcome of its entry.
    pub outcome: KeyOutcome,
}

/// Record of a key in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The request.
    pub fingerprint: Fingerprint,
    /// The lane of its entry.
    pub lane: LaneId,
    /// The entry's place there.
    pub position: Position,
    /// Time when the entry was logged.
    pub logged_at: WallTime,
    /// Outcome of the entry, when it has ended.
    pub outcome: Option<KeyOutcome>,
}

impl KeyRecord {
    /// Returns true when the entry came to nothing, so that the same request may be logged in its place.
    pub fn yields_to(&self, fingerprint: Fingerprint) -> bool {
        let state = self.outcome.as_ref().map(|outcome| outcome.state);
        state == Some(KeyState::Withdrawn) && self.fingerprint == fingerprint
    }

    /// The state as clients are told it.
    pub fn state(&self) -> &'static str {
        match self.outcome.as_ref().map(|outcome| outcome.state) {
            None => "attempting",
            Some(KeyState::Withdrawn) => KeyState::Abandoned.as_str(),
            Some(state) => state.as_str(),
        }
    }
}

/// Treatment of a request under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Under {
    /// It is the first one: it is logged.
    First,
    /// The request was made before: it waits for the outcome of its entry, or gets it at once.
    Repeat(KeyRecord),
    /// Another request was made under the key, and this one is refused.
    Reused(Reply),
}

impl Under {
    /// By what the store remembers under its key.
    pub fn of(record: Option<KeyRecord>, keyed: &Keyed) -> Self {
        match record.filter(|record| !record.yields_to(keyed.fingerprint)) {
            None => Self::First,
            Some(record) if record.fingerprint == keyed.fingerprint => Self::Repeat(record),
            Some(_) => Self::Reused(reply::key_reused(&keyed.key)),
        }
    }
}

/// The key among the values of the headers of [`KEY_HEADERS`], each given with its header's name.
pub fn choose<'a>(
    values: impl IntoIterator<Item = (&'static str, &'a [u8])>,
) -> Result<Option<Key>, Reply> {
    let mut chosen = None;
    for (header, value) in values {
        let key = Key::parse(value).ok_or_else(|| {
            let message = format!(
                "The header {header} must be 1 to {KEY_CHARACTERS_MAX} visible ASCII characters"
            );
            reply::malformed(&message)
        })?;
        if chosen
            .replace(key.clone())
            .is_some_and(|other| other != key)
        {
            let [newer, older] = KEY_HEADERS;
            let message = format!("The headers {newer} and {older} name more than one key");
            return Err(reply::malformed(&message));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key is visible ASCII of a bounded length, and there is one of it.
    #[test]
    fn keys_are_chosen_strictly() {
        let [newer, older] = KEY_HEADERS;
        let chosen = |values: &[(&'static str, &str)]| {
            let values = values.iter().map(|(name, value)| (*name, value.as_bytes()));
            match choose(values) {
                Ok(key) => key.map_or("none".to_owned(), |key| key.as_str().to_owned()),
                Err(reply) => format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body)),
            }
        };
        let long = "k".repeat(KEY_CHARACTERS_MAX);
        assert_eq!(chosen(&[]), "none");
        assert_eq!(chosen(&[(older, "a/b\"~")]), "a/b\"~");
        assert_eq!(chosen(&[(newer, &long)]), long);
        assert_eq!(chosen(&[(newer, "a"), (older, "a")]), "a");
        for bad in ["", "a b", "\u{e9}", "a\t", &format!("{long}k")] {
            let refused = chosen(&[(older, bad)]);
            assert!(refused.starts_with("400"), "{bad:?}: {refused}");
            assert!(refused.contains(older), "{bad:?}: {refused}");
        }
        for two in [[(newer, "a"), (older, "b")], [(newer, "a"), (newer, "b")]] {
            let refused = chosen(&two);
            assert!(refused.contains("more than one key"), "{refused}");
        }
    }

    /// Requests that differ anywhere differ in their fingerprints.
    #[test]
    fn fingerprints_tell_requests_apart() {
        let of = |method, target: &'static str, body: &str| {
            let target = Target::parse(target.as_bytes()).unwrap();
            Fingerprint::of(method, &target, body.as_bytes())
        };
        let first = of("POST", "/a/b", "body");
        assert_eq!(first, of("POST", "/a/b", "body"));
        for other in [
            of("PUT", "/a/b", "body"),
            of("POST", "/a/c", "body"),
            of("POST", "/a/b?", "bodyx"),
            of("POST", "/a/b?body", ""),
            of("POST", "/a/b", ""),
        ] {
            assert_ne!(first, other);
        }
    }
}
