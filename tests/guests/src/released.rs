//! Plugins built against a released text of the contract, by an author who has not looked since.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unreachable_pub,
    unused_qualifications,
    reason = "generated, but for three functions"
)]

/// A plugin.
struct Released;

#[cfg(feature = "routing")]
mod routing {
    use super::Released;

    wit_bindgen::generate!({ path: "../../wit/released/0.1.0", world: "routing" });

    use achromat::policy::{
        host,
        types::{Operation, Parts, Wants},
    };
    use exports::achromat::policy::route_policy::{Choice, Guest, Instance, InstanceState, Order};

    impl Guest for Released {
        fn configure(_config: String) -> Result<Wants, String> {
            let (parts, headers) = (Parts::COLLECTION, vec!["x-last".to_owned()]);
            Ok(Wants { parts, headers })
        }

        fn instances(instances: Vec<Instance>) {
            host::count("instances", instances.len() as u64);
        }

        fn route(operation: Operation, states: Vec<InstanceState>) -> Choice {
            if operation.collection.as_deref() != Some("notes") || operation.headers.is_none() {
                return Choice::Native;
            }
            Choice::First(Order {
                instances: states.iter().rev().map(|state| state.index).collect(),
                then_others: true,
                allow_stale: false,
            })
        }
    }

    export!(Released);
}

#[cfg(feature = "wal")]
mod wal {
    use super::Released;

    wit_bindgen::generate!({ path: "../../wit/released/0.1.0", world: "wal-eligibility" });

    use achromat::policy::types::{Operation, Parts, Wants};
    use exports::achromat::policy::wal_policy::{Eligibility, Guest, Level, Replication};

    impl Guest for Released {
        fn configure(_config: String) -> Result<Wants, String> {
            let (parts, headers) = (Parts::TENANT, Vec::new());
            Ok(Wants { parts, headers })
        }

        fn judge(operation: Operation) -> Eligibility {
            match operation.tenant.as_deref() {
                Some("acme") => Eligibility::Replicate(Replication {
                    level: Some(Level::All),
                    accept_when_down: false,
                }),
                _ => Eligibility::LocalOnly,
            }
        }
    }

    export!(Released);
}

#[cfg(feature = "guard")]
mod guard {
    use super::Released;

    wit_bindgen::generate!({ path: "../../wit/released/0.1.0", world: "cleanup-guard" });

    use achromat::policy::types::{Parts, Wants};
    use exports::achromat::policy::guard_policy::{Guest, Permission, Question};

    impl Guest for Released {
        fn configure(_config: String) -> Result<Wants, String> {
            let (parts, headers) = (Parts::empty(), Vec::new());
            Ok(Wants { parts, headers })
        }

        fn permit(question: Question) -> Permission {
            match question.collection.as_deref() {
                Some("notes") => Permission::Deny("notes stay".to_owned()),
                _ => Permission::Allow,
            }
        }
    }

    export!(Released);
}
