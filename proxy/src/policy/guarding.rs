//! A guard's questions, made of what a write would destroy.

use std::{net::IpAddr, sync::Arc, time::Duration};

use achromat_core::{
    body::{self, DeleteFacts, ModifyFacts},
    catalog::{Catalog, Collection},
    log::{Entry, RecordAct, Verb},
    policy::{Permission, Subject},
    reply::{self, Reply},
    write::Permit,
};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::{
    asked::Asked,
    contract::guard::exports::achromat::policy::guard_policy::{Deed, Question, Records},
    limits::{FILTER_BYTES_MAX, IDS_BYTES_MAX, IDS_SHOWN_MAX},
    recorded::{RecordedConcern, RecordedRecords, Taking},
    request::{chosen, uuid},
    slot::{Generation, Slot},
    version::Wanted,
    words::word_of,
    world::GuardSlot,
};
use crate::clock;

/// The client that wants something destroyed.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// True when the client has shown the operator's token.
    pub is_operator: bool,
    /// The headers of the client's request.
    pub headers: &'a HeaderMap,
}

/// Number of records that a delete would hit, and of those that the collection has; `None` when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that the delete would hit.
    pub hit: Option<u64>,
    /// Records that the collection has.
    pub held: Option<u64>,
}

/// The object of a destruction.
#[derive(Clone, Copy, Default)]
struct Victim<'a> {
    tenant: Option<&'a str>,
    database: Option<&'a str>,
    collection: Option<&'a Collection>,
    new_name: Option<&'a str>,
    subject: Option<&'a str>,
}

impl<'a> Victim<'a> {
    fn collection(collection: &'a Collection) -> Self {
        Self {
            tenant: Some(&collection.tenant),
            database: Some(&collection.database),
            collection: Some(collection),
            new_name: None,
            subject: None,
        }
    }
}

/// A delete of records, as far as a guard sees it.
struct Deletion {
    ids: Vec<String>,
    filter: Option<String>,
    counted: Counted,
}

impl Deletion {
    fn of(body: &[u8], counted: Counted) -> Result<Self, Reply> {
        let facts: DeleteFacts<'_> = body::facts(body).unwrap_or_default();
        let mut filter = serde_json::Map::new();
        for (name, part) in [
            ("where", facts.filter),
            ("where_document", facts.where_document),
        ] {
            if let Some(value) = part
                .map(RawValue::get)
                .and_then(|t| serde_json::from_str(t).ok())
            {
                filter.insert(name.to_owned(), value);
            }
        }
        if let Some(limit) = facts.limit {
            filter.insert("limit".to_owned(), limit.into());
        }
        let filter = (!filter.is_empty()).then(|| serde_json::Value::Object(filter).to_string());
        if filter
            .as_ref()
            .is_some_and(|filter| filter.len() > FILTER_BYTES_MAX)
        {
            return Err(reply::body_too_large(FILTER_BYTES_MAX));
        }
        let ids = body::named_ids(body);
        let named = ids.as_ref().map(Vec::len);
        let named = named.filter(|_| filter.is_none());
        let named = named.and_then(|count| count.try_into().ok());
        Ok(Self {
            ids: shown(ids.unwrap_or_default()),
            filter,
            counted: Counted {
                hit: counted.hit.or(named),
                ..counted
            },
        })
    }
}

fn shown(mut ids: Vec<String>) -> Vec<String> {
    ids.truncate(IDS_SHOWN_MAX);
    let mut bytes = 0_usize;
    let fits = |id: &String| {
        bytes = bytes.saturating_add(id.len());
        bytes <= IDS_BYTES_MAX
    };
    ids.into_iter().take_while(fits).collect()
}

/// All that a guard is asked about one thing.
struct Concern<'a> {
    number: u64,
    deed: Deed,
    victim: Victim<'a>,
    deletion: Option<&'a Deletion>,
    asker: Asker<'a>,
}

