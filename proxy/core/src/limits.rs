//! Every bound that is not configured, named in one place.

use std::time::Duration;

/// Instances behind one proxy. Per-instance sets are bit masks of 16 bits.
pub const INSTANCES_MAX: usize = 16;

/// Bytes of a request's target. Chroma names have at most 512 characters.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of an answer to a write, or of an answer that carries ids, that are held in memory.
/// 10,000 collections list in about 14 MB on Chroma 1.5.9 (1.4 KB each).
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Instances that a request which ends without an answer is tried on: some requests panic
/// Chroma's handler, and sending them round everywhere is not failover.
pub const CLOSED_INSTANCES_MAX: u8 = 2;

/// Connections from the pool that may turn out to be dead before a question or a read counts that as
/// its own failure.
pub const STALE_CONNECTIONS_MAX: u8 = 8;

/// Answers of a read that are thrown away because what they may show came to nothing; after that their
/// instance is asked no more for it.
pub const READ_AGAIN_MAX: u8 = 8;

/// Bytes of a read's body by which it is told from others.
pub const REPEAT_BYTES_MAX: usize = 64 * 1024;

/// Attempts at a write, on each instance that fails it, before its client is told of the failure:
/// Chroma answers 500 when its database is locked for a moment.
pub const FAILED_ATTEMPTS_BEFORE_ANSWER: u32 = 2;

/// First pause before an entry is sent again to an instance that failed it.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest pause before an entry is sent again.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Attempts, on each instance in service, after which an entry that all of them fail is abandoned.
pub const ABANDON_ATTEMPTS_MIN: u32 = 6;

/// Age before which no entry is abandoned, whatever its attempts.
pub const ABANDON_AGE_MIN: Duration = Duration::from_mins(1);

/// Entries by which an instance may trail and still be waited for by level `all`: one further
/// behind is catching up, and no client waits for that.
pub const ALL_LEVEL_LAG_MAX: u64 = 64;

/// Requests of a proxy that died are carried out within this time in which their instance is awake:
/// their connections were closed with it. So long nothing is sent where one of them may be on its way.
pub const ORPHANS_SETTLE: Duration = Duration::from_secs(1);

/// From one probe to the next for as long as that lasts.
pub const FIRST_PROBES_INTERVAL: Duration = Duration::from_millis(100);

/// Undecided entries of one lane before further writes to it are refused with 503.
pub const LANE_OPEN_MAX: usize = 4096;

/// Entries that become one request to an instance.
pub const MERGED_ENTRIES_MAX: usize = 64;

/// Records in such a request. Chroma 1.5.9 took 50,000 in one.
pub const MERGED_RECORDS_MAX: usize = 1000;

/// Bytes of the bodies that are put together: some 2 ms of reading, on a thread that serves others.
pub const MERGED_BYTES_MAX: usize = 512 * 1024;

/// Failures kept for the operator's list.
pub const TROUBLES_KEPT_MAX: usize = 100;

/// Bytes of a body that is kept in memory when its entry is decided: a larger one is loaded from the
/// log for each further instance, as many of them at once as there is room for.
pub const BODY_KEPT_BYTES_MAX: usize = 256 * 1024;

/// Characters of the key under which a client may repeat a write.
pub const KEY_CHARACTERS_MAX: usize = 255;

/// How often keys that are old enough are deleted.
pub const KEYS_FORGET_INTERVAL: Duration = Duration::from_mins(1);

/// How often entries that everybody has done are deleted from the log.
pub const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Writes that are committed together at most.
pub const GROUP_MAX: usize = 512;

/// How long a cursor that nobody waits for is kept for the next flush. Were the proxy to die meanwhile
/// its entry would be sent again: no longer than a client that writes one record after the other takes
/// from one to the next (7 to 20 ms here).
pub const LINGER_MAX: Duration = Duration::from_millis(25);

/// Records that are compared, or copied from one instance to another, at once.
pub const COPY_BATCH_RECORDS_MAX: usize = 200;

/// Bytes of such a batch; a larger one is halved. Chroma takes bodies of 40 MiB.
pub const COPY_BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rounds of comparing what was touched meanwhile, before a hold is asked for all the same.
pub const COPY_ROUNDS_MAX: usize = 20;

/// Touched records that may be left for the step in which writes wait.
pub const HOLD_RECORDS_MAX: usize = 200;

/// How long writes may wait for a job; one that takes longer is ended.
pub const HOLD_MAX: Duration = Duration::from_secs(5);

/// The same for writes of tenants, databases and collections, while an instance is taken into
/// service: it is told which there are.
pub const INSTANCE_HOLD_MAX: Duration = Duration::from_secs(60);

/// How long a job waits for instances to have everything.
pub const REACH_MAX: Duration = Duration::from_secs(60);

/// Ids that are named for each kind of difference.
pub const DIFFERENCES_NAMED_MAX: usize = 100;

/// Jobs at once.
pub const JOBS_MAX: usize = 2;

/// Findings of jobs kept for the operator.
pub const FINDINGS_KEPT_MAX: usize = 100;

/// How often a job is tried that an operator asked for and waits for.
pub const ASKED_TRIES_MAX: u32 = 5;
