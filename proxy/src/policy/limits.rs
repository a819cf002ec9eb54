//! Every bound that a plugin meets, named in one place.

use std::time::Duration;

/// Bytes of a component. One of Python's has 18 MB; one that is pushed is the body of a request.
pub const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a component's machine code: one of Python's has some 60 MB.
pub(super) const COMPILED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of a plugin's configuration.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;

/// Headers that a plugin may want.
pub const WANTED_HEADERS_MAX: usize = 16;

/// Bytes of a header's name.
pub const HEADER_NAME_BYTES_MAX: usize = 128;

/// Bytes of a header's value; the rest of a longer one stays behind.
pub(super) const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// Ids of a delete that a guard is shown.
pub(super) const IDS_SHOWN_MAX: usize = 1000;

/// Bytes of these ids together.
pub(super) const IDS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a delete's filter, while there is a guard to show it to.
pub(super) const FILTER_BYTES_MAX: usize = 64 * 1024;

/// The step in which deadlines are measured.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Fuel of what happens once in an instance's life: its start and `configure`.
pub(super) const START_FUEL: u64 = 2_000_000_000;

/// Ticks for what happens once in an instance's life.
pub(super) const START_TICKS: u64 = 100;

/// The stack of a call. Worker threads have 2 MiB.
pub(super) const STACK_BYTES: usize = 512 * 1024;

/// Core instances, and tables, of one component: one of Python's has some thirty.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;

/// Memories of one component.
pub(super) const MEMORIES_MAX: u32 = 4;

/// Elements of one table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 64 * 1024;

/// Instances of plugins at once, of all versions together.
pub(super) const INSTANCES_MAX: u32 = 256;

/// Memory of one instance beyond which no configuration goes.
pub const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Calls to the host during one call.
pub(super) const HOST_CALLS_MAX: u32 = 1000;

/// Bytes that a plugin hands over at once: a message and some more.
pub(super) const HOST_CALL_BYTES_MAX: usize = 128 * 1024;

/// Lines that a version writes into the log in a second.
pub(super) const LOG_LINES_PER_S: u32 = 10;

/// Bytes of one of them.
pub(super) const LOG_LINE_BYTES_MAX: usize = 1024;

/// Counters of a version.
pub(super) const COUNTERS_MAX: usize = 64;

/// Characters of a counter's name.
pub(super) const COUNTER_NAME_MAX: usize = 64;

/// Keys that a version keeps.
pub(super) const KEYS_MAX: usize = 1024;

/// Bytes of such a key.
pub(super) const KEY_BYTES_MAX: usize = 256;

/// Bytes of what is kept under it.
pub(super) const VALUE_BYTES_MAX: usize = 4096;

/// Versions that a slot keeps ready, to go back to.
pub const HISTORY_MAX: usize = 4;

/// Troubles within [`TROUBLE_WINDOW`] after which a version is taken out of service.
pub const TROUBLES_MAX: u32 = 5;

/// See [`TROUBLES_MAX`].
pub const TROUBLE_WINDOW: Duration = Duration::from_secs(60);

/// Time for which the figures of a version stay that was taken out of service: several scrapes.
pub const RETIRED_FOR: Duration = Duration::from_mins(10);

/// Versions of a slot whose figures stay so.
pub(super) const RETIRED_MAX: usize = 4;

/// Different reasons of trouble that are written into the log for one version.
pub(super) const REASONS_TOLD_MAX: usize = 16;

/// Bytes of a trouble in words: enough for a message, its file and its functions.
pub(super) const TROUBLE_BYTES_MAX: usize = 2048;

/// Functions that are named of a call without an answer.
pub(super) const FUNCTIONS_TOLD_MAX: usize = 5;

/// Bytes of the name of one of them.
pub(super) const FUNCTION_NAME_BYTES_MAX: usize = 160;

/// Lines of a version's own log that are kept in memory for its author.
pub(super) const LINES_KEPT_MAX: usize = 64;

/// Decisions in which a version on trial differs that are kept to be looked at.
pub(super) const DIFFERENCES_MAX: usize = 256;

/// Recorded decisions that are kept of a slot.
pub(super) const RECORDED_MAX: usize = 2000;

/// Bytes of them.
pub(super) const RECORDED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bounds that an operator may set for a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fuel of one decision; about one unit for each instruction.
    pub fuel: u64,
    /// Memory of one instance.
    pub memory_bytes: usize,
    /// Time after which a decision is stopped, whatever fuel it has left. It is wall-clock time,
    /// and on a busy machine it stops innocent decisions (100 ms did, with 14 threads for two
    /// cores). It is only a net: an endless loop uses up its fuel first, within some milliseconds.
    pub deadline: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            fuel: 10_000_000,
            memory_bytes: 64 * 1024 * 1024,
            deadline: Duration::from_secs(1),
        }
    }
}

impl Budget {
    /// The deadline in ticks: at least as long as it says.
    pub(super) fn ticks(self) -> u64 {
        let ticks = self.deadline.as_millis().div_ceil(TICK.as_millis());
        u64::try_from(ticks).unwrap_or(u64::MAX - 1).max(1) + 1
    }
}
