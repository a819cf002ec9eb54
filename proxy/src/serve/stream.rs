//! An answer on its way through: head, parts, end.

use std::time::Duration;

use achromat_core::reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;

use super::{
    respond::{add_headers, leaves_body_out, respond, speak_like_client},
    taking::Taking,
};
use crate::instances::Exchange;

/// For the next part of an answer to come.
const PART_DEADLINE: Duration = Duration::from_secs(30);

/// Headers in which an instance names the pages that may read its answers.
const INSTANCES_CORS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// Passes an instance's answer on as it comes.
pub(super) async fn stream(
    session: &mut ServerSession,
    exchange: Exchange<'_>,
    (allowed, taking): (&HeaderMap, &mut Taking<'_>),
) -> bool {
    let Some(mut head) = exchange.head() else {
        return false;
    };
    // What pages may do is ours to say, and the same whichever instance answers.
    for name in INSTANCES_CORS {
        head.remove_header(&name);
    }
    if add_headers(&mut head, allowed).is_err() {
        return false;
    }
    pass_on(session, exchange, head, taking).await
}

/// Passes an answer on as it comes, under a head. When it breaks off, so does the client's connection: half
/// an answer must not look like a whole one.
pub(super) async fn pass_on(
    session: &mut ServerSession,
    mut exchange: Exchange<'_>,
    mut head: ResponseHeader,
    taking: &mut Taking<'_>,
) -> bool {
    if !exchange.flow().await {
        let busy = reply::unavailable("As many large answers as may be are on their way", 1);
        return respond(session, &busy, false).await;
    }
    speak_like_client(session, &mut head);
    let is_old = session.req_header().version < Version::HTTP_11;
    if !head.headers.contains_key(header::CONTENT_LENGTH) && !session.is_http2() && !is_old {
        // Cannot fail: the value is a constant.
        let _inserted = head.insert_header(header::TRANSFER_ENCODING, "chunked");
    }
    if session.write_response_header(Box::new(head)).await.is_err() {
        return false;
    }
    let is_left_out = leaves_body_out(session);
    loop {
        match timeout(PART_DEADLINE, exchange.next()).await {
            Ok(Ok(Some(_))) if is_left_out => {}
            Ok(Ok(Some(part))) => {
                let is_wanted = || exchange.is_wanted();
                if !taking.give(session, (part, false), is_wanted).await {
                    return false;
                }
            }
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => {
                tracing::debug!("an answer broke off");
                return false;
            }
        }
    }
    exchange.release().await;
    taking.give(session, (Bytes::new(), true), || false).await
}
