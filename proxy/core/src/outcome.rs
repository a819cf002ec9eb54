//! Meaning of an instance's answer to an entry.

use crate::{
    log::{RecordAct, Verb},
    reply::Reply,
};

/// Result of one sending, as the transport saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sending {
    /// A whole answer came.
    Answered(Reply),
    /// Not one byte of the request can have reached the instance.
    NotSent(String),
    /// Nothing was sent, for a reason that has nothing to do with the instance: this proxy had no leave.
    Withheld(&'static str),
    /// The connection closed before the answer was whole.
    Closed {
        /// True when the connection had been used before: the server may simply have let it go.
        reused: bool,
    },
    /// An answer came that has more bytes than it may have.
    TooLarge,
    /// No answer before the deadline.
    Silent,
}

/// Reason why a sending did not settle anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The write did not happen: the instance could not be reached.
    NotSent(String),
    /// The write did not happen: the instance was not asked, because it can't decide about the write now, or
    /// this proxy may not send it.
    Withheld(&'static str),
    /// The write may have happened: the connection closed.
    Closed {
        /// As in [`Sending::Closed`].
        reused: bool,
    },
    /// The write may have happened: the answer was too large to be read.
    TooLarge,
    /// The write may have happened, and may still happen.
    Silent,
    /// The write may have happened, although the instance says that it failed.
    ServerError(Reply),
}

impl Failure {
    /// Returns true when the write may have happened.
    pub fn may_have_happened(&self) -> bool {
        !matches!(self, Self::NotSent(_) | Self::Withheld(_))
    }

    /// The reason, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::NotSent(why) => format!("not sent: {why}"),
            Self::Withheld(why) => format!("not sent: {why}"),
            Self::Closed { .. } => "the connection closed without an answer".to_owned(),
            Self::TooLarge => "the answer has more bytes than it may have".to_owned(),
            Self::Silent => "no answer in time".to_owned(),
            Self::ServerError(reply) => format!(
                "answered {}: {}",
                reply.status,
                String::from_utf8_lossy(reply.body.get(..300).unwrap_or(&reply.body))
            ),
        }
    }
}

/// Meaning of a sending for its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out, now or at an earlier sending.
    Done(Reply),
    /// A create that found the collection there.
    Found(Reply),
    /// Chroma refused it.
    Refused {
        /// Its answer.
        reply: Reply,
        /// True when the refusal may have changed something all the same.
        trace: bool,
    },
    /// The instance does not have the collection that it should have.
    Missing(Reply),
    /// A collection of the name is there already, and an earlier sending may have made it: its id
    /// must be asked for.
    LookUp,
    /// Nothing is settled.
    Failed(Failure),
}

/// Facts that are known of an entry before an answer is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// This instance may have carried it out at an earlier sending.
    pub maybe_here: bool,
    /// Another instance has carried it out.
    pub elsewhere: bool,
    /// Another instance has refused it, and so decided it.
    pub is_refused: bool,
}

impl Before {
    /// True when what is already so may be the entry's own work. Of an entry that is refused, the same answer
    /// as the other instance's agrees with it: both have the same now.
    fn is_likely(self) -> bool {
        (self.maybe_here || self.elsewhere) && !self.is_refused
    }
}

/// Judges a sending. What is already so is a success where it can be this entry's own work.
pub fn judge(verb: &Verb, sending: Sending, before: Before) -> Outcome {
    let reply = match sending {
        Sending::Answered(reply) => reply,
        Sending::NotSent(why) => return Outcome::Failed(Failure::NotSent(why)),
        Sending::Withheld(why) => return Outcome::Failed(Failure::Withheld(why)),
        Sending::Closed { reused } => return Outcome::Failed(Failure::Closed { reused }),
        Sending::TooLarge => return Outcome::Failed(Failure::TooLarge),
        Sending::Silent => return Outcome::Failed(Failure::Silent),
    };
    match reply.status {
        200..=299 => Outcome::Done(reply),
        404 | 405 if reply.body.is_empty() => judge_no_route(verb, reply, before),
        404 => judge_not_found(verb, reply, before),
        409 => judge_conflict(verb, reply, before),
        // Too slow, too many: neither was looked at.
        408 | 429 => Outcome::Failed(Failure::ServerError(reply)),
        400..=499 | 501 => refused(verb, reply),
        _ if is_deterministic(verb, &reply) => refused(verb, reply),
        _ => Outcome::Failed(Failure::ServerError(reply)),
    }
}

