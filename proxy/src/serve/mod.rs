//! The clients' side: one address that speaks Chroma's HTTP.
//!
//! Of pingora this room uses the listener and the server's HTTP sessions. A request is read
//! (`intake`), admitted (`admission`), and then it is a read (`read`), a write (`write`) or a
//! question about Achromat itself (`admin`'s). Nothing here decides where a request may go or what
//! may be destroyed: `core` does.

mod addresses;
mod admission;
mod authorise;
mod connection;
mod cors;
mod counting;
mod door;
mod entrance;
mod follow;
mod intake;
mod judge;
mod lead;
mod noting;
mod places;
mod quota;
mod read;
mod respond;
mod socket;
mod space;
mod stream;
mod taking;
mod tenants;
mod tls;
mod wire;
mod write;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use achromat_core::{
    guard::Guard,
    read::{ReadRules, Strategy},
    reply::{self, Reply},
    route::{Class, Method, Miss, Target, find},
    write::Levels,
};
use http::header;
use pingora_core::{apps::HttpServerOptions, protocols::http::ServerSession};

use self::{
    admission::{Admission, Limits},
    authorise::identity,
    cors::preflight,
    intake::{Body, Intake},
    respond::{respond, respond_with},
};
use crate::{
    access::Access,
    admin::{Admin, Question},
    fleet::Voucher,
    history::History,
    instances::Instances,
    policy::{Asker, Policies},
    replicate::Replicator,
};

pub use self::{
    addresses::{Addresses, Operators},
    admission::Limits as ServeLimits,
    cors::Origins,
    door::{ConnectionLimits, Door},
    entrance::Server,
    follow::{Follower, Reader, Trust},
    lead::Lead,
    quota::{QuotaLimits, Quotas},
    socket::{OperatorSocket, SocketError},
    space::SpaceLimits,
    tls::{Encryption, TlsError},
    wire::Patience,
};

/// Time that an idle client connection is kept, in seconds.
const KEEPALIVE_S: u64 = 75;

/// For a client to take what it is sent: per write.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// Settings for serving requests.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bounds.
    pub limits: Limits,
    /// Limits of the time that clients may take to send requests.
    pub patience: Patience,
    /// Requests of one HTTP/2 connection at once.
    pub streams_max: u32,
    /// Timing of reads.
    pub reads: ReadRules,
    /// Distribution of reads over the instances.
    pub strategy: Strategy,
    /// Levels: the number of instances that must have done a write before it is answered.
    pub levels: Levels,
    /// Longest time until a write is answered.
    pub write_deadline: Duration,
}

/// All that a request needs.
pub struct App {
    settings: Settings,
    guard: Arc<Guard>,
    instances: Arc<Instances>,
    replicator: Replicator,
    admin: Admin,
    policies: Arc<Policies>,
    admission: Admission,
    edge: Edge,
    /// Its part in a fleet.
    lead: Option<Lead>,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// The clients' side of the server: tokens, connections, origins, names, quotas and records.
pub struct Edge {
    /// Tokens of the operator and of clients, with their permissions.
    pub access: Arc<Access>,
    /// Origins of pages that may use Chroma's interface.
    pub origins: Origins,
    /// Names by which the server may be called; none lets any pass.
    pub hosts: Vec<String>,
    /// Judges the words of the other proxies, in a fleet.
    pub voucher: Option<Arc<Voucher>>,
    /// Quotas of clients.
    pub quotas: Arc<Quotas>,
    /// Recorder of writes and denials.
    pub history: History,
    /// True when operators are served on the clients' address.
    pub is_operated_on_main: bool,
}

/// For whom an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For Chroma's clients.
    Clients,
    /// For operators alone.
    Operators,
    /// The socket, which operators alone can open: they need no token.
    Socket,
    /// None: a follower of this proxy's asks something itself.
    Followers,
}

/// Settings of HTTP for pingora.
fn options(settings: &Settings) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(settings.patience.idle);
    options
}

