//! Acceptance of connections, up to their bounds.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, l4::stream::Stream as L4};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Bounds of connections at once.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// In all.
    pub all_max: usize,
    /// From one address.
    pub per_address_max: usize,
}

/// After an error that the next attempt would meet again, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answer to a client that connects when there are too many connections.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 84\r\n\r\n{\"error\":\"ServiceUnavailable\",\"message\":\"Achromat has too many connections already\"}";

/// The connections that are open.
#[derive(Clone)]
pub struct Door {
    limits: ConnectionLimits,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    count: usize,
    refused: u64,
    by_address: HashMap<IpAddr, usize>,
}

impl Door {
    /// None is open yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            open: Arc::default(),
        }
    }

    /// Number of open connections, and number of refused ones.
    pub fn counts(&self) -> (usize, u64) {
        let open = self.open.lock();
        (open.count, open.refused)
    }

    /// A place for one more connection from an address.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock();
        let there = open.by_address.get(&address).copied().unwrap_or(0);
        if open.count >= self.limits.all_max || there >= self.limits.per_address_max {
            open.refused += 1;
            return None;
        }
        open.count += 1;
        open.by_address.insert(address, there + 1);
        drop(open);
        Some(Place {
            open: Arc::clone(&self.open),
            address,
        })
    }

    /// The next connection that finds a place.
    pub(super) async fn next(&self, listener: &Listener) -> Came {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.enter(address) {
                Some(place) => {
                    return Came {
                        stream: stream.prepared(),
                        place,
                    };
                }
                None => stream.turn_away(address),
            }
        }
    }
}

/// A socket that connections come to.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
enum Arrived {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// A connection that came in.
pub(super) struct Came {
    pub(super) stream: L4,
    pub(super) place: Place,
}

/// A connection's place, which is free again when this is dropped.
pub(super) struct Place {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.count -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

impl Listener {
    /// The next connection, and its address; a Unix socket's have all the same one.
    async fn accept(&self) -> io::Result<(Arrived, IpAddr)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Arrived::Tcp(stream, address), address.ip())
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                (Arrived::Unix(stream), Ipv4Addr::UNSPECIFIED.into())
            }
        })
    }
}

impl Arrived {
    /// Answers what fits into the socket's buffer, and waits for nobody.
    fn turn_away(&self, address: IpAddr) {
        tracing::debug!(%address, "a connection is refused: there are too many");
        let written = match self {
            Self::Tcp(stream, _) => stream.try_write(FULL),
            Self::Unix(stream) => stream.try_write(FULL),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "a refused client went away");
        }
    }

    fn prepared(self) -> L4 {
        let (mut stream, descriptor, address) = match self {
            Self::Tcp(stream, address) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection can't be set to answer without delay");
                }
                let descriptor = stream.as_raw_fd();
                (L4::from(stream), descriptor, Some(address.into()))
            }
            Self::Unix(stream) => {
                let descriptor = stream.as_raw_fd();
                (L4::from(stream), descriptor, None)
            }
        };
        let digest = SocketDigest::from_raw_fd(descriptor);
        // Cannot fail: it is new.
        let _set = digest.peer_addr.set(address);
        stream.set_socket_digest(digest);
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let door = Door::new(ConnectionLimits {
            all_max: 3,
            per_address_max: 2,
        });
        let [one, other] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = door.enter(one).expect("a place");
        let _second = door.enter(one).expect("a place");
        assert!(door.enter(one).is_none());
        let _third = door.enter(other).expect("a place");
        assert!(door.enter(other).is_none());
        drop(first);
        assert!(door.enter(one).is_some());
        assert_eq!(door.counts(), (2, 2));
    }

    #[test]
    fn a_refusal_has_the_length_that_it_says() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
