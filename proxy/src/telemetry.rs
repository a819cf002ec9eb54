//! Events that the proxy reports while it runs.

use std::{io::IsTerminal as _, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Filter of the libraries below us: their events are of interest only when something is wrong.
const QUIET: &str = "pingora_core=error,pingora_core::connectors=off,pingora_pool=error,sqlx=warn,sqlx_core::pool::connection=error,h2=warn,rustls=warn";

/// Time from one line about a trouble that comes again and again to the next.
const SELDOM: Duration = Duration::from_secs(10);

/// A gate for a line that would be logged many times a second while something fails.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// Returns the number of lines that were left out since the last one, when another one is due.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut passed = self.0.lock();
        if passed.last.is_some_and(|last| now - last < SELDOM) {
            passed.left_out += 1;
            return None;
        }
        passed.last = Some(now);
        Some(std::mem::take(&mut passed.left_out))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A line is due at once, and then one in ten seconds, with the number of those that were left out.
    #[test]
    fn a_trouble_is_told_seldom() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due_at(now), Some(0));
        for _ in 0..5 {
            assert_eq!(seldom.due_at(now), None);
        }
        assert_eq!(seldom.due_at(now + SELDOM), Some(5));
        assert_eq!(seldom.due_at(now + SELDOM), None);
    }
}
