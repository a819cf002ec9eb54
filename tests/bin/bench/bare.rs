//! `bench bare`: a proxy of pingora's that picks a peer and does nothing else, as a process of its
//! own. It shows what Achromat adds to what it is built on.

use std::{
    net::TcpStream,
    process::{Command as Process, Stdio},
    time::Duration,
};

use achromat_tests::{chroma::free_port, ends::Ends, proxy::program, wait::eventually};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command, value_parser};
use pingora_core::{
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

use super::figures::value;

/// A flag for a port of 127.0.0.1.
pub(super) fn port_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .required(true)
        .value_parser(value_parser!(u16))
        .help(help)
}

pub(super) fn command() -> Command {
    Command::new("bare")
        .hide(true)
        .about("Started by `bench proxying`: a proxy of pingora's that picks a peer and does nothing else")
        .arg(port_flag("port", "Where it listens"))
        .arg(port_flag("upstream", "Where everything goes"))
}

/// Everything goes to one server.
struct Bare {
    upstream: u16,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _: &mut Session,
        (): &mut (),
    ) -> pingora_error::Result<Box<HttpPeer>> {
        let address = ("127.0.0.1", self.upstream);
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }
}

/// Serves until it is killed, with one worker as the other proxies.
pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let port: u16 = value(matches, "port")?;
    let upstream = value(matches, "upstream")?;
    let configuration = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream });
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever();
}

/// Starts one in front of a server; returns its port.
pub(super) fn start(upstream: u16) -> (u16, Ends) {
    start_own("bare", "--upstream", upstream)
}

/// Starts a server that is a command of this program, on a free port, which it is told beside
/// another one.
pub(super) fn start_own(command: &str, flag: &str, other: u16) -> (u16, Ends) {
    let port = free_port();
    let child = Process::new(program())
        .args(["bench", command])
        .args(["--port", &port.to_string(), flag, &other.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let ends = Ends(child.expect("it starts"));
    let what = format!("{command} listens");
    eventually(&what, Duration::from_secs(10), || {
        TcpStream::connect(("127.0.0.1", port)).map(drop)
    });
    (port, ends)
}
