//! The contract's words, as they stand in `wit/`: what files and answers call actions, parts and the
//! rest.

use super::contract::{
    guard::exports::achromat::policy::guard_policy::Deed,
    routing::{
        achromat::policy::types::{Action, Class, Parts},
        exports::achromat::policy::route_policy::Standing,
    },
};

/// Every action, with its word and its class.
pub const ACTIONS: [(&str, Action, Class); 32] = [
    ("system", Action::System, Class::System),
    ("reset", Action::Reset, Class::Destructive),
    (
        "collection-by-resource-name",
        Action::CollectionByResourceName,
        Class::Read,
    ),
    ("create-tenant", Action::CreateTenant, Class::Write),
    ("get-tenant", Action::GetTenant, Class::Read),
    ("update-tenant", Action::UpdateTenant, Class::Write),
    ("list-databases", Action::ListDatabases, Class::Read),
    ("create-database", Action::CreateDatabase, Class::Write),
    ("get-database", Action::GetDatabase, Class::Read),
    (
        "delete-database",
        Action::DeleteDatabase,
        Class::Destructive,
    ),
    ("list-collections", Action::ListCollections, Class::Read),
    ("create-collection", Action::CreateCollection, Class::Write),
    ("count-collections", Action::CountCollections, Class::Read),
    ("get-collection", Action::GetCollection, Class::Read),
    (
        "get-collection-by-id",
        Action::GetCollectionById,
        Class::Read,
    ),
    ("update-collection", Action::UpdateCollection, Class::Write),
    (
        "delete-collection",
        Action::DeleteCollection,
        Class::Destructive,
    ),
    ("add", Action::Add, Class::Write),
    ("update", Action::Update, Class::Write),
    ("upsert", Action::Upsert, Class::Write),
    ("delete-records", Action::DeleteRecords, Class::Destructive),
    ("get", Action::Get, Class::Read),
    ("query", Action::Query, Class::Read),
    ("search", Action::Search, Class::Read),
    ("count", Action::Count, Class::Read),
    ("indexing-status", Action::IndexingStatus, Class::Read),
    ("fork", Action::Fork, Class::Write),
    ("fork-count", Action::ForkCount, Class::Read),
    ("attach-function", Action::AttachFunction, Class::Write),
    ("get-function", Action::GetFunction, Class::Read),
    (
        "detach-function",
        Action::DetachFunction,
        Class::Destructive,
    ),
    ("other", Action::Other, Class::Read),
];

/// Every class.
pub const CLASSES: [(&str, Class); 4] = [
    ("system", Class::System),
    ("read", Class::Read),
    ("write", Class::Write),
    ("destructive", Class::Destructive),
];

/// Every standing of an instance.
pub const STANDINGS: [(&str, Standing); 3] = [
    ("up", Standing::Up),
    ("suspect", Standing::Suspect),
    ("down", Standing::Down),
];

/// Everything that a guard is asked about.
pub const DEEDS: [(&str, Deed); 9] = [
    ("delete-records", Deed::DeleteRecords),
    ("delete-collection", Deed::DeleteCollection),
    ("rename-collection", Deed::RenameCollection),
    ("delete-database", Deed::DeleteDatabase),
    ("reset", Deed::Reset),
    ("delete-mapping", Deed::DeleteMapping),
    ("cleanup", Deed::Cleanup),
    ("trim", Deed::Trim),
    ("admin-delete", Deed::AdminDelete),
];

/// Every part of an operation that may be wanted.
pub const PARTS: [(&str, Parts); 6] = [
    ("tenant", Parts::TENANT),
    ("database", Parts::DATABASE),
    ("collection", Parts::COLLECTION),
    ("collection-id", Parts::COLLECTION_ID),
    ("client", Parts::CLIENT),
    ("sizes", Parts::SIZES),
];

/// What a word means.
pub fn named<T: Copy>(words: &[(&str, T)], wanted: &str) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == wanted)?;
    Some(found.1)
}

/// What something is called.
pub fn word<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> Option<&'static str> {
    let found = words.iter().find(|(_, meaning)| meaning == wanted)?;
    Some(found.0)
}

#[cfg(test)]
mod tests {
    use achromat_core::route::ROUTES;

    use super::*;
    use crate::policy::request::{action, class};

    const WIT: [&str; 3] = [
        include_str!("../../../wit/types.wit"),
        include_str!("../../../wit/routing.wit"),
        include_str!("../../../wit/cleanup-guard.wit"),
    ];

    /// The cases of an enum, or the flags, of this name.
    fn cases(head: &str) -> Vec<&'static str> {
        let found = WIT.iter().find_map(|text| text.split_once(head));
        let (_, rest) = found.expect("it is there");
        let (body, _) = rest.split_once('}').expect("its end");
        let lines = body.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with("///"))
            .map(|line| line.trim_end_matches(','))
            .collect()
    }

    /// The words are those of the contract, all of them.
    #[test]
    fn the_words_are_the_contracts() {
        assert_eq!(cases("enum action {"), ACTIONS.map(|row| row.0));
        assert_eq!(cases("enum class {"), CLASSES.map(|row| row.0));
        assert_eq!(cases("enum standing {"), STANDINGS.map(|row| row.0));
        assert_eq!(cases("enum deed {"), DEEDS.map(|row| row.0));
        assert_eq!(cases("flags parts {"), PARTS.map(|row| row.0));
    }

    /// An action has the class that its route has.
    #[test]
    fn actions_have_the_class_of_their_route() {
        for route in ROUTES {
            let known = ACTIONS.iter().find(|row| row.1 == action(route.action));
            let (name, _, known) = known.expect("a row");
            assert_eq!(*known, class(route.class), "{name}");
        }
    }
}
