//! Processes and clients that end with whoever started them.

use std::process::Child;

/// A process that ends with what holds it, however that ends.
pub struct Ends(pub Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself; then nothing is left to end.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A flag that is raised when this goes, also when a test fails: what waits for it ends then.
pub struct Raised<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
