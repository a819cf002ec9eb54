//! Counters of an instance's requests and answers, without locks.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use achromat_core::{
    time::WallTime,
    weight::{Vitals, is_heavy},
};

use crate::clock::wall_time;

/// Counters of one instance.
#[derive(Debug, Default)]
pub struct Figures(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    successes: AtomicU64,
    failures_in_a_row: AtomicU64,
    in_flight: AtomicU64,
    /// Bytes of the heavy bodies among them, and among our own.
    heavy_bytes: AtomicUsize,
    /// Time of the last answer, in microseconds since the first request was sent; 0 before the
    /// first answer.
    answered_at_us: AtomicU64,
    began: OnceLock<Instant>,
    /// Time at which a probe ended last, in milliseconds since 1970; 0 before the first.
    probed_at_ms: AtomicU64,
    /// Smoothed; 0 before the first answer.
    latency_us: AtomicU64,
}

/// The part of a new answer's time in the smoothed one, as one in so many: that of TCP's round trips
/// (RFC 6298, section 2.3).
const LATENCY_SHARE: u64 = 8;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that were answered, with anything but a 5xx.
    pub successes: u64,
    /// Requests since the last that was answered so.
    pub failures_in_a_row: u64,
    /// Requests that have not ended.
    pub in_flight: u64,
    /// Recent time to the first byte of answers, smoothed, in microseconds; 0 before the first answer.
    pub latency_us: u64,
    /// Time at which a probe ended last; `None` before the first.
    pub probed_at: Option<WallTime>,
}

impl Figures {
    /// A request with a body of so many bytes begins; when what is returned is dropped it has ended. A
    /// probe counts only among the failures in a row.
    pub(super) fn begin(&self, is_probe: bool, bytes: usize) -> UnderWay {
        let heavy_bytes = if is_heavy(bytes) { bytes } else { 0 };
        self.0.in_flight.fetch_add(u64::from(!is_probe), Relaxed);
        self.0.heavy_bytes.fetch_add(heavy_bytes, Relaxed);
        let begun = Instant::now();
        self.0.began.get_or_init(|| begun);
        UnderWay {
            counters: Arc::clone(&self.0),
            has_succeeded: false,
            begun,
            is_probe,
            heavy_bytes,
        }
    }

    /// The signs of life that the instance has shown.
    pub(super) fn vitals(&self) -> Vitals {
        let answered_at_us = self.0.answered_at_us.load(Relaxed);
        let answered_ago = self.0.began.get().filter(|_| answered_at_us > 0);
        let answered_at = Duration::from_micros(answered_at_us);
        Vitals {
            answered_ago: answered_ago.map(|began| began.elapsed().saturating_sub(answered_at)),
            heavy_bytes: self.0.heavy_bytes.load(Relaxed),
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requests: self.0.requests.load(Relaxed),
            successes: self.0.successes.load(Relaxed),
            failures_in_a_row: self.0.failures_in_a_row.load(Relaxed),
            in_flight: self.0.in_flight.load(Relaxed),
            latency_us: self.0.latency_us.load(Relaxed),
            probed_at: Some(WallTime(self.0.probed_at_ms.load(Relaxed))).filter(|at| at.0 > 0),
        }
    }
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct UnderWay {
    counters: Arc<Counters>,
    has_succeeded: bool,
    begun: Instant,
    is_probe: bool,
    heavy_bytes: usize,
}

impl UnderWay {
    pub(super) fn answered(&mut self, status: u16) {
        self.counters.answered();
        self.has_succeeded = status < 500;
        if self.has_succeeded && !self.is_probe {
            self.counters.took(self.begun.elapsed());
        }
    }
}

impl Counters {
    /// Of two answers at once the earlier may be noted: it is as good a sign of life.
    fn answered(&self) {
        let began = self.began.get();
        let since = began.map_or(Duration::ZERO, Instant::elapsed);
        let since_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1);
        self.answered_at_us.store(since_us, Relaxed);
    }

    /// Two answers at once may lose one of their times: it is an estimate.
    fn took(&self, time: Duration) {
        let new = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.latency_us.load(Relaxed);
        let smoothed = match old {
            0 => new,
            old => old
                .saturating_sub(old / LATENCY_SHARE)
                .saturating_add(new / LATENCY_SHARE),
        };
        self.latency_us.store(smoothed.max(1), Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let counters = &self.counters;
        if self.is_probe {
            counters.probed_at_ms.store(wall_time().0, Relaxed);
        }
        let counted = u64::from(!self.is_probe);
        counters.in_flight.fetch_sub(counted, Relaxed);
        counters.heavy_bytes.fetch_sub(self.heavy_bytes, Relaxed);
        counters.requests.fetch_add(counted, Relaxed);
        if self.has_succeeded {
            counters.successes.fetch_add(counted, Relaxed);
            counters.failures_in_a_row.store(0, Relaxed);
        } else {
            counters.failures_in_a_row.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heavy body counts until its request has ended, and an answer is a sign of life.
    #[test]
    fn heavy_bodies_and_answers_are_vitals() {
        let figures = Figures::default();
        assert_eq!(figures.vitals(), Vitals::default());
        let light = figures.begin(false, 10);
        let mut heavy = figures.begin(true, 1024 * 1024);
        assert_eq!(figures.vitals().heavy_bytes, 1024 * 1024);
        assert_eq!(figures.vitals().answered_ago, None);
        heavy.answered(500);
        drop((heavy, light));
        assert_eq!(figures.vitals().heavy_bytes, 0);
        assert!(figures.vitals().answered_ago < Some(Duration::from_secs(10)));
        assert!(figures.vitals().answered_ago.is_some());
    }

    /// The smoothed latency follows what is measured, and single answers do not throw it about.
    #[test]
    fn latency_is_smoothed() {
        let counters = Counters::default();
        let smoothed = |ms| {
            counters.took(Duration::from_millis(ms));
            counters.latency_us.load(Relaxed)
        };
        assert_eq!(smoothed(8), 8_000);
        assert_eq!(smoothed(80), 17_000);
        for _ in 0..60 {
            smoothed(1);
        }
        assert!((1_000..1_100).contains(&smoothed(1)));
    }
}
