//! The two halves of an HTTP/1 connection. Requests are read here, strictly, from one half; answers are
//! written by pingora's session to the other, which never reads. So where a request ends is decided in
//! one place, and after anything that can't be trusted the connection is not read any more.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use achromat_core::{
    chunks::{ChunkError, Chunks},
    head::{Framing, Head, HeadError, HeadLimits, Scan, judge},
};
use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::{
    Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, raw_connect::ProxyDigest, tls::SslDigest,
};
use pingora_timeout::timeout;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf,
    },
    time::{Sleep, sleep},
};

use super::taking::PART_BYTES;

/// Bytes that are made room for before a read.
const READ_BYTES: usize = 4 * 1024;

/// Bytes of a large body that are made room for before a read.
const BODY_READ_BYTES: usize = 64 * 1024;

/// For a client that was refused to send what it is still sending.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// Time for the rest of an answer to be taken when its connection is closed.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Limits of a client's heads and times, and its least rate.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Bounds of a head.
    pub head: HeadLimits,
    /// For a head to come whole, from the connection on, or from its first byte.
    pub head_deadline: Duration,
    /// For the next request to begin.
    pub idle: Duration,
    /// Before a body must keep up its rate.
    pub grace: Duration,
    /// Bytes in a second that a body must come with after that, and that an answer must be taken with.
    pub rate_min: u32,
}

impl Patience {
    /// Time in which a client must take a part of an answer.
    pub(super) fn part(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let needed = f64::from(bytes) / f64::from(self.rate_min);
        Duration::from_secs(1).mul_f64(needed.max(1.0))
    }

    /// Time until the next byte of a body must have come, when `bytes` of the body are there.
    pub(super) fn body_deadline(&self, began: Instant, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(self.rate_min));
        (self.grace + earned).saturating_sub(began.elapsed())
    }
}

/// Failure to read a request. The connection is not used again after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    /// The head is refused.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The chunks are refused.
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    /// The client was too slow.
    #[error("the request did not come in time")]
    TooSlow,
    /// The client went away.
    #[error("the request did not come whole")]
    Broken,
}

/// Part of a request that the reader has reached.
enum Place {
    /// Before a head.
    Between,
    /// In a body with so many bytes left.
    Length(u64),
    /// In chunks.
    Chunks(Chunks),
    /// Unknown.
    Lost,
}

/// The half of a connection that requests come from.
pub(super) struct Reader {
    half: ReadHalf<Stream>,
    input: BytesMut,
    place: Place,
    patience: Patience,
    is_first: bool,
}

/// A request's head, and its bytes.
pub(super) struct Begun {
    pub(super) head: Head,
    pub(super) bytes: BytesMut,
}

impl Reader {
    pub(super) fn new(half: ReadHalf<Stream>, patience: Patience) -> Self {
        Self {
            half,
            input: BytesMut::new(),
            place: Place::Between,
            patience,
            is_first: true,
        }
    }

