//! Time and randomness: the one place that asks for them.

use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use achromat_core::{
    ids::{CollectionId, DatabaseId, EntryId},
    time::{Instant, WallTime},
    write::Fresh,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self {
            origin: StdInstant::now(),
        }
    }

    /// Now, for decisions.
    pub fn now(self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Converts a moment of [`Self::now`] to the runtime's time.
    pub fn at(self, moment: Instant) -> tokio::time::Instant {
        (self.origin + std::time::Duration::from_micros(moment.0)).into()
    }
}

/// A time for people to read, in UTC, as RFC 3339 writes it.
pub fn written(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = at.map(|at| at.format(&Rfc3339).unwrap_or_default());
    text.unwrap_or_else(|_| format!("{ms} ms after 1970"))
}

/// Now, for people.
pub fn wall_time() -> WallTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Ids that nobody has had before. Collections and databases look like Chroma's own (version 4);
/// entries are in order of time (version 7), which the store's index likes.
pub fn fresh() -> Fresh {
    Fresh {
        entry: EntryId(Uuid::now_v7()),
        collection: CollectionId(Uuid::new_v4()),
        database: DatabaseId(Uuid::new_v4()),
        logged_at: wall_time(),
    }
}

/// An id that nobody has had before.
pub fn fresh_id() -> Uuid {
    Uuid::new_v4()
}

/// A name for one request, as tracing systems write it: 32 hexadecimal digits.
pub fn trace_id() -> String {
    Uuid::new_v4().simple().to_string()
}
