//! A request as it comes in: what is kept of its head, and its body, read within its limits.

use std::{net::IpAddr, time::Instant};

use achromat_core::{
    access::TokenError,
    head::{Framing, Head, origin_form},
    ids::{DEFAULT_TENANT, Key},
    key::{KEY_HEADERS, choose},
    reply::{self, Reply},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use pingora_core::protocols::http::ServerSession;
use pingora_timeout::timeout;

use super::{
    admission::{Admission, Memory},
    connection::status,
    wire::{ReadError, Reader},
};

use crate::access::{Access, Caller, hide_token};

/// Memory that is taken for a body before any of it is there.
const FIRST_BYTES: usize = 4096;

/// Source of a request's body.
pub(super) enum Body<'a> {
    /// From the connection.
    Http1 {
        reader: &'a mut Reader,
        head: Head,
        /// For how many seconds the connection is kept when the body was read whole.
        keepalive: Option<u64>,
    },
    /// From the stream of a session.
    Http2,
}

impl Body<'_> {
    /// Its length, where the head says it.
    fn declared(&self, intake: &Intake) -> Option<u64> {
        match self {
            Self::Http1 { head, .. } => match head.framing {
                Framing::Length(bytes) => Some(bytes),
                Framing::Chunked => None,
            },
            Self::Http2 => intake.header(&header::CONTENT_LENGTH)?.parse().ok(),
        }
    }

    /// Adds the next part; false when there is none.
    async fn next(
        &mut self,
        session: &mut ServerSession,
        body: &mut BytesMut,
        reading: &Reading<'_>,
    ) -> Result<bool, ReadError> {
        match self {
            Self::Http1 { reader, .. } => {
                reader.body(body, (reading.began, reading.bytes_max)).await
            }
            Self::Http2 => {
                let patience = &reading.admission.patience();
                let deadline = patience.body_deadline(reading.began, body.len());
                let part = timeout(deadline, session.read_request_body()).await;
                let part = part.map_err(|_| ReadError::TooSlow)?;
                match part.map_err(|_| ReadError::Broken)? {
                    None => Ok(false),
                    Some(part) => {
                        body.extend_from_slice(&part);
                        Ok(true)
                    }
                }
            }
        }
    }
}

/// A body that is being read.
struct Reading<'a> {
    admission: &'a Admission,
    began: Instant,
    bytes_max: usize,
}

/// The head of a request, as far as it is kept.
pub(super) struct Intake {
    pub(super) method: http::Method,
    /// The target in origin form, not judged yet.
    pub(super) target: Vec<u8>,
    pub(super) headers: HeaderMap,
    /// The caller, known by the token of the request.
    pub(super) caller: Result<Caller, TokenError>,
    /// The client's address.
    pub(super) client: Option<IpAddr>,
    /// Headers by which a browser lets a page read the answer.
    pub(super) allowed: HeaderMap,
}

impl Intake {
    /// Takes in the head, and whom it comes from. What shows that is nobody's business after that.
    pub(super) fn read_head(session: &ServerSession, access: &Access) -> Result<Self, Reply> {
        let caller = access.caller(&session.req_header().headers);
        let mut intake = Self::take_head(session, caller)?;
        if access.keeps_token(&intake.caller) {
            hide_token(&mut intake.headers);
        }
        Ok(intake)
    }

    /// Takes in the head of a request that is passed on with whatever shows whom it comes from.
    pub(super) fn read_head_as_it_is(session: &ServerSession) -> Result<Self, Reply> {
        Self::take_head(session, Ok(Caller::Anybody))
    }

    fn take_head(
        session: &ServerSession,
        caller: Result<Caller, TokenError>,
    ) -> Result<Self, Reply> {
        let head = session.req_header();
        if head.method == http::Method::CONNECT {
            return Err(reply::method_not_allowed("CONNECT", "*", &[]));
        }
        Ok(Self {
            method: head.method.clone(),
            target: origin_form(head.raw_path()).into(),
            headers: head.headers.clone(),
            caller,
            client: client(session),
            allowed: HeaderMap::new(),
        })
    }

    /// Reads the body, which must be within the limit and find memory, to be held until it is served. After
    /// an error the connection is not used again: where the next request would begin is not known.
    pub(super) async fn read_body(
        &self,
        session: &mut ServerSession,
        body: Body<'_>,
        admission: &Admission,
    ) -> Result<(Bytes, Option<Memory>), Reply> {
        let read = self.take_body(session, body, admission).await;
        if read.is_err() {
            session.set_keepalive(None);
        }
        read
    }

    async fn take_body(
        &self,
        session: &mut ServerSession,
        mut body: Body<'_>,
        admission: &Admission,
    ) -> Result<(Bytes, Option<Memory>), Reply> {
        let reading = Reading {
            admission,
            began: Instant::now(),
            bytes_max: admission.limits().body_bytes_max,
        };
        let declared = body.declared(self);
        if declared == Some(0) || matches!(body, Body::Http2) && session.is_body_empty() {
            return Ok((Bytes::new(), None));
        }
        let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if declared.is_some_and(|bytes| bytes > reading.bytes_max) {
            return Err(reply::body_too_large(reading.bytes_max));
        }
        let most = declared.unwrap_or(usize::MAX);
        let mut memory = None;
        let mut covered = FIRST_BYTES.min(most);
        admission.hold(&mut memory, covered).await?;
        if let Body::Http1 { head, .. } = &body
            && head.expects_continue
        {
            let sent = session.write_continue_response().await;
            sent.map_err(|_| unreadable(ReadError::Broken))?;
        }
        let mut whole = BytesMut::new();
        while body
            .next(session, &mut whole, &reading)
            .await
            .map_err(unreadable)?
        {
            if whole.len() > reading.bytes_max {
                return Err(reply::body_too_large(reading.bytes_max));
            }
            if whole.len() > covered {
                // The buffer grows so as well.
                covered = (whole.len() * 2).min(most.max(whole.len()));
                admission.hold(&mut memory, covered).await?;
            }
        }
        admission.hold(&mut memory, whole.len()).await?;
        if let Body::Http1 { keepalive, .. } = body {
            session.set_keepalive(keepalive);
        }
        Ok((whole.freeze(), memory))
    }

    /// The key under which the client may repeat the request.
    pub(super) fn key(&self, tenant: Option<&str>) -> Result<Option<Key>, Reply> {
        let values = KEY_HEADERS.into_iter().flat_map(|name| {
            let values = self.headers.get_all(name).iter();
            values.map(move |value| (name, value.as_bytes()))
        });
        let key = choose(values)?;
        Ok(key.map(|key| key.of_tenant(tenant.unwrap_or(DEFAULT_TENANT))))
    }

    /// The key as it was sent, for records.
    pub(super) fn key_shown(&self) -> Option<&str> {
        let mut shown = KEY_HEADERS
            .into_iter()
            .filter_map(|name| self.headers.get(name));
        shown.next()?.to_str().ok()
    }

    /// True when it comes from one who does what operators do.
    pub(super) fn is_operator(&self) -> bool {
        self.caller.as_ref().is_ok_and(Caller::is_operator)
    }

    pub(super) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn client(session: &ServerSession) -> Option<IpAddr> {
    let address = session.client_addr()?.as_inet()?;
    Some(address.ip())
}

fn unreadable(error: ReadError) -> Reply {
    tracing::debug!(%error, "a body can't be read");
    reply::unreadable(status(error), &error.to_string())
}
