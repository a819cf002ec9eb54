//! One request to one instance, and its answer.

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use achromat_core::reply::Reply;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_core::{
    connectors::TransportConnector,
    protocols::{Stream, http::v1::client::HttpSession},
    upstreams::peer::HttpPeer,
};
use pingora_error::ErrorType;
use pingora_http::ResponseHeader;
use tokio::io::AsyncWrite as _;

use super::{Instance, NO_LEAVE, Passage, Timing, bulkhead::Flow, figures::UnderWay, pool::Pool};
use crate::leave::Leave;

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'static str,
    /// The canonical target.
    pub target: &'a str,
    /// The client's headers, of which those that belong to its connection are left out.
    pub headers: Option<&'a HeaderMap>,
    /// The `Content-Type`, when there are no client's headers.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: Option<Bytes>,
    /// True for a probe of Achromat's own, which is not counted as a request.
    pub is_probe: bool,
    /// Leave to send it, where that is needed: each part of it goes only as long as the leave lasts.
    pub leave: Option<&'a Leave>,
}

/// The failure of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Nobody listens: the server can't have read this request, nor still be working on an earlier one.
    #[error("{0}")]
    Refused(String),
    /// The server can't have read any of the request.
    #[error("{0}")]
    NotSent(String),
    /// The leave to send it has ended, before the server could read it whole.
    #[error("{NO_LEAVE}")]
    NoLeave,
    /// It has as many requests as it may have at once.
    #[error("it has as many requests as it may have at once")]
    Busy,
    /// The connection closed before the answer was whole.
    #[error("the connection closed before the answer was whole")]
    Closed {
        /// True when the connection was used before, so that the server may have let it go.
        reused: bool,
    },
    /// The answer is not HTTP.
    #[error("the answer can't be read: {0}")]
    Garbled(String),
    /// The answer has more bytes than it may have.
    #[error("the answer is too large")]
    TooLarge,
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
}

/// Headers that belong to one connection (RFC 9110, 7.6.1), and those that we set ourselves.
const NOT_PASSED_ON: [HeaderName; 10] = [
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

/// Headers of an answer that is taken in whole which go on to the client with it: they are about the
/// answer, not about the connection, and hold for it wherever it came from.
const KEPT: [HeaderName; 10] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::VARY,
];

/// A body of this size goes with its head: one call of the system, and one packet for the server to
/// wake up for. Of a larger one the copy would cost more.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// Memory that is taken for an answer because its head says that it will be that long.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;

/// An answer whose head has come.
pub struct Exchange<'a> {
    /// In a box: it is large, and an answer passes through many hands.
    session: Box<HttpSession>,
    pool: &'a Pool,
    idle: Duration,
    under_way: Option<UnderWay>,
    passage: Option<Passage>,
    flow: Option<Flow>,
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn begin<'a>(
    connector: &TransportConnector,
    instance: &'a Instance,
    request: Request<'_>,
    timing: Timing,
) -> Result<Exchange<'a>, ExchangeError> {
    let (mut stream, reused) = connect(connector, instance, timing).await?;
    match send(&mut stream, instance, request).await {
        Ok(()) => {}
        Err(SendError::NoLeave) => return Err(ExchangeError::NoLeave),
        Err(SendError::NotTaken(error)) => {
            // A server may answer and close before it has read the whole body.
            tracing::debug!(%error, instance = %instance.address, "a request was not taken whole");
        }
    }
    let mut session = Box::new(HttpSession::new(stream));
    loop {
        session
            .read_response()
            .await
            .map_err(|error| read_failure(&error, reused))?;
        let informational = |head: &ResponseHeader| head.status.is_informational();
        if !session.resp_header().is_some_and(informational) {
            break;
        }
    }
    Ok(Exchange {
        session,
        pool: &instance.pool,
        idle: timing.idle,
        under_way: None,
        passage: None,
        flow: None,
    })
}

/// The failure to put a request on the wire.
enum SendError {
    /// The leave to send it ended. A server that has got a part of a request does nothing.
    NoLeave,
    /// The server did not take it.
    NotTaken(io::Error),
}

