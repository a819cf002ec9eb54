//! The records of one collection, in the order in which their ids first came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imbl::OrdMap;

use super::fields::{Changes, Fields, Kind, merge};

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub embedding: Arc<[f32]>,
    pub document: Option<Arc<str>>,
    pub metadata: Fields,
    pub uri: Option<Arc<str>>,
}

/// What a write says of one record. What it does not say stays as it was.
pub(super) struct Change {
    pub(super) embedding: Option<Arc<[f32]>>,
    pub(super) document: Option<Arc<str>>,
    pub(super) metadata: Option<Changes>,
    pub(super) uri: Option<Arc<str>>,
}

/// All records of a collection.
#[derive(Clone, Default)]
pub(super) struct Records {
    places: OrdMap<Arc<str>, u64>,
    rows: OrdMap<u64, (Arc<str>, Arc<Record>)>,
    next_place: u64,
    /// Of which kinds the fields have ever been. Chroma shows them in the collection's schema, so
    /// that two servers with the same records may still describe them differently.
    kinds: OrdMap<Arc<str>, BTreeSet<Kind>>,
}

impl Record {
    /// What an answer says of its metadata: that there is none, unless the record has a URI, which
    /// Chroma keeps in the same place.
    pub(super) fn shown_metadata(&self) -> Option<&Fields> {
        let is_shown = !self.metadata.is_empty() || self.uri.is_some();
        is_shown.then_some(&self.metadata)
    }

    fn take(&mut self, change: Change) {
        if let Some(embedding) = change.embedding {
            self.embedding = embedding;
        }
        if change.document.is_some() {
            self.document = change.document;
        }
        if change.uri.is_some() {
            self.uri = change.uri;
        }
        if let Some(changes) = &change.metadata {
            merge(&mut self.metadata, changes);
        }
    }
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// Those with one of these ids, or all, in their order.
    pub(super) fn among<'a>(
        &'a self,
        ids: Option<&[Arc<str>]>,
    ) -> Box<dyn Iterator<Item = (&'a Arc<str>, &'a Arc<Record>)> + 'a> {
        let Some(ids) = ids else {
            return Box::new(self.rows.values().map(|(id, record)| (id, record)));
        };
        let mut places: Vec<u64> = ids
            .iter()
            .filter_map(|id| self.places.get(id))
            .copied()
            .collect();
        places.sort_unstable();
        places.dedup();
        let row = |place| self.rows.get(&place).map(|(id, record)| (id, record));
        Box::new(places.into_iter().filter_map(row))
    }

    /// The records by their ids.
    pub(super) fn by_id(&self) -> BTreeMap<Arc<str>, Arc<Record>> {
        let named = self
            .rows
            .values()
            .map(|(id, record)| (Arc::clone(id), Arc::clone(record)));
        named.collect()
    }

    pub(super) fn kinds(&self) -> &OrdMap<Arc<str>, BTreeSet<Kind>> {
        &self.kinds
    }

    fn learn_kinds(&mut self, changes: &Changes) {
        for (name, value) in changes {
            if let Some(value) = value {
                let kinds = self.kinds.entry(Arc::clone(name)).or_default();
                kinds.insert(value.kind());
            }
        }
    }

    /// A new record; one that is there stays as it is.
    pub(super) fn add(&mut self, id: &Arc<str>, change: Change) {
        if self.has(id) {
            return;
        }
        let mut record = Record {
            embedding: Arc::from([]),
            document: None,
            metadata: Fields::new(),
            uri: None,
        };
        change
            .metadata
            .iter()
            .for_each(|changes| self.learn_kinds(changes));
        record.take(change);
        self.places.insert(Arc::clone(id), self.next_place);
        let row = (Arc::clone(id), Arc::new(record));
        self.rows.insert(self.next_place, row);
        self.next_place += 1;
    }

    /// Changes a record that is there.
    pub(super) fn update(&mut self, id: &str, change: Change) {
        if !self.has(id) {
            return;
        }
        change
            .metadata
            .iter()
            .for_each(|changes| self.learn_kinds(changes));
        let row = self
            .places
            .get(id)
            .and_then(|place| self.rows.get_mut(place));
        if let Some((_, record)) = row {
            Arc::make_mut(record).take(change);
        }
    }

    /// Changes a record, or adds it.
    pub(super) fn upsert(&mut self, id: &Arc<str>, change: Change) {
        if self.has(id) {
            self.update(id, change);
        } else {
            self.add(id, change);
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.rows.remove(&place);
        }
    }
}
