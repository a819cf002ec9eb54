//! What policies are asked, when it does not matter much.

use std::sync::Arc;

use achromat::policy::{Deed, InstanceState, Member, Question, Standing};

/// Three instances as plugins know them, the first of them primary.
pub fn members() -> Arc<Vec<Member>> {
    let member = |name: &str| Member {
        name: name.into(),
        is_primary: name == "a",
    };
    Arc::new(["a", "b", "c"].map(member).to_vec())
}

/// The same three, all of them up, eligible and idle.
pub fn states() -> [InstanceState; 3] {
    [0, 1, 2].map(|index| InstanceState {
        index,
        standing: Standing::Up,
        eligible: true,
        in_flight: 0,
        latency_us: 0,
        lag_entries: 0,
    })
}

/// Whether a collection may be deleted.
pub fn deletion_of(collection: &str) -> Question<'_> {
    Question {
        deed: Deed::DeleteCollection,
        tenant: Some("default_tenant"),
        database: Some("default_database"),
        collection: Some(collection),
        collection_id: None,
        new_name: None,
        records: None,
        subject: None,
        client: Some("127.0.0.1"),
        is_operator: false,
        headers: &[],
    }
}
