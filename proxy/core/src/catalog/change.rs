//! Parts of the catalog, and the changes that they can go through.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    ids::{CollectionId, DatabaseId, InstanceId, InstanceIx, Position, Token},
    trash,
};

/// A collection on one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The UUID that the instance gave it; none as long as it is not there.
    pub id: Option<InstanceId>,
    /// Reason for not using the copy, when it is quarantined: it gets no writes and is made anew.
    pub quarantine: Option<Arc<str>>,
    /// Reason for not reading the copy, when it is distrusted: it gets all writes, but may differ from the
    /// other copies, and an operator must say which of them is right.
    pub distrust: Option<Arc<str>>,
    /// The name under which the instance may have a copy that is not known: a job has made one, or is about
    /// to. Deleting the collection, or renaming it to another name than this one, deletes that copy as well.
    pub unsure: Option<Arc<str>>,
}

impl Copy {
    /// Returns true when the copy may be read.
    pub fn is_served(&self) -> bool {
        self.id.is_some() && self.quarantine.is_none() && self.distrust.is_none()
    }

    /// Returns true when the instance has a copy, or may have one that is not known.
    pub fn may_be_there(&self) -> bool {
        self.id.is_some() || self.unsure.is_some()
    }
}

/// A collection, with its copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// The id that clients see.
    pub id: CollectionId,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Its database.
    pub database: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The entry of the schema lane that made it; lists are in this order.
    pub made_at: Position,
    /// The entry of the schema lane that deleted it. Kept until every instance has applied that
    /// entry, because until then the instances behind still need the mapping.
    pub gone_at: Option<Position>,
    /// The instance that alone gets its writes, which are not logged, and is alone read. What becomes
    /// of the other copies does not matter then.
    #[serde(default)]
    pub home: Option<InstanceIx>,
    /// One for each instance.
    pub copies: SmallVec<[Copy; 2]>,
}

impl Collection {
    /// Its UUID on an instance.
    pub fn on(&self, instance: InstanceIx) -> Option<InstanceId> {
        self.copies.get(instance.at()).and_then(|copy| copy.id)
    }

    /// Returns true when an instance has a copy that is read.
    pub fn is_served_by(&self, instance: InstanceIx) -> bool {
        self.home.is_none_or(|home| home == instance) && self.is_sound_on(instance)
    }

    /// Returns true when the collection waits in the trash, where no client finds it.
    pub fn is_in_trash(&self) -> bool {
        trash::holds(&self.name)
    }

    /// Returns true when an instance has a copy as it should be.
    pub fn is_sound_on(&self, instance: InstanceIx) -> bool {
        self.copies.get(instance.at()).is_some_and(Copy::is_served)
    }

    /// Returns true when every instance has a copy.
    pub fn is_complete(&self) -> bool {
        self.copies.iter().all(|copy| copy.id.is_some())
    }

    /// Ends the collection's home, if this instance is it: what the home alone had is lost with its copy, and
    /// the others' copies count again.
    pub(super) fn leave(&mut self, instance: InstanceIx) {
        self.home = self.home.filter(|home| *home != instance);
    }

    pub(super) fn copy_mut(&mut self, instance: InstanceIx) -> &mut Copy {
        if self.copies.len() <= instance.at() {
            self.copies.resize(instance.at() + 1, Copy::default());
        }
        #[allow(clippy::indexing_slicing, reason = "resized just above")]
        &mut self.copies[instance.at()]
    }
}

/// A database and its tenant.
pub type Namespace = (Arc<str>, Arc<str>);

/// One change of the catalog; applying the same one twice changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what they say")]
pub enum Change {
    Made(Arc<Collection>),
    Copied {
        collection: CollectionId,
        instance: InstanceIx,
        id: InstanceId,
    },
    Quarantined {
        collection: CollectionId,
        instance: InstanceIx,
        reason: Arc<str>,
    },
    Distrusted {
        collection: CollectionId,
        instance: InstanceIx,
        reason: Arc<str>,
    },
    /// From now on there may be a copy of this name there that is not known, whatever was known of one.
    Unsure {
        collection: CollectionId,
        instance: InstanceIx,
        name: Arc<str>,
    },
    Renamed {
        collection: CollectionId,
        name: Arc<str>,
    },
    Gone {
        collection: CollectionId,
        at: Position,
    },
    Forgotten {
        collection: CollectionId,
    },
    DatabaseMade {
        namespace: Namespace,
        id: DatabaseId,
    },
    DatabaseGone {
        namespace: Namespace,
    },
    TenantMade {
        tenant: Arc<str>,
    },
    /// From now on one instance alone has its records; or all have again.
    Homed {
        collection: CollectionId,
        home: Option<InstanceIx>,
    },
    /// A copy is as it should be again: it is used.
    Healed {
        collection: CollectionId,
        instance: InstanceIx,
    },
    /// A copy is not there (any more).
    Lost {
        collection: CollectionId,
        instance: InstanceIx,
        reason: Arc<str>,
    },
    /// The record of an instance as a whole is replaced.
    Instance {
        instance: InstanceIx,
        record: InstanceRecord,
    },
    /// An instance shows this token from now on.
    Token {
        instance: InstanceIx,
        token: Token,
    },
}

/// The collection of ours on an instance by which its data is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Its UUID there.
    pub id: InstanceId,
    /// The last token that is known to stand in it.
    pub token: Token,
}

/// Facts about an instance as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// The collection by which its data is known again.
    pub marker: Option<Marker>,
    /// Reason for not using the instance until it is restored, when it is quarantined.
    pub quarantine: Option<Arc<str>>,
}

#[cfg(test)]
impl Collection {
    /// A collection of tests, in the tenant `t` and the database `d`; a copy of the number 0 is not there.
    pub(crate) fn sample(number: u128, name: &str, copies: [u128; 2]) -> Self {
        let copy = |number| Copy {
            id: (number > 0).then(|| InstanceId(uuid::Uuid::from_u128(number))),
            ..Copy::default()
        };
        Self {
            id: CollectionId(uuid::Uuid::from_u128(number)),
            tenant: "t".into(),
            database: "d".into(),
            name: name.into(),
            made_at: Position(1),
            gone_at: None,
            home: None,
            copies: copies.map(copy).into(),
        }
    }
}
