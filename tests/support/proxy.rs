//! Achromat as a process of its own.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{
    api::Api,
    chroma::{Chroma, free_port},
    wait::eventually,
};

/// The program under test: this package's binary, which cargo builds together with its tests.
pub fn program() -> PathBuf {
    let exe = std::env::current_exe().expect("a program");
    if exe.file_stem().is_some_and(|name| name == "achromat-tests") {
        return exe;
    }
    let folder = exe
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    folder.join("achromat-tests")
}

/// A command of Achromat's, as a user would type it.
pub fn achromat(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("achromat").args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ACHROMAT_") {
            command.env_remove(name);
        }
    }
    command
}

/// A proxy.
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    token_file: PathBuf,
    child: Option<Child>,
}

impl Proxy {
    /// A proxy in front of these servers, with its log in `folder`, and further flags.
    pub fn start(folder: &Path, instances: &[(&str, &Chroma)], flags: &[&str]) -> Self {
        let urls: Vec<_> = instances
            .iter()
            .map(|(name, chroma)| (*name, chroma.url()))
            .collect();
        Self::before(folder, &urls, flags)
    }

    /// The same in front of whatever is at these URLs.
    pub fn before(folder: &Path, instances: &[(&str, String)], flags: &[&str]) -> Self {
        Self::before_in(folder, instances, flags, &[])
    }

    /// The same with further variables in its environment.
    pub fn before_in(
        folder: &Path,
        instances: &[(&str, String)],
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let port = free_port();
        let mut arguments = vec!["serve".to_owned(), format!("--listen=127.0.0.1:{port}")];
        if !flags.iter().any(|flag| flag.starts_with("--store=")) {
            let file = folder.join("log.sqlite");
            arguments.push(format!("--store=sqlite:{}", file.display()));
        }
        let chosen = flags
            .iter()
            .find_map(|flag| flag.strip_prefix("--admin-token-file="));
        let token_file = chosen.map_or_else(|| folder.join("operator.token"), PathBuf::from);
        if !flags.iter().any(|flag| flag.starts_with("--admin-token")) {
            arguments.push(format!("--admin-token-file={}", token_file.display()));
        }
        for (name, url) in instances {
            arguments.push(format!("--instance={name}={url}"));
        }
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut proxy = Self {
            port,
            arguments,
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            log: folder.join("achromat.log"),
            token_file,
            child: None,
        };
        proxy.up();
        proxy
    }

    /// A proxy that variables configure, the one of its port among them.
    pub fn configured(
        folder: &Path,
        port: u16,
        token_file: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        let mut proxy = Self {
            port,
            arguments: vec!["serve".to_owned()],
            environment,
            log: folder.join("achromat.log"),
            token_file,
            child: None,
        };
        proxy.up();
        proxy
    }

    /// Starts it, with the same log.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.expect("a log file");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let child = achromat(&arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("Achromat starts");
        self.child = Some(child);
        let api = Api::at(self.unencrypted_port());
        let path = self.log.clone();
        eventually("Achromat serves", Duration::from_secs(30), || {
            match api.try_call("GET", "/livez", &serde_json::Value::Null) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}\n{}", told(&path))),
            }
        });
    }

    /// The port of the operators' own address when it has one, which is never encrypted.
    fn unencrypted_port(&self) -> u16 {
        let mut own = self.arguments.iter().rev();
        let own = own.find_map(|flag| flag.strip_prefix("--admin-listen=127.0.0.1:"));
        own.map_or(self.port, |port| port.parse().expect("a port"))
    }

    /// A proxy of a fleet: one of several on this database, with files of its own.
    pub fn join(
        (folder, name): (&Path, &str),
        database: &str,
        instances: &[(&str, String)],
        flags: &[&str],
    ) -> Self {
        let own = folder.join(name);
        std::fs::create_dir(&own).expect("a folder");
        let (store, name) = (
            format!("--store={database}"),
            format!("--fleet-name={name}"),
        );
        Self::before(&own, instances, &[flags, &[&store, &name]].concat())
    }

    /// Runs a command against it; returns the exit code and what was printed.
    pub fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = achromat(words)
            .args(["--url", self.api().base()])
            .env("ACHROMAT_ADMIN_TOKEN_FILE", self.token_file())
            .output()
            .expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).expect("text"))
    }

    /// Waits until it can serve, itself or through the one that leads its fleet.
    pub fn wait_ready(&self) {
        let api = self.api();
        eventually("it is ready", Duration::from_secs(30), || {
            match api.try_call("GET", "/readyz", &serde_json::Value::Null) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Its interface.
    pub fn api(&self) -> Api {
        Api::at(self.port).operated_by(self.token_file.clone())
    }

    /// The file with the operator's token, unless one was chosen.
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), signal).expect("it can be signalled");
        child.wait().expect("it ends")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// SIGTERM; returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// It does nothing until it is thawed.
    pub fn freeze(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::STOP).expect("it can be signalled");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(child)), stopped).expect("it stops");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::CONT).expect("it can be signalled");
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hang_up(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::HUP).expect("it can be signalled");
    }

    /// The memory that it has, in kilobytes.
    pub fn resident_kb(&self) -> u64 {
        status_kb(self.pid(), "VmRSS:")
    }

    /// The most memory that it has held so far, in kilobytes.
    pub fn resident_kb_max(&self) -> u64 {
        status_kb(self.pid(), "VmHWM:")
    }

    /// Everything that it told on standard error.
    pub fn told(&self) -> String {
        told(&self.log)
    }

    /// Asserts that it told of nothing worse than a warning, and of no panic.
    #[track_caller]
    pub fn assert_calm(&self) {
        let told = self.told();
        let bad = |line: &&str| line.contains("ERROR") || line.contains("panicked");
        let bad: Vec<_> = told.lines().filter(bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

/// A figure of a process, in kilobytes, as Linux tells it.
pub fn status_kb(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}

fn told(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- what Achromat told ---\n{}", self.told());
        }
    }
}
