//! Plain reverse proxies that are measured beside Achromat: each with one worker, in one process.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use achromat::dev::toolbox::on_path;
use achromat_tests::{chroma::free_port, ends::Ends, tools, wait::eventually};
use serde_json::{Value, json};

/// A reverse proxy in front of one server.
pub(super) struct Front {
    pub(super) name: &'static str,
    /// Its program, where there is one.
    program: fn() -> Option<PathBuf>,
    /// Its configuration: a folder of its own, the port that it listens on, and that of the server.
    config: fn(&str, u16, u16) -> String,
    /// Its arguments before the configuration's file, and behind it.
    arguments: (&'static [&'static str], &'static [&'static str]),
}

/// Those that are known. The first two are Debian's, and left out where they are not on the path.
pub(super) const FRONTS: [Front; 3] = [
    Front {
        name: "nginx",
        program: || on_path("nginx"),
        config: nginx,
        arguments: (&["-c"], &[]),
    },
    Front {
        name: "haproxy",
        program: || on_path("haproxy"),
        config: haproxy,
        arguments: (&["-db", "-q", "-f"], &[]),
    },
    Front {
        name: "envoy",
        program: || Some(tools::envoy()),
        config: envoy,
        arguments: (
            &["-c"],
            &["--concurrency", "1", "--disable-hot-restart", "-l", "error"],
        ),
    },
];

impl Front {
    /// Starts it, as long as what is returned is held, and tells its port; none where there is no
    /// such program.
    pub(super) fn start(&self, folder: &Path, upstream: u16) -> Option<(u16, Ends)> {
        let program = (self.program)()?;
        let port = free_port();
        let own = folder.join(self.name);
        std::fs::create_dir_all(&own).expect("a folder");
        let file = own.join("config.json");
        let text = (self.config)(&own.display().to_string(), port, upstream);
        std::fs::write(&file, text).expect("a config file");
        let (before, behind) = self.arguments;
        let mut command = Command::new(program);
        command.args(before).arg(&file).args(behind);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let ends = Ends(child.expect("it starts"));
        let what = format!("{} listens", self.name);
        eventually(&what, Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
        Some((port, ends))
    }
}

fn nginx(folder: &str, port: u16, upstream: u16) -> String {
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log; worker_processes 1;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; client_max_body_size 100m; keepalive_requests 1000000000;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            upstream chroma {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://chroma; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
            }}
        }}"
    )
}

fn haproxy(_: &str, port: u16, upstream: u16) -> String {
    format!(
        "global\n nbthread 1\n maxconn 1024\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
         option http-keep-alive\n http-reuse always\n\
         frontend all\n bind 127.0.0.1:{port}\n default_backend chroma\n\
         backend chroma\n server one 127.0.0.1:{upstream}\n"
    )
}

fn envoy(_: &str, port: u16, upstream: u16) -> String {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    let at =
        |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let route =
        json!({ "match": { "prefix": "/" }, "route": { "cluster": "chroma", "timeout": "60s" } });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{TYPES}.http.router.v3.Router") },
    });
    let manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "all",
        "codec_type": "HTTP1",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [router],
    });
    let filter = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    });
    let endpoint: Value = json!({ "endpoint": { "address": at(upstream) } });
    let cluster = json!({
        "name": "chroma",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "chroma",
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
    });
    json!({
        "static_resources": {
            "listeners": [{ "address": at(port), "filter_chains": [{ "filters": [filter] }] }],
            "clusters": [cluster],
        },
    })
    .to_string()
}
