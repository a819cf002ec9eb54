//! Servers behind gateways: their own authority, client certificates, a token and a path.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use achromat_tests::{
    api::{Api, DATABASE},
    authority::{Authority, Fault, replace},
    chroma::{Chroma, free_port},
    cluster::folder,
    ends::{Ends, Raised},
    proxy::{Proxy, achromat},
    records::records,
    tools,
    wait::eventually,
};
use serde_json::json;

const GATEWAY: &str = include_str!("clients/gateway.py");

/// A server and the gateway in front of it.
struct Behind {
    name: &'static str,
    chroma: Chroma,
    port: u16,
    own: PathBuf,
    gateway: Option<Ends>,
}

impl Behind {
    fn start(folder: &Path, name: &'static str, authority: &Authority) -> Self {
        let own = folder.join(format!("gateway-{name}"));
        std::fs::create_dir(&own).expect("a folder");
        authority.renew(&own);
        replace(&own.join("authority.pem"), &authority.pem);
        replace(&own.join("tokens"), "first");
        let mut behind = Self {
            name,
            chroma: Chroma::start(&folder.join(name)),
            port: free_port(),
            own,
            gateway: None,
        };
        behind.start_gateway();
        behind
    }

    /// Starts the gateway again: every connection is made anew.
    fn start_gateway(&mut self) {
        self.gateway = None;
        let ports = [self.port, self.chroma.port].map(|port| port.to_string());
        let mut command = Command::new(tools::python().join("bin/python"));
        command.args(["-c", GATEWAY]).args(ports);
        command.arg(format!("/chroma/{}", self.name)).arg(&self.own);
        let started = command.stdin(Stdio::null()).spawn().expect("python");
        self.gateway = Some(Ends(started));
        let port = self.port;
        eventually("the gateway listens", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
    }

    fn tokens(&self, tokens: &str) {
        replace(&self.own.join("tokens"), tokens);
    }

    /// The requests that it has refused.
    fn refused(&self) -> String {
        std::fs::read_to_string(self.own.join("refused")).unwrap_or_default()
    }
}

/// The configuration of instances behind gateways; Achromat's own certificate and token are in `folder`.
fn configuration(folder: &Path, instances: &[(&str, u16)]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let each = instances.iter().map(|(name, port)| {
        format!(
            "[[instances]]\nname = '{name}'\nurl = 'https://localhost:{port}/chroma/{name}'\nca = '{}'\n\
             certificate = '{}'\nkey = '{}'\ntoken_file = '{}'\n",
            path("authority.pem"),
            path("certificate.pem"),
            path("key.pem"),
            path("token"),
        )
    });
    each.collect()
}

fn unreachable_because(api: &Api, name: &str) -> Option<String> {
    let status = api.get("/status").ok();
    let instances = status["instances"].as_array().expect("instances");
    let found = instances.iter().find(|instance| instance["name"] == name);
    let because = &found.expect("the instance")["unreachable_because"];
    because.as_str().map(str::to_owned)
}

/// Writes and reads while certificates and token change: no request fails, and the client's own token goes to
/// no server. A server whose certificate has expired, or is for another name, is down, and `/status` says why.
#[test]
fn servers_behind_gateways_are_trusted_by_their_certificates() {
    let folder = folder();
    let authority = Authority::new();
    authority.renew(folder.path());
    replace(&folder.path().join("authority.pem"), &authority.pem);
    replace(&folder.path().join("token"), "first");
    let mut behind = ["a", "b"].map(|name| Behind::start(folder.path(), name, &authority));
    let named = [("a", behind[0].port), ("b", behind[1].port)];
    let file = folder.path().join("achromat.toml");
    replace(&file, &configuration(folder.path(), &named));
    let config = format!("--config={}", file.display());
    let proxy = Proxy::before(folder.path(), &[], &[&config]);
    let api = proxy
        .api()
        .with_header("authorization", "Bearer a-clients-own");
    let made = api.post("$D/collections", &json!({"name": "docs"})).ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _raised = Raised(&stop);
        scope.spawn(|| load(&api, &id, &stop, &count));
        let goes_on = || {
            let before = count.load(Relaxed);
            eventually(
                "the load goes on",
                Duration::from_secs(60),
                || match count.load(Relaxed) {
                    now if now > before + 10 => Ok(()),
                    now => Err(now),
                },
            );
        };
        goes_on();
        for each in &behind {
            each.tokens("first\nsecond");
        }
        authority.renew(folder.path());
        replace(&folder.path().join("token"), "second");
        let read_again = "the credentials of an instance were read again";
        eventually("they are taken in", Duration::from_secs(10), || match proxy
            .told()
            .matches(read_again)
            .count()
        {
            2.. => Ok(()),
            times => Err(times),
        });
        for each in &behind {
            each.tokens("second");
        }
        goes_on();
    });
    distrusted(&proxy.api(), &mut behind[1], &authority);
    proxy.api().wait_nothing_owed(Duration::from_secs(60));
    for each in &behind {
        let api = each.chroma.api();
        let own = api.get("$D/collections/docs").ok();
        let own = own["id"].as_str().expect("an id");
        let found = records(&api, DATABASE, own).expect("records");
        assert_eq!(found.len() as u64, count.load(Relaxed), "{}", each.name);
        assert_eq!(each.refused(), "", "{}", each.name);
    }
}

