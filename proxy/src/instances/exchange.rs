//! One request to one instance, and its answer.

use std::time::Duration;

use achromat_core::{reply::Reply, route::Method};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use pingora_core::{
    connectors::http::Connector, protocols::http::client::HttpSession, upstreams::peer::HttpPeer,
};
use pingora_error::ErrorType;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Address, Timing, figures::UnderWay};

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The canonical target.
    pub target: &'a str,
    /// The client's headers, of which those that belong to its connection are left out.
    pub headers: Option<&'a HeaderMap>,
    /// The `Content-Type`, when there are no client's headers.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: Option<Bytes>,
    /// Whether it is ours and not a client's.
    pub is_probe: bool,
}

/// How an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Nobody listens: nothing of it can have been looked at, nor of anything before it still be.
    #[error("{0}")]
    Refused(String),
    /// Nothing of it can have been looked at.
    #[error("{0}")]
    NotSent(String),
    /// The connection closed before the answer was whole.
    #[error("the connection closed before the answer was whole")]
    Closed {
        /// Whether the connection was used before, so that the server may have let it go.
        reused: bool,
    },
    /// The answer is not HTTP, or larger than it may be.
    #[error("the answer can't be read: {0}")]
    Garbled(String),
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
}

/// Headers that belong to one connection (RFC 9110, 7.6.1), and those that we set ourselves.
const NOT_PASSED_ON: [header::HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// An answer whose head has come.
pub struct Exchange<'a> {
    connector: &'a Connector,
    session: HttpSession,
    peer: HttpPeer,
    idle: Duration,
    under_way: Option<UnderWay>,
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn begin<'a>(
    connector: &'a Connector,
    address: &Address,
    request: Request<'_>,
    timing: Timing,
) -> Result<Exchange<'a>, ExchangeError> {
    let (peer, mut session, reused) = connect(connector, address, timing).await?;
    let head = head(address, &request)?;
    let closed = |_| ExchangeError::Closed { reused };
    session
        .write_request_header(Box::new(head))
        .await
        .map_err(closed)?;
    if let Some(body) = request.body.filter(|body| !body.is_empty()) {
        // A server may answer and close before it has read the whole body.
        if session.write_request_body(body, true).await.is_err() {
            tracing::debug!(%address, "the request body was not taken whole");
        }
    }
    session.finish_request_body().await.map_err(closed)?;
    loop {
        session
            .read_response_header()
            .await
            .map_err(|error| read_failure(&error, reused))?;
        let informational = |head: &ResponseHeader| head.status.is_informational();
        if !session.response_header().is_some_and(informational) {
            break;
        }
    }
    Ok(Exchange {
        connector,
        session,
        peer,
        idle: timing.idle,
        under_way: None,
    })
}

/// Connects to the first of the instance's sockets that answers.
async fn connect(
    connector: &Connector,
    address: &Address,
    timing: Timing,
) -> Result<(HttpPeer, HttpSession, bool), ExchangeError> {
    let not_sent = |why: String| ExchangeError::NotSent(format!("{address}: {why}"));
    let sockets = address
        .sockets()
        .await
        .map_err(|error| not_sent(format!("the host is not found: {error}")))?;
    let mut last = "the host has no address".to_owned();
    let mut all_refuse = !sockets.is_empty();
    for socket in sockets.iter() {
        let mut peer = HttpPeer::new(socket, address.is_tls(), address.server_name().to_owned());
        peer.options.connection_timeout = Some(timing.connect);
        peer.options.total_connection_timeout = Some(timing.connect);
        peer.options.idle_timeout = Some(timing.idle);
        match connector.get_http_session(&peer).await {
            Ok((session, reused)) => return Ok((peer, session, reused)),
            Err(error) => {
                all_refuse &= *error.etype() == ErrorType::ConnectRefused;
                last = describe(&error);
            }
        }
    }
    if all_refuse {
        return Err(ExchangeError::Refused(format!("{address}: {last}")));
    }
    Err(not_sent(last))
}

fn describe(error: &pingora_error::Error) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => "the connection was refused".to_owned(),
        ErrorType::ConnectTimedout => "the connection could not be made in time".to_owned(),
        other => format!("the connection failed: {}", other.as_str()),
    }
}

fn read_failure(error: &pingora_error::Error, reused: bool) -> ExchangeError {
    match error.etype() {
        ErrorType::ReadTimedout => ExchangeError::Silent,
        ErrorType::InvalidHTTPHeader => ExchangeError::Garbled(error.to_string()),
        _ => ExchangeError::Closed { reused },
    }
}

fn head(address: &Address, request: &Request<'_>) -> Result<RequestHeader, ExchangeError> {
    let failed = |error: Box<pingora_error::Error>| ExchangeError::NotSent(error.to_string());
    let size = request.headers.map_or(2, HeaderMap::len) + 2;
    let target = request.target.as_bytes();
    let mut head =
        RequestHeader::build(request.method.as_str(), target, Some(size)).map_err(failed)?;
    head.insert_header(header::HOST, address.authority())
        .map_err(failed)?;
    for (name, value) in request.headers.into_iter().flatten() {
        if !NOT_PASSED_ON.contains(name) && !named_by_connection(request.headers, name) {
            head.append_header(name, value).map_err(failed)?;
        }
    }
    if let Some(content_type) = request.content_type {
        head.insert_header(header::CONTENT_TYPE, content_type)
            .map_err(failed)?;
    }
    if let Some(body) = &request.body {
        head.insert_header(header::CONTENT_LENGTH, body.len())
            .map_err(failed)?;
    }
    Ok(head)
}

/// Whether the client's `Connection` header names this one.
fn named_by_connection(headers: Option<&HeaderMap>, name: &header::HeaderName) -> bool {
    headers
        .and_then(|headers| headers.get(header::CONNECTION))
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case(name.as_str()))
        })
}

impl Exchange<'_> {
    pub(super) fn counted(mut self, mut under_way: UnderWay) -> Self {
        under_way.answered(self.status());
        self.under_way = Some(under_way);
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.session
            .response_header()
            .map_or(0, |head| head.status.as_u16())
    }

    /// How long the body is, when that is said.
    pub fn content_length(&self) -> Option<usize> {
        let head = self.session.response_header()?;
        head.headers
            .get(header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// The answer's head, without the headers that belong to this connection.
    pub fn head(&self) -> Option<ResponseHeader> {
        let mut head = self.session.response_header()?.clone();
        for name in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
            header::DATE,
        ] {
            head.remove_header(&name);
        }
        head.remove_header("keep-alive");
        Some(head)
    }

    /// The next part of the body; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.session
            .read_response_body()
            .await
            .map_err(|error| read_failure(&error, false))
    }

    /// The whole answer, when it is not larger than `bytes_max`.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Reply, ExchangeError> {
        let status = self.status();
        let content_type = self
            .session
            .response_header()
            .and_then(|head| head.headers.get(header::CONTENT_TYPE))
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(part) = self.next().await? {
            if body.len() + part.len() > bytes_max {
                let message = format!("it is larger than {bytes_max} bytes");
                return Err(ExchangeError::Garbled(message));
            }
            body.extend_from_slice(&part);
        }
        self.release().await;
        Ok(Reply {
            status,
            content_type,
            body: body.freeze(),
            retry_after_s: None,
            allow: None,
        })
    }

    /// Gives the connection back, once the body has been read to its end.
    pub async fn release(self) {
        let Self {
            connector,
            session,
            peer,
            idle,
            ..
        } = self;
        connector
            .release_http_session(session, &peer, Some(idle))
            .await;
    }
}
