//! The marker: a collection of ours on each instance, by which its data is known again.
//!
//! Its UUID tells the instance's data from any other server's. The *token* in its metadata is a
//! number that only rises: it is written to the instance first, and then made durable here. So an
//! instance shows what is known here, or more; one that shows less holds data from the past, such
//! as a disk that came back from an old backup. This room reads and compares; it sends nothing.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    catalog::Marker,
    ids::{InstanceId, Token},
};

/// The tenant, and the database, in which instances are marked.
pub(crate) const OWN: &str = "achromat-own";

/// The collection's name.
pub(crate) const MARKER: &str = "marker";

/// Key of the token in the marker's metadata.
pub(crate) const TOKEN: &str = "token";

impl Marker {
    /// Stands for the marker of a known instance that has lost it to a reset, until it has a new one.
    pub(crate) fn to_be_made(token: Token) -> Self {
        let id = InstanceId(Uuid::nil());
        Self { id, token }
    }

    /// Returns true when the instance has lost its marker to a reset.
    pub(crate) fn is_to_be_made(self) -> bool {
        self.id.0.is_nil()
    }
}

/// The marker that an instance shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) id: InstanceId,
    /// 0 when it has none.
    pub(crate) token: Token,
}

#[derive(Deserialize)]
struct Described {
    id: Uuid,
    #[serde(default)]
    metadata: Value,
}

impl Shown {
    /// From the collection's description; `None` when that can't be read.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let described: Described = serde_json::from_slice(body).ok()?;
        let token = described.metadata.get(TOKEN).and_then(Value::as_u64);
        Some(Self {
            id: InstanceId(described.id),
            token: Token(token.unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token is read from a description with or without metadata of any kind.
    #[test]
    fn a_marker_is_read() {
        let id = InstanceId(Uuid::from_u128(7));
        for (metadata, token) in [
            (
                r#","metadata":{"token":9007199254740993}"#,
                9_007_199_254_740_993,
            ),
            (r#","metadata":{"token":"17"}"#, 0),
            (r#","metadata":null"#, 0),
            ("", 0),
        ] {
            let body = format!(r#"{{"id":"{id}","name":"marker"{metadata}}}"#);
            let token = Token(token);
            assert_eq!(Shown::parse(body.as_bytes()), Some(Shown { id, token }));
        }
        assert_eq!(Shown::parse(b"{}"), None);
    }
}
