//! What is sent for entries: from memory, or from the log, within the room that there is.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    body::without_get_or_create,
    engine::Payload,
    ids::{InstanceIx, LaneId, Position},
    limits::{BODY_KEPT_BYTES_MAX, MERGED_BYTES_MAX},
    merge::Merging,
    planted::Planted,
};
use bytes::Bytes;

use crate::{
    instances::{Instances, Room},
    store::{Store, Stored},
};

/// Pause before the store is asked again for a body that it could not give.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Where bodies come from, for one sending.
pub(super) struct Loading {
    pub(super) store: Arc<dyn Store>,
    pub(super) instances: Arc<Instances>,
    pub(super) instance: InstanceIx,
    pub(super) lane: LaneId,
}

/// A body, and how many entries it carries.
pub(super) struct Loaded {
    pub(super) count: usize,
    pub(super) body: Bytes,
    /// Held until it is sent, when the body is large and came from the log.
    pub(super) room: Option<Room>,
}

impl Loading {
    /// The body of an entry, together with those of as many of the next ones as can go with it; none when
    /// it is not in the log any more.
    pub(super) async fn load(
        &self,
        position: Position,
        payload: &Payload,
        more: Vec<Option<Bytes>>,
    ) -> Option<Loaded> {
        let (first, room) = match payload {
            Payload::None => (Bytes::new(), None),
            Payload::Entry { body, must_create } => {
                let (body, room) = match body {
                    Some(body) => (body.clone(), None),
                    None => self.logged(position).await?,
                };
                let body = if *must_create {
                    without_get_or_create(&body)
                } else {
                    body
                };
                (body, room)
            }
        };
        let (count, body) = self.merged(position, first, more).await;
        Some(Loaded { count, body, room })
    }

    async fn logged(&self, position: Position) -> Option<(Bytes, Option<Room>)> {
        let bytes = match self.stored(position, BODY_KEPT_BYTES_MAX).await? {
            Stored::Body(body) => return Some((body, None)),
            Stored::Larger(bytes) => bytes,
        };
        let room = self.instances.room(self.instance, bytes).await;
        match self.stored(position, usize::MAX).await? {
            Stored::Body(body) => Some((body, room)),
            Stored::Larger(_) => None,
        }
    }

    /// As many entries as can go in one request with the first, and its body.
    async fn merged(
        &self,
        mut position: Position,
        first: Bytes,
        more: Vec<Option<Bytes>>,
    ) -> (usize, Bytes) {
        if more.is_empty() {
            return (1, first);
        }
        let Some(mut merging) = Merging::begin(&first, Planted::NONE) else {
            return (1, first);
        };
        let mut size = first.len();
        for held in more {
            position = position.next();
            let room = MERGED_BYTES_MAX.saturating_sub(size);
            let stored = match held {
                Some(body) => Some(Stored::Body(body)),
                None => self.stored(position, room).await,
            };
            let Some(Stored::Body(body)) = stored else {
                break;
            };
            size += body.len();
            if size > MERGED_BYTES_MAX || !merging.add(&body) {
                break;
            }
        }
        merging.finish().unwrap_or((1, first))
    }

    async fn stored(&self, position: Position, bytes_max: usize) -> Option<Stored> {
        loop {
            match self.store.body(self.lane, position, bytes_max).await {
                Ok(stored) => return stored,
                Err(error) => {
                    tracing::debug!(%error, "the log can't be read yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}
