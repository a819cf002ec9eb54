//! Dead letters: writes that came to nothing after their client had reason to believe otherwise. An
//! operator reads why, and has one done after all or dismisses it.

use std::time::Duration;

use achromat_core::{
    ids::{EntryId, LaneId},
    log::{Letter, Verb},
    reply::Reply,
    view::View,
    write::{Levels, permit_again},
};
use serde::Serialize;
use uuid::Uuid;

use super::{Admin, Asker, Deed, json, problem};
use crate::{clock, policy::Counted, replicate::Told, store::StoreError};

/// Letters that are listed at once.
const LISTED_MAX: u32 = 1000;

/// Rules for retrying the write of a dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Retrying {
    /// The acknowledgement levels.
    pub levels: Levels,
    /// Time that the call waits for the write's outcome.
    pub deadline: Duration,
}

#[derive(Serialize)]
struct List<'a> {
    letter_count: u64,
    /// The oldest first.
    letters: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    collection_id: Option<String>,
    collection_name: Option<&'a str>,
    operation: &'a Verb,
    logged_at_ms: u64,
    body_bytes: u64,
    reason: &'a str,
}

#[derive(Serialize)]
struct Dismissed {
    status: &'static str,
    id: String,
}

#[derive(Serialize)]
struct Retried<'a> {
    id: String,
    /// HTTP status that a client would have been answered with.
    status: u16,
    answer: std::borrow::Cow<'a, str>,
}

impl<'a> Line<'a> {
    fn new(letter: &'a Letter, view: &'a View) -> Self {
        let collection = match letter.lane {
            LaneId::Collection(id) => Some(id),
            LaneId::Schema => letter.verb.subject_or_made(),
        };
        Self {
            id: letter.id.0.to_string(),
            collection_id: collection.map(|id| id.to_string()),
            collection_name: collection
                .and_then(|id| view.catalog.get_even_gone(id))
                .map(|collection| collection.name.as_ref()),
            operation: &letter.verb,
            logged_at_ms: letter.logged_at.0,
            body_bytes: letter.body_bytes,
            reason: &letter.reason,
        }
    }
}

fn unreadable(error: &StoreError) -> Reply {
    tracing::warn!(%error, "the dead letters can't be reached");
    problem(
        503,
        "The log can't be reached",
        "Ask again in a moment; nothing was changed",
    )
}

fn parse(text: &str) -> Result<EntryId, Reply> {
    Uuid::parse_str(text).map(EntryId).map_err(|_| {
        let detail = format!("{text:?} is not the id of a letter: GET /admin/letters lists them");
        problem(400, "Not an id", &detail)
    })
}

fn unknown(text: &str) -> Reply {
    let detail = format!("There is no letter {text}; it may have been retried or dismissed");
    problem(404, "No such letter", &detail)
}

impl Admin {
    pub(super) async fn letters(&self) -> Reply {
        let (letters, letter_count) = match self.replicator.letters(LISTED_MAX).await {
            Ok(found) => found,
            Err(error) => return unreadable(&error),
        };
        let view = self.replicator.view();
        let list = List {
            letter_count,
            letters: letters
                .iter()
                .map(|letter| Line::new(letter, &view))
                .collect(),
        };
        json(200, &list)
    }

    /// Has the write of a letter done after all, at its place behind everything since. The letter is
    /// gone when the write is in the log; should that come to nothing too, there is a new letter.
    pub(super) async fn retry_letter(&self, text: &str, asker: Asker<'_>) -> Reply {
        let wanted = async {
            let id = parse(text)?;
            let found = self.replicator.letter(id).await;
            let found = found.map_err(|error| unreadable(&error))?;
            let (letter, body) = found.ok_or_else(|| unknown(text))?;
            let permit = {
                let view = self.replicator.view();
                let permit = permit_again(self.rules(&view), letter, body, clock::fresh())?;
                let (guard, counted) = (&self.facts.policies.guard, Counted::default());
                let generation = guard.generation();
                guard.pass(&generation, &view.catalog, permit, asker, counted)?
            };
            tracing::info!(letter = text, "an operator retries a letter");
            let deadline = self.facts.retrying.deadline;
            match self.replicator.submit(permit, deadline).await {
                Told::Reply(reply) => Ok(reply),
                Told::AskAgain => Err(unknown(text)),
            }
        };
        match wanted.await {
            Ok(reply) => {
                let retried = Retried {
                    id: text.to_owned(),
                    status: reply.status,
                    answer: String::from_utf8_lossy(&reply.body),
                };
                json(200, &retried)
            }
            Err(reply) => reply,
        }
    }

    pub(super) async fn dismiss_letter(&self, text: &str, asker: Asker<'_>) -> Reply {
        let wanted = async {
            let id = parse(text)?;
            let found = self.replicator.letter(id).await;
            found
                .map_err(|error| unreadable(&error))?
                .ok_or_else(|| unknown(text))?;
            let subject = format!("letter {text}");
            self.asked_guard(Deed::AdminDelete, None, Some(&subject), asker)
                .map_err(|reason| problem(403, "Denied", &reason))?;
            let dismissed = self.replicator.dismiss(id).await;
            dismissed.map_err(|error| unreadable(&error))
        };
        match wanted.await {
            Ok(()) => {
                tracing::info!(letter = text, "an operator dismisses a letter");
                let id = text.to_owned();
                let status = "dismissed";
                json(200, &Dismissed { status, id })
            }
            Err(reply) => reply,
        }
    }
}