impl Asked<GuardSlot> for Concern<'_> {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(Question<'_>) -> R) -> R {
        let Self {
            victim, deletion, ..
        } = self;
        let headers = chosen(self.asker.headers, &wanted.headers);
        let client = self.asker.client.map(|address| address.to_string());
        let ids: Vec<&str> = deletion.map_or_else(Vec::new, |deletion| {
            deletion.ids.iter().map(String::as_str).collect()
        });
        ask(Question {
            deed: self.deed,
            tenant: victim.tenant,
            database: victim.database,
            collection: victim.collection.map(|collection| collection.name.as_ref()),
            collection_id: victim.collection.map(|collection| uuid(collection.id.0)),
            new_name: victim.new_name,
            records: deletion.map(|deletion| Records {
                ids: &ids,
                filter: deletion.filter.as_deref(),
                count: deletion.counted.hit,
                held: deletion.counted.held,
            }),
            subject: victim.subject,
            client: client.as_deref(),
            is_operator: self.asker.is_operator,
            headers: &headers,
        })
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            number: self.number,
            tenant: self.victim.tenant,
            collection: self.victim.collection.map(|collection| &*collection.name),
        }
    }

    fn action(&self) -> &'static str {
        word_of(self.deed)
    }

    fn record(&self, taking: Taking<'_>) -> RecordedConcern {
        let victim = &self.victim;
        let text = |text: Option<&str>| text.map(str::to_owned);
        let shown = self.deletion.filter(|_| taking.contents);
        RecordedConcern {
            number: self.number,
            deed: self.deed,
            tenant: text(victim.tenant),
            database: text(victim.database),
            collection: victim
                .collection
                .map(|collection| collection.name.to_string()),
            collection_id: victim.collection.map(|collection| collection.id.0),
            new_name: text(victim.new_name),
            records: self.deletion.map(|deletion| RecordedRecords {
                ids: shown.map_or_else(Vec::new, |shown| shown.ids.clone()),
                filter: shown.and_then(|shown| shown.filter.clone()),
                count: deletion.counted.hit,
                held: deletion.counted.held,
            }),
            subject: text(victim.subject),
            client: self.asker.client.map(|address| address.to_string()),
            is_operator: self.asker.is_operator,
            headers: taking.headers(self.asker.headers),
        }
    }
}

