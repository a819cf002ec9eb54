//! Answers on their way to a client.

use std::time::Duration;

use achromat_core::reply::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_error::Error;
use pingora_http::ResponseHeader;

use super::taking::{PART_BYTES, Taking};
use crate::clock;

/// For a client that is refused to send the rest of its request.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// For the next part of that.
const LINGER_READ_MAX: Duration = Duration::from_secs(5);

/// Chroma's header by which a client's error names its request; its clients show it.
const TRACE_ID: &str = "chroma-trace-id";

/// Writes a whole answer. Returns whether the connection may be used again; `must_close` says that
/// the request was such that nothing after it on the connection can be trusted.
pub(super) async fn respond(session: &mut ServerSession, reply: &Reply, must_close: bool) -> bool {
    respond_with(session, reply, &HeaderMap::new(), must_close).await
}

/// The same, with further headers.
pub(super) async fn respond_with(
    session: &mut ServerSession,
    reply: &Reply,
    headers: &HeaderMap,
    must_close: bool,
) -> bool {
    if must_close {
        session.set_keepalive(None);
    }
    match write(session, reply, headers).await {
        Ok(()) => !must_close,
        Err(error) => {
            tracing::debug!(%error, "a client went away before its answer");
            false
        }
    }
}

/// Writes a whole answer that its client may be slow to take.
pub(super) async fn give(
    session: &mut ServerSession,
    reply: &Reply,
    (headers, taking): (&HeaderMap, &mut Taking<'_>),
) -> bool {
    let Ok(head) = head(session, reply, headers) else {
        return false;
    };
    give_whole(session, head, reply.body.clone(), taking).await
}

/// Writes a whole answer under its head, part by part; to HEAD, the head alone.
pub(super) async fn give_whole(
    session: &mut ServerSession,
    head: ResponseHeader,
    body: Bytes,
    taking: &mut Taking<'_>,
) -> bool {
    if session.write_response_header(Box::new(head)).await.is_err() {
        return false;
    }
    let mut body = if leaves_body_out(session) {
        Bytes::new()
    } else {
        body
    };
    loop {
        let part = body.split_to(body.len().min(PART_BYTES));
        let is_last = body.is_empty();
        if !taking.give(session, (part, is_last), || false).await {
            return false;
        }
        if is_last {
            return true;
        }
    }
}

/// Ends a stream of HTTP/2 whose client may still be sending: what comes is read and forgotten for a while.
pub(super) async fn close(session: &mut ServerSession) {
    session.shutdown().await;
    session.set_read_timeout(Some(LINGER_READ_MAX));
    session.set_total_drain_timeout(Some(LINGER_MAX));
    if let Err(error) = session.drain_request_body().await {
        tracing::debug!(%error, "a client did not send the whole of its request");
    }
}

/// Adds headers to a head, each value once.
pub(super) fn add_headers<'a>(
    head: &mut ResponseHeader,
    headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Result<(), Box<Error>> {
    for (name, value) in headers {
        let is_there = head
            .headers
            .get_all(name)
            .iter()
            .any(|there| there == value);
        if !is_there {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

async fn write(
    session: &mut ServerSession,
    reply: &Reply,
    headers: &HeaderMap,
) -> Result<(), Box<Error>> {
    let head = head(session, reply, headers)?;
    session.write_response_header(Box::new(head)).await?;
    let mut body = if leaves_body_out(session) {
        Bytes::new()
    } else {
        reply.body.clone()
    };
    // Each part has the session's deadline.
    while body.len() > PART_BYTES {
        let part = body.split_to(PART_BYTES);
        session.write_response_body(part, false).await?;
    }
    session.write_response_body(body, true).await
}

/// The head of a whole answer.
fn head(
    session: &ServerSession,
    reply: &Reply,
    headers: &HeaderMap,
) -> Result<ResponseHeader, Box<Error>> {
    let mut head = ResponseHeader::build(reply.status, Some(6))?;
    speak_like_client(session, &mut head);
    if let Some(content_type) = &reply.content_type {
        head.insert_header(header::CONTENT_TYPE, content_type.as_str())?;
    }
    if let Some(seconds) = reply.retry_after_s {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    if let Some(allow) = &reply.allow {
        head.insert_header(header::ALLOW, allow.as_str())?;
    }
    let own = reply.headers.iter().map(|(name, value)| (name, value));
    add_headers(&mut head, own.chain(headers))?;
    if reply.status >= 400 {
        let trace_id = clock::trace_id();
        tracing::debug!(trace_id, status = reply.status, "refused");
        head.insert_header(TRACE_ID, trace_id)?;
    }
    head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    Ok(head)
}

/// True when the body of an answer is ours to leave out: over HTTP/1 the session does it by itself after HEAD.
pub(super) fn leaves_body_out(session: &ServerSession) -> bool {
    session.is_http2() && session.req_header().method == Method::HEAD
}

/// Answers a client of HTTP/1.0 in its version.
pub(super) fn speak_like_client(session: &ServerSession, head: &mut ResponseHeader) {
    if session.req_header().version == Version::HTTP_10 {
        head.set_version(Version::HTTP_10);
    }
}
