//! A TCP relay in front of one Chroma server, which can be told to be slow, to break connections,
//! or to lose what it was given. It notes every request that it passes on.
//!
//! It runs on a thread of its own and ends when it is dropped.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::SmallRng};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    sync::watch,
};

use super::{passage::Passage, recorder::Recorder};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From Achromat to Chroma.
    There,
    /// From Chroma to Achromat.
    Back,
}

/// When in the course of a request its connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it was passed on.
    Before,
    /// All of it was passed on, and nothing of the answer has come back.
    After,
    /// Half of the answer's first piece was passed back.
    Within,
}

/// How the relay treats what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It passes everything on at once.
    Sound,
    /// Each piece takes some time between these two.
    Slow { least: Duration, most: Duration },
    /// So many bytes at a time, with a pause after each.
    Drip { bytes: usize, pause: Duration },
    /// Nobody listens, and the connections that were there are reset.
    Refusing,
    /// New connections are accepted and told nothing; those that were there are reset.
    Dumb,
    /// One of so many requests loses its connection.
    Resetting { moment: Moment, one_in: u32 },
    /// Bytes of one direction are lost while connections stay open.
    Losing(Way),
    /// Bytes of one direction are held, and passed on late, even when nobody waits any more.
    Holding(Way),
}

/// What it has been told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) link: Link,
    refuses: bool,
}

impl State {
    fn is_refusing(&self) -> bool {
        self.refuses || self.link == Link::Refusing
    }

    fn is_dumb(&self) -> bool {
        self.link == Link::Dumb
    }

    /// Whether connections that are there must go.
    fn cuts(&self) -> bool {
        self.is_refusing() || self.is_dumb()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As its two ends wanted.
    Closed,
    /// By a reset.
    Reset,
    /// Bytes were lost: it stays open and says nothing any more.
    Lost,
}

/// What all connections share.
pub(super) struct Shared {
    upstream: SocketAddr,
    pub(super) state: watch::Sender<State>,
    pub(super) random: Mutex<SmallRng>,
    pub(super) recorder: Recorder,
}

/// A relay.
pub struct Relay {
    /// Its port on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// Passes on what comes to the server on this port of 127.0.0.1. Times are recorded from
    /// `begun`.
    pub fn start(upstream: u16, begun: Instant, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = Arc::new(Shared {
            upstream: (Ipv4Addr::LOCALHOST, upstream).into(),
            state: watch::Sender::new(State {
                link: Link::Sound,
                refuses: false,
            }),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            recorder: Recorder::new(begun),
        });
        let socket = bound((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("its address");
        let listener = runtime.block_on(async { socket.listen(BACKLOG) });
        runtime.spawn(listen(
            Arc::clone(&shared),
            listener.expect("it listens"),
            address,
        ));
        Self {
            port: address.port(),
            shared,
            runtime: Some(runtime),
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Changes how it treats what passes through it.
    pub fn set(&self, link: Link) {
        self.shared.state.send_modify(|state| state.link = link);
    }

    /// Whether nobody listens behind it, so that nobody shall listen here, whatever the link is.
    pub fn refuse(&self, refuses: bool) {
        self.shared
            .state
            .send_modify(|state| state.refuses = refuses);
    }

    /// What it has seen.
    pub fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until the relay has been told something of this sort.
pub(super) async fn until(state: &mut watch::Receiver<State>, is_so: impl FnMut(&State) -> bool) {
    // The sender lives as long as the relay; what it said must not stay borrowed.
    drop(state.wait_for(is_so).await);
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A socket that holds a port; as long as it does not listen, connections are refused.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn listen(shared: Arc<Shared>, mut listener: TcpListener, address: SocketAddr) {
    let mut state = shared.state.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                tokio::spawn(serve(Arc::clone(&shared), client));
            },
            () = until(&mut state, State::is_refusing) => {
                drop(listener);
                listener = refuse(&mut state, address).await;
            }
        }
    }
}

/// Holds the port without listening until it may listen again.
async fn refuse(state: &mut watch::Receiver<State>, address: SocketAddr) -> TcpListener {
    let socket = bound(address).expect("the port is still ours");
    until(state, |state| !state.is_refusing()).await;
    socket.listen(BACKLOG).expect("it listens again")
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream) {
    let mut state = shared.state.subscribe();
    if state.borrow().is_dumb() {
        until(&mut state, |state| !state.is_dumb()).await;
        return reset(&client);
    }
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else {
        return reset(&client);
    };
    // On loopback a socket can meet itself when nobody listens.
    if server.local_addr().ok() == server.peer_addr().ok() {
        return reset(&client);
    }
    // Without this, small pieces wait for each other.
    let _set = (client.set_nodelay(true), server.set_nodelay(true));
    let mut passage = Passage::new(&shared);
    let end = tokio::select! {
        end = passage.exchanges(&mut client, &mut server) => end,
        () = until(&mut state, State::cuts) => End::Reset,
    };
    passage.broken();
    match end {
        End::Closed => {}
        End::Reset => {
            reset(&client);
            reset(&server);
        }
        End::Lost => {
            tokio::select! {
                () = drain(&mut client) => {}
                () = until(&mut state, State::cuts) => reset(&client),
            }
        }
    }
}

/// The connection ends with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // A connection that is gone already needs no reset.
    let _set = stream.set_zero_linger();
}

/// Takes in and loses what comes, until the other side closes.
async fn drain(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
