//! Events that the proxy reports while it runs.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Filter of the libraries below us: their events are of interest only when something is wrong.
const QUIET: &str = "pingora_core=error,pingora_core::connectors=off,pingora_pool=error,sqlx=warn,h2=warn,rustls=warn";

/// Tells on standard error from now on. A second call changes nothing.
pub fn start(level: &str, format: LogFormat) {
    // A level alone is about us; whoever writes directives means them.
    let directives = if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!("{level},{QUIET}")
    };
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
}
