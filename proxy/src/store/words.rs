//! Values as both databases keep them.

use achromat_core::{
    ids::{CollectionId, InstanceIx, Key, LaneId, Position},
    key::{Fingerprint, KeyState},
    log::{Verb, Verdict},
    policy::{Decider, Digest, Origin, Slot, VersionId},
};
use uuid::Uuid;

use super::{InstanceNames, StoreError};

/// SQL's integers are signed; positions and times stay far below 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn position(number: i64) -> Position {
    Position(unsigned(number))
}

/// The schema lane's key is the nil UUID, which no collection has.
pub(super) fn lane_uuid(lane: LaneId) -> Uuid {
    match lane {
        LaneId::Schema => Uuid::nil(),
        LaneId::Collection(collection) => collection.0,
    }
}

pub(super) fn lane_named(id: Uuid) -> LaneId {
    if id.is_nil() {
        LaneId::Schema
    } else {
        LaneId::Collection(CollectionId(id))
    }
}

pub(super) fn verdict_word(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Open => None,
        Verdict::Accepted => Some("accepted"),
        Verdict::Found => Some("found"),
        Verdict::Refused { trace: false } => Some("refused"),
        Verdict::Refused { trace: true } => Some("refused with a trace"),
        Verdict::Abandoned => Some("abandoned"),
        Verdict::Void => Some("void"),
    }
}

pub(super) fn verdict(word: Option<&str>) -> Result<Verdict, StoreError> {
    let all = [
        Verdict::Open,
        Verdict::Accepted,
        Verdict::Found,
        Verdict::Refused { trace: false },
        Verdict::Refused { trace: true },
        Verdict::Abandoned,
        Verdict::Void,
    ];
    all.into_iter()
        .find(|verdict| verdict_word(*verdict) == word)
        .ok_or_else(|| StoreError::Unreadable(format!("a verdict {word:?}")))
}

pub(super) fn state_named(word: &str) -> Result<KeyState, StoreError> {
    let mut all = KeyState::ALL.into_iter();
    all.find(|state| state.as_str() == word)
        .ok_or_else(|| StoreError::Unreadable("the state of a key".to_owned()))
}

pub(super) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    let bytes = bytes.try_into();
    bytes
        .map(Fingerprint)
        .map_err(|_| StoreError::Unreadable("the fingerprint of a key".to_owned()))
}

pub(super) fn key(text: Option<&str>) -> Result<Option<Key>, StoreError> {
    let parse = |text: &str| {
        Key::stored(text).ok_or_else(|| StoreError::Unreadable(format!("a key {text:?}")))
    };
    text.map(parse).transpose()
}

fn of_a_plugin(what: &str, word: &str) -> StoreError {
    StoreError::Unreadable(format!("the {what} {word:?} of a plugin"))
}

pub(super) fn slot(word: &str) -> Result<Slot, StoreError> {
    Slot::parse(word).ok_or_else(|| of_a_plugin("slot", word))
}

pub(super) fn origin(word: &str) -> Result<Origin, StoreError> {
    Origin::parse(word).ok_or_else(|| of_a_plugin("origin", word))
}

pub(super) fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = bytes.try_into().map(Digest::from_bytes);
    digest.map_err(|_| of_a_plugin("digest", &format!("{bytes:02x?}")))
}

/// The word for a decider, and the number of the version that it is.
pub(super) fn decider_word(decider: Decider) -> (&'static str, Option<i64>) {
    match decider {
        Decider::Native => ("native", None),
        Decider::Version(id) => ("version", Some(signed(id.0))),
        Decider::Nobody => ("nobody", None),
    }
}

pub(super) fn decider(word: &str, version: Option<i64>) -> Result<Decider, StoreError> {
    match (word, version) {
        ("native", _) => Ok(Decider::Native),
        ("nobody", _) => Ok(Decider::Nobody),
        ("version", Some(id)) => Ok(Decider::Version(VersionId(unsigned(id)))),
        (word, _) => Err(of_a_plugin("decider", word)),
    }
}

pub(super) fn verb(text: &str) -> Result<Verb, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable(format!("an entry {text:?}: {error}")))
}

/// Place of the instance with a name; none when there is no such instance any more.
pub(super) fn place_of(names: &InstanceNames, name: &str) -> Option<InstanceIx> {
    InstanceIx::all(names.len())
        .zip(names.iter())
        .find(|(_, known)| known.as_ref() == name)
        .map(|(instance, _)| instance)
}

pub(super) fn name(names: &InstanceNames, instance: InstanceIx) -> Result<&str, sqlx::Error> {
    names
        .get(instance.at())
        .map(AsRef::as_ref)
        .ok_or(sqlx::Error::RowNotFound)
}
