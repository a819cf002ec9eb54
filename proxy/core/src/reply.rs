//! Replies to clients; those that are Achromat's own have Chroma's shape.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::{
    ids::{InstanceId, Key},
    limits::{NAME_IN_TARGET_BYTES_MAX, REPLY_BYTES_MAX},
    log::RecordAct,
    route::Method,
    trash,
};

/// A whole answer: Chroma's, or one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Content-Type`, when there is a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// The value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// The value of `Allow`, for 405.
    pub allow: Option<String>,
    /// Further headers that go to the client: those of Chroma's that are about the answer itself.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some("application/json".to_owned()),
            body: body.into(),
            retry_after_s: None,
            allow: None,
            headers: Vec::new(),
        }
    }

    /// An error as Chroma writes it. `error` is the name by which its clients choose an exception.
    pub fn error(status: u16, error: &str, message: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            message: &'a str,
        }
        let body = serde_json::to_vec(&Body { error, message }).unwrap_or_default();
        Self::json(status, body)
    }

    /// Returns true when the request was looked at and answered: not too slow, not one too many, no failure.
    pub fn is_answer(&self) -> bool {
        self.status < 500 && !matches!(self.status, 408 | 429)
    }

    /// Returns true when the status says that the request was done.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// 400 for a request that is refused before it is looked at.
pub fn malformed(message: &str) -> Reply {
    Reply::error(400, "InvalidArgumentError", message)
}

/// A request that can't be read as HTTP, with the status that says why.
pub fn unreadable(status: u16, message: &str) -> Reply {
    let error = match status {
        408 => "RequestTimeout",
        431 => "RequestHeaderFieldsTooLarge",
        _ => "InvalidArgumentError",
    };
    Reply::error(status, error, message)
}

/// 422 for a key under which another request was made.
pub fn key_reused(key: &Key) -> Reply {
    let message = format!(
        "Another request was made under the key {}; a key belongs to one request, so choose a new one",
        key.word()
    );
    Reply::error(422, "KeyReused", &message)
}

/// 404 for a route that Chroma does not have.
pub fn unknown_route(method: &str, path: &str) -> Reply {
    let message = format!("Chroma has no route {method} {path}");
    Reply::error(404, "NotFoundError", &message)
}

/// 405 with the methods that the path has.
pub fn method_not_allowed(method: &str, path: &str, allowed: &[Method]) -> Reply {
    let mut words: Vec<_> = allowed.iter().map(|method| method.as_str()).collect();
    if words.contains(&"GET") {
        words.push("HEAD");
    }
    let allow = words.join(",");
    let message = format!("Chroma's route {path} does not take {method}, only {allow}");
    Reply {
        allow: Some(allow),
        ..Reply::error(405, "InvalidArgumentError", &message)
    }
}

/// 410, word for word what Chroma 1.5.9 says on `/api/v1/*`.
pub fn retired() -> Reply {
    let message = "The v1 API is deprecated. Please use /v2 apis";
    Reply::error(410, "Unimplemented", message)
}

/// 404 for a collection that the catalog does not have, as Chroma 1.5.9 words it on routes by
/// UUID.
pub fn no_such_collection_id(id: &str) -> Reply {
    let message = format!("Collection [{id}] does not exist.");
    Reply::error(404, "NotFoundError", &message)
}

/// 404 for a collection that the catalog does not have, as Chroma 1.5.9 words it on routes by
/// name.
pub fn no_such_collection(name: &str) -> Reply {
    let message = format!("Collection [{name}] does not exist");
    Reply::error(404, "NotFoundError", &message)
}

/// Reply of Chroma 1.5.9 when a collection is renamed onto an existing name.
pub fn name_is_taken() -> Reply {
    let message = "Database error: error returned from database: (code: 2067) UNIQUE constraint failed: collections.name, collections.database_id";
    Reply::error(500, "InternalError", message)
}

/// 400 for a name that clients can't give.
pub fn name_is_reserved() -> Reply {
    let prefix = trash::PREFIX;
    malformed(&format!(
        "Names that begin with {prefix} belong to the trash: choose another one"
    ))
}

/// 400 for a tenant's name that no path could hold.
pub fn tenant_is_unreachable() -> Reply {
    malformed(&format!(
        "A tenant of this name could not be reached: a path can't hold `.` or `..`, control characters, or more than {NAME_IN_TARGET_BYTES_MAX} bytes of a name, percent-encoded"
    ))
}

