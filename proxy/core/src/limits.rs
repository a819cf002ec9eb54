//! Every bound that is not configured, named in one place.

use std::time::Duration;

/// Instances behind one proxy. Per-instance sets are bit masks of 16 bits.
pub const INSTANCES_MAX: usize = 16;

/// Bytes of a request's target. Chroma names have at most 512 characters.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a tenant's or a database's name as it stands in a target, percent-encoded: so the longest
/// route, with such a tenant and the longest other names, still fits.
pub const NAME_IN_TARGET_BYTES_MAX: usize = 4 * 1024;

/// Bytes of an answer to a write, or of an answer that carries ids, that are held in memory.
/// 10,000 collections list in about 14 MB on Chroma 1.5.9 (1.4 KB each).
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Instances that a request which ends without an answer is tried on: some requests panic
/// Chroma's handler, and sending them round everywhere is not failover.
pub const CLOSED_INSTANCES_MAX: u8 = 2;

/// Connections that instances must have closed on an entry, and lived on, before the entry is given up.
/// With the first pauses between two attempts this takes half a second on two instances, and three
/// seconds on the only one in service. A write that was done although its connection was reset succeeds
/// at one of these attempts.
pub const POISON_CLOSINGS_MIN: u32 = 6;

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

/// The same when the last attempt ended in silence: the entry may have been done, and the next answer
/// tells.
pub const ABANDON_SILENT_ATTEMPTS_MIN: u32 = 12;

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

/// From one look at what an instance knows to the next, while it does not go away: a server that was
/// exchanged between two probes is then known for what it is.
pub const MEET_INTERVAL: Duration = Duration::from_mins(1);

/// Undecided entries of one lane before further writes to it are refused with 503.
pub const LANE_OPEN_MAX: usize = 4096;

/// Entries that become one request to an instance.
pub const MERGED_ENTRIES_MAX: usize = 64;

/// Records in such a request. Chroma 1.5.9 took 50,000 in one.
pub const MERGED_RECORDS_MAX: usize = 1000;

/// Numbers of embeddings that are rewritten from base64 in such a request, because others in it have arrays:
/// some 2 ms of writing.
pub const MERGED_REWRITTEN_NUMBERS_MAX: usize = 32 * 1024;

/// Bytes of the bodies that are put together: some 2 ms of reading, on a thread that serves others.
pub const MERGED_BYTES_MAX: usize = 512 * 1024;

/// Bytes from which a body is heavy: it is not sent to a second instance after the hedge delay, and
/// deadlines grow with it. Chroma 1.5.9 takes 0.1 to 0.4 s for so many bytes.
pub const HEAVY_BYTES_MIN: usize = 256 * 1024;

/// Time that an instance may need for each MiB of a heavy body, beyond what any request may take. One
/// Chroma 1.5.9 took 0.4 s for each MiB of an upsert of 39 MiB on two idle cores and 1.7 s on a loaded
/// machine; two of them on the same cores take up to twice as long.
pub const HEAVY_TIME_PER_MIB: Duration = Duration::from_secs(4);

/// The same for the body of a read, which the instance need not write.
pub const READ_HEAVY_TIME_PER_MIB: Duration = Duration::from_millis(500);

/// Longest time that is granted for bytes, however many there are.
pub const HEAVY_TIME_MAX: Duration = Duration::from_mins(10);

/// Longest silence of an instance before it counts as down although it works on a heavy body: during an
/// upsert of 39 MiB, Chroma 1.5.9 answered no probe for up to 20 s.
pub const BUSY_SILENCE_MAX: Duration = Duration::from_mins(1);

/// Time after which a read that was answered 5xx is not tried a second time on the same instance, unless
/// the answer is one that is known to pass.
pub const SECOND_CHANCE_WITHIN: Duration = Duration::from_millis(500);

/// Failures kept for the operator's list.
pub const TROUBLES_KEPT_MAX: usize = 100;

/// Bytes of a body that is kept in memory when its entry is decided: a larger one is loaded from the
/// log for each further instance, as many of them at once as there is room for.
pub const BODY_KEPT_BYTES_MAX: usize = 256 * 1024;

