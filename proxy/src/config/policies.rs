//! Configuration of policy plugins.

use super::{
    meant::Checks,
    written::{Policy, PolicySlot, Written},
};
use crate::policy::{
    Choice, CompileLimits, Digest, PolicyConfig, Recording, SCHEME, SlotConfig, Trust, WrongKey,
    WrongReference,
    limits::{Budget, MEMORY_BYTES_MAX},
};

/// Memory with which any plugin at all can be compiled, in bytes.
const COMPILE_MEMORY_BYTES_LEAST: u64 = 64 * 1024 * 1024;

pub(super) fn policy(checks: &mut Checks, written: &Written) -> PolicyConfig {
    let policy = &written.policy;
    PolicyConfig {
        routing: policy_slot(checks, "policy.routing", &policy.routing),
        wal: policy_slot(checks, "policy.wal", &policy.wal),
        guard: policy_slot(checks, "policy.guard", &policy.guard),
        trust: trust(checks, policy),
        cache: (!policy.cache.is_empty()).then(|| policy.cache.as_str().into()),
        compile: CompileLimits {
            memory_bytes: compile_memory(checks, policy.compile_memory_bytes_max),
            deadline: checks.time("policy.compile_deadline_ms", policy.compile_deadline_ms),
        },
        recording: recording(checks, policy),
        folder: (!policy.folder.is_empty()).then(|| policy.folder.as_str().into()),
    }
}

fn compile_memory(checks: &mut Checks, bytes: u64) -> u64 {
    if bytes < COMPILE_MEMORY_BYTES_LEAST {
        let message = format!("{bytes} is less than {COMPILE_MEMORY_BYTES_LEAST}");
        checks.wrong("policy.compile_memory_bytes_max", message);
    }
    bytes
}

fn recording(checks: &mut Checks, policy: &Policy) -> Recording {
    let share = policy.record_share;
    if !(0.0..=1.0).contains(&share) {
        checks.wrong(
            "policy.record_share",
            format!("{share} is not between 0 and 1"),
        );
    }
    Recording {
        share,
        contents: policy.record_contents,
    }
}

fn policy_slot(checks: &mut Checks, section: &str, slot: &PolicySlot) -> SlotConfig {
    let bytes = slot.memory_bytes_max;
    if !(1..=MEMORY_BYTES_MAX).contains(&bytes) {
        let message = format!("{bytes} is not between 1 and {MEMORY_BYTES_MAX}");
        checks.wrong(&format!("{section}.memory_bytes_max"), message);
    }
    if slot.fuel == 0 {
        checks.wrong(&format!("{section}.fuel"), "0 is less than 1");
    }
    SlotConfig {
        plugin: plugin(checks, section, &slot.plugin),
        digest: digest(checks, section, slot),
        config: slot.config.as_str().into(),
        budget: Budget {
            fuel: slot.fuel,
            memory_bytes: bytes,
            deadline: checks.time(&format!("{section}.deadline_ms"), slot.deadline_ms),
        },
    }
}

fn plugin(checks: &mut Checks, section: &str, text: &str) -> Choice {
    match text {
        "native" => Choice::Native,
        "default" => Choice::Default,
        reference if reference.starts_with(SCHEME) => match reference.parse() {
            Ok(reference) => Choice::Registry(reference),
            Err(wrong) => {
                checks.wrong(
                    &format!("{section}.plugin"),
                    WrongReference::to_string(&wrong),
                );
                Choice::Native
            }
        },
        path => Choice::File(path.into()),
    }
}

fn digest(checks: &mut Checks, section: &str, slot: &PolicySlot) -> Option<Digest> {
    let key = format!("{section}.digest");
    if slot.digest.is_empty() {
        return None;
    }
    if ["native", "default"].contains(&slot.plugin.as_str()) {
        let message = format!("it is of a file, and the plugin is {:?}", slot.plugin);
        checks.wrong(&key, message);
    }
    let parsed = slot.digest.parse::<Digest>();
    parsed
        .map_err(|wrong| checks.wrong(&key, wrong.to_string()))
        .ok()
}

fn trust(checks: &mut Checks, policy: &Policy) -> Trust {
    let mut keys = Vec::new();
    for text in &policy.public_keys {
        match text.parse() {
            Ok(key) => keys.push(key),
            Err(wrong) => checks.wrong("policy.public_keys", WrongKey::to_string(&wrong)),
        }
    }
    if policy.require_signature && policy.public_keys.is_empty() {
        let message = "no signature is good without a key: name some in policy.public_keys";
        checks.wrong("policy.require_signature", message);
    }
    Trust {
        keys,
        is_required: policy.require_signature,
    }
}