impl App {
    /// Nothing is listened to yet.
    pub fn new(
        settings: Settings,
        guard: Arc<Guard>,
        instances: Arc<Instances>,
        replicator: Replicator,
        admin: Admin,
        policies: Arc<Policies>,
        (edge, lead): (Edge, Option<Lead>),
    ) -> Self {
        Self {
            settings,
            guard,
            instances,
            replicator,
            admin,
            policies,
            admission: Admission::new(settings.limits, settings.patience),
            edge,
            lead,
            reads: AtomicU64::new(1),
            writes: AtomicU64::new(1),
        }
    }

    /// Waits until the requests that have begun are answered; returns how many are not by the deadline.
    pub async fn idle(&self, deadline: Duration) -> usize {
        self.admission.tracker().drain(deadline).await
    }

    /// One request, up to its answer. Returns whether the connection may be used again.
    ///
    /// What is not a read is in a box: the future of a connection has room for all that may become of it,
    /// and is copied for each request.
    async fn serve(&self, session: &mut ServerSession, body: Body<'_>, kind: Kind) -> bool {
        let (mut intake, kind) = match self.take_in(session, kind) {
            Ok(taken) => taken,
            Err(reply) => return respond(session, &reply, true).await,
        };
        if intake.method == http::Method::OPTIONS && is_the_server(&intake.target) {
            return respond(session, &alive(), false).await;
        }
        if let Some(whole) = whole_path(&intake.target) {
            intake.target = whole;
        }
        let target = match Target::parse(&intake.target) {
            Ok(target) => target,
            Err(error) => {
                return respond(session, &reply::malformed(&error.to_string()), true).await;
            }
        };
        if kind == Kind::Followers {
            let reply = self.tell_follower(&target);
            return respond(session, &reply, false).await;
        }
        if kind == Kind::Operators || !is_chromas(target.path) {
            let reply = Box::pin(self.serve_own(session, body, &intake, &target, kind)).await;
            return respond(session, &reply, false).await;
        }
        intake.allowed = self
            .edge
            .origins
            .headers(intake.headers.get(header::ORIGIN));
        let (route, captures) = match find(Method::of(&intake.method), &target) {
            Ok(found) => found,
            Err(miss) => {
                let reply = self.refuse_route(&intake, &target, &miss);
                return respond_with(session, &reply, &intake.allowed, false).await;
            }
        };
        if let Err(reply) = self.authorise(&intake, route, &captures) {
            return respond_with(session, &reply, &intake.allowed, false).await;
        }
        let share = match self.count_request(&intake, captures.tenant.as_deref()) {
            Ok(share) => share,
            Err(reply) => return respond_with(session, &reply, &intake.allowed, false).await,
        };
        let (body, _memory) = match intake.read_body(session, body, &self.admission).await {
            Ok(read) => read,
            Err(reply) => return respond_with(session, &reply, &intake.allowed, true).await,
        };
        if let Some(Err(reply)) = share.as_ref().map(|share| share.take(body.len())) {
            return respond_with(session, &reply, &intake.allowed, false).await;
        }
        // With its body: those whose bodies come slowly keep no place.
        let client = || self.client_of(&intake, captures.tenant.as_deref());
        let admitted = match self.admission.enter(client).await {
            Ok(admitted) => admitted,
            Err(reply) => return respond_with(session, &reply, &intake.allowed, false).await,
        };
        if let Err(reply) = self.know_tenant(captures.tenant.as_deref()).await {
            return respond(session, &reply, false).await;
        }
        if let Some(reply) = identity(&intake.caller, target.path) {
            return respond_with(session, &reply, &intake.allowed, false).await;
        }
        match route.class {
            Class::System | Class::Read => {
                let taken = (body, admitted);
                self.read(session, &intake, route, captures, &target, taken)
                    .await
            }
            Class::Write | Class::Destructive => {
                let noting = self.begin_noting(&intake, route, &captures, &body);
                let write = self.write(&intake, route, &captures, &target, body);
                let reply = Box::pin(write).await;
                self.end_noting(noting, reply.status);
                self.note_destruction(&intake, route, target.path, reply.status);
                respond_with(session, &reply, &intake.allowed, false).await
            }
        }
    }