/// Characters of the key under which a client may repeat a write.
pub const KEY_CHARACTERS_MAX: usize = 255;

/// Interval between deletions of keys that are old enough.
pub const KEYS_FORGET_INTERVAL: Duration = Duration::from_mins(1);

/// Interval between trims of the log. A trim deletes entries that all instances have done.
pub const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Writes that are committed together at most.
pub const GROUP_MAX: usize = 512;

/// Longest time that a cursor is kept for the next flush when nobody waits for it. If the proxy dies during
/// that time, the cursor's entry is sent again. The time is about that from one record to the next of a
/// client that writes them one after the other (7 to 20 ms here).
pub const LINGER_MAX: Duration = Duration::from_millis(25);

/// Records that are compared, or copied from one instance to another, at once.
pub const COPY_BATCH_RECORDS_MAX: usize = 200;

/// Records in the first batch, when it is not known yet how much they weigh.
pub const COPY_BATCH_RECORDS_FIRST: usize = 16;

/// A batch may have so many times as many records as the one before it.
pub const COPY_BATCH_GROWTH_MAX: usize = 4;

/// Bytes of a batch at most; one that is larger is asked for again with fewer records. Chroma takes bodies
/// of 40 MiB. A record that has more is asked for alone.
pub const COPY_BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Difference between two numbers of a vector that is taken for rounding, in steps of a 32-bit number: a
/// copy of a copy of a copy, each two steps off.
pub const ROUNDING_STEPS_MAX: f32 = 8.0;

/// Time before a collection that an instance may lack is looked for again.
pub const LOCATE_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are compared, or copied from one instance to another, in a second.
pub const COPY_BYTES_PER_S: u64 = 64 * 1024 * 1024;

/// Ids, collections or databases that are listed at once.
pub const LISTED_MAX: usize = 50_000;

/// Ids that are listed again with the next page, because records before it may have been deleted since.
pub const LISTED_AGAIN: usize = 1_000;

/// Rounds of comparing what was touched meanwhile, before a hold is asked for all the same.
pub const COPY_ROUNDS_MAX: usize = 20;

/// Touched records that may be left for the step in which writes wait.
pub const HOLD_RECORDS_MAX: usize = 200;

/// Bytes of touched records that may be left for that step.
pub const HOLD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest time that writes may wait for a job; a job that takes longer is ended.
pub const HOLD_MAX: Duration = Duration::from_secs(5);

/// The same for writes of tenants, databases and collections, while an instance is taken into
/// service: it is told which there are.
pub const INSTANCE_HOLD_MAX: Duration = Duration::from_secs(60);

/// Time after a start for which a collection keeps its home when policy keeps no write of it out of the
/// log.
pub const HOME_UNUSED_MAX: Duration = Duration::from_secs(30);

/// Longest time that a job waits for instances to have everything.
pub const REACH_MAX: Duration = Duration::from_secs(60);

/// Ids that are named for each kind of difference.
pub const DIFFERENCES_NAMED_MAX: usize = 100;

/// Pause before a job is begun again that failed because of what an instance holds.
pub const LASTING_PAUSE: Duration = Duration::from_mins(10);

/// Jobs at once.
pub const JOBS_MAX: usize = 2;

/// Tasks that may wait before a client's wish for another tenant to be looked for is not taken.
pub const DISCOVERIES_MAX: usize = 64;

/// Time for which it is remembered that no instance has a tenant. Later a request that names the tenant has
/// the instances asked again.
pub const ABSENT_KEPT: Duration = Duration::from_secs(5);

/// Tenants of which that is remembered.
pub const ABSENT_TENANTS_MAX: usize = 1024;

/// Characters of a tenant's name that instances are asked for. Names in a path are no longer than this
/// in Chroma.
pub const TENANT_CHARACTERS_MAX: usize = 512;

/// Findings of jobs kept for the operator.
pub const FINDINGS_KEPT_MAX: usize = 100;

/// Number of tries for a job that an operator asked for and waits for.
pub const ASKED_TRIES_MAX: u32 = 5;
