//! Division of the memory that may be used into shares.

use super::{meant::Checks, written::Limits};

/// Bytes that the program needs beside these bodies: 24 to 40 MiB at rest and with 200 clients, 62 MiB with
/// 100,000 entries owed, and some 30 MiB for batches of records that a job compares.
const PROGRAM_BYTES: usize = 96 * 1024 * 1024;

/// Of what is left for bodies, the part that is on its way to instances, from the log or from clients
/// that do not wait any more.
const SENDING_SHARE: usize = 4;

/// The part that stays in memory for instances that are a moment behind.
const KEPT_SHARE: usize = 16;

/// Bounds of the bodies in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    /// Of requests that are being served, and of answers that are held.
    pub(super) served: usize,
    /// On their way to one instance.
    pub(super) instance: usize,
    /// Of entries that nobody waits for any more.
    pub(super) kept: usize,
}

impl Shares {
    /// Shares out `all` bytes, so that each part has room for the largest body.
    ///
    /// # Errors
    ///
    /// The fewest bytes that do.
    pub(super) fn of(all: usize, body_bytes_max: usize, instances: usize) -> Result<Self, usize> {
        let instances = instances.max(1);
        let bodies = all.saturating_sub(PROGRAM_BYTES);
        let instance = (bodies / SENDING_SHARE / instances).max(body_bytes_max);
        let kept = bodies / KEPT_SHARE;
        let sending = instance.saturating_mul(instances);
        match bodies.checked_sub(sending.saturating_add(kept)) {
            Some(served) if served >= body_bytes_max => Ok(Self {
                served,
                instance,
                kept,
            }),
            _ => Err(least(body_bytes_max, instances)),
        }
    }
}

fn least(body_bytes_max: usize, instances: usize) -> usize {
    let bodies = body_bytes_max.saturating_mul(instances + 1);
    let bodies = bodies.saturating_add(bodies.div_ceil(KEPT_SHARE - 1));
    bodies.saturating_add(PROGRAM_BYTES)
}

/// The shares as configured; what is wrong is noted.
pub(super) fn shares(checks: &mut Checks, limits: &Limits, instances: usize) -> Shares {
    let (all, body) = (limits.memory_bytes_max, limits.body_bytes_max);
    Shares::of(all, body, instances).unwrap_or_else(|least| {
        let message = format!(
            "{all} is less than {least}, the least for {instances} instance(s) and bodies of {body} bytes \
             (limits.body_bytes_max)"
        );
        checks.wrong("limits.memory_bytes_max", message);
        Shares::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// All parts together are what there is, and none is too small for a body.
    #[test]
    fn all_is_shared_out() {
        for instances in [1, 2, 4] {
            let shares = Shares::of(400 * MIB, 40 * MIB, instances).unwrap();
            let all = shares.served + shares.kept + instances * shares.instance;
            assert_eq!(all + PROGRAM_BYTES, 400 * MIB);
            assert!(shares.served >= 40 * MIB && shares.instance >= 40 * MIB);
        }
    }

    /// The least memory that the error names is just enough.
    #[test]
    fn too_little_is_refused() {
        for (body, instances) in [(40 * MIB, 16), (40 * MIB, 2), (1024, 2), (1, 1)] {
            let least = Shares::of(0, body, instances).unwrap_err();
            assert!(Shares::of(least, body, instances).is_ok(), "{body}");
            let error = Shares::of(least - 2, body, instances).unwrap_err();
            assert_eq!(error, least);
        }
    }
}
