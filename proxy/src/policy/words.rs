//! The contract's words, as they stand in `wit/`: what files and answers call actions, parts and the
//! rest.

use serde::{Deserialize, Deserializer, Serializer, de, ser};

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

/// A value that has a word in the contract.
pub trait Word: Copy + PartialEq + 'static {
    /// The name of the type, for messages.
    const WHAT: &'static str;

    /// Every value, with its word.
    fn words() -> impl Iterator<Item = (&'static str, Self)>;
}

impl Word for Action {
    const WHAT: &'static str = "action";

    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        ACTIONS.into_iter().map(|(word, action, _)| (word, action))
    }
}

impl Word for Class {
    const WHAT: &'static str = "class";

    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        CLASSES.into_iter()
    }
}

impl Word for Standing {
    const WHAT: &'static str = "standing";

    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        STANDINGS.into_iter()
    }
}

impl Word for Deed {
    const WHAT: &'static str = "deed";

    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        DEEDS.into_iter()
    }
}

/// The word of a value.
pub fn word_of<T: Word>(value: T) -> &'static str {
    let mut words = T::words();
    words
        .find(|(_, known)| *known == value)
        .map_or("other", |(word, _)| word)
}

/// Writes a value as its word, for serde.
pub fn serialize<T: Word, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    let word = T::words().find(|(_, known)| known == value);
    let (word, _) = word.ok_or_else(|| ser::Error::custom("it has no word in wit/"))?;
    to.serialize_str(word)
}

/// Reads a value from its word, for serde.
pub fn deserialize<'de, T: Word, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let word = String::deserialize(from)?;
    let value = T::words().find(|(known, _)| *known == word);
    let none = || de::Error::custom(format!("there is no {} {word:?} in wit/", T::WHAT));
    value.map(|(_, value)| value).ok_or_else(none)
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
