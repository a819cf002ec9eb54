//! What is measured side by side: a real Chroma server itself, and what stands in front of one.

use std::{
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::{Chroma, free_port},
    cluster::Cluster,
    ends::Ends,
    wait::eventually,
};
use serde_json::json;

/// The collection that requests are about.
const NAME: &str = "bench";

/// Records that it has before anything is measured.
pub(super) const RECORDS: usize = 1000;

/// Numbers of each embedding.
pub(super) const DIMENSIONS: usize = 384;

/// One of what is compared.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) port: u16,
    /// The path of the collection's records there.
    pub(super) records: String,
}

/// All that is compared, as long as this is held.
pub(super) struct Peers {
    pub(super) all: Vec<Peer>,
    _cluster: Cluster,
    _alone: Chroma,
    _nginx: Option<Ends>,
}

/// A plain reverse proxy with one worker, in one process, which ends with what is returned; none where
/// nginx is not on the path.
fn nginx(folder: &Path, port: u16, upstream: u16) -> Option<Ends> {
    let folder = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; client_max_body_size 100m; keepalive_requests 1000000000;
            client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
            fastcgi_temp_path {folder}/nginx-f; uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
            upstream chroma {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://chroma; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
            }}
        }}"
    );
    let file = format!("{folder}/nginx.conf");
    std::fs::write(&file, config).expect("a config file");
    let mut command = Command::new("nginx");
    command.args(["-c", &file]).stderr(Stdio::null());
    let child = command.spawn().ok()?;
    eventually("nginx listens", Duration::from_secs(10), || {
        TcpStream::connect(("127.0.0.1", port)).map(drop)
    });
    Some(Ends(child))
}

/// An embedding that differs from record to record.
pub(super) fn embedding(number: usize) -> Vec<f64> {
    let part = |at: usize| {
        let mixed = number.wrapping_mul(2_654_435_761).wrapping_add(at * 40_503) % 1000;
        f64::from(u32::try_from(mixed).unwrap_or(0)) / 1000.0
    };
    (0..DIMENSIONS).map(part).collect()
}

/// Makes the collection; returns the path of its records.
fn fill(api: &Api) -> String {
    let id = api.create(NAME);
    for from in (0..RECORDS).step_by(100) {
        let numbers = from..from + 100;
        let ids: Vec<_> = numbers.clone().map(|n| format!("r{n}")).collect();
        let embeddings: Vec<_> = numbers.map(embedding).collect();
        let body = json!({ "ids": ids, "embeddings": embeddings });
        api.records(&id, "add", &body).ok();
    }
    format!("{DATABASE}/collections/{id}")
}

impl Peers {
    /// Starts them: a Chroma server by itself, and behind nginx where that is on the path; and two
    /// others behind Achromat, which have the same records.
    pub(super) fn start() -> Self {
        let cluster = Cluster::with(2, &["--log-level=warn"]);
        let alone = Chroma::start(&cluster.folder().join("alone"));
        let records = fill(&alone.api());
        let mut all = vec![Peer {
            name: "direct",
            port: alone.port,
            records: records.clone(),
        }];
        let port = free_port();
        let nginx = nginx(cluster.folder(), port, alone.port);
        if nginx.is_some() {
            all.push(Peer {
                name: "nginx",
                port,
                records,
            });
        }
        all.push(Peer {
            name: "achromat",
            port: cluster.proxy.port,
            records: fill(&cluster.api()),
        });
        cluster.settle();
        Self {
            all,
            _cluster: cluster,
            _alone: alone,
            _nginx: nginx,
        }
    }
}
