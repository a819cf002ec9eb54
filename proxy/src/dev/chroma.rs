//! One Chroma server that ends when we do.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, Command},
    time::Instant,
};

/// For a server to listen.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// For a server to end once it is told to.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Time that a server stays away after its end, for its user to see what happens without it.
pub const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// Ends the server when our end of its standard input closes, which it does even when we are
/// killed: two servers on one folder would both start and serve nonsense.
const KEEPER: &str = r#"exec 3<&0
"$@" 3<&- </dev/null &
server=$!
(cat <&3 >/dev/null; kill "$server" 2>/dev/null) &
keeper=$!
wait "$server"
kill "$keeper" 2>/dev/null"#;

/// A server.
#[derive(Debug)]
pub struct Server {
    /// The instance's name.
    pub name: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    program: PathBuf,
    folder: PathBuf,
    child: Child,
    /// Kept apart from the child, because waiting for a child closes its standard input.
    keeper: Option<ChildStdin>,
}

impl Server {
    /// Starts a server on a free port, with its data in a folder, and waits until it listens.
    pub async fn start(program: &Path, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let port = free_port().await?;
        let mut child = spawn(program, name, folder, port)?;
        let mut server = Self {
            name: name.to_owned(),
            port,
            program: program.to_owned(),
            folder: folder.to_owned(),
            keeper: child.stdin.take(),
            child,
        };
        server.listens().await?;
        Ok(server)
    }

    /// Starts it again, where it was.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.program, &self.name, &self.folder, self.port)?;
        self.keeper = self.child.stdin.take();
        self.listens().await
    }

    async fn listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}; what it said stands above");
            }
            if Instant::now() > deadline {
                bail!("it does not listen on port {}", self.port);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the server, and waits until it has ended.
    pub async fn stop(mut self) {
        drop(self.keeper.take());
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                instance = self.name,
                "the Chroma server does not end; it is killed"
            );
            if let Err(error) = self.child.kill().await {
                tracing::warn!(%error, "it can't be killed");
            }
        }
    }
}

/// Waits until one of the servers has ended, and says which.
pub async fn any_ended(servers: &mut [Server]) -> usize {
    let mut ends: FuturesUnordered<_> = servers
        .iter_mut()
        .enumerate()
        .map(async |(place, server)| {
            // A server that can't be waited for is as good as ended.
            let _status = server.child.wait().await;
            place
        })
        .collect();
    ends.next().await.unwrap_or_default()
}

/// A port that was free a moment ago.
async fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(listener.local_addr()?.port())
}

fn spawn(program: &Path, name: &str, folder: &Path, port: u16) -> anyhow::Result<Child> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} can't be made", folder.display()))?;
    let config = folder.with_extension("yaml");
    let text = format!(
        "persist_path: {}\nport: {port}\nlisten_address: 127.0.0.1\n",
        serde_json::to_string(folder)?
    );
    std::fs::write(&config, text)?;
    let mut child = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(program)
        .arg("run")
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is ours to handle: the servers end after the proxy.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} can't be run", program.display()))?;
    if let Some(output) = child.stdout.take() {
        tokio::spawn(show(name.to_owned(), output));
    }
    if let Some(errors) = child.stderr.take() {
        tokio::spawn(show(name.to_owned(), errors));
    }
    Ok(child)
}

/// Shows what a server says, behind its name.
async fn show(name: String, output: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let is_ornament = !line.chars().any(char::is_alphanumeric) || line.contains('\u{1b}');
        if !is_ornament {
            // Nobody may be reading any more; the server must not be held up by that.
            let _written = writeln!(std::io::stdout(), "[{name}] {line}");
        }
    }
}
