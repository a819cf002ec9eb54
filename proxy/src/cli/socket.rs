//! HTTP through a Unix socket: the way from a command to an Achromat of this machine that needs no token.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc,
    thread,
};

use http::Uri;
use ureq::{
    Agent, Error,
    config::Config,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
            time::Duration,
        },
    },
};

/// Makes all requests through a socket, whatever host their URLs name.
pub(super) fn agent(config: Config, path: PathBuf) -> Agent {
    Agent::with_parts(config, Socket(path), Nowhere)
}

/// Finds no address: a socket has none. One must be named to `ureq`, and is not used.
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(addresses)
    }
}

/// A socket by its path.
#[derive(Debug)]
struct Socket(PathBuf);

impl Connector for Socket {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = self.open(details.timeout)?;
        Ok(Some(Connection { stream, buffers }))
    }
}

impl Socket {
    /// Connects on a thread of its own: where nobody accepts, the call may wait for ever.
    fn open(&self, timeout: NextTimeout) -> Result<UnixStream, Error> {
        let (sender, made) = mpsc::channel();
        let path = self.0.clone();
        thread::spawn(move || sender.send(UnixStream::connect(path)));
        let wait = timeout.not_zero().unwrap_or(Duration::from_secs(1));
        let stream = made.recv_timeout(*wait);
        Ok(stream.map_err(|_| Error::Timeout(timeout.reason))??)
    }
}

/// A connection, which is used for one request.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let wait = timeout.not_zero().map(|wait| *wait);
        self.stream.set_write_timeout(wait)?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let written = self.stream.write_all(output);
        written.map_err(|error| in_time(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let wait = timeout.not_zero().map(|wait| *wait);
        self.stream.set_read_timeout(wait)?;
        let read = self.stream.read(self.buffers.input_append_buf());
        let bytes = read.map_err(|error| in_time(error, timeout))?;
        self.buffers.input_appended(bytes);
        Ok(bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

/// An error of the machine, or the end of the time.
fn in_time(error: std::io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
