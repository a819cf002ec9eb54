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

/// Returns true when the server has neither closed a connection nor sent unexpected bytes, as far
/// as is known here.
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

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as Socket;
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// A connection, and the server's end of it.
    async fn connection(listener: &TcpListener) -> (Stream, TcpStream) {
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Box::new(Socket::from(client.unwrap())), server.unwrap().0)
    }

    /// Waits until what the server did is known on a connection that nobody reads.
    async fn until_none(mut take: impl FnMut() -> Option<Stream>, mut put: impl FnMut(Stream)) {
        let gone = async {
            while let Some(stream) = take() {
                put(stream);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .expect("it is noticed");
    }

    /// The last one in is the first one out, as long as it is fresh.
    #[tokio::test]
    async fn what_was_put_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::default();
        let (first, _server) = connection(&listener).await;
        let (second, _other) = connection(&listener).await;
        let last = second.id();
        pool.put(first, LONG);
        pool.put(second, LONG);
        assert_eq!(pool.take(LONG).unwrap().id(), last);
        assert!(pool.take(Duration::ZERO).is_none());
        assert!(pool.take(LONG).is_none(), "what is too old is gone");
    }

    /// A connection that the server has closed, or on which it says what nobody asked, is not handed
    /// out.
    #[tokio::test]
    async fn what_is_dead_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::default();
        let take = || pool.take(LONG);
        let put = |stream| pool.put(stream, LONG);
        let (closed, server) = connection(&listener).await;
        put(closed);
        drop(server);
        until_none(take, put).await;
        let (chatty, mut server) = connection(&listener).await;
        put(chatty);
        server.write_all(b"HTTP/1.1 408").await.unwrap();
        until_none(take, put).await;
    }

    /// A connection that was closed behind our back goes when another is put back, and so does a
    /// surplus one.
    #[tokio::test]
    async fn it_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::default();
        for _ in 0..KEPT_MAX + 3 {
            let (stream, server) = connection(&listener).await;
            pool.put(stream, LONG);
            // Open as long as the test runs.
            std::mem::forget(server);
        }
        assert_eq!(pool.0.lock().len(), KEPT_MAX);
        let (stream, _server) = connection(&listener).await;
        pool.put(stream, Duration::ZERO);
        assert_eq!(pool.0.lock().len(), KEPT_MAX);
        pool.clear();
        assert!(pool.take(LONG).is_none());
    }
}
