//! `PgBouncer` in front of a PostgreSQL server, for the length of a test.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    cluster::folder,
    postgres::{Postgres, unprivileged},
    tools,
    wait::eventually,
};

/// The number in the name of its socket; nothing listens on a port.
const PORT: u16 = 6432;

/// A pooler in transaction mode: each transaction may come to another connection of the server's.
pub struct Pooler {
    folder: TempDir,
    child: Child,
}

impl Pooler {
    /// Starts one with connections to the server for a few transactions at once.
    pub fn start(server: &Postgres) -> Self {
        let folder = folder();
        let settings = folder.path().join("pgbouncer.ini");
        let (here, there) = (folder.path().display(), server.socket().display());
        let text = format!(
            "[databases]\npostgres = host={there} port=5432 user=postgres\n\
             [pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\nunix_socket_dir = {here}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
             server_reset_query_always = 0\n"
        );
        fs::write(&settings, text).expect("its settings");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let (program, libraries) = tools::pgbouncer();
        let child = unprivileged(program)
            .current_dir(folder.path())
            .env("LD_LIBRARY_PATH", libraries)
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("pgbouncer starts");
        let pooler = Self { folder, child };
        let socket = pooler.folder.path().join(format!(".s.PGSQL.{PORT}"));
        eventually("PgBouncer serves", Duration::from_secs(30), || {
            UnixStream::connect(&socket).map(drop).map_err(|error| {
                let log = fs::read_to_string(pooler.folder.path().join("log"));
                format!("{error}: {log:?}")
            })
        });
        pooler
    }

    /// The address of the database behind it.
    pub fn url(&self) -> String {
        let socket = self.folder.path().display();
        format!("postgres://postgres@localhost:{PORT}/postgres?host={socket}")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        if kill_process(pid, Signal::KILL).is_ok() {
            let _ended = self.child.wait();
        }
    }
}