/// Writes a record and reads it, again and again.
fn load(api: &Api, id: &str, stop: &AtomicBool, count: &AtomicU64) {
    while !stop.load(Relaxed) {
        let number = count.load(Relaxed);
        let name = format!("r{number}");
        let body = json!({"ids": [name], "embeddings": [[number, 1]], "documents": [name]});
        api.post(&format!("$D/collections/{id}/upsert"), &body).ok();
        let got = api.post(&format!("$D/collections/{id}/get"), &json!({"ids": [name]}));
        assert_eq!(got.ok()["documents"], json!([name]));
        count.store(number + 1, Relaxed);
    }
}

/// With each fault of its certificate the second server is down, with the reason, and comes back without it.
fn distrusted(api: &Api, behind: &mut Behind, authority: &Authority) {
    for (fault, word) in [
        (Fault::Expired, "certificate expired"),
        (Fault::Misnamed, "not valid for name"),
    ] {
        authority.spoil(&behind.own, fault);
        behind.start_gateway();
        eventually(
            "it is not trusted",
            Duration::from_secs(60),
            || match unreachable_because(api, behind.name) {
                Some(reason) if reason.contains(word) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        api.records(
            "docs",
            "upsert",
            &json!({"ids": ["r0"], "embeddings": [[0, 1]]}),
        )
        .ok();
        authority.renew(&behind.own);
        behind.start_gateway();
        eventually("it is trusted again", Duration::from_secs(60), || {
            unreachable_because(api, behind.name).map_or(Ok(()), Err)
        });
    }
}

/// `check` reads every file that the start would read, and names the one that is at fault.
#[test]
fn check_reads_the_files_of_credentials() {
    let folder = folder();
    let authority = Authority::new();
    authority.renew(folder.path());
    let file = folder.path().join("achromat.toml");
    replace(&file, &configuration(folder.path(), &[("a", 1)]));
    let check = || {
        let output = achromat(&["check", "--config"]).arg(&file).output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    let blames = |name: &str| {
        let (code, said) = check();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(name), "{said}");
    };
    blames("authority.pem");
    replace(&folder.path().join("authority.pem"), &authority.pem);
    blames("token: ");
    replace(&folder.path().join("token"), "two\nlines");
    blames("token: ");
    replace(&folder.path().join("token"), "first");
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    let own = folder.path().join("another");
    std::fs::create_dir(&own).expect("a folder");
    authority.renew(&own);
    std::fs::copy(own.join("key.pem"), folder.path().join("key.pem")).expect("a copy");
    blames("certificate.pem");
}
