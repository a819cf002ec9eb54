//! Connections to one instance that wait to be used again.
//!
//! pingora makes the connections; its own pool is not used. There a task watches each idle
//! connection, and whoever takes one waits until that task has let go of it: two turns of the
//! scheduler, and often two threads to wake, for each request. Here a connection is looked at when
//! it is taken, and when another one is put back: probes do that each second.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt as _;

/// Connections kept for an instance; more requests at once make new ones.
const KEPT_MAX: usize = 128;

/// Connections that nobody uses, the one that was used last at the end.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    stream: Stream,
    since: Instant,
}

impl Idle {
    fn is_usable(&mut self, idle_max: Duration) -> bool {
        self.since.elapsed() <= idle_max && is_open(&mut self.stream)
    }
}

/// Whether the server has neither closed a connection nor sent what nobody asked for, as far as is known
/// here.
fn is_open(stream: &mut Stream) -> bool {
    let mut byte = [0];
    // Outside of the task's budget: used up, it would make everything look as if it were open.
    tokio::task::unconstrained(stream.read(&mut byte))
        .now_or_never()
        .is_none()
}

impl Pool {
    /// The connection that was used last, when it was not idle for too long.
    pub(super) fn take(&self, idle_max: Duration) -> Option<Stream> {
        loop {
            let mut last = self.0.lock().pop()?;
            if last.is_usable(idle_max) {
                return Some(last.stream);
            }
        }
    }

    /// Keeps a connection, and closes one that is of no use any more.
    pub(super) fn put(&self, stream: Stream, idle_max: Duration) {
        let since = Instant::now();
        let mut kept = self.0.lock();
        let is_full = kept.len() >= KEPT_MAX;
        let is_spent = |oldest: &mut Idle| is_full || !oldest.is_usable(idle_max);
        if kept.first_mut().is_some_and(is_spent) {
            kept.remove(0);
        }
        kept.push(Idle { stream, since });
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
