//! `bench proxying`: what the proxies themselves cost. Behind each of them is a server that answers
//! at once with bytes that it has ready, so that nothing hides what is in between.
//!
//! Achromat runs in front of two such servers, between which it spreads reads, because that is what
//! it is for; the others have one. Each of these servers has one thread, and on two cores they share
//! them with the proxy and with the load, so the second one is no second core.

use std::time::Duration;

use achromat_tests::{
    api::DATABASE,
    chroma::Chroma,
    cluster::{NAMES, folder},
    ends::Ends,
    proxy::Proxy,
    wait::eventually,
};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bare,
    figures::{self, BARE, DIRECT, write_json, write_svg},
    fronts::FRONTS,
    load::{Profile, profile},
    peers::Peer,
    requests::with_headers,
    traffic::{Plan, flags},
    upstream::{self, SIZE, SIZES},
};

pub(super) fn command() -> Command {
    flags(Command::new("proxying").about(
        "What proxies themselves cost, in front of a server that costs next to nothing: nginx and HAProxy where they are on the path, Envoy, a bare one of pingora's, and Achromat",
    ))
}

const PROFILES: [Profile; 5] = [
    profile("1 KiB", 1, ask::<0>),
    profile("1 KiB", 8, ask::<0>),
    profile("1 KiB", 64, ask::<0>),
    profile("64 KiB", 8, ask::<1>),
    profile("1 MiB", 8, ask::<2>),
];

/// A `get` whose answer has the size at this place of the list.
fn ask<const PLACE: usize>(peer: &Peer, _: usize) -> Vec<u8> {
    let size = format!("{SIZE}: {}\r\n", SIZES[PLACE]);
    with_headers(&peer.records, "get", &size, &json!({ "ids": ["r0"] }))
}

/// An Achromat, and all that is behind it, which ends with it.
struct Behind {
    proxy: Proxy,
    /// The path of a collection's records.
    records: String,
    _upstreams: Vec<Ends>,
    instances: Vec<Chroma>,
    folder: TempDir,
}

impl Behind {
    /// Starts an Achromat over two static servers over two real ones.
    fn start(environment: &[(&str, &str)]) -> Self {
        let folder = folder();
        let named = || NAMES.into_iter().take(2);
        let instances: Vec<_> = named()
            .map(|name| Chroma::start(&folder.path().join(name)))
            .collect();
        let (ports, upstreams): (Vec<_>, Vec<_>) = instances
            .iter()
            .map(|chroma| upstream::start(chroma.port))
            .unzip();
        let url = |port| format!("http://127.0.0.1:{port}");
        let urls: Vec<_> = named().zip(ports.into_iter().map(url)).collect();
        let flags = ["--log-level=warn"];
        let proxy = Proxy::before_in(folder.path(), &urls, &flags, environment);
        let id = proxy.api().create("bench");
        eventually("both have it", Duration::from_secs(30), || {
            match proxy.api().get("/admin/wal_count").ok()["pending_writes"] {
                Value::Number(ref owed) if owed.as_u64() == Some(0) => Ok(()),
                ref owed => Err(format!("{owed} are owed")),
            }
        });
        Self {
            proxy,
            records: format!("{DATABASE}/collections/{id}"),
            _upstreams: upstreams,
            instances,
            folder,
        }
    }

    fn peer(&self, name: &'static str) -> Peer {
        Peer {
            name,
            port: self.proxy.port,
            records: self.records.clone(),
        }
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let plan = Plan::of(matches)?;
    let one_worker = Behind::start(&[("TOKIO_WORKER_THREADS", "1")]);
    let default = Behind::start(&[]);
    // Nothing that the others are asked goes on to Chroma.
    let (port, _upstream) = upstream::start(default.instances[0].port);
    let static_peer = |name, port| Peer {
        name,
        port,
        records: default.records.clone(),
    };
    let mut peers = vec![static_peer(DIRECT, port)];
    let mut ends = Vec::new();
    for front in &FRONTS {
        if let Some((front_port, front_ends)) = front.start(default.folder.path(), port) {
            ends.push(front_ends);
            peers.push(static_peer(front.name, front_port));
        }
    }
    let (bare_port, _bare) = bare::start(port);
    peers.push(static_peer(BARE, bare_port));
    peers.push(one_worker.peer("achromat, one worker"));
    peers.push(default.peer("achromat"));
    let lines = plan.closed(&peers, &PROFILES)?;
    write_svg(matches, || {
        let axis = "throughput, to that of the server itself";
        figures::draw(
            "Proxies before a server that costs next to nothing",
            axis,
            &lines,
        )
    })?;
    write_json(matches, &lines)
}
