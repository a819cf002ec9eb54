//! The part of a proxy that stays whoever leads its fleet: its addresses, and its place in the fleet.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use super::StartError;
use crate::{
    config::{Config, OperatorAddress},
    fleet::Fleet,
    serve::{Addresses, Door, Encryption, Follower, OperatorSocket, Operators, Server},
};

/// A proxy's addresses, and its place in a fleet when its store is one that others share.
pub struct Base {
    /// The address for clients.
    pub(super) address: SocketAddr,
    pub(super) addresses: Addresses,
    pub(super) member: Option<Member>,
}

/// A proxy's place in its fleet, and what serves its clients while another one leads.
pub(super) struct Member {
    pub(super) fleet: Arc<Fleet>,
    pub(super) follower: Arc<Follower>,
}

impl Base {
    /// Binds what the configuration says. A port that is taken is told before anything else has begun.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let clients = bind(config.listen)?;
        let listen = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let address = clients.local_addr().map_err(listen)?;
        let operators = match &config.operator.listen {
            None => None,
            Some(OperatorAddress::Network(address)) => Some(Operators::Address(bind(*address)?)),
            Some(OperatorAddress::Socket(path)) => {
                Some(Operators::Socket(OperatorSocket::bind(path).await?))
            }
        };
        let encryption = config.tls.as_ref().map(Encryption::start).transpose()?;
        let door = Door::new(config.connections);
        Ok(Self {
            address,
            addresses: Addresses::new(clients, operators, door, encryption),
            member: None,
        })
    }

    /// True when others may lead while this proxy goes on.
    pub fn is_member(&self) -> bool {
        self.member.is_some()
    }

    /// The fleet that it is a member of.
    pub(super) fn fleet(&self) -> Option<Arc<Fleet>> {
        let member = self.member.as_ref();
        member.map(|member| Arc::clone(&member.fleet))
    }

    /// Has a server serve whoever comes from now on.
    pub(super) fn serve(&mut self, server: Server) -> Result<(), StartError> {
        let address = self.address;
        let listen = |source| StartError::Listen { address, source };
        self.addresses.serve(server).map_err(listen)
    }

    /// Accepts nobody any more; requests that have begun end, with the help of whoever leads now.
    pub async fn stop(&mut self, drain: Duration) {
        let watch = async {
            match &self.member {
                Some(member) => member.fleet.watch().await,
                None => std::future::pending().await,
            }
        };
        let cut_off = tokio::select! {
            cut_off = self.addresses.stop(drain) => cut_off,
            () = watch => 0,
        };
        if cut_off > 0 {
            tracing::warn!(cut_off, "requests did not end in time");
        }
        if let Some(member) = &self.member {
            member.fleet.leave().await;
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}
