//! A request as it comes in: its head is checked from the raw bytes, its body is read within its
//! limit.

use std::net::IpAddr;

use achromat_core::{
    ids::Key,
    key::{KEY_HEADERS, choose},
    reply::{self, Reply},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use pingora_core::protocols::http::ServerSession;

use super::{
    KEEPALIVE_S,
    admission::{Admission, Memory},
};

/// What is kept of a request's head.
pub(super) struct Intake {
    pub(super) method: http::Method,
    /// The target in origin form, not judged yet.
    pub(super) target: Vec<u8>,
    pub(super) headers: HeaderMap,
    /// Who asks.
    pub(super) client: Option<IpAddr>,
    /// Headers by which a browser lets a page read the answer.
    pub(super) allowed: HeaderMap,
    expects_continue: bool,
}

impl Intake {
    /// Takes in the head, unless its framing is ambiguous.
    pub(super) fn read_head(session: &ServerSession) -> Result<Self, Reply> {
        let head = session.req_header();
        if head.headers.contains_key(header::TRANSFER_ENCODING) && raw_head_has_length(session) {
            let message = "The request has both Content-Length and Transfer-Encoding";
            return Err(reply::malformed(message));
        }
        if head.method == http::Method::CONNECT {
            return Err(reply::method_not_allowed("CONNECT", "*", &[]));
        }
        let expects_continue = head
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Ok(Self {
            method: head.method.clone(),
            target: origin_form(head.raw_path()).to_vec(),
            headers: head.headers.clone(),
            client: client(session),
            allowed: HeaderMap::new(),
            expects_continue,
        })
    }

    /// Reads the body, which must be within the limit and find memory, to be held until it is served.
    pub(super) async fn read_body(
        &self,
        session: &mut ServerSession,
        admission: &Admission,
    ) -> Result<(Bytes, Vec<Memory>), Reply> {
        if session.is_body_empty() {
            return Ok((Bytes::new(), Vec::new()));
        }
        let limit = admission.limits().body_bytes_max;
        let declared = self.content_length();
        if declared.is_some_and(|length| length > limit) {
            return Err(reply::body_too_large(limit));
        }
        let mut memory = Vec::new();
        if let Some(length) = declared {
            memory.push(admission.memory(length).await?);
        }
        if self.expects_continue {
            let sent = session.write_continue_response().await;
            sent.map_err(|_| unreadable())?;
        }
        let mut body = BytesMut::with_capacity(declared.unwrap_or(0));
        while let Some(part) = session
            .read_request_body()
            .await
            .map_err(|_| unreadable())?
        {
            if body.len() + part.len() > limit {
                return Err(reply::body_too_large(limit));
            }
            if declared.is_none() {
                memory.push(admission.memory(part.len()).await?);
            }
            body.extend_from_slice(&part);
        }
        if self.expects_continue {
            // pingora gives a connection up when it answers anything before the body is read.
            session.set_keepalive(Some(KEEPALIVE_S));
        }
        Ok((body.freeze(), memory))
    }

    fn content_length(&self) -> Option<usize> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The key under which the client may repeat the request.
    pub(super) fn key(&self) -> Result<Option<Key>, Reply> {
        let values = KEY_HEADERS.into_iter().flat_map(|name| {
            let values = self.headers.get_all(name).iter();
            values.map(move |value| (name, value.as_bytes()))
        });
        choose(values)
    }

    /// The token that came with it.
    pub(super) fn token(&self) -> Option<&str> {
        self.header(&header::AUTHORIZATION)?.strip_prefix("Bearer ")
    }

    pub(super) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn client(session: &ServerSession) -> Option<IpAddr> {
    let address = session.client_addr()?.as_inet()?;
    Some(address.ip())
}

fn unreadable() -> Reply {
    reply::malformed("The request's body did not come whole")
}

/// pingora takes `Content-Length` away when there is a `Transfer-Encoding`; the bytes still say.
fn raw_head_has_length(session: &ServerSession) -> bool {
    session.as_http1().is_some_and(|session| {
        let raw = session.get_headers_raw_bytes();
        raw.split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b':').next())
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"content-length"))
    })
}

/// The path and query of a target that also names the server, as requests to proxies do. pingora
/// has made sure that it names the same server as `Host`.
fn origin_form(target: &[u8]) -> &[u8] {
    let after_scheme = [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find_map(|scheme| target.strip_prefix(scheme));
    match after_scheme {
        None => target,
        Some(rest) => {
            let slash = rest.iter().position(|byte| *byte == b'/');
            slash.and_then(|at| rest.get(at..)).unwrap_or(b"/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that names the server is the path on that server.
    #[test]
    fn absolute_targets_become_paths() {
        assert_eq!(origin_form(b"/api/v2"), b"/api/v2");
        assert_eq!(origin_form(b"http://host:1/api/v2?x=/"), b"/api/v2?x=/");
        assert_eq!(origin_form(b"http://host"), b"/");
        assert_eq!(origin_form(b"*"), b"*");
    }
}
