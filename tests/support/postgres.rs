//! A PostgreSQL server for the length of a test.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::{authority::Authority, chroma::free_port, cluster::folder, tools, wait::eventually};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// The number in the name of its socket.
const PORT: u16 = 5432;

/// A server that listens to nothing but a socket in its folder.
pub struct Postgres {
    programs: &'static Path,
    flags: Vec<String>,
    port: u16,
    folder: TempDir,
    child: Child,
}

/// A program that refuses to run as root, in a namespace where nobody is root. Files are still read as by
/// this user: fetched programs lie in its own folder.
pub(crate) fn unprivileged(path: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("unshare");
    let user = [
        format!("--map-user={NOBODY}"),
        format!("--map-group={NOBODY}"),
    ];
    command.arg("--user").args(user).arg(path);
    command
}

/// Starts the server of a folder.
fn serve(programs: &Path, folder: &Path, flags: &[String]) -> Child {
    let log = File::create(folder.join("log")).expect("a log file");
    unprivileged(&programs.join("postgres"))
        .current_dir(folder)
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses="])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

impl Postgres {
    /// A fresh server of the machine's version; or why there can be none on this machine.
    pub fn start() -> Result<Self, String> {
        Self::start_from(tools::postgres())
    }

    /// A fresh server of the newest version that can be had.
    pub fn start_newest() -> Result<Self, String> {
        Self::start_from(tools::newest_postgres())
    }

    fn start_from(programs: &'static Path) -> Result<Self, String> {
        let program = |name: &str| unprivileged(&programs.join(name));
        let version = program("initdb").arg("--version").output();
        if !version.as_ref().is_ok_and(|output| output.status.success()) {
            return Err(format!("initdb can't be run here: {version:?}"));
        }
        let folder = folder();
        let data = folder.path().join("data");
        let mut init = program("initdb");
        init.current_dir(folder.path()).args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--pgdata",
        ]);
        let made = init.arg(&data).output().expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        let child = serve(programs, folder.path(), &[]);
        let server = Self {
            programs,
            flags: Vec::new(),
            port: PORT,
            folder,
            child,
        };
        server.wait();
        Ok(server)
    }

    fn wait(&self) {
        eventually("PostgreSQL serves", Duration::from_secs(60), || {
            self.run("SELECT 1")
        });
    }

    /// kill -9 of all its processes.
    pub fn kill(&mut self) {
        // Its children see that it is gone, and end; SIGQUIT ends them at once.
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::QUIT).expect("it can be signalled");
        self.child.wait().expect("it ends");
    }

    /// Starts it again.
    pub fn up(&mut self) {
        self.child = serve(self.programs, self.folder.path(), &self.flags);
        self.wait();
    }

    /// Has it serve at a port of 127.0.0.1 too, encrypted and to those with a password only. Returns the port.
    pub fn open_port(&mut self, authority: &Authority) -> u16 {
        let data = self.folder.path().join("data");
        authority.renew(&data);
        // PostgreSQL refuses a key that others may read.
        fs::set_permissions(data.join("key.pem"), Permissions::from_mode(0o600)).expect("a key");
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("its rules");
        let port = free_port();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            "ssl_cert_file=certificate.pem".to_owned(),
            "ssl_key_file=key.pem".to_owned(),
        ];
        let flags = settings.map(|setting| ["-c".to_owned(), setting]);
        self.flags = flags.into_iter().flatten().collect();
        self.port = port;
        self.kill();
        self.up();
        port
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        let socket = self.socket().display();
        format!("postgres://postgres@localhost/postgres?host={socket}")
    }

    /// Name of the proxy that leads the fleet of this database; empty while none does.
    pub fn leader(&self) -> String {
        let sql = "SELECT name FROM lease WHERE holder IS NOT NULL";
        let name = self.run(sql).expect("the lease can be read");
        name.trim().to_owned()
    }

    /// Ends the connections of all clients but its own, wherever they are with their work.
    pub fn end_connections(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        if let Err(error) = self.run(sql) {
            panic!("connections can't be ended: {error}");
        }
    }

    /// The folder of its socket.
    pub(crate) fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements in one transaction; returns the rows, one a line, columns apart by `|`.
    pub fn run(&self, sql: &str) -> Result<String, String> {
        let mut command = unprivileged(&self.programs.join("psql"));
        command
            .current_dir(self.socket())
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--single-transaction"])
            .args(["--username=postgres", "--dbname=postgres", "--host"])
            .arg(self.socket())
            .args(["--port", &self.port.to_string(), "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("psql runs");
        let mut input = child.stdin.take().expect("its input");
        // A server that is not there yet ends it before it has read anything.
        let _ended = input.write_all(sql.as_bytes());
        drop(input);
        let output = child.wait_with_output().expect("psql ends");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}

impl Drop for Postgres {
    /// SIGQUIT is its immediate shutdown.
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        if kill_process(pid, Signal::QUIT).is_ok() {
            let _ended = self.child.wait();
        }
    }
}
