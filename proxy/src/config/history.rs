//! Configuration of the records of recent writes and of audited events.

use super::{meant::Checks, written::History};
use crate::history::Keep;

/// The longest time for which records are kept, in milliseconds: ten years.
const KEPT_MS_MAX: u64 = 3650 * 24 * 60 * 60 * 1000;

pub(super) fn history(checks: &mut Checks, history: &History) -> Keep {
    let mut kept = |key: &str, ms| checks.time_up_to(key, ms, KEPT_MS_MAX);
    Keep {
        writes: kept("history.writes_kept_ms", history.writes_kept_ms),
        writes_max: history.writes_max,
        audit: kept("history.audit_kept_ms", history.audit_kept_ms),
        denials_max: history.denials_max,
    }
}
