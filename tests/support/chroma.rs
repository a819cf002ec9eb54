//! A real Chroma server that can be killed, frozen, thawed and brought back.

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, prlimit, waitid,
};

use crate::{api::Api, tools, wait::eventually};

/// A server with a folder of its own.
pub struct Chroma {
    /// Its port on 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    version: &'static str,
    child: Option<Child>,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

impl Chroma {
    /// Starts a server whose data is in `folder`.
    pub fn start(folder: &Path) -> Self {
        let mut chroma = Self::absent(folder);
        chroma.up();
        chroma
    }

    /// The same of this version.
    pub fn start_version(folder: &Path, version: &'static str) -> Self {
        let mut chroma = Self::absent(folder);
        chroma.become_version(version);
        chroma.up();
        chroma
    }

    /// A server that has a folder and a port but does not run yet.
    pub fn absent(folder: &Path) -> Self {
        Self {
            port: free_port(),
            folder: folder.to_owned(),
            version: tools::NEWEST,
            child: None,
        }
    }

    /// Runs as this version from the next start on, while it does not run.
    pub fn become_version(&mut self, version: &'static str) {
        assert!(self.child.is_none(), "it runs");
        self.version = version;
    }

    /// The version that it is, or will be when it is started.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Starts it, where it was.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::create_dir_all(&self.folder).expect("a folder");
        let config = self.folder.with_extension("yaml");
        let text = format!(
            "persist_path: {}\nport: {}\nlisten_address: 127.0.0.1\nallow_reset: true\n",
            self.folder.display(),
            self.port
        );
        std::fs::write(&config, text).expect("a config file");
        let log = File::create(self.folder.with_extension("log")).expect("a log file");
        let child = tools::chroma(self.version)
            .arg("run")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("Chroma starts");
        self.child = Some(child);
        let port = self.port;
        eventually("Chroma listens", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
    }

    /// Its interface, for reading what it really holds.
    pub fn api(&self) -> Api {
        Api::at(self.port)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The UUID that it gave a collection of the default database.
    #[track_caller]
    pub fn own_id(&self, name: &str) -> String {
        let about = self.api().get(&format!("$D/collections/{name}")).ok();
        about["id"].as_str().expect("an id").to_owned()
    }

    /// Its data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_child(child);
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends");
    }

    /// Empties its disk, while it does not run.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(&self.folder).expect("its folder can be removed");
    }

    /// Copies its disk into another folder, while it does not run.
    pub fn back_up(&self, to: &Path) {
        assert!(self.child.is_none(), "it runs");
        copy_folder(&self.folder, to);
    }

    /// Puts such a copy in the place of its disk, while it does not run.
    pub fn put_back(&self, from: &Path) {
        self.wipe();
        copy_folder(from, &self.folder);
    }

    /// Stops its process in its tracks: it accepts connections and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let child = self.child.as_ref().expect("it runs");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(child)), stopped).expect("it stops");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// How large its files may grow from now on, in bytes; beyond that its writes fail as they do
    /// on a full disk. It needs no privilege: only the soft limit is changed.
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        let child = self.child.as_ref().expect("it runs");
        let limit = Rlimit {
            current: bytes_max,
            maximum: None,
        };
        let set = prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit);
        set.expect("its limit can be changed");
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

impl Drop for Chroma {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
