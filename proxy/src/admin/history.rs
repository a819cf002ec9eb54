//! Recent writes and audited events, page by page.

use std::fmt::Display;

use achromat_core::{
    history::{AuditAsked, AuditKind, AuditRecord, WriteOutcome, WriteRecord, WritesAsked},
    reply::Reply,
    route::Target,
};
use serde::Serialize;

use super::{
    Admin, Asker, json, problem,
    query::{number, parameter},
};
use crate::{history::audited, store::StoreError};

/// Records of one answer, unless `?limit=` says otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// Records of one answer at most.
const LIMIT_MAX: u32 = 1000;

#[derive(Serialize)]
struct Writes {
    /// The newest first.
    writes: Vec<OneWrite>,
    /// Value of `?before=` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<u64>,
}

#[derive(Serialize)]
struct OneWrite {
    number: u64,
    begun_at_ms: u64,
    took_ms: u64,
    who: String,
    client: String,
    action: String,
    tenant: String,
    database: String,
    collection: String,
    status: u16,
    outcome: &'static str,
    key: String,
}

#[derive(Serialize)]
struct Audit {
    /// The newest first.
    events: Vec<OneEvent>,
    /// Value of `?before=` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<u64>,
}

#[derive(Serialize)]
struct OneEvent {
    number: u64,
    at_ms: u64,
    kind: &'static str,
    who: String,
    client: String,
    what: String,
    status: u16,
    detail: String,
}

/// Parses `?limit=…&before=…&collection=…&who=…&outcome=…`. Fails with a description of the mistake.
pub(super) fn writes_asked(target: &Target<'_>) -> Result<WritesAsked, String> {
    let (before, limit) = page(target)?;
    Ok(WritesAsked {
        before,
        limit,
        collection: parameter(target, "collection"),
        who: parameter(target, "who"),
        outcome: word(
            target,
            "outcome",
            WriteOutcome::parse,
            "completed, refused or failed",
        )?,
    })
}

/// Parses `?limit=…&before=…&kind=…`. Fails with a description of the mistake.
pub(super) fn audit_asked(target: &Target<'_>) -> Result<AuditAsked, String> {
    let (before, limit) = page(target)?;
    Ok(AuditAsked {
        before,
        limit,
        kind: word(
            target,
            "kind",
            AuditKind::parse,
            "change, destruction or denial",
        )?,
    })
}

fn page(target: &Target<'_>) -> Result<(u64, u32), String> {
    let before = number(target, "before")?.unwrap_or(i64::MAX.unsigned_abs());
    let limit = number::<u64>(target, "limit")?.map_or(LIMIT_DEFAULT, |limit| {
        u32::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)
    });
    Ok((before, limit))
}

fn word<T>(
    target: &Target<'_>,
    name: &str,
    parse: fn(&str) -> Option<T>,
    words: impl Display,
) -> Result<Option<T>, String> {
    let Some(text) = parameter(target, name) else {
        return Ok(None);
    };
    let wrong = || format!("{name} is {words}, and not {text:?}");
    parse(&text).map(Some).ok_or_else(wrong)
}

/// Returns the value of `?before=` for the next page, when this page is full.
fn next_before<T>(records: &[(u64, T)], limit: u32) -> Option<u64> {
    let is_full = u32::try_from(records.len()).is_ok_and(|count| count == limit);
    let (number, _) = records.last().filter(|_| is_full)?;
    Some(*number)
}

impl OneWrite {
    fn new((number, write): (u64, WriteRecord)) -> Self {
        Self {
            number,
            begun_at_ms: write.begun_at.0,
            took_ms: write.took_ms,
            who: write.who,
            client: write.client,
            action: write.action,
            tenant: write.tenant,
            database: write.database,
            collection: write.collection,
            status: write.status,
            outcome: WriteOutcome::of(write.status).as_str(),
            key: write.key,
        }
    }
}

impl OneEvent {
    fn new((number, event): (u64, AuditRecord)) -> Self {
        Self {
            number,
            at_ms: event.at.0,
            kind: event.kind.as_str(),
            who: event.who,
            client: event.client,
            what: event.what,
            status: event.status,
            detail: event.detail,
        }
    }
}

impl Admin {
    pub(super) async fn recent_writes(&self, asked: &WritesAsked) -> Reply {
        answer(self.facts.history.records().writes(asked).await, |found| {
            Writes {
                next_before: next_before(&found, asked.limit),
                writes: found.into_iter().map(OneWrite::new).collect(),
            }
        })
    }

    pub(super) async fn audit(&self, asked: &AuditAsked) -> Reply {
        answer(self.facts.history.records().audit(asked).await, |found| {
            Audit {
                next_before: next_before(&found, asked.limit),
                events: found.into_iter().map(OneEvent::new).collect(),
            }
        })
    }

    /// Takes down a change of an operator's, before it is answered.
    pub(super) async fn note_change(
        &self,
        (who, asker): (&str, Asker<'_>),
        what: &str,
        detail: &str,
        status: u16,
    ) {
        let from = (who, asker.client);
        let event = audited(AuditKind::Change, from, what, (status, detail));
        self.facts.history.note_durably(event).await;
    }
}

/// Answers with a page of records, or that they can't be read.
fn answer<T, D: Serialize>(found: Result<T, StoreError>, page: impl FnOnce(T) -> D) -> Reply {
    match found {
        Ok(found) => json(200, &page(found)),
        Err(error) => {
            tracing::warn!(%error, "recent writes and changes can't be read");
            let detail = "The records can't be read at the moment; ask again";
            problem(503, "The log can't be reached", detail)
        }
    }
}
