//! Questions about Achromat itself, on the clients' address: the calls that operators' scripts and
//! load balancers make.
//!
//! Everything said here is read from the engine's report, the view and the counters at that
//! moment; nothing is kept. Errors are problem documents (RFC 9457).

mod answers;
mod authorise;
mod cleanup;
mod errors;
mod fleet;
mod force;
mod health;
mod history;
mod jobs;
mod letters;
mod mappings;
mod metrics;
mod performance;
mod plugins;
mod policies;
mod query;
mod rows;
mod scripts;
mod trash;

use std::sync::Arc;

use achromat_core::{
    access::TokenError,
    catalog::Collection,
    engine::Report,
    fleet::Teller,
    guard::Guard,
    history::{AuditAsked, WritesAsked},
    ids::Key,
    reply::Reply,
    route::Target,
    view::View,
    write::WriteRules,
};
use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use serde::Serialize;

pub use self::{
    fleet::accept_database, letters::Retrying, metrics::Following, performance::Meter,
    scripts::Capacity,
};
use self::{
    mappings::Page,
    rows::{NoRow, Row},
};
use crate::{
    access::{Access, Caller},
    fleet::Fleet,
    history::History,
    instances::Instances,
    plugins::Lifecycle,
    policy::{Asker, Deed, Policies},
    replicate::Replicator,
    serve::{Door, Quotas},
};

/// Bytes of a call's body that the audit looks at.
const DETAIL_BYTES: usize = 1024;

/// Settings and services that stay the same while the proxy runs.
#[derive(Clone)]
pub struct Facts {
    /// The name of the reading strategy.
    pub strategy: &'static str,
    /// The replicas' share of reads, where the strategy has one.
    pub replica_ratio: Option<f64>,
    /// The policy plugins.
    pub policies: Arc<Policies>,
    /// Their versions.
    pub lifecycle: Arc<Lifecycle>,
    /// Tokens of the operator and of clients, with their permissions.
    pub access: Arc<Access>,
    /// Recent writes and audited events.
    pub history: History,
    /// Quotas of clients.
    pub quotas: Arc<Quotas>,
    /// The bounded entrance of clients' connections.
    pub door: Door,
    /// Requests that are served at once.
    pub requests_max: usize,
    /// Limits of the service, as the status shows them.
    pub capacity: Capacity,
    /// Measures the process.
    pub meter: Arc<Meter>,
    /// Rules for retrying the write of a dead letter.
    pub retrying: Retrying,
    /// Start of the proxy.
    pub started: std::time::Instant,
    /// The fleet, where several proxies share the store.
    pub fleet: Option<Arc<Fleet>>,
    /// Knowledge of the proxies that follow.
    pub teller: Option<Arc<Mutex<Teller>>>,
}

/// Answers questions about Achromat itself.
pub struct Admin {
    facts: Facts,
    instances: Arc<Instances>,
    replicator: Replicator,
    guard: Arc<Guard>,
}

/// A question.
pub struct Question<'a, 't> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub target: &'a Target<'t>,
    /// The body.
    pub body: &'a Bytes,
    /// The caller, known by the token of the request.
    pub caller: &'a Result<Caller, TokenError>,
    /// The caller, as a guard's plugin sees it.
    pub asker: Asker<'a>,
}