    /// True when the last request was read whole, so that the next one begins here.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// True when nothing more has come than what was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_between() && self.input.is_empty()
    }

    /// Waits for the first byte of a request; false when there is none any more. Nothing is lost when it
    /// is given up.
    pub(super) async fn begins(&mut self) -> bool {
        if !self.input.is_empty() {
            return true;
        }
        let patience = if self.is_first {
            self.patience.head_deadline
        } else {
            self.patience.idle
        };
        self.input.reserve(READ_BYTES);
        let read = timeout(patience, self.half.read_buf(&mut self.input)).await;
        matches!(read, Ok(Ok(count)) if count > 0)
    }

    /// The head of a request that has begun.
    pub(super) async fn head(&mut self) -> Result<Begun, ReadError> {
        self.is_first = false;
        // Unless all goes well.
        self.place = Place::Lost;
        let deadline = self.patience.head_deadline;
        let length = timeout(deadline, self.whole_head())
            .await
            .map_err(|_| ReadError::TooSlow)??;
        let bytes = self.input.split_to(length);
        let head = judge(&bytes, &self.patience.head)?;
        self.place = match head.framing {
            Framing::Length(0) => Place::Between,
            Framing::Length(bytes) => Place::Length(bytes),
            Framing::Chunked => Place::Chunks(Chunks::default()),
        };
        Ok(Begun { head, bytes })
    }

    async fn whole_head(&mut self) -> Result<usize, ReadError> {
        let mut scan = Scan::default();
        let mut is_empty_line_allowed = true;
        loop {
            if is_empty_line_allowed && self.input.starts_with(b"\r\n") {
                // Some clients send one after a body (RFC 9112, 2.2).
                let _line = self.input.split_to(2);
                is_empty_line_allowed = false;
            } else if self.input.as_ref() != b"\r"
                && let Some(length) = scan.end(&self.input, &self.patience.head)?
            {
                return Ok(length);
            }
            if !self.more(READ_BYTES).await? {
                return Err(ReadError::Broken);
            }
        }
    }

    /// Reads what comes; false when nothing will.
    async fn more(&mut self, room: usize) -> Result<bool, ReadError> {
        self.input.reserve(room);
        let read = self.half.read_buf(&mut self.input).await;
        Ok(read.map_err(|_| ReadError::Broken)? > 0)
    }

    /// Adds the next part of the body. False when there is none: the body is whole. With chunks, a body of
    /// more than `bytes_max` is not read on.
    pub(super) async fn body(
        &mut self,
        body: &mut BytesMut,
        (began, bytes_max): (Instant, usize),
    ) -> Result<bool, ReadError> {
        let place = std::mem::replace(&mut self.place, Place::Lost);
        let patience = self.patience.body_deadline(began, body.len());
        let part = timeout(patience, self.part(place, body, bytes_max));
        self.place = part.await.map_err(|_| ReadError::TooSlow)??;
        Ok(!self.is_between())
    }

    async fn part(
        &mut self,
        place: Place,
        body: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<Place, ReadError> {
        match place {
            Place::Between => Ok(Place::Between),
            Place::Lost => Err(ReadError::Broken),
            Place::Length(left) => {
                let read = self.counted(left, body).await?;
                Ok(match left.saturating_sub(read) {
                    0 => Place::Between,
                    left => Place::Length(left),
                })
            }
            Place::Chunks(mut chunks) => {
                let before = body.len();
                loop {
                    if chunks.decode(&mut self.input, body, bytes_max)? {
                        return Ok(Place::Between);
                    }
                    if body.len() > before {
                        return Ok(Place::Chunks(chunks));
                    }
                    if !self.more(before.clamp(READ_BYTES, BODY_READ_BYTES)).await? {
                        return Err(ReadError::Broken);
                    }
                }
            }
        }
    }

    /// Moves up to so many bytes to the body: those that are there, or those that come next.
    async fn counted(&mut self, left: u64, body: &mut BytesMut) -> Result<u64, ReadError> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let there = self.input.len().min(left);
        let count = if there > 0 {
            body.extend_from_slice(&self.input.split_to(there));
            there
        } else {
            // A body gets room as it comes.
            let room = body.len().clamp(READ_BYTES, BODY_READ_BYTES).min(left);
            body.reserve(room);
            let most = u64::try_from(room).unwrap_or(u64::MAX);
            let read = (&mut self.half).take(most).read_buf(body).await;
            read.map_err(|_| ReadError::Broken)?
        };
        if count == 0 {
            return Err(ReadError::Broken);
        }
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Reads and forgets what a refused client still sends: a socket that is closed on unread bytes resets
    /// the connection, and the client may lose its answer (a lingering close, as nginx has it).
    pub(super) async fn linger(&mut self) {
        let drained = timeout(LINGER_MAX, async {
            let mut scrap = vec![0; READ_BYTES];
            while matches!(self.half.read(&mut scrap).await, Ok(count) if count > 0) {}
        });
        if drained.await.is_err() {
            tracing::debug!("a client that was refused did not stop sending");
        }
    }
}

/// The half of a connection that answers go to.
pub(super) struct Answers {
    half: WriteHalf<Stream>,
    id: i32,
    digest: Arc<Digest>,
    /// Time for the client to take something, once there is no more room for what it is sent.
    patience: Duration,
    /// The end of that time, while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Answers {
    /// Ends a write, a flush or an end that waits for a client which takes nothing.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Parts a connection.
pub(super) fn halves(stream: Stream, patience: Patience) -> (Reader, Answers) {
    let id = stream.id();
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let (read, write) = tokio::io::split(stream);
    let answers = Answers {
        half: write,
        id,
        digest,
        patience: patience.part(PART_BYTES),
        stalled: None,
    };
    (Reader::new(read, patience), answers)
}

impl AsyncRead for Answers {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Answers {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.half).poll_write(context, bytes);
        self.bounded(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.half).poll_write_vectored(context, parts);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.half.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.half).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.half).poll_shutdown(context);
        self.bounded(context, polled)
    }
}

#[async_trait]
impl Shutdown for Answers {
    async fn shutdown(&mut self) {
        // It sends the rest of an answer first, when its client did not take it.
        match timeout(SHUTDOWN_MAX, self.half.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection was gone before it was closed");
            }
            Err(_) => tracing::debug!("a client did not take the rest of its answer"),
        }
    }
}

impl UniqueID for Answers {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Ssl for Answers {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.ssl_digest.clone()
    }
}

impl GetTimingDigest for Answers {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Answers {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digest.proxy_digest.clone()
    }
}

impl GetSocketDigest for Answers {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.digest.socket_digest.clone()
    }
}

impl Peek for Answers {}
