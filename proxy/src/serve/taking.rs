//! An answer while its client takes it. A client that is slow to do so keeps no place from others, and is given up
//! when others wait for the memory, or for the server's next answer, that it holds up.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_timeout::timeout;

use super::{
    admission::{Admission, Memory},
    places::Place,
};

/// Bytes that are given at once.
pub(super) const PART_BYTES: usize = 64 * 1024;

/// Time without the end of a part, after which a client is slow.
const SLOW_AFTER: Duration = Duration::from_millis(500);

/// Place and memory that an answer holds until its client has taken it.
pub(super) struct Taking<'a> {
    admission: &'a Admission,
    place: Option<Place>,
    memory: Option<Memory>,
    /// Bytes of the answer that are in memory at once.
    bytes: usize,
}

impl<'a> Taking<'a> {
    /// An answer that is in memory only part by part.
    pub(super) fn new(admission: &'a Admission, place: Place) -> Self {
        Self {
            admission,
            place: Some(place),
            memory: None,
            bytes: PART_BYTES,
        }
    }

    /// Holds an answer that is whole in memory, which may have been taken already.
    pub(super) fn hold(&mut self, bytes: usize, memory: Option<Memory>) {
        self.bytes = bytes;
        self.memory = memory;
    }

    /// Writes a part. False when the client does not take it, or is too slow.
    pub(super) async fn give(
        &mut self,
        session: &mut ServerSession,
        (part, is_last): (Bytes, bool),
        is_wanted: impl Fn() -> bool,
    ) -> bool {
        let (began, most) = (Instant::now(), self.admission.patience().part(part.len()));
        let mut write = pin!(session.write_response_body(part, is_last));
        loop {
            match timeout(SLOW_AFTER, write.as_mut()).await {
                Ok(written) => return written.is_ok(),
                Err(_) if began.elapsed() < most && self.goes_on() && !is_wanted() => {}
                Err(_) => {
                    tracing::debug!("a client that is slow to take its answer is given up");
                    return false;
                }
            }
        }
    }

    /// Gives the place back, and holds memory in its stead, unless others want that.
    fn goes_on(&mut self) -> bool {
        self.place = None;
        if self.memory.is_some() {
            return !self.admission.is_memory_wanted();
        }
        self.memory = self.admission.memory_now(self.bytes);
        self.memory.is_some()
    }
}