/// 400 for such a name of a database: what Chroma 1.5.9 says of it. Older versions take it.
pub fn database_is_unreachable(name: &str) -> Reply {
    malformed(&format!(
        "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending with a character in [a-zA-Z0-9]. Got: {name}"
    ))
}

/// 400 for what would be made in, or under the name of, Achromat's own tenant.
pub fn tenant_is_reserved(tenant: &str) -> Reply {
    malformed(&format!(
        "The tenant [{tenant}] is Achromat's own: choose another name"
    ))
}

/// 404 for a tenant, as Chroma 1.5.9 words it.
pub fn no_such_tenant(tenant: &str) -> Reply {
    let message = format!("Tenant [{tenant}] not found");
    Reply::error(404, "NotFoundError", &message)
}

/// 421 for a request to another server.
pub fn misdirected() -> Reply {
    Reply::error(
        421,
        "MisdirectedRequest",
        "This server is not called by that Host",
    )
}

/// 403 with the rule that forbids it.
pub fn denied(message: &str) -> Reply {
    Reply::error(403, "AuthError", message)
}

/// 413 for a body beyond the limit.
pub fn body_too_large(limit_bytes: usize) -> Reply {
    let message = format!("The request body is larger than the limit of {limit_bytes} bytes");
    Reply::error(413, "PayloadTooLarge", &message)
}

/// 503: nothing was done, and the request may be repeated.
pub fn unavailable(message: &str, retry_after_s: u32) -> Reply {
    Reply {
        retry_after_s: Some(retry_after_s),
        ..Reply::error(503, "Unavailable", message)
    }
}

/// 429: somebody asks for more than their share, which may be repeated later.
pub fn over_quota(message: &str, retry_after_s: u32) -> Reply {
    Reply {
        retry_after_s: Some(retry_after_s),
        ..Reply::error(429, "TooManyRequests", message)
    }
}

/// 502: instances closed the connection without an answer.
pub fn no_answer(instances: &str) -> Reply {
    let message = format!(
        "The request ended without an answer on {instances}: Chroma closes the connection on requests that break its handler, so it is not tried on further instances"
    );
    Reply::error(502, "NoAnswer", &message)
}

/// 502: another proxy of the fleet, which alone could have carried a request out, did not answer.
pub fn no_answer_from_leader() -> Reply {
    let message = "The proxy that leads the fleet did not answer, and may have carried the request out: read before you repeat it";
    Reply::error(502, "NoAnswer", message)
}

/// 502: an answer that must be read whole is too large for that.
pub fn answer_too_large() -> Reply {
    let message = format!(
        "The answer has more than {REPLY_BYTES_MAX} bytes, which is more than Achromat reads of an answer that carries ids; ask for less at once, for example with `limit` and `offset`"
    );
    Reply::error(502, "AnswerTooLarge", &message)
}

/// A record write is in the log, and that is enough for its client: Chroma's status for it.
pub fn logged(act: RecordAct) -> Reply {
    let status = if act == RecordAct::Add { 201 } else { 200 };
    Reply::json(status, "{}")
}

/// 504: a write is in the log and may have been done; what became of it was not known in time.
pub fn outcome_unknown(reason: &str) -> Reply {
    let message = format!(
        "The write is in the log, but what became of it is not known yet ({reason}); it will be carried out as soon as an instance can, so read before you repeat it"
    );
    Reply::error(504, "OutcomeUnknown", &message)
}

/// 504: a write was done, but on fewer instances than its acknowledgement level asks for.
pub fn level_not_reached(done: usize) -> Reply {
    let message = format!(
        "The write is done on {done} instance(s), fewer than its acknowledgement level asks for; the others will get it as soon as they can"
    );
    Reply::error(504, "LevelNotReached", &message)
}

/// 409: the name of a collection that is to be made is taken, in Chroma's words.
pub(crate) fn collection_exists(name: &str) -> Reply {
    let message = format!("Collection [{name}] already exists");
    Reply::error(409, "ChromaError", &message)
}

/// Replaces an instance's UUID by the collection's id, wherever it stands in an error text. Both
/// have 36 characters, so lengths stay as they are.
#[must_use]
pub fn with_collection_id(reply: Reply, instance: InstanceId, collection: uuid::Uuid) -> Reply {
    if instance.0 == collection || reply.is_success() {
        return reply;
    }
    let theirs = instance.0.to_string();
    match std::str::from_utf8(&reply.body) {
        Ok(text) if text.contains(&theirs) => Reply {
            body: text.replace(&theirs, &collection.to_string()).into(),
            ..reply
        },
        _ => reply,
    }
}
