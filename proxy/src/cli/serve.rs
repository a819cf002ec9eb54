//! `achromat serve`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{arguments, runtime};
use crate::{run, telemetry};

pub(super) fn command() -> Command {
    arguments::with_keys(
        Command::new("serve").about("Serves your Chroma servers as one, until it is told to stop"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = arguments::config(matches)?;
    telemetry::start(&config.log_level, config.log_format);
    runtime()?.block_on(async {
        let mut proxy = run::start(config).await?;
        tokio::select! {
            () = stop_signal() => {}
            () = proxy.broken() => {}
        }
        proxy.stop().await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() {
    let received = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "a signal can't be listened to");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::interrupt()) => {}
    }
}
