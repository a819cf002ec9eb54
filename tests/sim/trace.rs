//! What happened, line by line: told when somebody watches, and always good for a hash.

/// The lines of a history.
#[derive(Debug)]
pub struct Trace {
    is_told: bool,
    is_hashed: bool,
    hash: u64,
    lines: u64,
}

impl Trace {
    /// A trace that is told on standard output, or is not.
    pub fn new(is_told: bool) -> Self {
        Self {
            is_told,
            is_hashed: is_told,
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
        }
    }

    /// Makes the hash of every line from now on.
    pub fn hash_lines(&mut self) {
        self.is_hashed = true;
    }

    /// One line.
    pub fn say(&mut self, now: u64, line: impl FnOnce() -> String) {
        if !self.is_hashed {
            return;
        }
        let line = format!("{:>12.6} {}", Seconds(now), line());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.is_told {
            println!("{line}");
        }
    }

    /// The hash of all lines, and how many there were.
    pub fn sum(&self) -> (u64, u64) {
        (self.hash, self.lines)
    }
}

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}
