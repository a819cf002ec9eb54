//! A proxy in front of several servers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    api::{Api, DATABASE},
    chroma::Chroma,
    proxy::Proxy,
    records::{Contents, contents, difference},
};

/// Names of the instances, the primary first.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A proxy and its instances.
pub struct Cluster {
    pub proxy: Proxy,
    pub instances: Vec<Chroma>,
    folder: TempDir,
}

/// A folder in memory where there is one, so that flushes cost the tests nothing.
pub fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("achromat-test-")
        .tempdir_in(base)
        .expect("a temporary folder")
}

/// So many servers, each with a folder of its name in this one. They are started at once.
pub fn servers(folder: &Path, count: usize) -> Vec<Chroma> {
    std::thread::scope(|scope| {
        let start = |name| scope.spawn(move || Chroma::start(&folder.join(name)));
        let starting: Vec<_> = NAMES.into_iter().take(count).map(start).collect();
        let started = starting.into_iter();
        started.map(|s| s.join().expect("it starts")).collect()
    })
}

impl Cluster {
    /// A proxy in front of two servers.
    pub fn start() -> Self {
        Self::with(2, &[])
    }

    /// A proxy with further flags in front of `count` servers.
    pub fn with(count: usize, flags: &[&str]) -> Self {
        let folder = folder();
        let instances = servers(folder.path(), count);
        Self::over(folder, instances, flags)
    }

    /// A proxy in front of servers that are there already.
    pub fn over(folder: TempDir, instances: Vec<Chroma>, flags: &[&str]) -> Self {
        let named: Vec<_> = NAMES.into_iter().zip(&instances).collect();
        let proxy = Proxy::start(folder.path(), &named, flags);
        Self {
            proxy,
            instances,
            folder,
        }
    }

    /// The interface that clients use.
    pub fn api(&self) -> Api {
        self.proxy.api()
    }

    /// Where things are kept.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes that some instance has not done yet.
    #[track_caller]
    pub fn owed(&self) -> u64 {
        self.api().owed()
    }

    /// Waits until there are none.
    #[track_caller]
    pub fn wait_nothing_owed(&self, deadline: Duration) {
        self.api().wait_nothing_owed(deadline);
    }

    /// Has an instance die and come back with nothing on its disk. Achromat has seen it dead by then: it would be
    /// taken for the one from before until the next probe.
    #[track_caller]
    pub fn lose_disk(&mut self, place: usize) {
        self.instances[place].kill();
        self.wait_state(NAMES[place], &["suspect", "down"]);
        self.instances[place].wipe();
        self.instances[place].up();
    }

    /// Waits until no instance owes anything, and all hold the same; returns that.
    #[track_caller]
    pub fn settle(&self) -> Contents {
        self.settle_in(&[DATABASE])
    }

    /// The same for other databases.
    #[track_caller]
    pub fn settle_in(&self, databases: &[&str]) -> Contents {
        self.wait_nothing_owed(Duration::from_secs(90));
        let mut all: Vec<_> = self
            .instances
            .iter()
            .map(|chroma| contents(&chroma.api(), databases).expect("an instance can be read"))
            .collect();
        let first = all.remove(0);
        for other in all {
            assert_eq!(difference(&first, &other), None);
        }
        first
    }

    /// Runs a command against its Achromat; returns the exit code and what was printed.
    pub fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        self.proxy.command(words)
    }

    /// The UUID that an instance gave a collection of the default database.
    #[track_caller]
    pub fn own_id(&self, place: usize, name: &str) -> String {
        self.instances[place].own_id(name)
    }

    /// The state of an instance as `/status` tells it.
    pub fn state(&self, name: &str) -> String {
        self.api().state(name)
    }

    /// Waits until an instance is in a state, or in one of several.
    #[track_caller]
    pub fn wait_state(&self, name: &str, states: &[&str]) {
        self.api().wait_state(name, states);
    }
}
