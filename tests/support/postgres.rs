//! A PostgreSQL server for the length of a test.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::{authority::Authority, chroma::free_port, cluster::folder, tools, wait::eventually};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// The superuser.
const OWNER: &str = "postgres";

/// The number in the name of its socket.
const PORT: u16 = 5432;

/// A server that listens to nothing but a socket in its folder.
pub struct Postgres {
    programs: &'static Path,
    flags: Vec<String>,
    port: u16,
    /// The role as which proxies connect.
    role: &'static str,
    child: Child,
    disk: Option<SmallDisk>,
    folder: TempDir,
}

/// A disk in memory that has little room, mounted where only the programs see it that run in its namespace.
struct SmallDisk {
    /// A process that does nothing but keep the namespace.
    keeper: Child,
    mounted_at: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Self {
        fs::create_dir(at).expect("a folder to mount it at");
        let script = format!(
            "mount -t tmpfs -o size={megabytes}m none \"$0\" && echo mounted && exec sleep infinity"
        );
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(at)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut said = String::new();
        let output = keeper.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut said).expect("a line");
        assert_eq!(said, "mounted\n", "a disk in memory can be mounted");
        Self {
            keeper,
            mounted_at: at.to_owned(),
        }
    }

    /// A program that sees the disk.
    fn program(&self, path: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.keeper.id());
        command.args([&target, "--user", "--mount", "--preserve-credentials"]);
        command.args(["unshare", "--user"]).args(nobody()).arg(path);
        command
    }

    /// The file that takes all room that is left.
    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let inside = self.mounted_at.strip_prefix("/").expect("a whole path");
        root.join(inside).join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.keeper);
        if kill_process(pid, Signal::KILL).is_ok() {
            let _ended = self.keeper.wait();
        }
    }
}

/// Flags of `unshare` for a user that owns nothing.
fn nobody() -> [String; 2] {
    [
        format!("--map-user={NOBODY}"),
        format!("--map-group={NOBODY}"),
    ]
}

/// A program that refuses to run as root, in a namespace where nobody is root. Files are still read as by
/// this user: fetched programs lie in its own folder.
pub(crate) fn unprivileged(path: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("unshare");
    command.arg("--user").args(nobody()).arg(path);
    command
}