/// Judges the answer to a question for the id of a collection that may have been made.
pub fn judge_look_up(sending: Sending) -> Outcome {
    match sending {
        Sending::Answered(reply) if reply.is_success() => Outcome::Done(reply),
        Sending::Answered(reply) if reply.status == 404 => Outcome::Failed(Failure::NotSent(
            "the collection was there and is there no more".to_owned(),
        )),
        Sending::Answered(reply) => Outcome::Failed(Failure::ServerError(reply)),
        Sending::NotSent(why) => Outcome::Failed(Failure::NotSent(why)),
        Sending::Withheld(why) => Outcome::Failed(Failure::Withheld(why)),
        Sending::Closed { reused } => Outcome::Failed(Failure::Closed { reused }),
        Sending::TooLarge => Outcome::Failed(Failure::TooLarge),
        Sending::Silent => Outcome::Failed(Failure::Silent),
    }
}

fn refused(verb: &Verb, reply: Reply) -> Outcome {
    // Chroma 1.5.9 sets a collection's dimension before it finds that ids are empty or that
    // lengths differ, and says 400; a 422 (unreadable body) is found before.
    let writes = matches!(verb, Verb::Record { act, .. } if *act != RecordAct::Delete);
    let trace = writes && reply.status == 400;
    Outcome::Refused { reply, trace }
}

/// An answer without a body comes from a server that has no such route: it says nothing of collections.
/// What only some versions know changes nothing on a single node where it is known, so one that does not
/// know it has nothing to do when another one has done it. A route that every version has is not
/// answered by Chroma, and is asked again.
fn judge_no_route(verb: &Verb, reply: Reply, before: Before) -> Outcome {
    match verb {
        Verb::UpdateTenant { .. }
        | Verb::Fork { .. }
        | Verb::AttachFunction { .. }
        | Verb::DetachFunction { .. } => {
            if before.elsewhere {
                already(reply)
            } else {
                Outcome::Refused {
                    reply,
                    trace: false,
                }
            }
        }
        Verb::CreateTenant { .. }
        | Verb::CreateDatabase { .. }
        | Verb::DeleteDatabase { .. }
        | Verb::CreateCollection { .. }
        | Verb::ModifyCollection { .. }
        | Verb::DeleteCollection { .. }
        | Verb::Record { .. }
        | Verb::Reset => Outcome::Failed(Failure::ServerError(reply)),
    }
}

fn judge_not_found(verb: &Verb, reply: Reply, before: Before) -> Outcome {
    match verb {
        // It is only ever sent while the catalog has the collection: so it is gone already.
        Verb::DeleteCollection { .. } => already(reply),
        Verb::DeleteDatabase { .. } | Verb::DetachFunction { .. } if before.is_likely() => {
            already(reply)
        }
        // It may be about a function as well as about the collection: it is no evidence.
        Verb::AttachFunction { .. } | Verb::DetachFunction { .. } => refused(verb, reply),
        _ if verb.subject().is_some() => Outcome::Missing(reply),
        _ => refused(verb, reply),
    }
}

fn judge_conflict(verb: &Verb, reply: Reply, before: Before) -> Outcome {
    match verb {
        // A collection that only another instance is known to have made is a leftover here.
        Verb::CreateTenant { .. } | Verb::CreateDatabase { .. } if before.is_likely() => {
            already(reply)
        }
        Verb::CreateCollection { .. } if before.maybe_here => Outcome::LookUp,
        _ => refused(verb, reply),
    }
}

/// Chroma's answer to the first of two equal requests of these verbs, as the outcome of the second.
fn already(reply: Reply) -> Outcome {
    Outcome::Done(Reply {
        status: 200,
        body: "{}".into(),
        ..reply
    })
}

