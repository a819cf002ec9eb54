//! Decisions as JSON, in the contract's words, and whether one is as a case expects.
//!
//! A variant is its name, or an object with its name and what it carries; a record is an object.

use achromat_core::{
    log::Level,
    policy::{Eligibility, Permission, Refusal, Routing},
};
use serde_json::{Value, json};

pub(super) fn routing(answer: &Routing) -> Value {
    match answer {
        Routing::Native => json!("native"),
        Routing::Prefer(order) => {
            let places: Vec<_> = order.first.iter().map(|instance| instance.0).collect();
            json!({ "first": {
                "instances": places,
                "then-others": order.then_others,
                "allow-stale": order.allow_stale,
            }})
        }
        Routing::Refuse(refused) => json!({ "refuse": refusal(refused) }),
    }
}

pub(super) fn eligibility(answer: &Eligibility) -> Value {
    match answer {
        Eligibility::Replicate {
            level,
            accept_when_down,
        } => {
            let level = level.map(Level::as_str);
            json!({ "replicate": { "level": level, "accept-when-down": accept_when_down } })
        }
        Eligibility::LocalOnly => json!("local-only"),
        Eligibility::Refuse(refused) => json!({ "refuse": refusal(refused) }),
    }
}

pub(super) fn permission(answer: &Permission) -> Value {
    match answer {
        Permission::Allow => json!("allow"),
        Permission::Deny(reason) => json!({ "deny": reason }),
        Permission::Trash(time) => json!({ "trash": time.as_secs() }),
    }
}

fn refusal(refused: &Refusal) -> Value {
    let status = match refused.status() {
        403 => "denied",
        413 => "too-large",
        429 => "too-many",
        503 => "unavailable",
        _ => "invalid",
    };
    json!({
        "status": status,
        "message": refused.message(),
        "retry-after-s": refused.retry_after_s(),
    })
}

/// Words for people, of which a case expects a part.
const FOR_PEOPLE: [&str; 2] = ["message", "deny"];

/// Returns true when an answer is as expected. For a record, the expectation may name some fields
/// alone; for words for people, a part of the text.
pub(super) fn agrees(expected: &Value, given: &Value) -> bool {
    match (expected, given) {
        (Value::Object(expected), Value::Object(given)) => expected.iter().all(|(key, wanted)| {
            let given = given.get(key);
            match (wanted, given) {
                (Value::String(part), Some(Value::String(text)))
                    if FOR_PEOPLE.contains(&key.as_str()) =>
                {
                    text.contains(part.as_str())
                }
                (wanted, Some(given)) => agrees(wanted, given),
                (_, None) => false,
            }
        }),
        _ => expected == given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a record, or of words for people, is enough; anything else must be equal.
    #[test]
    fn an_expectation_may_say_a_part() {
        let given = json!({ "refuse": {
            "status": "too-many", "message": "wait a little", "retry-after-s": 5,
        }});
        for expected in [
            json!({ "refuse": {} }),
            json!({ "refuse": { "status": "too-many" } }),
            json!({ "refuse": { "message": "little", "retry-after-s": 5 } }),
        ] {
            assert!(agrees(&expected, &given), "{expected}");
        }
        for expected in [
            json!("refuse"),
            json!({ "refuse": { "status": "too" } }),
            json!({ "refuse": { "retry_after_s": 5 } }),
            json!({ "first": {} }),
        ] {
            assert!(!agrees(&expected, &given), "{expected}");
        }
        assert!(agrees(
            &json!({ "deny": "why" }),
            &json!({ "deny": "that is why" })
        ));
        let order = |places: &[u8]| json!({ "first": { "instances": places } });
        assert!(!agrees(&order(&[1]), &order(&[1, 0])));
    }
}