/// Starts the server of a folder.
fn serve(mut program: Command, folder: &Path, flags: &[String]) -> Child {
    let log = File::create(folder.join("log")).expect("a log file");
    program
        .current_dir(folder)
        .arg("-D")
        .arg(data(folder))
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

/// Copies a folder of data, with its modes: PostgreSQL refuses one that others may read.
fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    let copied = copy.arg("--archive").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

/// The data within a server's folder.
fn data(folder: &Path) -> PathBuf {
    folder.join("disk").join("data")
}

/// A program as it runs for a server.
fn program(programs: &Path, name: &str, disk: Option<&SmallDisk>) -> Command {
    let path = programs.join(name);
    disk.map_or_else(|| unprivileged(&path), |disk| disk.program(&path))
}

impl Postgres {
    /// A fresh server of the machine's version; or why there can be none on this machine.
    pub fn start() -> Result<Self, String> {
        Self::start_from(tools::postgres(), &[], None)
    }

    /// A fresh server of the newest version that can be had.
    pub fn start_newest() -> Result<Self, String> {
        Self::start_from(tools::newest_postgres(), &[], None)
    }

    /// A fresh server with these settings.
    pub fn start_with(settings: &[&str]) -> Result<Self, String> {
        Self::start_from(tools::postgres(), settings, None)
    }

    /// A fresh server whose data lie on a disk of so many megabytes.
    pub fn start_on_small_disk(megabytes: u32, settings: &[&str]) -> Result<Self, String> {
        Self::start_from(tools::postgres(), settings, Some(megabytes))
    }

    fn start_from(
        programs: &'static Path,
        settings: &[&str],
        megabytes: Option<u32>,
    ) -> Result<Self, String> {
        let folder = folder();
        let at = folder.path().join("disk");
        let disk = megabytes.map(|megabytes| SmallDisk::mount(&at, megabytes));
        let program = |name: &str| program(programs, name, disk.as_ref());
        let version = program("initdb").arg("--version").output();
        if !version.as_ref().is_ok_and(|output| output.status.success()) {
            return Err(format!("initdb can't be run here: {version:?}"));
        }
        let data = data(folder.path());
        if disk.is_none() {
            fs::create_dir(&at).expect("a folder");
        }
        let mut init = program("initdb");
        init.current_dir(folder.path()).args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--pgdata",
        ]);
        let made = init.arg(&data).output().expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        let settings = settings.iter().map(|setting| (*setting).to_owned());
        let flags: Vec<String> = settings
            .flat_map(|setting| ["-c".to_owned(), setting])
            .collect();
        let child = serve(program("postgres"), folder.path(), &flags);
        let server = Self {
            programs,
            flags,
            port: PORT,
            role: OWNER,
            child,
            disk,
            folder,
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
        let program = program(self.programs, "postgres", self.disk.as_ref());
        self.child = serve(program, self.folder.path(), &self.flags);
        self.wait();
    }

    /// Takes all room of its small disk.
    pub fn fill_disk(&self) {
        let disk = self.disk.as_ref().expect("a small disk");
        let mut filler = File::create(disk.filler()).expect("a file");
        let full = std::iter::repeat_with(|| filler.write_all(&[7; 4096])).find_map(Result::err);
        let full = full.expect("it ends when the disk is full");
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    /// Gives the room back. A server that has ended for want of room is started again, as its service would be.
    pub fn empty_disk(&mut self) {
        let disk = self.disk.as_ref().expect("a small disk");
        fs::remove_file(disk.filler()).expect("it goes away");
        if self.child.try_wait().expect("its state").is_some() {
            self.up();
        }
    }

    /// Has proxies connect as a role that is no superuser, for whom some connections are kept.
    pub fn use_role(&mut self, role: &'static str) {
        let make = format!("CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}");
        self.run(&make).expect("a role");
        self.role = role;
    }

    /// Copies its data into a folder while it is stopped: the state of a standby that gets nothing from then on.
    pub fn back_up(&mut self, to: &Path) {
        self.kill();
        copy(&data(self.folder.path()), to);
        self.up();
    }

    /// Starts it with the data of a folder in the place of its own, which goes into another folder.
    pub fn put_back(&mut self, from: &Path, own: &Path) {
        let data = data(self.folder.path());
        self.kill();
        fs::rename(&data, own).expect("its own data goes away");
        copy(from, &data);
        self.up();
    }

    /// Has it serve at a port of 127.0.0.1 too, encrypted and to those with a password only. Returns the port.
    pub fn open_port(&mut self, authority: &Authority) -> u16 {
        let data = data(self.folder.path());
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
        self.flags.extend(flags.into_iter().flatten());
        self.port = port;
        self.kill();
        self.up();
        port
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        let (role, socket) = (self.role, self.socket().display());
        format!("postgres://{role}@localhost/postgres?host={socket}")
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

    /// A client that runs statements in one transaction, which it reads from its input.
    fn client(&self, role: &str) -> Child {
        let mut command = unprivileged(&self.programs.join("psql"));
        command
            .current_dir(self.socket())
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--single-transaction"])
            .args([&format!("--username={role}"), "--dbname=postgres", "--host"])
            .arg(self.socket())
            .args(["--port", &self.port.to_string(), "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("psql runs")
    }

    /// A client of the proxies' role that holds a connection, if it gets one, until its input ends.
    pub fn hold_connection(&self) -> Child {
        self.client(self.role)
    }

    /// Runs statements in one transaction; returns the rows, one a line, columns apart by `|`.
    pub fn run(&self, sql: &str) -> Result<String, String> {
        let mut child = self.client(OWNER);
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
