//! The clients' side: one address that speaks Chroma's HTTP.
//!
//! Of pingora this room uses the listener and the server's HTTP sessions. A request is read
//! (`intake`), admitted (`admission`), and then it is a read (`read`), a write (`write`) or a
//! question about Achromat itself (`admin`'s). Nothing here decides where a request may go or what
//! may be destroyed: `core` does.

mod admission;
mod connection;
mod cors;
mod counting;
mod door;
mod intake;
mod judge;
mod read;
mod respond;
mod stream;
mod tenants;
mod wire;
mod write;

use std::{
    net::TcpListener,
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
use async_trait::async_trait;
use http::header;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
    server::ShutdownWatch,
};
use tokio::sync::watch;

use self::{
    admission::{Admission, Limits, Tracker},
    cors::preflight,
    intake::{Body, Intake},
    respond::{close, respond, respond_with},
};
use crate::{
    admin::{Admin, Question},
    instances::Instances,
    policy::{Asker, Policies},
    replicate::Replicator,
};

pub use self::{
    admission::Limits as ServeLimits,
    cors::Origins,
    door::{ConnectionLimits, Door},
    wire::Patience,
};

/// How long an idle client connection is kept.
const KEEPALIVE_S: u64 = 75;

/// For a client to take what it is sent: per write.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// What requests are served by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bounds.
    pub limits: Limits,
    /// How long clients may take for what they send.
    pub patience: Patience,
    /// Requests of one HTTP/2 connection at once.
    pub streams_max: u32,
    /// Timing of reads.
    pub reads: ReadRules,
    /// How reads are spread.
    pub strategy: Strategy,
    /// How many instances must have done a write before it is answered.
    pub levels: Levels,
    /// When a write is answered at the latest.
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
    door: Door,
    origins: Origins,
    options: HttpServerOptions,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// The listener at work.
pub struct Listening {
    stop: watch::Sender<bool>,
    tracker: Tracker,
    accepting: tokio::task::JoinHandle<()>,
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
        door: Door,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(settings.patience.idle);
        Self {
            settings,
            guard,
            instances,
            replicator,
            admin,
            policies,
            admission: Admission::new(settings.limits, settings.patience),
            door,
            origins: Origins::None,
            options,
            reads: AtomicU64::new(1),
            writes: AtomicU64::new(1),
        }
    }

    /// The same, for pages of these origins as well.
    #[must_use]
    pub fn allowing(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Serves on a socket that is already bound, so that a port that is taken is told before
    /// anything else has begun.
    pub fn listen(self, socket: TcpListener) -> std::io::Result<Listening> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let tracker = self.admission.tracker();
        let (stop, stopping) = watch::channel(false);
        let accepting = tokio::spawn(Arc::new(self).accept(socket, stopping));
        Ok(Listening {
            stop,
            tracker,
            accepting,
        })
    }

    async fn accept(self: Arc<Self>, socket: tokio::net::TcpListener, mut stopping: ShutdownWatch) {
        loop {
            let came = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                came = self.door.next(&socket) => came,
            };
            let (app, stopping) = (Arc::clone(&self), stopping.clone());
            tokio::spawn(async move {
                app.serve_connection(came.stream, stopping).await;
                drop(came.place);
            });
        }
    }

    /// One request, up to its answer. Returns whether the connection may be used again.
    ///
    /// What is not a read is in a box: the future of a connection has room for all that may become of it,
    /// and is copied for each request.
    async fn serve(&self, session: &mut ServerSession, body: Body<'_>) -> bool {
        let mut intake = match Intake::read_head(session) {
            Ok(intake) => intake,
            Err(reply) => return respond(session, &reply, true).await,
        };
        if intake.method == http::Method::OPTIONS && is_the_server(&intake.target) {
            return respond(session, &alive(), false).await;
        }
        let target = match Target::parse(&intake.target) {
            Ok(target) => target,
            Err(error) => {
                return respond(session, &reply::malformed(&error.to_string()), true).await;
            }
        };
        if !is_chromas(target.path) {
            let reply = Box::pin(self.serve_own(session, body, &intake, &target)).await;
            return respond(session, &reply, false).await;
        }
        intake.allowed = self.origins.headers(intake.headers.get(header::ORIGIN));
        let (route, captures) = match find(Method::of(&intake.method), &target) {
            Ok(found) => found,
            Err(miss) => {
                let reply = self.refuse_route(&intake, &target, &miss);
                return respond_with(session, &reply, &intake.allowed, false).await;
            }
        };
        let _admitted = match self.admission.enter().await {
            Ok(admitted) => admitted,
            Err(reply) => return respond_with(session, &reply, &intake.allowed, false).await,
        };
        let (body, _memory) = match intake.read_body(session, body, &self.admission).await {
            Ok(read) => read,
            Err(reply) => return respond_with(session, &reply, &intake.allowed, true).await,
        };
        if let Err(reply) = self.know_tenant(captures.tenant.as_deref()).await {
            return respond(session, &reply, false).await;
        }
        match route.class {
            Class::System | Class::Read => {
                self.read(session, &intake, route, captures, &target, body)
                    .await
            }
            Class::Write | Class::Destructive => {
                let write = self.write(&intake, route, &captures, &target, body);
                let reply = Box::pin(write).await;
                respond_with(session, &reply, &intake.allowed, false).await
            }
        }
    }

    /// The answer to a request that no route of Chroma's takes: that there is none, or, to a browser that
    /// asks for a page, what that page may do.
    fn refuse_route(&self, intake: &Intake, target: &Target<'_>, miss: &Miss) -> Reply {
        let refusal = refuse_route(intake, target, miss);
        if intake.method == http::Method::OPTIONS && self.origins.is_any_allowed() {
            return preflight(refusal.allow);
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
    ) -> Reply {
        let is_local = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .is_some_and(|address| address.ip().is_loopback());
        let (body, _memory) = match intake.read_body(session, body, &self.admission).await {
            Ok(read) => read,
            Err(reply) => return reply,
        };
        let question = Question {
            method: &intake.method,
            target,
            body: &body,
            is_local,
            token: intake.token(),
            asker: Asker {
                client: intake.client,
                is_operator: false,
                headers: &intake.headers,
            },
        };
        self.admin.answer(question).await
    }
}

/// Whether a target means the server, and nothing in it.
fn is_the_server(target: &[u8]) -> bool {
    matches!(target, b"/" | b"*")
}

/// What a load balancer that asks `OPTIONS /` (HAProxy does by default) takes for a sign of life.
fn alive() -> Reply {
    Reply {
        content_type: None,
        allow: Some("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS".to_owned()),
        ..Reply::json(204, "")
    }
}

/// Whether a path is Chroma's to answer, and not ours.
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

/// What pingora calls for each request of an HTTP/2 connection.
#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT));
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let _request = self.admission.tracker().begin();
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE_S));
        if !self.serve(&mut session, Body::Http2).await || !session.is_body_done() {
            close(&mut session).await;
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(self.settings.streams_max);
        let head_bytes = self.settings.patience.head.bytes_max;
        options.max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl Listening {
    /// Accepts nobody any more, lets requests that have begun end, and returns how many had not
    /// ended by the deadline.
    pub async fn stop(self, deadline: Duration) -> usize {
        self.stop.send_replace(true);
        let drained = tokio::time::timeout(deadline, self.tracker.idle()).await;
        self.accepting.abort();
        if drained.is_ok() {
            0
        } else {
            self.tracker.count()
        }
    }
}
