//! Batch sizes: how many records are compared or copied at once, by what the last ones weighed.

use std::time::Duration;

use super::copy::Pace;
use crate::limits::{
    COPY_BATCH_GROWTH_MAX, COPY_BATCH_RECORDS_FIRST, COPY_BATCH_RECORDS_MAX, COPY_BYTES_PER_S,
    HOLD_BYTES_MAX, HOLD_RECORDS_MAX, REPLY_BYTES_MAX,
};

/// A batch should have this part of the bytes that it may have.
const TARGET_SHARE: usize = 4;

/// A batch that was too large is asked for again with this part of its records.
const RETRY_SHARE: usize = 4;

/// The size of the next batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSize {
    records: usize,
    bytes_per_record: usize,
    pace: Pace,
}

impl BatchSize {
    /// The first batch is small: nothing is known of the records yet.
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            records: COPY_BATCH_RECORDS_FIRST,
            bytes_per_record: 0,
            pace,
        }
    }

    /// Records of the next batch.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Bytes that the answer to a `get` of so many records may have. One record alone may have as many as
    /// any answer.
    pub(crate) fn bytes_max(&self, records: usize) -> usize {
        if records > 1 {
            self.pace.batch_bytes_max
        } else {
            REPLY_BYTES_MAX
        }
    }

    /// A batch of so many records had so many bytes.
    pub(crate) fn took(&mut self, records: usize, bytes: usize) {
        self.bytes_per_record = bytes.div_ceil(records.max(1)).max(1);
        let target = self.pace.batch_bytes_max / TARGET_SHARE / self.bytes_per_record;
        let grown = self.records.saturating_mul(COPY_BATCH_GROWTH_MAX);
        self.records = target.min(grown).clamp(1, COPY_BATCH_RECORDS_MAX);
    }

    /// A batch of so many records was larger than it may be: the next one has fewer.
    pub(crate) fn was_too_large(&mut self, records: usize) {
        self.records = (records / RETRY_SHARE).max(1);
    }

    /// Pause after such a batch, so that live traffic goes first.
    pub(crate) fn pause(&self, records: usize, bytes: usize) -> Duration {
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let for_records = Duration::from_secs(1) * records / self.pace.records_per_s.max(1);
        let for_bytes = bytes.saturating_mul(1_000_000) / COPY_BYTES_PER_S;
        for_records.max(Duration::from_micros(for_bytes))
    }

    /// Touched records that may be left for the step in which writes wait.
    pub(crate) fn hold_records_max(&self) -> usize {
        let by_bytes = HOLD_BYTES_MAX / self.bytes_per_record.max(1);
        by_bytes.clamp(1, HOLD_RECORDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn size() -> BatchSize {
        BatchSize::new(Pace {
            records_per_s: 5_000,
            batch_bytes_max: 16 * MIB,
        })
    }

    /// Light records soon go in the largest batches, heavy ones in small ones.
    #[test]
    fn batches_follow_what_the_last_ones_weighed() {
        let mut light = size();
        for _ in 0..2 {
            light.took(light.records(), light.records() * 100);
        }
        assert_eq!(light.records(), COPY_BATCH_RECORDS_MAX);
        assert_eq!(light.hold_records_max(), HOLD_RECORDS_MAX);
        let mut heavy = size();
        heavy.took(16, 16 * 400_000);
        assert_eq!(heavy.records(), 10);
        assert_eq!(heavy.hold_records_max(), 20);
        heavy.took(1, 39 * MIB);
        assert_eq!(heavy.records(), 1);
    }

    /// A batch that is too large shrinks until it is one record.
    #[test]
    fn a_batch_that_is_too_large_shrinks_to_one_record() {
        let mut size = size();
        size.took(50, 50);
        let mut asked = vec![size.records()];
        while size.records() > 1 {
            size.was_too_large(size.records());
            asked.push(size.records());
        }
        assert_eq!(asked, [64, 16, 4, 1]);
        assert_eq!(size.bytes_max(2), 16 * MIB);
        assert_eq!(size.bytes_max(1), REPLY_BYTES_MAX);
    }

    /// The pause is as long as the records or their bytes want, whichever is longer.
    #[test]
    fn the_pause_follows_records_and_bytes() {
        let size = size();
        assert_eq!(size.pause(200, 100), Duration::from_millis(40));
        assert_eq!(size.pause(10, 16 * MIB), Duration::from_millis(250));
    }
}
