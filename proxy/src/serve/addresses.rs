//! The addresses of a proxy, bound as long as its process lives. Who serves there may change: connections stay,
//! and a request goes to whoever serves when it comes.

use std::{io, net::TcpListener, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{
    ConnectionLimits, Door, Encryption, Kind, OperatorSocket, Server,
    admission::Tracker,
    door::Listener,
    entrance::{Entrance, Listening},
};

/// The addresses of a proxy. A port that is taken is told when they are bound, before anything else has begun.
pub struct Addresses {
    clients: TcpListener,
    operators: Option<Operators>,
    door: Door,
    encryption: Option<Arc<Encryption>>,
    tracker: Tracker,
    at_work: Option<AtWork>,
}

/// The operators' own address.
pub enum Operators {
    /// An address of the network.
    Address(TcpListener),
    /// A Unix socket.
    Socket(OperatorSocket),
}

/// Bounds of the connections of operators' Unix socket: those of clients leave them room.
const SOCKET_LIMITS: ConnectionLimits = ConnectionLimits {
    all_max: 64,
    per_address_max: 64,
};

/// The listeners, and the server behind them, as soon as there is one.
struct AtWork {
    server: Arc<ArcSwap<Server>>,
    listening: Vec<Listening>,
}

impl Addresses {
    /// Addresses whose sockets are bound; whoever connects waits until somebody serves.
    pub fn new(
        clients: TcpListener,
        operators: Option<Operators>,
        door: Door,
        encryption: Option<Arc<Encryption>>,
    ) -> Self {
        Self {
            clients,
            operators,
            door,
            encryption,
            tracker: Tracker::default(),
            at_work: None,
        }
    }

    /// The bounded entrance of connections.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// True when clients' connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Has a server serve the requests that come from now on. Those that an earlier one has begun end there.
    pub fn serve(&mut self, server: Server) -> io::Result<()> {
        if let Some(at_work) = &self.at_work {
            at_work.server.store(Arc::new(server));
            return Ok(());
        }
        let server = Arc::new(ArcSwap::from_pointee(server));
        let listen = |socket, kind, door, encryption| {
            let (server, tracker) = (Arc::clone(&server), self.tracker.clone());
            Entrance::new(server, kind, door, encryption, tracker).listen(socket)
        };
        let (clients, encryption) = (tcp(&self.clients)?, self.encryption.clone());
        let mut listening = vec![listen(clients, Kind::Clients, self.door(), encryption)];
        match &self.operators {
            None => {}
            Some(Operators::Address(socket)) => {
                let address = socket.local_addr()?;
                tracing::info!(%address, "serving operators");
                listening.push(listen(tcp(socket)?, Kind::Operators, self.door(), None));
            }
            Some(Operators::Socket(socket)) => {
                let path = Path::display(socket.path());
                tracing::info!(%path, "serving operators");
                let door = Door::new(SOCKET_LIMITS);
                listening.push(listen(unix(socket)?, Kind::Socket, door, None));
            }
        }
        self.at_work = Some(AtWork { server, listening });
        Ok(())
    }

    /// Accepts nobody any more, lets requests that have begun end, and returns how many had not ended by the
    /// deadline.
    pub async fn stop(&mut self, deadline: Duration) -> usize {
        let Some(at_work) = self.at_work.take() else {
            self.operators = None;
            return 0;
        };
        for listening in &at_work.listening {
            listening.close();
        }
        // Its file goes with it.
        self.operators = None;
        self.tracker.drain(deadline).await
    }
}

fn tcp(socket: &TcpListener) -> io::Result<Listener> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Tcp(tokio::net::TcpListener::from_std(socket)?))
}

fn unix(socket: &OperatorSocket) -> io::Result<Listener> {
    let socket = socket.listener().try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix(tokio::net::UnixListener::from_std(socket)?))
}
