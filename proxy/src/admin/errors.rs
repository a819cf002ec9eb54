//! Troubles with entries and collections, as `/admin/wal_errors` lists them.

use achromat_core::{engine::KnownTrouble, ids::Position};
use serde::Serialize;

use super::answers::{State, lane_name};
use crate::clock::written;

#[derive(Serialize)]
pub(super) struct LogErrors<'a> {
    /// Of the recent errors, those that are not settled.
    error_count: usize,
    errors_since_start: u64,
    recent_errors: Vec<LogError<'a>>,
}

#[derive(Serialize)]
struct LogError<'a> {
    /// The entry's place in the log: its lane and its position there.
    write_id: String,
    /// The method of its request; null where no request is meant.
    method: Option<&'static str>,
    /// The path below which its request was made.
    path: String,
    /// Time at which the entry was logged.
    timestamp: String,
    retry_count: u32,
    lane: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_name: Option<&'a str>,
    position: u64,
    /// True while the instance still has to do the entry, or the copy is still not used.
    standing: bool,
    instance: Option<&'a str>,
    attempts: u32,
    logged_at_ms: u64,
    error: &'a str,
}

impl State<'_> {
    pub(super) fn log_errors(&self) -> LogErrors<'_> {
        let troubles = &self.report.troubles;
        let standing = troubles.iter().filter(|known| known.is_standing);
        LogErrors {
            error_count: standing.count(),
            errors_since_start: self.report.trouble_count,
            recent_errors: troubles
                .iter()
                .rev()
                .map(
                    |KnownTrouble {
                         trouble,
                         is_standing,
                     }| LogError {
                        write_id: format!("{}:{}", trouble.lane, trouble.position.0),
                        method: (trouble.position > Position(0)).then_some("POST"),
                        path: self.lane_path(trouble.lane),
                        timestamp: written(trouble.logged_at.0),
                        retry_count: trouble.tries,
                        standing: *is_standing,
                        lane: trouble.lane.to_string(),
                        collection_name: lane_name(self.view, trouble.lane),
                        position: trouble.position.0,
                        instance: trouble.instance.map(|place| self.instances.name(place)),
                        attempts: trouble.tries,
                        logged_at_ms: trouble.logged_at.0,
                        error: &trouble.reason,
                    },
                )
                .collect(),
        }
    }
}
