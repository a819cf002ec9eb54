//! Questions to an instance before a delete is logged, and the consequences of its answers.
//!
//! A delete with a limit becomes a delete of the ids that it would hit, because which those are
//! may differ from one instance to the next. A delete in a protected collection must leave
//! something over.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    body::{self, DeleteFacts},
    guard::{Denial, Guard},
    outcome::Sending,
    reply::{self, Reply},
};

/// Questions about one delete.
#[derive(Debug)]
pub struct Resolution {
    /// The body of a `get` that finds the records that the delete would hit.
    pub find: Bytes,
    /// True when the number of all records must be known too.
    pub needs_count: bool,
    becomes_ids: bool,
}

/// Reason why an answer does not settle the body to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The delete is refused with this reply.
    Refused(Reply),
    /// The instance closed the connection on the question.
    Closed,
    /// The instance could not be asked, or its answer says nothing; another one may know. The client gets
    /// this reply when none does.
    Unanswered(Reply),
    /// The instance says that it does not have the collection, which is to be looked into; another one may
    /// know. The client gets this reply when none does.
    Missing(Reply),
}

impl Unresolved {
    /// Judges a question that ended without a whole answer.
    pub fn of(sending: &Sending) -> Self {
        let why = match sending {
            Sending::Closed { reused: false } => return Self::Closed,
            Sending::Closed { reused: true } => "it closed an old connection",
            Sending::NotSent(why) => why,
            Sending::Withheld(why) => why,
            Sending::TooLarge => "its answer is too large",
            Sending::Silent => "no answer in time",
            Sending::Answered(_) => "its answer can't be read",
        };
        let message =
            format!("What the delete would hit can't be found out ({why}); nothing was done");
        Self::Unanswered(reply::unavailable(&message, 1))
    }
}

#[derive(Serialize)]
struct Find<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'a RawValue>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    where_document: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    include: [&'static str; 0],
}

#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow, default)]
    ids: Option<&'a RawValue>,
}

/// Questions that must be asked for a delete of a collection. `None` when Chroma does not take the delete's
/// body, so that Chroma may say so, or when the delete can't hit anything. `needs_ids` makes the delete
/// name its records even when it has no limit.
pub fn resolution(guard: &Guard, name: &str, body: &[u8], needs_ids: bool) -> Option<Resolution> {
    let facts: DeleteFacts<'_> = body::facts(body)?;
    let ids = body::facts::<Ids<'_>>(body)?.ids;
    let has_ids = ids.is_some_and(|ids| ids.get() != "null");
    if !has_ids && !facts.has_filter() {
        return None;
    }
    let find = Find {
        ids,
        filter: facts.filter,
        where_document: facts.where_document,
        limit: facts.limit,
        include: [],
    };
    Some(Resolution {
        find: serde_json::to_vec(&find).ok()?.into(),
        needs_count: guard.rule_for(name).is_some(),
        becomes_ids: needs_ids || facts.limit.is_some(),
    })
}

