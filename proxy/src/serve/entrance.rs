//! An address at work, and who answers there.

use std::{net::TcpListener, sync::Arc, time::Duration};

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
    App, CLIENT_WRITE_TIMEOUT, Door, Encryption, Follower, KEEPALIVE_S, Kind, Settings,
    admission::Tracker, intake::Body, respond::close,
};

/// An address at work: what is served to whoever comes there.
pub(super) struct Entrance {
    pub(super) server: Server,
    pub(super) kind: Kind,
    pub(super) encryption: Option<Arc<Encryption>>,
}

/// Server of the requests of an address.
pub(super) enum Server {
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

    pub(super) fn door(&self) -> &Door {
        match self {
            Self::App(app) => &app.edge.door,
            Self::Follower(follower) => &follower.door,
        }
    }

    pub(super) fn tracker(&self) -> Tracker {
        match self {
            Self::App(app) => app.admission.tracker(),
            Self::Follower(follower) => follower.admission.tracker(),
        }
    }

    fn options(&self) -> &HttpServerOptions {
        match self {
            Self::App(app) => &app.options,
            Self::Follower(follower) => &follower.options,
        }
    }

    pub(super) async fn serve(
        &self,
        session: &mut ServerSession,
        body: Body<'_>,
        kind: Kind,
    ) -> bool {
        match self {
            Self::App(app) => app.serve(session, body, kind).await,
            Self::Follower(follower) => Box::pin(follower.serve(session, body)).await,
        }
    }
}

/// The listener at work.
pub struct Listening {
    stop: watch::Sender<bool>,
    tracker: Tracker,
    accepting: tokio::task::JoinHandle<()>,
}

impl Entrance {
    pub(super) fn listen(
        socket: TcpListener,
        server: Server,
        kind: Kind,
        encryption: Option<Arc<Encryption>>,
    ) -> std::io::Result<Listening> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let tracker = server.tracker();
        let (stop, stopping) = watch::channel(false);
        let entrance = Arc::new(Self {
            server,
            kind,
            encryption,
        });
        let accepting = tokio::spawn(entrance.accept(socket, stopping));
        Ok(Listening {
            stop,
            tracker,
            accepting,
        })
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
        session.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT));
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let _request = self.server.tracker().begin();
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE_S));
        let server = &self.server;
        if !server.serve(&mut session, Body::Http2, self.kind).await || !session.is_body_done() {
            close(&mut session).await;
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(self.server.settings().streams_max);
        let head_bytes = self.server.settings().patience.head.bytes_max;
        options.max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(self.server.options())
    }
}

impl Listening {
    /// Accepts nobody any more; connections that are there go on.
    pub fn leave(&self) {
        self.accepting.abort();
    }

    /// Accepts nobody any more; idle connections end.
    pub fn close(self) {
        self.stop.send_replace(true);
        self.accepting.abort();
    }

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
