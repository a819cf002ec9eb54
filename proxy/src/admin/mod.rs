//! Questions about Achromat itself, on the clients' address: the calls that operators' scripts and
//! load balancers make.
//!
//! Everything said here is read from the engine's report, the view and the counters at that
//! moment; nothing is kept. Errors are problem documents (RFC 9457).

mod answers;
mod authorise;
mod cleanup;
mod errors;
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
mod scripts;
mod trash;

use std::sync::Arc;

use achromat_core::{
    access::{Role, TokenError},
    catalog::Collection,
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
use serde::Serialize;

pub use self::{letters::Retrying, performance::Meter, scripts::Capacity};
use self::{mappings::Page, query::tenant_asked};
use crate::{
    access::{Access, Caller},
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
    Ready,
    Health,
    Status,
    Metrics,
    Performance,
    LogStatus,
    Mappings(Result<Page, String>),
    Writes(Result<WritesAsked, String>),
    Audit(Result<AuditAsked, String>),
    Instances,
    LogErrors,
    LogCount,
    TransactionSafety,
    Scalability,
    Jobs,
    Transaction(String, String),
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

impl Call<'_> {
    /// The methods that it is asked with, as `Allow` says them.
    fn methods(&self) -> &'static str {
        match self {
            Self::ChangePlugins(plugins::Deed::EndTrial, _)
            | Self::Unmap(_)
            | Self::DismissLetter(_)
            | Self::DeleteTrash(_) => "DELETE",
            Self::ForceHealth(_)
            | Self::Verify
            | Self::Repair
            | Self::Map
            | Self::RetryLetter(_)
            | Self::RestoreTrash(_)
            | Self::ClearLogErrors
            | Self::Cleanup
            | Self::ChangePlugins(..) => "POST",
            _ => "GET,HEAD",
        }
    }

    /// Returns true for the calls of load balancers, whose answers tell nothing of clients.
    fn is_public(&self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Health)
    }

    /// The role that it is for.
    fn role(&self) -> Role {
        match self {
            Self::Plugins(_)
            | Self::PluginDifferences(_)
            | Self::PluginDecisions(_)
            | Self::ChangePlugins(..) => Role::Policy,
            _ => Role::Operate,
        }
    }

    /// Returns true when the answer tells of clients: it is for operators alone, although the call changes
    /// nothing.
    fn is_confidential(&self) -> bool {
        matches!(
            self,
            Self::PluginDifferences(_)
                | Self::PluginDecisions(_)
                | Self::Writes(_)
                | Self::Audit(_)
        )
    }

    /// Start of the call's body, for the audit; empty where the body has a plugin's configuration, which may
    /// hold secrets.
    fn detail(&self, body: &Bytes) -> String {
        match self {
            Self::ChangePlugins(..) => String::new(),
            _ => String::from_utf8_lossy(body.get(..DETAIL_BYTES).unwrap_or(body)).into_owned(),
        }
    }
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
        let path: Vec<&str> = question.target.segments.iter().map(AsRef::as_ref).collect();
        let call = match path.as_slice() {
            ["livez"] => Call::Live,
            ["readyz"] => Call::Ready,
            ["health"] => Call::Health,
            ["status"] => Call::Status,
            ["metrics"] if wants_json(question.asker.headers) => Call::Performance,
            ["metrics"] => Call::Metrics,
            ["wal", "status"] => Call::LogStatus,
            ["collection", "mappings"] | ["admin", "collection_mappings"] => {
                Call::Mappings(Page::asked(question.target))
            }
            ["admin", "writes"] => Call::Writes(history::writes_asked(question.target)),
            ["admin", "audit"] => Call::Audit(history::audit_asked(question.target)),
            ["admin", "instances"] => Call::Instances,
            ["admin", "wal_errors"] => Call::LogErrors,
            ["admin", "clear_wal_errors"] => Call::ClearLogErrors,
            ["admin", "wal_count"] => Call::LogCount,
            ["admin", "transaction_safety_status"] => Call::TransactionSafety,
            ["admin", "scalability_status"] => Call::Scalability,
            // A slash in a key stands as it is: encoded ones are refused everywhere.
            ["transactions", key @ ..] => {
                Call::Transaction(key.join("/"), tenant_asked(question.target))
            }
            ["admin", "instances", name, "health"] => Call::ForceHealth(name),
            ["admin", "jobs"] => Call::Jobs,
            ["admin", "verify"] => Call::Verify,
            ["admin", "repair"] => Call::Repair,
            ["admin", "create_mapping"] => Call::Map,
            ["collection", "mappings", name] => Call::Unmap(name),
            ["admin", "cleanup"] => Call::Cleanup,
            ["admin", "trash"] => Call::Trash,
            ["admin", "trash", id] => Call::DeleteTrash(id),
            ["admin", "trash", id, "restore"] => Call::RestoreTrash(id),
            ["admin", "letters"] => Call::Letters,
            ["admin", "letters", id] => Call::DismissLetter(id),
            ["admin", "letters", id, "retry"] => Call::RetryLetter(id),
            ["admin", "plugins", rest @ ..] => match plugin_call(rest) {
                Some(call) => call,
                None => return nothing_at(question.target),
            },
            _ => {
                let gone = scripts::gone(question.target.path);
                return gone.unwrap_or_else(|| nothing_at(question.target));
            }
        };
        let allow = call.methods();
        let is_asked_well = allow.split(',').any(|method| question.method == method);
        if !is_asked_well {
            let detail = format!("{} takes {allow} only", question.target.path);
            return Reply {
                allow: Some(allow.to_owned()),
                ..problem(405, "Method not allowed", &detail)
            };
        }
        if let Err(refusal) = self.authorise(&call, &question) {
            return refusal;
        }
        let what = (call.methods() != "GET,HEAD").then(|| {
            (
                format!("{} {}", question.method, question.target.path),
                call.detail(question.body),
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
            Call::Live => return json(200, &answers::Simple { status: "ok" }),
            Call::ForceHealth(name) => return self.force_health(name, body),
            Call::Verify => return self.verify(body).await,
            Call::Repair => return self.repair(body).await,
            Call::Map => return self.map(body).await,
            Call::Unmap(name) => return self.unmap(name, asker).await,
            Call::Transaction(key, tenant) => return self.transaction(&key, &tenant).await,
            Call::Cleanup => return self.cleanup(body, asker).await,
            Call::Performance => return json(200, &self.facts.meter.read()),
            Call::Writes(Ok(asked)) => return self.recent_writes(&asked).await,
            Call::Audit(Ok(asked)) => return self.audit(&asked).await,
            Call::Mappings(Err(wrong)) | Call::Writes(Err(wrong)) | Call::Audit(Err(wrong)) => {
                return problem(400, "Bad request", &wrong);
            }
            Call::Trash => return self.trash(),
            Call::RestoreTrash(id) => return self.restore_trash(id, body).await,
            Call::DeleteTrash(id) => return self.delete_trash(id, asker).await,
            Call::Letters => return self.letters().await,
            Call::RetryLetter(id) => return self.retry_letter(id, asker).await,
            Call::DismissLetter(id) => return self.dismiss_letter(id, asker).await,
            Call::ClearLogErrors => {
                self.replicator.clear_troubles();
                return json(200, &answers::Simple { status: "ok" });
            }
            Call::Plugins(slot) => return self.plugins(slot),
            Call::PluginDifferences(slot) => return self.differences(slot),
            Call::PluginDecisions(slot) => return self.decisions(slot),
            Call::ChangePlugins(deed, slot) => {
                return self.change_plugins(deed, slot, body).await;
            }
            _ => {}
        }
        let Some(report) = self.replicator.report().await else {
            return problem(503, "Stopping", "Achromat is stopping");
        };
        let view = self.replicator.view();
        let state = answers::State {
            facts: &self.facts,
            instances: &self.instances,
            view: &view,
            report: &report,
            flushes: self.replicator.flushes(),
        };
        match call {
            Call::Ready => state.ready(),
            Call::Health => state.health(),
            Call::Metrics => state.metrics(),
            Call::LogStatus => json(200, &state.log_status()),
            Call::Mappings(Ok(page)) => {
                let times = self.facts.history.records().collection_times().await;
                let times = times.inspect_err(
                    |error| tracing::warn!(%error, "the times of collections can't be read"),
                );
                state.mappings(&page, &times.unwrap_or_default())
            }
            Call::Instances => json(200, &state.instance_list()),
            Call::LogErrors => json(200, &state.log_errors()),
            Call::LogCount => json(200, &state.log_count()),
            Call::TransactionSafety => self.safety_status(state.transaction_safety()).await,
            Call::Scalability => json(200, &state.scalability()),
            Call::Jobs => json(200, &state.jobs()),
            _ => json(200, &state.status()),
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

/// Returns true when a client asks for JSON in place of the usual text.
fn wants_json(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.trim_start().starts_with("application/json"))
}

fn nothing_at(target: &Target<'_>) -> Reply {
    let detail = format!("There is nothing at {}", target.path);
    problem(404, "Not found", &detail)
}

/// Parses the path of a call below `/admin/plugins`.
fn plugin_call<'a>(path: &[&'a str]) -> Option<Call<'a>> {
    use plugins::Deed;
    Some(match path {
        [] => Call::Plugins(None),
        [slot] => Call::Plugins(Some(slot)),
        [slot, "diffs"] => Call::PluginDifferences(slot),
        [slot, "decisions"] => Call::PluginDecisions(slot),
        [slot, "versions"] => Call::ChangePlugins(Deed::Push, slot),
        [slot, "swap"] => Call::ChangePlugins(Deed::Swap, slot),
        [slot, "rollback"] => Call::ChangePlugins(Deed::RollBack, slot),
        [slot, "shadow"] => Call::ChangePlugins(Deed::Shadow, slot),
        [slot, "canary"] => Call::ChangePlugins(Deed::Canary, slot),
        [slot, "trial"] => Call::ChangePlugins(Deed::EndTrial, slot),
        _ => return None,
    })
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