/// A call about Achromat itself.
enum Call<'a> {
    Live,
    State(Part),
    Performance,
    Mappings(Result<Page, String>),
    Writes(Result<WritesAsked, String>),
    Audit(Result<AuditAsked, String>),
    Transaction(String, String),
    Fleet,
    HandOver,
    AcceptDatabase,
    ForceHealth(&'a str),
    Verify,
    Repair,
    Map,
    Unmap(&'a str),
    Letters,
    RetryLetter(&'a str),
    DismissLetter(&'a str),
    ClearLogErrors,
    Cleanup,
    Trash,
    RestoreTrash(&'a str),
    DeleteTrash(&'a str),
    Plugins(Option<&'a str>),
    PluginDifferences(&'a str),
    PluginDecisions(&'a str),
    ChangePlugins(plugins::Deed, &'a str),
}

/// A part of the state of the service, made of the engine's report, the view and the counters.
#[derive(Clone, Copy)]
enum Part {
    Ready,
    Health,
    Status,
    Metrics,
    Log,
    Instances,
    LogErrors,
    LogCount,
    TransactionSafety,
    Scalability,
    Jobs,
}

impl Admin {
    /// All that there is to ask.
    pub fn new(
        facts: Facts,
        instances: Arc<Instances>,
        replicator: Replicator,
        guard: Arc<Guard>,
    ) -> Self {
        Self {
            facts,
            instances,
            replicator,
            guard,
        }
    }

    /// Answers a question.
    pub async fn answer(&self, question: Question<'_, '_>) -> Reply {
        if question.target.is_disguised() {
            return nothing_at(question.target);
        }
        let (row, asked) =
            match rows::find(question.method, question.target, question.asker.headers) {
                Ok(found) => found,
                Err(NoRow::Path) => {
                    let gone = scripts::gone(question.target.path);
                    return gone.unwrap_or_else(|| nothing_at(question.target));
                }
                Err(NoRow::Method(allow)) => return not_allowed(question.target, allow),
            };
        if let Err(refusal) = self.authorise(row, &question) {
            return refusal;
        }
        let call = (row.call)(&asked);
        let what = row.changes().then(|| {
            (
                format!("{} {}", question.method, question.target.path),
                detail(row, question.body),
            )
        });
        let reply = self.call(call, question.body, question.asker).await;
        if let Some((what, detail)) = what {
            let who = question.caller.as_ref().map_or("", Caller::name);
            self.note_change((who, question.asker), &what, &detail, reply.status)
                .await;
        }
        reply
    }

    /// Answers where the operator's interface is not.
    pub fn elsewhere(&self, target: &Target<'_>) -> Reply {
        nothing_at(target)
    }

    async fn call(&self, call: Call<'_>, body: &Bytes, asker: Asker<'_>) -> Reply {
        match call {
            Call::Live => json(200, &answers::Simple { status: "ok" }),
            Call::State(report) => self.state(report).await,
            Call::Mappings(Ok(page)) => self.mappings(&page).await,
            Call::Mappings(Err(wrong)) | Call::Writes(Err(wrong)) | Call::Audit(Err(wrong)) => {
                problem(400, "Bad request", &wrong)
            }
            Call::ForceHealth(name) => self.force_health(name, body),
            Call::Fleet => self.fleet().await,
            Call::HandOver => self.hand_over(body).await,
            Call::AcceptDatabase => self.accept_database().await,
            Call::Verify => self.verify(body).await,
            Call::Repair => self.repair(body).await,
            Call::Map => self.map(body).await,
            Call::Unmap(name) => self.unmap(name, asker).await,
            Call::Transaction(key, tenant) => self.transaction(&key, &tenant).await,
            Call::Cleanup => self.cleanup(body, asker).await,
            Call::Performance => json(200, &self.facts.meter.read()),
            Call::Writes(Ok(asked)) => self.recent_writes(&asked).await,
            Call::Audit(Ok(asked)) => self.audit(&asked).await,
            Call::Trash => self.trash(),
            Call::RestoreTrash(id) => self.restore_trash(id, body).await,
            Call::DeleteTrash(id) => self.delete_trash(id, asker).await,
            Call::Letters => self.letters().await,
            Call::RetryLetter(id) => self.retry_letter(id, asker).await,
            Call::DismissLetter(id) => self.dismiss_letter(id, asker).await,
            Call::ClearLogErrors => {
                self.replicator.clear_troubles();
                json(200, &answers::Simple { status: "ok" })
            }
            Call::Plugins(slot) => self.plugins(slot),
            Call::PluginDifferences(slot) => self.differences(slot),
            Call::PluginDecisions(slot) => self.decisions(slot),
            Call::ChangePlugins(deed, slot) => self.change_plugins(deed, slot, body).await,
        }
    }

    /// Answers with a part of the state of the service.
    async fn state(&self, part: Part) -> Reply {
        let Some(report) = self.replicator.report().await else {
            return stopping();
        };
        let view = self.replicator.view();
        let state = self.state_of(&view, &report);
        match part {
            Part::Ready => state.ready(),
            Part::Health => state.health(),
            Part::Status => json(200, &state.status()),
            Part::Metrics => state.metrics(),
            Part::Log => json(200, &state.log_status()),
            Part::Instances => json(200, &state.instance_list()),
            Part::LogErrors => json(200, &state.log_errors()),
            Part::LogCount => json(200, &state.log_count()),
            Part::TransactionSafety => self.safety_status(state.transaction_safety()).await,
            Part::Scalability => json(200, &state.scalability()),
            Part::Jobs => json(200, &state.jobs()),
        }
    }

    async fn mappings(&self, page: &Page) -> Reply {
        let Some(report) = self.replicator.report().await else {
            return stopping();
        };
        let times = self.facts.history.records().collection_times().await;
        let times = times
            .inspect_err(|error| tracing::warn!(%error, "the times of collections can't be read"));
        let view = self.replicator.view();
        self.state_of(&view, &report)
            .mappings(page, &times.unwrap_or_default())
    }

    fn state_of<'a>(&'a self, view: &'a View, report: &'a Report) -> answers::State<'a> {
        answers::State {
            facts: &self.facts,
            instances: &self.instances,
            view,
            report,
            flushes: self.replicator.flushes(),
        }
    }

    /// Rules by which an operator's writes are judged.
    fn rules<'a>(&'a self, view: &'a View) -> WriteRules<'a> {
        WriteRules {
            catalog: &view.catalog,
            guard: &self.guard,
            levels: self.facts.retrying.levels,
        }
    }

    /// Asks the guard's plugin about a deed. Fails with the plugin's reason when it denies the deed.
    fn asked_guard(
        &self,
        deed: Deed,
        collection: Option<&Collection>,
        subject: Option<&str>,
        asker: Asker<'_>,
    ) -> Result<(), String> {
        let guard = &self.facts.policies.guard;
        guard.allows(&guard.generation(), deed, collection, subject, asker)
    }

    /// Answers with the outcome of the write under a key.
    async fn transaction(&self, text: &str, tenant: &str) -> Reply {
        let record = match Key::parse(text.as_bytes()) {
            Some(key) => self.replicator.key(&key.of_tenant(tenant)).await,
            None => Ok(None),
        };
        match record {
            Ok(Some(record)) => {
                let view = self.replicator.view();
                json(200, &answers::Transaction::new(text, &record, &view))
            }
            Ok(None) => {
                let detail = format!("No write is known under the key {text:?}");
                problem(404, "No such transaction", &detail)
            }
            Err(error) => {
                tracing::debug!(%error, "a key can't be looked up");
                problem(503, "The log can't be read", "Ask again in a moment")
            }
        }
    }
}

/// Start of a call's body, for the audit.
fn detail(row: &Row, body: &Bytes) -> String {
    if !row.body_is_audited {
        return String::new();
    }
    String::from_utf8_lossy(body.get(..DETAIL_BYTES).unwrap_or(body)).into_owned()
}

fn not_allowed(target: &Target<'_>, allow: String) -> Reply {
    let detail = format!("{} takes {allow} only", target.path);
    Reply {
        allow: Some(allow),
        ..problem(405, "Method not allowed", &detail)
    }
}

/// Returns true when a client asks for JSON in place of the usual text.
pub fn wants_json(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.trim_start().starts_with("application/json"))
}

fn stopping() -> Reply {
    problem(503, "Stopping", "Achromat is stopping")
}

fn nothing_at(target: &Target<'_>) -> Reply {
    let detail = format!("There is nothing at {}", target.path);
    problem(404, "Not found", &detail)
}

fn json(status: u16, body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(body) => Reply::json(status, body),
        Err(error) => problem(500, "Can't be written", &error.to_string()),
    }
}

/// An error as RFC 9457 writes it.
fn problem(status: u16, title: &str, detail: &str) -> Reply {
    let body = answers::Problem {
        kind: "about:blank",
        title,
        status,
        detail,
    };
    Reply {
        content_type: Some("application/problem+json".to_owned()),
        ..Reply::json(status, serde_json::to_vec(&body).unwrap_or_default())
    }
}