/// Puts a request on the wire.
async fn send(
    stream: &mut Stream,
    instance: &Instance,
    request: Request<'_>,
) -> Result<(), SendError> {
    let mut head = head(instance, &request);
    let body = request.body.unwrap_or_default();
    if body.len() <= TOGETHER_BYTES_MAX {
        head.extend_from_slice(&body);
        put(stream, &head, request.leave).await?;
    } else {
        put(stream, &head, request.leave).await?;
        put(stream, &body, request.leave).await?;
    }
    let flushed =
        poll_fn(|context| under(request.leave, || Pin::new(&mut *stream).poll_flush(context)));
    flushed.await
}

async fn put(
    stream: &mut Stream,
    mut bytes: &[u8],
    leave: Option<&Leave>,
) -> Result<(), SendError> {
    while !bytes.is_empty() {
        let written =
            poll_fn(|context| under(leave, || Pin::new(&mut *stream).poll_write(context, bytes)));
        match bytes.split_at_checked(written.await?) {
            Some(([], _)) | None => {
                return Err(SendError::NotTaken(io::ErrorKind::WriteZero.into()));
            }
            Some((_, left)) => bytes = left,
        }
    }
    Ok(())
}

/// Does a piece of the writing as long as there is leave: this process may have been frozen since the last one.
fn under<T>(
    leave: Option<&Leave>,
    write: impl FnOnce() -> Poll<io::Result<T>>,
) -> Poll<Result<T, SendError>> {
    if leave.is_some_and(|leave| !leave.is_valid()) {
        return Poll::Ready(Err(SendError::NoLeave));
    }
    write().map_err(SendError::NotTaken)
}

/// A connection that is kept, or a new one; and whether it was used before.
async fn connect(
    connector: &TransportConnector,
    instance: &Instance,
    timing: Timing,
) -> Result<(Stream, bool), ExchangeError> {
    match instance.pool.take(timing.idle) {
        Some(stream) => Ok((stream, true)),
        // In a box: it is seldom, and would make every exchange as large as the making of a connection.
        None => Ok((Box::pin(open(connector, instance, timing)).await?, false)),
    }
}

/// Connects to the first of the instance's sockets that answers.
async fn open(
    connector: &TransportConnector,
    instance: &Instance,
    timing: Timing,
) -> Result<Stream, ExchangeError> {
    let address = &instance.address;
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
        instance.credentials.shown().equip(&mut peer);
        match connector.new_stream(&peer).await {
            Ok(stream) => return Ok(stream),
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
        other => {
            // Such as a certificate that has expired.
            let context = error
                .context
                .as_ref()
                .map_or("no reason is known", |text| text.as_str());
            format!("the connection failed: {}: {context}", other.as_str())
        }
    }
}

fn read_failure(error: &pingora_error::Error, reused: bool) -> ExchangeError {
    match error.etype() {
        ErrorType::ReadTimedout => ExchangeError::Silent,
        ErrorType::InvalidHTTPHeader => ExchangeError::Garbled(error.to_string()),
        _ => ExchangeError::Closed { reused },
    }
}

/// The head as it goes over the wire. Its parts cannot break out of their lines: the target is
/// canonical, and a header's value has no control characters (`http::HeaderValue`).
fn head(instance: &Instance, request: &Request<'_>) -> BytesMut {
    let address = &instance.address;
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    for part in [
        request.method,
        " ",
        address.prefix(),
        request.target,
        " HTTP/1.1\r\n",
    ] {
        head.put_slice(part.as_bytes());
    }
    line(&mut head, &header::HOST, address.authority().as_bytes());
    let named = named_by_connection(request.headers);
    let shown = instance.credentials.shown();
    let token = shown.token();
    let is_ours = |name: &HeaderName| token.is_some_and(|(ours, _)| ours == name);
    for (name, value) in request.headers.into_iter().flatten() {
        if !NOT_PASSED_ON.contains(name) && !is_among(named, name) && !is_ours(name) {
            line(&mut head, name, value.as_bytes());
        }
    }
    if let Some((name, value)) = token {
        line(&mut head, name, value.as_bytes());
    }
    if let Some(content_type) = request.content_type {
        line(&mut head, &header::CONTENT_TYPE, content_type.as_bytes());
    }
    if let Some(body) = &request.body {
        let length = HeaderValue::from(body.len());
        line(&mut head, &header::CONTENT_LENGTH, length.as_bytes());
    }
    head.put_slice(b"\r\n");
    head
}