impl Resolution {
    /// Returns the body that is logged instead of the client's. `found` is the answer to [`Self::find`],
    /// `count` the number of all records.
    pub fn settle(
        &self,
        guard: &Guard,
        name: &str,
        client_body: &Bytes,
        found: Reply,
        count: Option<u64>,
    ) -> Result<Bytes, Unresolved> {
        if !found.is_success() {
            return match found.status {
                // Chroma refuses the filter: it refuses the delete in the same words.
                400 | 413 | 415 | 422 => Ok(client_body.clone()),
                500.. => Err(Unresolved::Unanswered(found)),
                status => {
                    let message = format!(
                        "What this would delete can't be found out: an instance answered {status}; nothing was done"
                    );
                    let reply = reply::unavailable(&message, 1);
                    Err(if status == 404 {
                        Unresolved::Missing(reply)
                    } else {
                        Unresolved::Unanswered(reply)
                    })
                }
            };
        }
        let unreadable = || {
            let message =
                "An instance's answer to the question what this would delete can't be read";
            Unresolved::Unanswered(reply::unavailable(message, 1))
        };
        let ids = body::facts::<Ids<'_>>(&found.body)
            .and_then(|ids| ids.ids)
            .ok_or_else(unreadable)?;
        let hit = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(ids.get())
            .map_err(|_| unreadable())?
            .len();
        if self.needs_count {
            let count = count.ok_or_else(unreadable)?;
            let empties = hit > 0 && u64::try_from(hit).unwrap_or(u64::MAX) >= count;
            if let Some(rule) = guard.rule_for(name).filter(|_| empties) {
                let denial = Denial {
                    what: "deleting all of its records",
                    collection: name.into(),
                    rule: rule.clone(),
                };
                return Err(Unresolved::Refused(reply::denied(&denial.to_string())));
            }
        }
        // What hits nothing is logged as it is: at its place in the log it hits nothing anywhere,
        // and if it has a key, a repeat of it must not hit what came later.
        if self.becomes_ids && hit > 0 {
            Ok(format!(r#"{{"ids":{}}}"#, ids.get()).into())
        } else {
            Ok(client_body.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(name: &str, delete: &str, found: &str, count: u64) -> Result<String, u16> {
        let guard = Guard::new(["global"]);
        let body = Bytes::from(delete.to_owned());
        let Some(resolution) = resolution(&guard, name, &body, false) else {
            return Ok("as it is".to_owned());
        };
        resolution
            .settle(
                &guard,
                name,
                &body,
                Reply::json(200, found.to_owned()),
                Some(count),
            )
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
            .map_err(|unresolved| match unresolved {
                Unresolved::Refused(reply)
                | Unresolved::Unanswered(reply)
                | Unresolved::Missing(reply) => reply.status,
                Unresolved::Closed => 0,
            })
    }

    /// An instance that is too busy, or that lacks the collection, refuses nothing: the guard must
    /// not be passed by its answer.
    #[test]
    fn only_a_refused_filter_is_left_to_chroma() {
        let body = Bytes::from_static(br#"{"ids":["x"]}"#);
        let guard = Guard::new(["global"]);
        for status in [400, 422, 404, 408, 429, 500] {
            let resolution = resolution(&guard, "global", &body, false).unwrap();
            let found = Reply::json(status, "{}");
            let settled = resolution.settle(&guard, "global", &body, found, None);
            assert_eq!(settled.is_ok(), [400, 422].contains(&status), "{status}");
        }
    }

    /// A limit becomes ids, unless it hits nothing.
    #[test]
    fn a_limit_becomes_ids() {
        let delete = r#"{"where":{"a":1},"limit":2}"#;
        let found = settle("notes", delete, r#"{"ids":["x", "y"]}"#, 9);
        assert_eq!(found.unwrap(), r#"{"ids":["x", "y"]}"#);
        let nothing = settle("notes", delete, r#"{"ids":[]}"#, 9);
        assert_eq!(nothing.unwrap(), delete);
        assert_eq!(settle("notes", delete, "garbage", 9), Err(503));
        assert_eq!(
            settle("notes", r#"{"limit":2}"#, "", 9).unwrap(),
            "as it is"
        );
    }

    /// The protected collection keeps at least one record.
    #[test]
    fn the_last_records_stay() {
        let delete = r#"{"ids":["x","y"]}"#;
        assert_eq!(
            settle("global", delete, r#"{"ids":["x","y"]}"#, 2),
            Err(403)
        );
        assert_eq!(
            settle("global", delete, r#"{"ids":["x"]}"#, 2).unwrap(),
            delete
        );
        assert_eq!(
            settle("global", delete, r#"{"ids":[]}"#, 0).unwrap(),
            delete
        );
        let everything = r#"{"where":{"$and":[]}}"#;
        assert_eq!(
            settle("global", everything, r#"{"ids":["x"]}"#, 1),
            Err(403)
        );
    }

    /// The question asks for what the delete would hit, in the client's own words.
    #[test]
    fn the_question_is_the_deletes_own_filter() {
        let guard = Guard::default();
        let body = br#"{"where": {"a": 1.50}, "where_document":null, "limit": 2}"#;
        let find = resolution(&guard, "notes", body, false).unwrap().find;
        let expected = r#"{"where":{"a": 1.50},"limit":2,"include":[]}"#;
        assert_eq!(find, expected);
    }
}