/// Chroma 1.5.9 answers 500 when a collection is renamed onto an existing name, and changes
/// nothing: a refusal by another status.
fn is_deterministic(verb: &Verb, reply: &Reply) -> bool {
    const UNIQUE: &str = "UNIQUE constraint failed: collections.name";
    matches!(verb, Verb::ModifyCollection { .. })
        && std::str::from_utf8(&reply.body).is_ok_and(|body| body.contains(UNIQUE))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::CollectionId;

    const C: CollectionId = CollectionId(Uuid::nil());

    fn shown(verb: &Verb, status: u16, body: &str, again: bool) -> &'static str {
        let reply = Reply::json(status, body.to_owned());
        let before = Before {
            maybe_here: again,
            ..Before::default()
        };
        match judge(verb, Sending::Answered(reply), before) {
            Outcome::Done(_) | Outcome::Found(_) => "done",
            Outcome::Refused { trace: true, .. } => "refused, with a trace",
            Outcome::Refused { .. } => "refused",
            Outcome::Missing(_) => "missing",
            Outcome::LookUp => "look up",
            Outcome::Failed(_) => "failed",
        }
    }

    /// An instance that may have done what another one has refused, and now gives the same answer, agrees: it is
    /// no reason to take its copy out of service, which may be the only one.
    #[test]
    fn equal_refusals_agree() {
        let detach = Verb::DetachFunction {
            collection: C,
            function: "nope".into(),
        };
        let database = Verb::CreateDatabase {
            tenant: "t".into(),
            name: Some("d".into()),
            id: crate::ids::DatabaseId(Uuid::nil()),
        };
        for (verb, status) in [(detach, 404), (database, 409)] {
            let outcome = |is_refused| {
                let before = Before {
                    maybe_here: true,
                    is_refused,
                    ..Before::default()
                };
                let reply = Reply::json(status, r#"{"error":"x"}"#);
                judge(&verb, Sending::Answered(reply), before)
            };
            assert!(matches!(outcome(true), Outcome::Refused { .. }), "{status}");
            assert!(matches!(outcome(false), Outcome::Done(_)), "{status}");
        }
    }

    /// Each status means what it was measured to mean.
    #[test]
    fn statuses_are_judged_by_verb() {
        let add = Verb::Record {
            collection: C,
            act: RecordAct::Add,
        };
        let delete = Verb::Record {
            collection: C,
            act: RecordAct::Delete,
        };
        let create = Verb::CreateCollection {
            tenant: "t".into(),
            database: "d".into(),
            name: Some("n".into()),
            id: C,
        };
        let modify = Verb::ModifyCollection {
            collection: C,
            new_name: None,
        };
        let drop = Verb::DeleteCollection { collection: C };
        let gone = r#"{"error":"NotFoundError","message":"Collection [x] does not exist."}"#;
        let tenant = Verb::UpdateTenant { tenant: "t".into() };
        let unique =
            "(code: 2067) UNIQUE constraint failed: collections.name, collections.database_id";
        let detach = Verb::DetachFunction {
            collection: C,
            function: "nope".into(),
        };
        let no_function = r#"{"error":"NotFoundError","message":"Function 'nope' not found"}"#;
        let cases = [
            (&detach, 404, no_function, false, "refused"),
            (&detach, 404, no_function, true, "done"),
            (&detach, 404, "", false, "refused"),
            (&add, 201, "", false, "done"),
            (&add, 400, "", false, "refused, with a trace"),
            (&add, 422, "", false, "refused"),
            (&add, 413, "", false, "refused"),
            (&add, 404, gone, false, "missing"),
            (&add, 404, "", false, "failed"),
            (&add, 429, "", false, "failed"),
            (&add, 500, "", false, "failed"),
            (&add, 503, "", false, "failed"),
            (&delete, 400, "", false, "refused"),
            (&create, 409, "", false, "refused"),
            (&create, 409, "", true, "look up"),
            (&create, 404, gone, false, "refused"),
            (&modify, 500, unique, false, "refused"),
            (&modify, 500, "disk full", false, "failed"),
            (&add, 500, unique, false, "failed"),
            (&drop, 404, gone, false, "done"),
            (&drop, 404, "", false, "failed"),
            (&Verb::Fork { collection: C }, 501, "", false, "refused"),
            (&Verb::Fork { collection: C }, 404, "", false, "refused"),
            (&Verb::Fork { collection: C }, 404, gone, false, "missing"),
            (&tenant, 405, "", false, "refused"),
            (&Verb::Reset, 403, "", false, "refused"),
            (
                &Verb::CreateTenant { name: None },
                409,
                "",
                false,
                "refused",
            ),
            (&Verb::CreateTenant { name: None }, 409, "", true, "done"),
        ];
        for (verb, status, body, again, expected) in cases {
            assert_eq!(
                shown(verb, status, body, again),
                expected,
                "{verb:?} {status}"
            );
        }
    }
}