impl Slot<GuardSlot> {
    /// Asks the guard about all that a write would destroy. Returns the time for which it must be
    /// possible to undo the write, or a refusal with its reason. A write that destroys nothing is
    /// not asked about.
    fn permits(
        &self,
        generation: &Generation<GuardSlot>,
        catalog: &Catalog,
        entry: &Entry,
        asker: Asker<'_>,
        counted: Counted,
    ) -> Result<Option<Duration>, Reply> {
        if generation.is_native() && !self.is_recording() {
            return Ok(None);
        }
        let ask = |deed, victim| self.ask(generation, deed, victim, None, asker);
        let subject = entry.verb.subject().and_then(|id| catalog.get(id));
        match (&entry.verb, subject) {
            (Verb::Reset, _) => {
                let all = catalog.collections();
                self.ask_of_each(generation, Deed::Reset, all, asker)?;
                ask(Deed::Reset, Victim::default())?;
            }
            (Verb::DeleteDatabase { tenant, database }, _) => {
                let within = catalog.collections_in(tenant, database);
                self.ask_of_each(generation, Deed::DeleteDatabase, within, asker)?;
                let victim = Victim {
                    tenant: Some(tenant),
                    database: Some(database),
                    ..Victim::default()
                };
                ask(Deed::DeleteDatabase, victim)?;
            }
            (Verb::DeleteCollection { .. }, Some(collection)) => {
                let (deed, victim) = (Deed::DeleteCollection, Victim::collection(collection));
                let decided = self.decided(generation, deed, victim, None, asker);
                return decided.map_err(|reason| reply::denied(&reason));
            }
            (Verb::ModifyCollection { new_name, .. }, Some(collection)) => {
                let is_readable = body::facts::<ModifyFacts<'_>>(&entry.body).is_some();
                let new_name = new_name
                    .as_deref()
                    .filter(|name| *name != &*collection.name);
                // A body that can't be read here could still be a rename.
                if !is_readable || new_name.is_some() {
                    let victim = Victim::collection(collection);
                    ask(Deed::RenameCollection, Victim { new_name, ..victim })?;
                }
            }
            (
                Verb::Record {
                    act: RecordAct::Delete,
                    ..
                },
                Some(collection),
            ) => {
                let deletion = Deletion::of(&entry.body, counted)?;
                let victim = Victim::collection(collection);
                self.ask(
                    generation,
                    Deed::DeleteRecords,
                    victim,
                    Some(&deletion),
                    asker,
                )?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Lets a write pass that may destroy what it would. What a plugin has allowed by name is what is
    /// destroyed in its turn, and nothing that came after it.
    pub fn pass(
        &self,
        generation: &Generation<GuardSlot>,
        catalog: &Catalog,
        permit: Permit,
        asker: Asker<'_>,
        counted: Counted,
    ) -> Result<Permit, Reply> {
        let trash = self.permits(generation, catalog, permit.entry(), asker, counted)?;
        match trash {
            Some(time) => permit.into_trash(catalog, clock::wall_time() + time),
            None if generation.is_native() => Ok(permit),
            None => Ok(permit.judged_by(catalog)),
        }
    }

    /// Asks the guard about a collection's clean-up. Returns the time for which it must be possible
    /// to undo it, or the reason of the denial.
    pub fn cleans(
        &self,
        collection: &Collection,
        asker: Asker<'_>,
    ) -> Result<Option<Duration>, String> {
        let victim = Victim::collection(collection);
        self.decided(&self.generation(), Deed::Cleanup, victim, None, asker)
    }

    /// Asks the guard about an operator's deed that can't be undone. Returns the reason when it is denied.
    pub fn allows(
        &self,
        generation: &Generation<GuardSlot>,
        deed: Deed,
        collection: Option<&Collection>,
        subject: Option<&str>,
        asker: Asker<'_>,
    ) -> Result<(), String> {
        let victim = collection.map_or_else(Victim::default, Victim::collection);
        let victim = Victim { subject, ..victim };
        self.decided(generation, deed, victim, None, asker)
            .and_then(for_good)
    }

    fn ask_of_each<'a>(
        &self,
        generation: &Generation<GuardSlot>,
        deed: Deed,
        collections: impl IntoIterator<Item = &'a Arc<Collection>>,
        asker: Asker<'_>,
    ) -> Result<(), Reply> {
        collections.into_iter().try_for_each(|collection| {
            let victim = Victim::collection(collection);
            self.ask(generation, deed, victim, None, asker)
        })
    }

    fn ask(
        &self,
        generation: &Generation<GuardSlot>,
        deed: Deed,
        victim: Victim<'_>,
        deletion: Option<&Deletion>,
        asker: Asker<'_>,
    ) -> Result<(), Reply> {
        self.decided(generation, deed, victim, deletion, asker)
            .and_then(for_good)
            .map_err(|reason| reply::denied(&reason))
    }

    /// Asks the guard about a deed. Returns the time for which it must be possible to undo it, or
    /// the reason of the denial.
    fn decided(
        &self,
        generation: &Generation<GuardSlot>,
        deed: Deed,
        victim: Victim<'_>,
        deletion: Option<&Deletion>,
        asker: Asker<'_>,
    ) -> Result<Option<Duration>, String> {
        let concern = Concern {
            number: self.next_number(),
            deed,
            victim,
            deletion,
            asker,
        };
        match self.consult(generation, &concern) {
            None | Some(Permission::Allow) => Ok(None),
            Some(Permission::Deny(reason)) => Err(reason),
            Some(Permission::Trash(time)) => Ok(Some(time)),
        }
    }
}

/// Denies a deed that the guard allows only with a time for undoing, because this deed can't be undone.
fn for_good(trash: Option<Duration>) -> Result<(), String> {
    trash.map_or(Ok(()), |time| {
        Err(format!(
            "the clean-up guard wants this to be undone for {} s; only the deletion of a collection can be, so it is denied",
            time.as_secs()
        ))
    })
}
