//! Two Chroma servers and a proxy in front of them, for trying things out.

pub mod chroma;
pub mod pins;
pub mod toolbox;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use self::{chroma::Server, toolbox::Toolbox};
use crate::{config::Layers, run};

/// The instances of `dev`, the primary first.
const NAMES: [&str; 2] = ["a", "b"];

/// The default folder of Achromat's state.
pub fn default_state() -> Option<PathBuf> {
    std::env::var_os("ACHROMAT_STATE")
        .map(PathBuf::from)
        .or_else(|| {
            Some(
                dirs::state_dir()
                    .or_else(dirs::data_local_dir)?
                    .join("achromat"),
            )
        })
}

/// Runs until `stop` ends, or until something does that should not.
pub async fn run(
    state: &Path,
    listen: SocketAddr,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let program = Toolbox::at(state.join("tools")).chroma().await?;
    let folder = state.join("dev");
    let mut servers = Vec::new();
    for name in NAMES {
        let server = Server::start(&program, name, &folder.join(name)).await;
        servers.push(server.with_context(|| format!("Chroma server {name} does not start"))?);
    }
    let config = config(listen, (state, &folder), &servers)?;
    let mut base = run::Base::bind(&config).await?;
    let mut proxy = run::start(config, &mut base).await?;
    explain(proxy.address(), &folder, &servers);
    watch(&mut servers, &mut proxy, stop).await;
    proxy.stop(&mut base).await?;
    for server in servers {
        server.stop().await;
    }
    Ok(())
}

/// Starts a server again when it has ended, until all shall stop.
async fn watch(servers: &mut [Server], proxy: &mut run::Achromat, stop: impl Future<Output = ()>) {
    let restart = async {
        loop {
            let ended = chroma::any_ended(servers).await;
            let Some(server) = servers.get_mut(ended) else {
                continue;
            };
            tracing::warn!(
                instance = server.name,
                "this Chroma server has ended; it is started again in {:?}",
                chroma::RESTART_PAUSE
            );
            tokio::time::sleep(chroma::RESTART_PAUSE).await;
            match server.restart().await {
                Ok(()) => tracing::info!(instance = server.name, "this Chroma server is back"),
                Err(error) => tracing::error!(instance = server.name, "{error:#}"),
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = proxy.broken() => {}
        () = restart => {}
    }
}

fn config(
    listen: SocketAddr,
    (state, folder): (&Path, &Path),
    servers: &[Server],
) -> anyhow::Result<crate::config::Config> {
    let file = folder.join("achromat.toml");
    let mut text = format!(
        "# Written by `achromat dev` at each start.\nlisten = \"{listen}\"\nstore = {}\n",
        toml::Value::String(format!("sqlite:{}", folder.join("log.sqlite").display())),
    );
    let token = state.join(format!("operator-{}.token", listen.port()));
    let token = toml::Value::String(token.display().to_string());
    // Writing into a String can't fail.
    let _written = write!(text, "\n[admin]\ntoken_file = {token}\n");
    for server in servers {
        let (name, port) = (&server.name, server.port);
        // Writing into a String can't fail.
        let _written = write!(
            text,
            "\n[[instances]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}\"\n"
        );
    }
    std::fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
    let layers = Layers {
        file: Some(file),
        overrides: Vec::new(),
    };
    Ok(layers.resolve()?)
}

fn explain(address: SocketAddr, folder: &Path, servers: &[Server]) {
    let port = address.port();
    let mut text = format!("\nAchromat serves Chroma on http://{address}\n");
    for server in servers {
        let data = folder.join(&server.name);
        // Writing into a String can't fail.
        let _written = writeln!(
            text,
            "  instance {}: http://127.0.0.1:{} with its data in {}",
            server.name,
            server.port,
            data.display()
        );
    }
    println!(
        "{text}\nTry it:\n  curl http://{address}/status\n  \
         python -c \"import chromadb; print(chromadb.HttpClient(port={port}).heartbeat())\"\n\
         Then end one of the servers and ask again. Ctrl-C stops all.\n"
    );
}