    /// The answer to a request that no route of Chroma's takes: that there is none, or, to a browser that
    /// asks for a page, what that page may do.
    fn refuse_route(&self, intake: &Intake, target: &Target<'_>, miss: &Miss) -> Reply {
        let refusal = refuse_route(intake, target, miss);
        if intake.method == http::Method::OPTIONS && self.edge.origins.is_any_allowed() {
            return preflight(refusal.allow, self.edge.access.is_required());
        }
        refusal
    }

    /// A question about Achromat itself.
    async fn serve_own(
        &self,
        session: &mut ServerSession,
        body: Body<'_>,
        intake: &Intake,
        target: &Target<'_>,
        kind: Kind,
    ) -> Reply {
        if kind == Kind::Clients && !self.edge.is_operated_on_main && !is_public(target.path) {
            return self.admin.elsewhere(target);
        }
        let (body, _memory) = match intake.read_body(session, body, &self.admission).await {
            Ok(read) => read,
            Err(reply) => return reply,
        };
        let question = Question {
            method: &intake.method,
            target,
            body: &body,
            caller: &intake.caller,
            asker: Asker {
                client: intake.client,
                is_operator: intake.is_operator(),
                headers: &intake.headers,
            },
        };
        self.admin.answer(question).await
    }
}

/// Path of collections without the names of their tenant and database.
const SHORT: &[u8] = b"/api/v2/collections";

/// The same in full.
const WHOLE: &[u8] = b"/api/v2/tenants/default_tenant/databases/default_database/collections";

/// The whole path of a target that names no tenant and no database, as scripts of the old load balancer may.
/// A name with a colon is Chroma's own way of naming all three (`TENANT:DATABASE:NAME`).
fn whole_path(target: &[u8]) -> Option<Vec<u8>> {
    let rest = target.strip_prefix(SHORT)?;
    let is_it = matches!(rest.first(), None | Some(b'/' | b'?'));
    let named = rest.strip_prefix(b"/").unwrap_or_default();
    let named = named.split(|byte| matches!(byte, b'/' | b'?')).next();
    let has_colon = named.is_some_and(|named| {
        named.contains(&b':') || named.windows(3).any(|w| w.eq_ignore_ascii_case(b"%3a"))
    });
    (is_it && !has_colon).then(|| [WHOLE, rest].concat())
}

/// Our own paths that are always on the clients' address, for load balancers.
fn is_public(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/health")
}

/// Returns true when a target means the server, and nothing in it.
fn is_the_server(target: &[u8]) -> bool {
    matches!(target, b"/" | b"*")
}

/// Sign of life for a load balancer that asks `OPTIONS /`, as `HAProxy` does by default.
fn alive() -> Reply {
    Reply {
        content_type: None,
        allow: Some("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS".to_owned()),
        ..Reply::json(204, "")
    }
}

/// Returns true when Chroma answers a path, and not Achromat.
fn is_chromas(path: &str) -> bool {
    let is_within = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_within("/api") || is_within("/docs") || path == "/openapi.json"
}

fn refuse_route(intake: &Intake, target: &Target<'_>, miss: &Miss) -> Reply {
    let method = intake.method.as_str();
    match miss {
        Miss::NotFound => reply::unknown_route(method, target.path),
        Miss::NotAllowed(allowed) => reply::method_not_allowed(method, target.path, allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths without tenant and database mean the default ones; a collection's resource name stays Chroma's.
    #[test]
    fn short_paths_are_made_whole() {
        let whole = |target: &str| {
            let whole = whole_path(target.as_bytes())?;
            String::from_utf8(whole).ok()
        };
        let full = "/api/v2/tenants/default_tenant/databases/default_database/collections";
        for rest in [
            "",
            "?limit=5",
            "?a=b:c",
            "/",
            "/notes",
            "/notes/add",
            "/notes?a=b:c",
        ] {
            let short = format!("/api/v2/collections{rest}");
            assert_eq!(whole(&short), Some(format!("{full}{rest}")), "{short}");
        }
        for target in [
            "/api/v2/collectionsx",
            "/api/v2/collections/t:d:n",
            "/api/v2/collections/t%3ad%3An",
            "/api/v2/tenants",
            "/api/v2/collection",
        ] {
            assert_eq!(whole(target), None, "{target}");
        }
    }
}
