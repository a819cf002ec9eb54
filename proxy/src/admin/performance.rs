//! Memory and processor time that the process uses.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::metrics::count;

/// The least time over which the processor's share is measured.
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Ticks of the processor's time in a second, as Linux tells it to programs on every architecture.
const TICKS_PER_S: f64 = 100.0;

/// Bytes of a MiB.
const MIB: f64 = 1024.0 * 1024.0;

/// Memory and processor time of the process. A figure is absent where the system does not tell it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Performance {
    /// Resident memory, in MiB.
    pub(super) memory_usage_mb: Option<f64>,
    /// The most that it was so far, in MiB.
    pub(super) peak_memory_usage: Option<f64>,
    /// Resident memory as a share of `limits.memory_bytes_max`, in percent.
    pub(super) memory_percent: Option<f64>,
    /// The share of one core since the last question, in percent; since the start for the first one.
    pub(super) cpu_percent: Option<f64>,
}

/// Measures the process.
pub struct Meter {
    memory_bytes_max: usize,
    last: Mutex<Reading>,
}

/// The processor's time at one moment.
struct Reading {
    at: Instant,
    cpu_s: f64,
    percent: Option<f64>,
}

impl Meter {
    /// Measures from now on, beside a limit of memory.
    pub fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            last: Mutex::new(Reading {
                at: Instant::now(),
                cpu_s: 0.0,
                percent: None,
            }),
        }
    }

    pub(super) fn read(&self) -> Performance {
        let status = status();
        let memory_usage_mb = mebibytes(&status, "VmRSS:");
        let limit = count(self.memory_bytes_max) / MIB;
        Performance {
            memory_usage_mb: memory_usage_mb.map(rounded),
            peak_memory_usage: mebibytes(&status, "VmHWM:").map(rounded),
            memory_percent: memory_usage_mb.map(|used| rounded(used / limit * 100.0)),
            cpu_percent: self.cpu_percent(),
        }
    }

    /// Resident memory, in bytes.
    pub(super) fn resident_bytes() -> Option<f64> {
        mebibytes(&status(), "VmRSS:").map(|mib| mib * MIB)
    }

    /// The processor's time so far, in seconds.
    pub(super) fn cpu_s() -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name may hold spaces; it ends with the last parenthesis.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        Some((ticks()? + ticks()?) / TICKS_PER_S)
    }

    fn cpu_percent(&self) -> Option<f64> {
        let cpu_s = Self::cpu_s()?;
        let mut last = self.last.lock();
        let span = last.at.elapsed();
        if span >= SPAN_MIN || last.percent.is_none() {
            let used = (cpu_s - last.cpu_s).max(0.0);
            *last = Reading {
                at: Instant::now(),
                cpu_s,
                percent: Some(rounded(used / span.as_secs_f64().max(0.001) * 100.0)),
            };
        }
        last.percent
    }
}

/// The process as Linux describes it; empty on other systems.
fn status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn mebibytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// To two digits.
fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
