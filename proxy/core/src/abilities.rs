//! Routes and forms that a Chroma server knows. They differ from version to version, and the version
//! can't be asked for: every server from 1.0.0 to 1.5.9 calls itself "1.0.0". So each server is asked
//! what it can do when it is met, and again when it returns, since it may have been upgraded.
//!
//! What is not known counts as not there: every version understands what is asked then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::InstanceIx,
    reply::Reply,
    route::{Action, Captures, route_of},
};

/// The question for limits and forms.
pub const PRE_FLIGHT: &str = "/api/v2/pre-flight-checks";

/// The field of its answer that limits the records of a request.
const BATCH_MAX: &str = "max_batch_size";

/// The field of its answer that says whether embeddings may be base64 strings.
const BASE64: &str = "supports_base64_encoding";

/// Abilities of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It describes a collection by its UUID (since 1.5.7).
    pub by_id: bool,
    /// It takes embeddings as base64 strings (since some version between 1.0.0 and 1.0.20).
    pub base64: bool,
    /// The number of records in a request that it asks clients to keep to.
    pub batch_max: Option<u64>,
}

impl Abilities {
    /// Abilities of Chroma 1.5.9.
    pub const NEWEST: Self = Self {
        by_id: true,
        base64: true,
        batch_max: Some(5461),
    };

    /// Abilities as a server's answers to [`PRE_FLIGHT`] and to [`by_id_target`] show them; nothing when
    /// it did not answer the first.
    pub fn of(pre_flight: &Reply, by_id: &Reply) -> Option<Self> {
        if !pre_flight.is_success() {
            return None;
        }
        let told: Value = serde_json::from_slice(&pre_flight.body).ok()?;
        Some(Self {
            // A server that knows the route says so in words; one that does not says nothing.
            by_id: by_id.status == 404 && !by_id.body.is_empty(),
            base64: told.get(BASE64).and_then(Value::as_bool).unwrap_or(false),
            batch_max: told.get(BATCH_MAX).and_then(Value::as_u64),
        })
    }
}

/// The question for a collection that no server has, by its UUID.
pub fn by_id_target() -> String {
    let captures = Captures {
        tenant: Some("default_tenant".into()),
        database: Some("default_database".into()),
        collection: Some(uuid::Uuid::nil().to_string().into()),
        name: None,
    };
    let route = route_of(Action::GetCollectionById);
    route.map_or_else(String::new, |route| route.render(&captures, "", None))
}

/// Abilities of all servers, by place; nothing is known of those that were not met yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllAbilities(Arc<[Option<Abilities>]>);

impl AllAbilities {
    /// Abilities of one server: the least, as long as they are not known.
    pub fn of(&self, instance: InstanceIx) -> Abilities {
        self.known(instance).unwrap_or_default()
    }

    /// Abilities of one server, when it was met.
    pub(crate) fn known(&self, instance: InstanceIx) -> Option<Abilities> {
        self.0.get(instance.at()).copied().flatten()
    }

    /// The answer to [`PRE_FLIGHT`] that holds for all servers that were met: what a client sends then is
    /// taken by each of them.
    #[must_use]
    pub fn in_common(&self, answer: &Reply) -> Option<Reply> {
        let mut told: Value = serde_json::from_slice(&answer.body).ok()?;
        let fields = told.as_object_mut()?;
        let met = || self.0.iter().flatten();
        if let Some(least) = met().filter_map(|a| a.batch_max).min() {
            fields.insert(BATCH_MAX.to_owned(), least.into());
        }
        if met().any(|abilities| !abilities.base64) {
            fields.insert(BASE64.to_owned(), false.into());
        }
        Some(Reply {
            body: told.to_string().into(),
            ..answer.clone()
        })
    }
}

impl FromIterator<Option<Abilities>> for AllAbilities {
    fn from_iter<T: IntoIterator<Item = Option<Abilities>>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of real servers, as they were measured.
    #[test]
    fn abilities_are_read_from_what_servers_answer() {
        let newest = Reply::json(
            200,
            r#"{"max_batch_size":5461,"supports_base64_encoding":true}"#,
        );
        let oldest = Reply::json(200, r#"{"max_batch_size":5461}"#);
        let missing = Reply::error(404, "NotFoundError", "Collection [0] does not exist");
        let no_route = Reply::json(404, "");
        assert_eq!(Abilities::of(&newest, &missing), Some(Abilities::NEWEST));
        let middle = Abilities {
            by_id: false,
            ..Abilities::NEWEST
        };
        assert_eq!(Abilities::of(&newest, &no_route), Some(middle));
        let old = Abilities {
            by_id: false,
            base64: false,
            batch_max: Some(5461),
        };
        assert_eq!(Abilities::of(&oldest, &no_route), Some(old));
        assert_eq!(Abilities::of(&Reply::json(503, "{}"), &missing), None);
    }

    /// Clients are told what every server takes; one that was not met yet says nothing.
    #[test]
    fn clients_are_told_what_all_servers_take() {
        let small = Abilities {
            batch_max: Some(100),
            base64: false,
            by_id: false,
        };
        let answer = Reply::json(
            200,
            r#"{"max_batch_size":5461,"supports_base64_encoding":true,"other":[1]}"#,
        );
        let told = |all: &[Option<Abilities>]| {
            let all: AllAbilities = all.iter().copied().collect();
            let body = all.in_common(&answer).unwrap().body;
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        let whole = serde_json::json!({
            "max_batch_size": 5461, "supports_base64_encoding": true, "other": [1]
        });
        assert_eq!(told(&[None, Some(Abilities::NEWEST)]), whole);
        let least = serde_json::json!({
            "max_batch_size": 100, "supports_base64_encoding": false, "other": [1]
        });
        assert_eq!(told(&[Some(small), Some(Abilities::NEWEST)]), least);
        assert_eq!(
            AllAbilities::default().in_common(&Reply::json(200, "x")),
            None
        );
    }

    /// Unknown abilities count as lacking.
    #[test]
    fn an_unknown_server_has_the_least_abilities() {
        let all: AllAbilities = [None, Some(Abilities::NEWEST)].into_iter().collect();
        assert_eq!(all.of(InstanceIx(0)), Abilities::default());
        assert_eq!(all.of(InstanceIx(1)), Abilities::NEWEST);
        assert_eq!(all.of(InstanceIx(2)), Abilities::default());
    }
}
