//! The addresses of a proxy, bound as long as its process lives. Who serves there may change: connections stay,
//! and a request goes to whoever serves when it comes.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{
    Door, Encryption, Kind, Server,
    admission::Tracker,
    entrance::{Entrance, Listening},
};

/// The addresses of a proxy. A port that is taken is told when they are bound, before anything else has begun.
pub struct Addresses {
    clients: TcpListener,
    operators: Option<TcpListener>,
    door: Door,
    encryption: Option<Arc<Encryption>>,
    tracker: Tracker,
    at_work: Option<AtWork>,
}

/// The listeners, and the server behind them, as soon as there is one.
struct AtWork {
    server: Arc<ArcSwap<Server>>,
    listening: Vec<Listening>,
}

impl Addresses {
    /// Addresses whose sockets are bound; whoever connects waits until somebody serves.
    pub fn new(
        clients: TcpListener,
        operators: Option<TcpListener>,
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
        let listen = |socket: &TcpListener, kind, encryption| {
            let (door, tracker) = (self.door.clone(), self.tracker.clone());
            let entrance = Entrance::new(Arc::clone(&server), kind, door, encryption, tracker);
            entrance.listen(socket.try_clone()?)
        };
        let mut listening = vec![listen(
            &self.clients,
            Kind::Clients,
            self.encryption.clone(),
        )?];
        if let Some(socket) = &self.operators {
            let address = socket.local_addr()?;
            tracing::info!(%address, "serving operators");
            listening.push(listen(socket, Kind::Operators, None)?);
        }
        self.at_work = Some(AtWork { server, listening });
        Ok(())
    }

    /// Accepts nobody any more, lets requests that have begun end, and returns how many had not ended by the
    /// deadline.
    pub async fn stop(&mut self, deadline: Duration) -> usize {
        let Some(at_work) = self.at_work.take() else {
            return 0;
        };
        for listening in &at_work.listening {
            listening.close();
        }
        self.tracker.drain(deadline).await
    }
}
