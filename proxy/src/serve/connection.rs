//! A connection, from its first byte to its end.

use std::sync::Arc;

use achromat_core::reply;
use bytes::BytesMut;
use http::header;
use pingora_core::{
    apps::ServerApp as _,
    protocols::{Stream, http::ServerSession, l4::stream::Stream as L4},
    server::ShutdownWatch,
};
use pingora_timeout::timeout;

use super::{
    CLIENT_WRITE_TIMEOUT, KEEPALIVE_S,
    door::Listener,
    entrance::Entrance,
    intake::Body,
    respond::respond,
    wire::{Answers, Begun, ReadError, Reader, halves},
};

/// First bytes of HTTP/2; no request of HTTP/1 begins with them.
const HTTP2_BEGINS: [u8; 4] = *b"PRI ";

/// Bytes of all that it begins with (RFC 9113, 3.4).
const HTTP2_PREFACE_BYTES: usize = 24;

/// A head for pingora's session to answer to, when there was none that could be read.
const NO_HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Next step with a connection.
enum Next {
    Answer(Answers),
    Close,
}

impl Entrance {
    /// Serves whoever comes, until all shall stop.
    pub(super) async fn accept(self: Arc<Self>, socket: Listener, mut stopping: ShutdownWatch) {
        loop {
            let came = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                came = self.door.next(&socket) => came,
            };
            let (entrance, stopping) = (Arc::clone(&self), stopping.clone());
            tokio::spawn(async move {
                entrance.serve_connection(came.stream, stopping).await;
                drop(came.place);
            });
        }
    }

    async fn serve_connection(self: &Arc<Self>, stream: L4, stopping: ShutdownWatch) {
        let deadline = self.server.load().settings().patience.head_deadline;
        let mut stream: Stream = match &self.encryption {
            None => Box::new(stream),
            Some(encryption) => match encryption.settle(stream, deadline).await {
                Some(stream) => stream,
                None => return,
            },
        };
        match self.is_http2(&mut stream, stopping.clone()).await {
            None => {}
            Some(true) => {
                self.process_new(stream, &stopping).await;
            }
            Some(false) => self.serve_http1(stream, stopping).await,
        }
    }

    /// Looks at the first bytes; nothing of HTTP/1 has to wait for more than four. `None` when none came.
    async fn is_http2(&self, stream: &mut Stream, mut stopping: ShutdownWatch) -> Option<bool> {
        match stream.selected_alpn_proto() {
            Some(pingora_core::protocols::ALPN::H2) => return Some(true),
            Some(_) => return Some(false),
            None => {}
        }
        let patience = self.server.load().settings().patience.head_deadline;
        tokio::select! {
            biased;
            peeked = timeout(patience, peek(stream)) => peeked.ok().flatten(),
            // Nothing was asked yet.
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }

    async fn serve_http1(&self, stream: Stream, mut stopping: ShutdownWatch) {
        let (mut reader, mut answers) = halves(stream, self.server.load().settings().patience);
        loop {
            let begins = tokio::select! {
                biased;
                begins = reader.begins() => begins,
                // An idle connection ends when the proxy stops.
                _ = stopping.wait_for(|stop| *stop) => false,
            };
            if !begins {
                return;
            }
            let next = match reader.head().await {
                Ok(begun) => {
                    let is_stopping = *stopping.borrow();
                    // In a box: an idle connection has no room for all that may become of a request.
                    Box::pin(self.serve_head(&mut reader, begun, answers, is_stopping)).await
                }
                Err(error) => refuse(answers, error).await,
            };
            match next {
                Next::Answer(next) => answers = next,
                Next::Close => {
                    if !reader.is_at_end() {
                        reader.linger().await;
                    }
                    return;
                }
            }
        }
    }

    async fn serve_head(
        &self,
        reader: &mut Reader,
        begun: Begun,
        answers: Answers,
        is_stopping: bool,
    ) -> Next {
        let request = self.begin();
        let head = begun.head;
        let Some(mut session) = session(answers, begun.bytes).await else {
            return Next::Close;
        };
        let rate = request.server.settings().patience.rate_min;
        let rate = usize::try_from(rate).unwrap_or(usize::MAX);
        session.set_min_send_rate(Some(rate));
        let is_kept = head.is_persistent && !is_stopping;
        let keepalive = is_kept.then_some(KEEPALIVE_S);
        // A request with a body says that the connection is kept when all of it is read.
        session.set_keepalive(keepalive.filter(|_| reader.is_between()));
        let body = Body::Http1 {
            reader,
            head,
            keepalive,
        };
        let is_usable = request.server.serve(&mut session, body, self.kind).await;
        drop(request);
        if !is_usable || !is_kept || !reader.is_between() {
            session.shutdown().await;
            return Next::Close;
        }
        match session.finish().await {
            Ok(Some(stream)) => answers_of(stream.into_parts().0),
            _ => Next::Close,
        }
    }
}

/// Returns true when the first bytes are HTTP/2's. Waits for the whole preface of HTTP/2, so that its reader
/// does not wait.
async fn peek(stream: &mut Stream) -> Option<bool> {
    let mut first = [0; 4];
    let is_there = stream.try_peek(&mut first).await.ok()?;
    if !is_there || first != HTTP2_BEGINS {
        return Some(false);
    }
    let mut preface = [0; HTTP2_PREFACE_BYTES];
    stream.try_peek(&mut preface).await.ok()
}

fn answers_of(stream: Stream) -> Next {
    match stream.into_any().downcast::<Answers>() {
        Ok(answers) => Next::Answer(*answers),
        Err(_) => Next::Close,
    }
}

/// A session that answers a request whose body is read by us: to the session there is none.
async fn session(answers: Answers, head: BytesMut) -> Option<ServerSession> {
    let mut session = ServerSession::new_http1(Box::new(answers));
    session.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT));
    session.set_pipelined_prefix(head);
    match session.read_request().await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            // Achromat's own reader is stricter, so that this does not happen; nothing is passed on.
            tracing::warn!(%error, "pingora can't read a head that was judged sound");
            return None;
        }
    }
    let request = session.req_header_mut();
    request.remove_header(&header::CONTENT_LENGTH);
    request.remove_header(&header::TRANSFER_ENCODING);
    Some(session)
}

/// Answers a request that can't be read; the connection is not used again.
async fn refuse(answers: Answers, error: ReadError) -> Next {
    tracing::debug!(%error, "a request can't be read");
    if error == ReadError::Broken {
        return Next::Close;
    }
    if let Some(mut session) = session(answers, BytesMut::from(NO_HEAD)).await {
        let refusal = reply::unreadable(status(error), &error.to_string());
        respond(&mut session, &refusal, true).await;
        session.shutdown().await;
    }
    Next::Close
}

/// The status that tells of a request that can't be read.
pub(super) fn status(error: ReadError) -> u16 {
    match error {
        ReadError::Head(error) => error.status(),
        ReadError::TooSlow => 408,
        ReadError::Chunk(_) | ReadError::Broken => 400,
    }
}
