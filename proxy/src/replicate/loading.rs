//! Loads the bodies that are sent for entries: from memory, or from the log, within the room that there is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use achromat_core::{
    body::without_get_or_create,
    embeddings,
    engine::Payload,
    ids::{InstanceIx, LaneId, Position},
    limits::{BODY_KEPT_BYTES_MAX, MERGED_BYTES_MAX},
    merge::Merging,
    planted::Planted,
};
use bytes::Bytes;

use crate::{
    instances::{Instances, Room},
    store::{Store, StoreError, Stored},
};

/// Pause before the store is asked again for a body that it could not give.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The source of bodies for one request to an instance.
pub(super) struct Loading {
    pub(super) store: Arc<dyn Store>,
    pub(super) instances: Arc<Instances>,
    pub(super) instance: InstanceIx,
    pub(super) lane: LaneId,
}

/// A body, and how many entries it carries.
pub(super) struct Loaded {
    pub(super) count: usize,
    /// None when the request has no body.
    pub(super) body: Option<Bytes>,
    /// Room for the first body and for those that were put to it, held until they are sent.
    pub(super) rooms: [Option<Room>; 2],
}

impl Loading {
    /// The body of an entry, together with those of as many of the next ones as can go with it; none when
    /// it is not in the log any more.
    pub(super) async fn load(
        &self,
        position: Position,
        payload: Payload,
        more: Vec<Option<Bytes>>,
    ) -> Option<Loaded> {
        let Payload::Entry {
            body,
            must_create,
            as_arrays,
        } = payload
        else {
            return Some(Loaded {
                count: 1,
                body: None,
                rooms: [None, None],
            });
        };
        let (mut body, room) = self.first(position, body).await?;
        if must_create {
            body = without_get_or_create(&body);
        }
        let first_bytes = body.len();
        let (count, mut body) = self.merged(position, body, more).await;
        if as_arrays {
            body = embeddings::as_arrays(&body);
        }
        let put_to_it = body.len().saturating_sub(first_bytes);
        let more_room = self.instances.room_now(self.instance, put_to_it);
        Some(Loaded {
            count,
            body: Some(body),
            rooms: [room, more_room],
        })
    }

    /// The body of an entry, and room for it. While there is none, the body is in the log alone: an
    /// instance that hangs holds no more than its room.
    async fn first(
        &self,
        position: Position,
        held: Option<Bytes>,
    ) -> Option<(Bytes, Option<Room>)> {
        let bytes = match held {
            Some(body) => {
                let room = self.instances.room_now(self.instance, body.len());
                if room.is_some() {
                    return Some((body, room));
                }
                body.len()
            }
            None => match self.stored(position, BODY_KEPT_BYTES_MAX).await? {
                Stored::Body(body) => {
                    let room = self.instances.room(self.instance, body.len()).await;
                    return Some((body, room));
                }
                Stored::Larger(bytes) => bytes,
            },
        };
        let room = self.instances.room(self.instance, bytes).await;
        match self.stored(position, usize::MAX).await? {
            Stored::Body(body) => Some((body, room)),
            Stored::Larger(_) => None,
        }
    }

    /// As many entries as can go in one request with the first, and its body. The less room there is, the
    /// fewer.
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
        let size_max = MERGED_BYTES_MAX.min(size + self.instances.room_left(self.instance));
        let mut ahead = VecDeque::new();
        let mut more = VecDeque::from(more);
        while let Some(held) = more.pop_front() {
            position = position.next();
            if held.is_none() && ahead.is_empty() {
                let count = 1 + more.iter().take_while(|held| held.is_none()).count();
                let room = size_max.saturating_sub(size);
                ahead = self.stored_from(position, count, room).await.into();
            }
            let Some(body) = held.or_else(|| ahead.pop_front()) else {
                break;
            };
            size += body.len();
            if size > size_max || !merging.add(&body) {
                break;
            }
        }
        merging.finish().unwrap_or((1, first))
    }

    async fn stored(&self, position: Position, bytes_max: usize) -> Option<Stored> {
        loop {
            match self.store.body(self.lane, position, bytes_max).await {
                Ok(stored) => return stored,
                Err(error) => rest_after(&error).await,
            }
        }
    }

    /// The bodies of so many entries, as far as there is room; in one question, because each is a way to
    /// another thread and back.
    async fn stored_from(&self, first: Position, count: usize, bytes_max: usize) -> Vec<Bytes> {
        loop {
            match self.store.bodies(self.lane, first, count, bytes_max).await {
                Ok(bodies) => return bodies,
                Err(error) => rest_after(&error).await,
            }
        }
    }
}

async fn rest_after(error: &StoreError) {
    tracing::debug!(%error, "the log can't be read yet");
    tokio::time::sleep(RETRY_PAUSE).await;
}
