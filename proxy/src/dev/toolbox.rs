//! Fetches what is not on the machine, once, into one folder that any number of processes share.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use super::pins;

/// For one installation.
const INSTALL_DEADLINE: Duration = Duration::from_mins(20);

/// A folder of tools.
#[derive(Clone, Debug)]
pub struct Toolbox {
    folder: PathBuf,
}

impl Toolbox {
    /// The tools in a folder, which need not exist.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Chroma's program: the one on the path, or one that is installed here.
    pub async fn chroma(&self) -> anyhow::Result<PathBuf> {
        if let Some(found) = on_path("chroma") {
            tracing::info!(program = %found.display(), "Chroma is on the path");
            return Ok(found);
        }
        let environment = self.python("chroma", &[pins::CHROMADB]).await?;
        Ok(environment.join("bin/chroma"))
    }

    /// A Python environment with these packages; it is made when it is not there.
    pub async fn python(&self, name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
        let environment = self.folder.join(format!("python-{name}"));
        let wanted = packages.join("\n");
        self.once(&environment, &wanted, async |progress| {
            make_environment(&environment, progress).await?;
            let pip = environment.join("bin/python");
            let mut install = Command::new(pip);
            install.args(["-m", "pip", "install", "--progress-bar", "off"]);
            install.args(["--disable-pip-version-check"]).args(packages);
            follow(install, progress).await
        })
        .await?;
        Ok(environment)
    }

    /// A folder with this one package and none of its dependencies, to be put before those of an
    /// environment on Python's path; it is made when it is not there.
    pub async fn wheel(
        &self,
        environment: &Path,
        name: &str,
        package: &str,
    ) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        self.once(&folder, package, async |progress| {
            let mut install = Command::new(environment.join("bin/python"));
            install.args(["-m", "pip", "install", "--progress-bar", "off"]);
            install.args(["--disable-pip-version-check", "--no-deps", "--target"]);
            install.arg(&folder).arg(package);
            follow(install, progress).await
        })
        .await?;
        Ok(folder)
    }

    /// Node's program: the machine's, when it is new enough and npm is there, or one that is
    /// installed here.
    pub async fn node(&self) -> anyhow::Result<PathBuf> {
        if let Some(node) = on_path("node").filter(|_| on_path("npm").is_some())
            && major_version(&node).await >= Some(pins::NODE_MAJOR_MIN)
        {
            return Ok(node);
        }
        let environment = self.python("node", &[pins::NODE]).await?;
        Ok(environment.join("bin/node"))
    }

    /// A folder whose `node_modules` has this package; it is made when it is not there.
    pub async fn npm(&self, name: &str, package: &str) -> anyhow::Result<PathBuf> {
        let node = self.node().await?;
        let folder = self.folder.join(name);
        self.once(&folder, package, async |progress| {
            fs::create_dir_all(&folder)?;
            let bin = node.parent().context("programs are in folders")?;
            let mut install = Command::new(bin.join("npm"));
            let path = std::env::var("PATH").unwrap_or_default();
            install.env("PATH", format!("{}:{path}", bin.display()));
            install.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
            install.arg("--prefix").arg(&folder).arg(package);
            follow(install, progress).await
        })
        .await?;
        Ok(folder)
    }

    /// A folder with what is in these packages of Debian's; nothing is installed, and no script of theirs runs.
    pub async fn debian(&self, name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        self.once(&folder, &packages.join("\n"), async |progress| {
            fs::create_dir_all(&folder)?;
            let fetch = || {
                let mut fetch = Command::new("apt-get");
                fetch.arg("download").args(packages).current_dir(&folder);
                fetch
            };
            if follow(fetch(), progress).await.is_err() {
                // A fresh machine has no list of packages yet.
                let mut update = Command::new("apt-get");
                update.arg("update");
                follow(update, progress).await?;
                follow(fetch(), progress).await?;
            }
            for package in fs::read_dir(&folder)? {
                let mut unpack = Command::new("dpkg-deb");
                unpack.arg("-x").arg(package?.path()).arg(&folder);
                follow(unpack, progress).await?;
            }
            Ok(())
        })
        .await?;
        Ok(folder)
    }

    /// Makes a folder, unless it is there with just this content. Other processes that want the
    /// same wait until it is done.
    pub async fn once(
        &self,
        target: &Path,
        content: &str,
        make: impl AsyncFnOnce(&ProgressBar) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let done = target.with_extension("done");
        let is_done = || fs::read_to_string(&done).is_ok_and(|made| made == content);
        if is_done() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} can't be made", self.folder.display()))?;
        let _lock = lock(target.with_extension("lock")).await?;
        if is_done() {
            return Ok(());
        }
        if target.exists() {
            fs::remove_dir_all(target)?;
        }
        let progress = spinner(content);
        let made = tokio::time::timeout(INSTALL_DEADLINE, make(&progress)).await;
        progress.finish_and_clear();
        made.context("it took too long")??;
        fs::write(&done, content)?;
        eprintln!(
            "Installed {} into {}",
            content.replace('\n', ", "),
            target.display()
        );
        Ok(())
    }
}

/// The first program of this name on the path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The major version that a program tells, as Node does: `v22.1.0`.
async fn major_version(program: &Path) -> Option<u32> {
    let told = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let major = text.trim().trim_start_matches('v').split('.').next()?;
    major.parse().ok()
}

async fn lock(path: PathBuf) -> anyhow::Result<File> {
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    })
    .await?
}

fn spinner(content: &str) -> ProgressBar {
    eprintln!(
        "Installing {} (once; this takes a minute)",
        content.replace('\n', ", ")
    );
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(120));
    progress
}

async fn make_environment(environment: &Path, progress: &ProgressBar) -> anyhow::Result<()> {
    let python = ["python3", "python"].into_iter().find_map(on_path);
    let python = python.context("there is no python3 on the path; install Python 3.9 or newer")?;
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(environment);
    follow(make, progress)
        .await
        .context("a Python environment can't be made; on Debian and Ubuntu, install python3-venv")
}

/// Runs a command, shows its last line, and returns its words when it fails.
pub async fn follow(mut command: Command, progress: &ProgressBar) -> anyhow::Result<()> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let mut child = command.spawn().with_context(|| shown.clone())?;
    let errors = child.stderr.take().context("its errors are piped")?;
    let output = child.stdout.take().context("its output is piped")?;
    let show = async {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            progress.set_message(line);
        }
    };
    let collect = async {
        let mut words = Vec::new();
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            words.push(line);
        }
        words
    };
    let ((), words) = tokio::join!(show, collect);
    let status = child.wait().await?;
    if !status.success() {
        bail!("{shown} ended with {status}:\n{}", words.join("\n"));
    }
    Ok(())
}
