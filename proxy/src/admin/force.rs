//! An operator's word about an instance.

use std::time::Duration;

use achromat_core::{health::Standing, reply::Reply};
use bytes::Bytes;
use serde::Deserialize;

use super::{Admin, answers, json, problem};

/// The longest that an operator's word about an instance holds, when it says how long.
const FORCE_MAX: Duration = Duration::from_hours(24 * 7);

/// As long as the proxy runs.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// `{}` means that the instance is healthy again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    #[serde(default = "is_healthy")]
    healthy: bool,
    duration_seconds: Option<u64>,
}

fn is_healthy() -> bool {
    true
}

impl Admin {
    /// Holds an instance for healthy or not, whatever is observed: for a while, or, without a duration, until
    /// it is called healthy again. That takes back what was said before.
    pub(super) fn force_health(&self, name: &str, body: &Bytes) -> Reply {
        let body: &[u8] = if body.is_empty() { b"{}" } else { body };
        let word: Word = match serde_json::from_slice(body) {
            Ok(word) => word,
            Err(error) => {
                let detail = format!(
                    "The body must be like {{\"healthy\": false, \"duration_seconds\": 60}}: {error}"
                );
                return problem(400, "Bad body", &detail);
            }
        };
        let Some(instance) = self.instances.named(name) else {
            let detail = format!("No instance is called {name:?}");
            return problem(404, "No such instance", &detail);
        };
        let wanted = word.duration_seconds.map(Duration::from_secs);
        if wanted > Some(FORCE_MAX) {
            let detail = format!("duration_seconds may be {} at most", FORCE_MAX.as_secs());
            return problem(400, "Too long", &detail);
        }
        let (standing, span) = match (word.healthy, wanted) {
            (true, Some(span)) => (Standing::Up, span),
            // What was said before ends, and what is observed counts.
            (true, None) => (Standing::Up, Duration::ZERO),
            (false, span) => (Standing::Down, span.unwrap_or(FOR_EVER)),
        };
        let original_health = self.replicator.view().standing(instance) == Standing::Up;
        tracing::info!(
            instance = name,
            healthy = word.healthy,
            ?wanted,
            "an operator says so"
        );
        self.replicator.force(instance, standing, span);
        json(
            200,
            &answers::Forced {
                success: true,
                instance: name,
                healthy: word.healthy,
                health_set_to: word.healthy,
                original_health,
                duration_seconds: word.duration_seconds,
                will_restore_in_seconds: word.duration_seconds,
                permanent: wanted.is_none().then_some(true),
                message: match (word.healthy, wanted) {
                    (_, Some(_)) => "what is observed counts again after that time",
                    (true, None) => "what is observed counts",
                    (false, None) => {
                        "it holds until {\"healthy\": true} is posted, or Achromat is started again"
                    }
                },
            },
        )
    }
}
