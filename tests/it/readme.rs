//! The README, word for word.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use achromat_tests::{
    api::Api, chroma::free_port, cluster::folder, ends::Ends, proxy::achromat, tools,
    wait::eventually,
};
use rustix::process::{Pid, Signal, kill_process};

const README: &str = include_str!("../../README.md");

/// The first block of this language after a heading.
fn block(heading: &str, language: &str) -> String {
    let (_, section) = README.split_once(heading).expect("the heading");
    let (_, rest) = section
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    block.to_owned()
}

/// `achromat dev` serves the first session word for word (but for the port, which must be free
/// here), says what runs where, shows its servers' words, ends all with SIGINT, and takes up its
/// data again at the next start.
#[test]
fn the_first_session_is_as_the_readme_says() {
    let state = folder();
    let port = free_port();
    let session = block("### A first session", "python").replace("8000", &port.to_string());
    let expected = block("### A first session", "text");
    for round in ["first", "second"] {
        let path = std::env::var("PATH").expect("a path");
        let tools = tools::python().join("bin");
        let dev = achromat(&["dev", "--listen", &format!("127.0.0.1:{port}"), "--state"])
            .arg(state.path())
            .env("PATH", format!("{}:{path}", tools.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut dev = Ends(dev);
        let output = BufReader::new(dev.0.stdout.take().expect("its words"));
        let said =
            std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
        let api = Api::at(port);
        eventually("dev serves", Duration::from_secs(60), || {
            api.try_call("GET", "/readyz", &serde_json::Value::Null)
                .map(drop)
        });
        let before = api.names();
        let python = Command::new(tools::python().join("bin/python"))
            .args(["-c", &session])
            .output()
            .expect("python");
        let errors = String::from_utf8_lossy(&python.stderr);
        assert_eq!(
            String::from_utf8_lossy(&python.stdout),
            expected,
            "{errors}"
        );
        let known: &[&str] = if round == "first" {
            &[]
        } else {
            &["notes", "orders"]
        };
        assert_eq!(before, known, "data is taken up again");
        repeat_under_a_key(&api);
        let servers: Vec<u64> = api.get("/status").ok()["instances"]
            .as_array()
            .expect("instances")
            .iter()
            .map(|i| {
                i["url"]
                    .as_str()
                    .expect("a URL")
                    .rsplit(':')
                    .next()
                    .expect("a port")
            })
            .map(|port| port.parse().expect("a number"))
            .collect();
        kill_process(Pid::from_child(&dev.0), Signal::INT).expect("a signal");
        assert!(dev.0.wait().expect("it ends").success());
        let said = said.join().expect("its words").join("\n");
        assert!(
            said.contains(&format!(
                "Achromat serves Chroma on http://127.0.0.1:{port}"
            )),
            "{said}"
        );
        assert!(said.contains("instance a: http://127.0.0.1:"), "{said}");
        assert!(said.contains("[a] ") && said.contains("[b] "), "{said}");
        for port in servers {
            let port = u16::try_from(port).expect("a port");
            let gone = std::net::TcpStream::connect(("127.0.0.1", port));
            assert!(gone.is_err(), "a server was left running");
        }
    }
}

/// The calls with a key do what is said of them, however often they are made.
fn repeat_under_a_key(api: &Api) {
    let block = block("### Repeat without doing twice", "sh").replace("\\\n", " ");
    let calls: Vec<_> = block.lines().map(words).collect();
    let [make, ask] = calls.as_slice() else {
        panic!("two calls: {calls:?}");
    };
    let answers: Vec<_> = [make, make, ask]
        .iter()
        .map(|call| curl(api, call))
        .collect();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["name"], "orders");
    assert_eq!(answers[2]["state"], "completed");
}

/// The words of a command, of which some stand in single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// What a `curl` as the README writes it would show.
fn curl(api: &Api, call: &[String]) -> serde_json::Value {
    let (mut api, mut method, mut path, mut body) = (api.clone(), "GET", "", String::new());
    let mut words = call.iter().map(String::as_str);
    assert_eq!(words.next(), Some("curl"));
    while let Some(word) = words.next() {
        match word {
            "-X" => method = words.next().expect("a method"),
            "-d" => words.next().expect("a body").clone_into(&mut body),
            "-H" => {
                let header = words.next().expect("a header");
                let (name, value) = header.split_once(": ").expect("a name and a value");
                if name != "Content-Type" {
                    api = api.with_header(name, value);
                }
            }
            url => path = url.strip_prefix("http://127.0.0.1:8000").expect("a URL"),
        }
    }
    api.call(method, path, &body.into()).ok()
}

/// Every command of the README exists, with the flags that it is shown with.
#[test]
fn the_readmes_commands_exist() {
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--store",
        "memory:",
        "--instance",
        "a=http://chroma-a:8000",
    ];
    let commands = [
        vec!["config", "--defaults"],
        vec!["config", "--schema"],
        [vec!["check"], flags.to_vec()].concat(),
        vec!["serve", "--help"],
        vec!["dev", "--help"],
    ];
    for command in commands {
        let shown = format!("achromat {}", command[..2].join(" "));
        let is_there = README.contains(&shown)
            || ["check --listen", "dev --help"]
                .iter()
                .any(|c| shown.ends_with(c));
        assert!(is_there, "the README does not show {shown}");
        let output = achromat(&command).output().expect("it runs");
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    for path in [
        "/livez",
        "/readyz",
        "/health",
        "/status",
        "/admin/collection_mappings",
        "/admin/wal_errors",
    ] {
        assert!(README.contains(path), "{path}");
    }
}
