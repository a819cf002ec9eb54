//! Record of a client's write, for those who ask later.

use std::time::Instant;

use achromat_core::{
    history::{AuditKind, WriteRecord, is_audited},
    ids::CollectionId,
    route::{Action, Captures, Route},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{App, intake::Intake};
use crate::{
    access::Caller,
    clock::wall_time,
    history::{audited, bounded},
};

/// A write that is not answered yet.
pub(super) struct Noting {
    began: Instant,
    record: WriteRecord,
}

/// Name of the object that a request makes. The body may have any of Chroma's forms: a JSON object, or an
/// array that begins with the name.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl App {
    /// Begins the record of a write, unless none is kept.
    pub(super) fn begin_noting(
        &self,
        intake: &Intake,
        route: &Route,
        captures: &Captures<'_>,
        body: &Bytes,
    ) -> Option<Noting> {
        if !self.edge.history.keeps_writes() {
            return None;
        }
        let text = |captured: &Option<_>| captured.as_deref().map(bounded).unwrap_or_default();
        let client = intake.client.map(|client| client.to_string());
        let record = WriteRecord {
            begun_at: wall_time(),
            took_ms: 0,
            who: intake
                .caller
                .as_ref()
                .map(Caller::name)
                .map_or_else(|_| String::new(), bounded),
            client: client.unwrap_or_default(),
            action: route.action.as_str().to_owned(),
            tenant: text(&captures.tenant),
            database: text(&captures.database),
            collection: self.collection_named(route, captures, body),
            status: 0,
            key: intake.key_shown().map(bounded).unwrap_or_default(),
        };
        Some(Noting {
            began: Instant::now(),
            record,
        })
    }

    /// Hands in the record of a write that is answered.
    pub(super) fn end_noting(&self, noting: Option<Noting>, status: u16) {
        if let Some(Noting { began, record }) = noting {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.edge.history.note_write(WriteRecord {
                took_ms,
                status,
                ..record
            });
        }
    }

    /// Tells the audit of a request that destroys more than records.
    pub(super) fn note_destruction(&self, intake: &Intake, route: &Route, path: &str, status: u16) {
        if is_audited(route.action) {
            let who = intake.caller.as_ref().map_or("", Caller::name);
            let what = format!("{} {path}", route.method);
            let event = audited(
                AuditKind::Destruction,
                (who, intake.client),
                &what,
                (status, ""),
            );
            self.edge.history.note(event);
        }
    }

    /// The name of the collection that a write is for, or what the path says.
    fn collection_named(&self, route: &Route, captures: &Captures<'_>, body: &Bytes) -> String {
        if route.action == Action::CreateCollection {
            let named = serde_json::from_slice::<Named>(body);
            return named.map(|named| bounded(&named.name)).unwrap_or_default();
        }
        let Some(shown) = captures.collection.as_deref() else {
            return String::new();
        };
        let view = self.replicator.view();
        let known = shown
            .parse()
            .ok()
            .and_then(|id| view.catalog.get(CollectionId(id)));
        bounded(known.map_or(shown, |collection| &collection.name))
    }
}