/// Room for a usual head, and the small body behind it.
const HEAD_BYTES: usize = 1024;

fn line(head: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        head.put_slice(part);
    }
}

/// The other headers that the client's `Connection` header names.
fn named_by_connection(headers: Option<&HeaderMap>) -> &str {
    headers
        .and_then(|headers| headers.get(header::CONNECTION))
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn is_among(names: &str, name: &HeaderName) -> bool {
    !names.is_empty()
        && names
            .split(',')
            .any(|word| word.trim().eq_ignore_ascii_case(name.as_str()))
}

impl Exchange<'_> {
    pub(super) fn counted(mut self, mut under_way: UnderWay) -> Self {
        under_way.answered(self.status());
        self.under_way = Some(under_way);
        self
    }

    /// Holds what it was sent under for as long as it lasts.
    pub(super) fn under(mut self, passage: Passage) -> Self {
        self.passage = Some(passage);
        self
    }

    /// Begins to pass the answer on, so that the instance may be asked other things meanwhile. False when it has
    /// as many answers on their way as there may be.
    pub async fn flow(&mut self) -> bool {
        let Some(passage) = self.passage.take() else {
            return true;
        };
        self.flow = passage.flow().await;
        self.flow.is_some()
    }

    /// True when another answer of the instance waits until one that is on its way has ended.
    pub fn is_wanted(&self) -> bool {
        self.flow.as_ref().is_some_and(Flow::is_wanted)
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.session
            .resp_header()
            .map_or(0, |head| head.status.as_u16())
    }

    /// The length of the body, when the server declares it.
    pub fn content_length(&self) -> Option<usize> {
        let head = self.session.resp_header()?;
        head.headers
            .get(header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// The answer's head, without the headers that belong to this connection.
    pub fn head(&self) -> Option<ResponseHeader> {
        let mut head = self.session.resp_header()?.clone();
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

    /// The headers that a whole answer keeps.
    fn kept_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let head = self.session.resp_header();
        let all = head.into_iter().flat_map(|head| &head.headers);
        let kept = all.filter(|(name, _)| KEPT.contains(name));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The next part of the body; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let part = self.next_borrowed().await?;
        Ok(part.map(Bytes::copy_from_slice))
    }

    async fn next_borrowed(&mut self) -> Result<Option<&[u8]>, ExchangeError> {
        let part = self.session.read_body_ref().await;
        part.map_err(|error| read_failure(&error, false))
    }

    /// The whole answer, when it is not larger than `bytes_max`.
    pub async fn whole(self, bytes_max: usize) -> Result<Reply, ExchangeError> {
        let status = self.status();
        let content_type = self
            .session
            .resp_header()
            .and_then(|head| head.headers.get(header::CONTENT_TYPE))
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let headers = self.kept_headers();
        let body = self.body(bytes_max).await?;
        Ok(Reply {
            status,
            content_type,
            body,
            retry_after_s: None,
            allow: None,
            headers,
        })
    }

    /// The whole body, when it is not larger than `bytes_max`.
    pub async fn body(mut self, bytes_max: usize) -> Result<Bytes, ExchangeError> {
        let expected = self.content_length().unwrap_or(0);
        if expected > bytes_max {
            return Err(ExchangeError::TooLarge);
        }
        let mut body = BytesMut::with_capacity(expected.min(RESERVED_BYTES_MAX));
        while let Some(part) = self.next_borrowed().await? {
            if body.len() + part.len() > bytes_max {
                return Err(ExchangeError::TooLarge);
            }
            body.extend_from_slice(part);
        }
        self.release().await;
        Ok(body.freeze())
    }

    /// Gives the connection back, once the body has been read to its end.
    pub async fn release(mut self) {
        self.session.respect_keepalive();
        if let Some(stream) = self.session.reuse().await {
            self.pool.put(stream, self.idle);
        }
    }
}
