//! `achromat serve`.

use std::{pin::pin, process::ExitCode, time::Duration};

use clap::{ArgMatches, Command};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{arguments, runtime};
use crate::{
    config::Config,
    run::{self, Achromat, Base},
    store::StoreError,
    telemetry,
};

/// Pause before a proxy that could not lead tries again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn command() -> Command {
    arguments::with_keys(
        Command::new("serve").about("Serves your Chroma servers as one, until it is told to stop"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    // What is written is for the user who runs this, and for nobody else.
    umask(Mode::RWXG | Mode::RWXO);
    let config = arguments::config(matches)?;
    telemetry::start(&config.log_level, config.log_format);
    raise_open_files();
    runtime()?.block_on(serve(config, matches))
}

/// Serves until it is told to stop. A proxy whose fleet is led by another one follows that one.
async fn serve(mut config: Config, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut base = Base::bind(&config).await?;
    let mut hangups = hangups();
    // One for all turns: a signal that comes while the configuration is read is not lost.
    let mut stop = pin!(stop_signal());
    loop {
        let started = tokio::select! {
            started = run::start(config.clone(), &mut base) => started,
            () = &mut stop => {
                base.stop(config.drain).await;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let mut proxy = match started {
            Ok(proxy) => proxy,
            Err(error) if base.is_member() && error.of_store().is_some_and(may_pass) => {
                tracing::warn!(%error, "this proxy can't lead now, and follows");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let is_stopped = loop {
            tokio::select! {
                () = &mut stop => break true,
                () = proxy.broken() => break false,
                () = next(&mut hangups) => reload(&proxy, matches).await,
            }
        };
        let ended = match proxy.stop(&mut base).await {
            Err(error) if base.is_member() && may_pass(&error) => {
                tracing::warn!(%error, "another proxy leads, or soon will");
                Ok(())
            }
            ended => ended,
        };
        if is_stopped || !base.is_member() || ended.is_err() {
            base.stop(config.drain).await;
            ended?;
            return Ok(ExitCode::SUCCESS);
        }
        config = arguments::config(matches).unwrap_or_else(|error| {
            tracing::error!(
                "the configuration can't be read again, and the old one stays: {error:#}"
            );
            config
        });
    }
}

/// True for failures that pass: another proxy leads, or the database was away.
fn may_pass(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Deposed { .. }
            | StoreError::Behind(_)
            | StoreError::Unknown(_)
            | StoreError::NotDone(_)
    )
}

/// Takes as many open files as may be had: each connection is one.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
}

/// Reads the configuration again; one that can't be read changes nothing.
async fn reload(proxy: &Achromat, matches: &ArgMatches) {
    match arguments::config(matches) {
        Ok(config) => proxy.reload(&config).await,
        Err(error) => {
            tracing::error!(
                "the configuration can't be read again, and nothing changes: {error:#}"
            );
        }
    }
}

fn hangups() -> Option<Signal> {
    let made = signal(SignalKind::hangup());
    made.inspect_err(|error| tracing::warn!(%error, "SIGHUP can't be listened to"))
        .ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
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
