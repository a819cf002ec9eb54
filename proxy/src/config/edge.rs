//! What the configuration says of the clients' side of the network.

use achromat_core::head::HeadLimits;

use super::{meant::Checks, written::Limits};
use crate::serve::{ConnectionLimits, Patience};

/// Bytes below which usual heads would be refused.
const HEAD_BYTES_LEAST: usize = 1024;

/// What pingora's own parser takes at most.
const HEAD_BYTES_MOST: usize = 1024 * 1024;

/// Fields that pingora's own parser takes at most.
const HEAD_FIELDS_MOST: usize = 256;

pub(super) fn connections(checks: &mut Checks, limits: &Limits) -> ConnectionLimits {
    ConnectionLimits {
        all_max: checks.at_least("limits.connections_max", limits.connections_max, 1),
        per_address_max: checks.at_least(
            "limits.connections_per_address_max",
            limits.connections_per_address_max,
            1,
        ),
    }
}

pub(super) fn patience(checks: &mut Checks, limits: &Limits) -> Patience {
    let bytes = limits.head_bytes_max;
    if bytes > HEAD_BYTES_MOST {
        let message = format!("it may be {HEAD_BYTES_MOST} at most");
        checks.wrong("limits.head_bytes_max", message);
    }
    if limits.head_fields_max > HEAD_FIELDS_MOST {
        let message = format!("it may be {HEAD_FIELDS_MOST} at most");
        checks.wrong("limits.head_fields_max", message);
    }
    if limits.rate_bytes_per_s_min == 0 {
        checks.wrong(
            "limits.rate_bytes_per_s_min",
            "it must be 1 at least, or a client could hold its place for ever",
        );
    }
    Patience {
        head: HeadLimits {
            bytes_max: checks.at_least("limits.head_bytes_max", bytes, HEAD_BYTES_LEAST),
            fields_max: checks.at_least("limits.head_fields_max", limits.head_fields_max, 10),
        },
        head_deadline: checks.time("limits.head_deadline_ms", limits.head_deadline_ms),
        idle: checks.time("limits.idle_ms", limits.idle_ms),
        grace: checks.time("limits.grace_ms", limits.grace_ms),
        rate_min: limits.rate_bytes_per_s_min.max(1),
    }
}
