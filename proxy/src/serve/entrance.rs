//! An address at work, and who answers there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
    server::ShutdownWatch,
};
use tokio::sync::watch;

use super::{
    App, Door, Encryption, Follower, KEEPALIVE_S, Kind, Settings,
    admission::{Tracked, Tracker},
    door::Listener,
    intake::Body,
    respond::close,
    taking::PART_BYTES,
};

/// An address at work.
pub(super) struct Entrance {
    /// The server there now.
    pub(super) server: Arc<ArcSwap<Server>>,
    pub(super) kind: Kind,
    pub(super) door: Door,
    pub(super) encryption: Option<Arc<Encryption>>,
    /// Requests that have begun here, whoever serves them.
    tracker: Tracker,
    options: HttpServerOptions,
}

/// Server of the requests of an address.
pub enum Server {
    /// This proxy itself.
    App(Arc<App>),
    /// The proxy that leads the fleet.
    Follower(Arc<Follower>),
}

impl Server {
    pub(super) fn settings(&self) -> &Settings {
        match self {
            Self::App(app) => &app.settings,
            Self::Follower(follower) => &follower.settings,
        }
    }

    fn tracker(&self) -> Tracker {
        match self {
            Self::App(app) => app.admission.tracker(),
            Self::Follower(follower) => follower.admission.tracker(),
        }
    }

    pub(super) async fn serve(
        &self,
        session: &mut ServerSession,
        body: Body<'_>,
        kind: Kind,
    ) -> bool {
        let follower = match self {
            Self::App(app) => match app.successor().await {
                None => return app.serve(session, body, kind).await,
                Some(follower) => follower,
            },
            Self::Follower(follower) => follower,
        };
        Box::pin(follower.serve(session, body, kind)).await
    }
}

/// A request that has begun, and who serves it.
pub(super) struct Begun {
    pub(super) server: Arc<Server>,
    _counted: [Tracked; 2],
}

/// The listener at work.
pub(super) struct Listening {
    stop: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Entrance {
    pub(super) fn new(
        server: Arc<ArcSwap<Server>>,
        kind: Kind,
        door: Door,
        encryption: Option<Arc<Encryption>>,
        tracker: Tracker,
    ) -> Self {
        let options = super::options(server.load().settings());
        Self {
            server,
            kind,
            door,
            encryption,
            tracker,
            options,
        }
    }

    pub(super) fn listen(self, socket: Listener) -> Listening {
        let (stop, stopping) = watch::channel(false);
        let accepting = tokio::spawn(Arc::new(self).accept(socket, stopping));
        Listening { stop, accepting }
    }

    /// A request begins. Whoever serves now counts it before another one can be told to.
    pub(super) fn begin(&self) -> Begun {
        loop {
            let server = self.server.load_full();
            let counted = [self.tracker.begin(), server.tracker().begin()];
            if Arc::ptr_eq(&server, &self.server.load()) {
                return Begun {
                    server,
                    _counted: counted,
                };
            }
        }
    }
}

/// Called by pingora for each request of an HTTP/2 connection.
#[async_trait]
impl HttpServerApp for Entrance {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let patience = self.server.load().settings().patience;
        session.set_write_timeout(Some(patience.part(PART_BYTES)));
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let begun = self.begin();
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE_S));
        let server = &begun.server;
        if !server.serve(&mut session, Body::Http2, self.kind).await || !session.is_body_done() {
            close(&mut session).await;
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        let server = self.server.load();
        options.max_concurrent_streams(server.settings().streams_max);
        let head_bytes = server.settings().patience.head.bytes_max;
        options.max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl Listening {
    /// Accepts nobody any more; idle connections end.
    pub(super) fn close(&self) {
        self.stop.send_replace(true);
        self.accepting.abort();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.close();
    }
}
