//! Decides if a client may be given an instance's answer: reads and writes are linearizable only when nothing
//! is shown that a later read, on another instance, may not find.
//!
//! An answer may show every entry that its instance had been sent when the answer's first byte came
//! ([`Exposure::new`]). It is given when all of them are decided: from then on only instances that
//! have them are read. Until then it is held. When one of them came to nothing, or the copy that was
//! read is not in service any more, the read is carried out again. Never asks an instance anything.

use crate::{
    catalog::Collection,
    ids::{CollectionId, InstanceId, InstanceIx, Position},
    planted::{Bug, Planted},
    progress::Progress,
    route::Action,
    view::View,
};

/// Part of the data that a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Nothing that clients change, or what they may see in any state.
    Nothing,
    /// Tenants and databases.
    Places,
    /// All collections of a database.
    List,
    /// A collection as it is called and made, on the instance that has it under this id.
    Description(CollectionId, Option<InstanceId>),
    /// The records of such a collection.
    Records(CollectionId, Option<InstanceId>),
}

impl Watched {
    /// The part that a read of an instance looks at.
    pub fn new(action: Action, collection: Option<&Collection>, instance: InstanceIx) -> Self {
        let copy = collection.map(|collection| (collection.id, collection.on(instance)));
        match (copy, action) {
            (_, Action::System | Action::CollectionByResourceName) => Self::Nothing,
            (Some((id, copy)), Action::GetCollection | Action::GetCollectionById) => {
                Self::Description(id, copy)
            }
            (Some((id, copy)), _) => Self::Records(id, copy),
            (None, Action::ListCollections | Action::CountCollections) => Self::List,
            (None, _) => Self::Places,
        }
    }

    fn copy(self) -> Option<(CollectionId, Option<InstanceId>)> {
        match self {
            Self::Description(id, copy) | Self::Records(id, copy) => Some((id, copy)),
            Self::Nothing | Self::Places | Self::List => None,
        }
    }

    /// Returns true when an entry of the schema lane, about one collection or about none, changes this part.
    fn is_changed_by(self, subject: Option<CollectionId>) -> bool {
        match self {
            Self::Nothing | Self::Records(..) => false,
            Self::Places => subject.is_none(),
            Self::List => true,
            Self::Description(id, _) => subject.is_none_or(|subject| subject == id),
        }
    }
}

/// The entries that had come to nothing when a read was sent to an instance, in its lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    schema: Position,
    records: Position,
}

impl Baseline {
    /// The baseline of a read that is planned by this view.
    pub fn new(view: &View, collection: Option<CollectionId>) -> Self {
        let lane = collection.and_then(|id| view.lanes.get(&id));
        Self {
            schema: view.schema.undone,
            records: lane.map_or(Position::default(), |lane| lane.undone),
        }
    }
}

/// Next step with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Give it to the client.
    Give,
    /// Wait: it may show a write whose outcome is not known yet.
    Hold,
    /// Throw it away and read again.
    ReadAgain,
}

/// The entries that an answer may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    instance: InstanceIx,
    watched: Watched,
    since: Baseline,
    /// The last ones, of the schema lane and of the collection's.
    schema: Position,
    records: Position,
    planted: Planted,
}

impl Exposure {
    /// The exposure of an answer whose first byte has come. `view` is the one that was published last.
    pub fn new(view: &View, instance: InstanceIx, watched: Watched, since: Baseline) -> Self {
        let sent = view.schema.sent_to(instance);
        let changes = view
            .changing
            .iter()
            .filter(|(position, subject)| *position <= sent && watched.is_changed_by(*subject));
        let records = watched.copy().and_then(|(id, _)| view.lanes.get(&id));
        Self {
            instance,
            watched,
            since,
            schema: changes
                .map(|(position, _)| *position)
                .max()
                .unwrap_or_default(),
            records: records.map_or(Position::default(), |lane| lane.sent_to(instance)),
            planted: Planted::NONE,
        }
    }

    /// The same with a bug, for the simulator.
    #[must_use]
    pub fn with(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// Decides the next step with the answer, by the present view.
    pub fn release(&self, view: &View) -> Release {
        let is_alone = view.standings.len() <= 1;
        if is_alone || self.watched == Watched::Nothing || self.planted.is(Bug::ShowsUndecided) {
            return Release::Give;
        }
        if !self.is_copy_in_service(view) {
            return Release::ReadAgain;
        }
        let watches_schema = !matches!(self.watched, Watched::Records(..));
        let schema = watches_schema.then_some((&view.schema, self.since.schema, self.schema));
        let records = self.watched.copy().and_then(|(id, _)| view.lanes.get(&id));
        let records = records.map(|lane| (lane, self.since.records, self.records));
        let lanes = || schema.into_iter().chain(records);
        if lanes().any(|(lane, undone, _)| lane.undone > undone) {
            Release::ReadAgain
        } else if lanes().all(|(lane, _, last)| self.is_decided(lane, last)) {
            Release::Give
        } else {
            Release::Hold
        }
    }

    /// Returns true when all entries that the answer may show are decided. An entry's answer may tell that
    /// fewer had been sent by then than `last` allows.
    fn is_decided(&self, lane: &Progress, last: Position) -> bool {
        last.min(lane.sent_to(self.instance)) <= lane.decided
    }

    fn is_copy_in_service(&self, view: &View) -> bool {
        let Some((id, copy)) = self.watched.copy() else {
            return true;
        };
        let collection = view.catalog.get(id);
        collection.is_some_and(|collection| {
            collection.is_served_by(self.instance) && collection.on(self.instance) == copy
        })
    }
}

#[cfg(test)]
mod tests;
