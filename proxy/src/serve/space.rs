//! Quotas of space: collections in a database, and records in a collection.
//!
//! Collections are counted in the catalog. Records are counted by a server, but not at each write: the last count
//! and all ids that were written since are a bound of what there is, and only when that bound is beyond the quota
//! a server is asked again, also which of the ids it has already. Writes under way count as done, and so do those
//! that have ended while a server counted, so that many at once get no further than one after the other.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use achromat_core::{
    body,
    catalog::Collection,
    ids::CollectionId,
    log::{Entry, RecordAct, Verb},
    reply::Reply,
    view::View,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use super::App;

/// Counts of deleted collections that are kept at most.
const STALE_MAX: usize = 1024;

/// Number of times that a server is asked to count for one write, while others of the collection end.
const COUNTS_MAX: usize = 8;

/// Quotas of space; none where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Collections in a database.
    pub collections_max: Option<NonZeroU64>,
    /// Records in a collection.
    pub records_max: Option<NonZeroU64>,
}

/// Space that is taken, as far as it is known.
pub struct Space {
    limits: SpaceLimits,
    taken: Arc<Mutex<Taken>>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Taken {
    /// Collections on the way to be made, by tenant and database.
    making: BTreeMap<Home, u64>,
    records: BTreeMap<CollectionId, Records>,
}

/// A tenant and a database.
type Home = (Arc<str>, Arc<str>);

/// Records of one collection.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    /// Those under way, which a count may lack.
    under_way: u64,
    /// Those that were under way and have ended since the start, whatever came of them.
    ended: u64,
    /// More there can't be; none before the first count.
    most: Option<u64>,
}

/// Result of asking for space after a count.
enum Counted {
    Reserved(Reserved),
    Full,
    /// There would be space, were the writes that have ended meanwhile among those that were counted.
    Unsure,
}

/// Space for one write, until it is done.
pub(super) struct Reserved {
    taken: Arc<Mutex<Taken>>,
    what: What,
}

enum What {
    Collection(Home),
    Records(CollectionId, u64),
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        match &self.what {
            What::Collection(home) => {
                if let Slot::Occupied(mut count) = taken.making.entry(home.clone()) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
            What::Records(collection, count) => {
                if let Some(records) = taken.records.get_mut(collection) {
                    records.under_way = records.under_way.saturating_sub(*count);
                    records.ended = records.ended.wrapping_add(*count);
                }
            }
        }
    }
}

impl Space {
    /// Nothing is counted yet.
    pub fn new(limits: SpaceLimits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Writes that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Space for one more collection, beside the ones that are there.
    fn reserve_collection(&self, home: Home, there: u64, max: NonZeroU64) -> Option<Reserved> {
        let mut taken = self.taken.lock();
        let making = taken.making.get(&home).copied().unwrap_or(0);
        if there + making >= max.get() {
            return None;
        }
        taken.making.insert(home.clone(), making + 1);
        Some(self.reserved(What::Collection(home)))
    }

    /// Space for so many ids, when there is enough whatever they are.
    fn reserve_unseen(&self, id: CollectionId, count: u64, max: NonZeroU64) -> Option<Reserved> {
        let mut taken = self.taken.lock();
        let records = taken.records.entry(id).or_default();
        let most = records.most?.saturating_add(count);
        if most > max.get() {
            return None;
        }
        records.most = Some(most);
        records.under_way += count;
        Some(self.reserved(What::Records(id, count)))
    }

    /// Number of a collection's records whose writes have ended so far, to be taken down before a server counts.
    fn ended(&self, id: CollectionId) -> u64 {
        let taken = self.taken.lock();
        taken.records.get(&id).map_or(0, |records| records.ended)
    }

    /// The same when a server has said how many records it holds, of which so many are new ones, and so many writes
    /// had ended before that.
    fn reserve_counted(
        &self,
        id: CollectionId,
        (held, new): (u64, u64),
        ended: u64,
        max: NonZeroU64,
    ) -> Counted {
        let mut taken = self.taken.lock();
        let records = taken.records.entry(id).or_default();
        let least = held.saturating_add(records.under_way).saturating_add(new);
        let most = least.saturating_add(records.ended.wrapping_sub(ended));
        if new > 0 && least > max.get() {
            return Counted::Full;
        }
        if new > 0 && most > max.get() {
            return Counted::Unsure;
        }
        records.most = Some(most);
        records.under_way += new;
        Counted::Reserved(self.reserved(What::Records(id, new)))
    }

    fn reserved(&self, what: What) -> Reserved {
        Reserved {
            taken: Arc::clone(&self.taken),
            what,
        }
    }

    /// Forgets what was counted of collections that are gone.
    fn forget(&self, view: &View) {
        let mut taken = self.taken.lock();
        if taken.records.len() > view.catalog.len() + STALE_MAX {
            let is_there = |id: &CollectionId| view.catalog.get(*id).is_some();
            taken.records.retain(|id, _| is_there(id));
        }
    }

    fn refuse(&self, message: &str) -> Reply {
        self.refused.fetch_add(1, Relaxed);
        Reply::error(429, "QuotaExceeded", message)
    }
}

impl App {
    /// Makes sure that there is space for a write, for as long as what is returned is kept.
    pub(super) async fn reserve(
        &self,
        view: &View,
        entry: &Entry,
    ) -> Result<Option<Reserved>, Reply> {
        let limits = self.edge.quotas.space.limits;
        if let Some(max) = limits.collections_max
            && let Some(home) = home_of_new(view, &entry.verb)
        {
            return self.reserve_collection(view, &home, max).map(Some);
        }
        let Verb::Record { collection, act } = entry.verb else {
            return Ok(None);
        };
        let adds = matches!(act, RecordAct::Add | RecordAct::Upsert);
        let (Some(max), Some(collection)) = (
            limits.records_max.filter(|_| adds),
            view.catalog.get(collection),
        ) else {
            return Ok(None);
        };
        // Without ids Chroma refuses it.
        let Some(ids) = body::named_ids(&entry.body) else {
            return Ok(None);
        };
        self.reserve_records(view, collection, ids, max).await
    }

    fn reserve_collection(
        &self,
        view: &View,
        home: &Home,
        max: NonZeroU64,
    ) -> Result<Reserved, Reply> {
        let there = count(view.catalog.count_in(&home.0, &home.1));
        let space = &self.edge.quotas.space;
        space
            .reserve_collection(home.clone(), there, max)
            .ok_or_else(|| {
                space.refuse(&format!(
                    "The database {:?} has as many collections as quotas.collections_per_database_max allows ({max}): delete one, or have the quota raised",
                    home.1
                ))
            })
    }

    async fn reserve_records(
        &self,
        view: &View,
        collection: &Arc<Collection>,
        ids: Vec<String>,
        max: NonZeroU64,
    ) -> Result<Option<Reserved>, Reply> {
        let space = &self.edge.quotas.space;
        if let Some(reserved) = space.reserve_unseen(collection.id, count(ids.len()), max) {
            return Ok(Some(reserved));
        }
        space.forget(view);
        let mut counted = (0, 0);
        for _ in 0..COUNTS_MAX {
            let ended = space.ended(collection.id);
            // While no server can be asked nothing is refused: the log takes writes then, too.
            let Some(found) = self.count_new(view, collection, &ids).await else {
                return Ok(None);
            };
            counted = found;
            match space.reserve_counted(collection.id, counted, ended, max) {
                Counted::Reserved(reserved) => return Ok(Some(reserved)),
                Counted::Full => break,
                Counted::Unsure => {}
            }
        }
        Err(space.refuse(&format!(
            "The collection {:?} has {} records, with {} new ones it would have more than quotas.records_per_collection_max allows ({max}): delete some, or have the quota raised",
            collection.name, counted.0, counted.1
        )))
    }

    /// The number of records that a collection has, and how many of the ids are not among them.
    async fn count_new(
        &self,
        view: &View,
        collection: &Arc<Collection>,
        ids: &[String],
    ) -> Option<(u64, u64)> {
        let find = Bytes::from(json!({"ids": ids, "include": []}).to_string());
        let (held, known) = self.count_found(view, collection, &find).await?;
        Some((held, count(ids.len()).saturating_sub(known)))
    }
}

/// Tenant and database of a collection that a write makes; nothing when it makes none.
fn home_of_new(view: &View, verb: &Verb) -> Option<Home> {
    match verb {
        Verb::CreateCollection {
            tenant,
            database,
            name,
            ..
        } => {
            let named = name.as_deref();
            let there = named.and_then(|name| view.catalog.named(tenant, database, name));
            there.is_none().then(|| (tenant.clone(), database.clone()))
        }
        Verb::Fork { .. } => {
            let source = view.catalog.get(verb.subject()?)?;
            Some((source.tenant.clone(), source.database.clone()))
        }
        _ => None,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: NonZeroU64 = NonZeroU64::new(10).expect("not zero");

    fn id() -> CollectionId {
        CollectionId(uuid::Uuid::from_u128(1))
    }

    /// Collections on the way count beside those that are there, until they are there or came to nothing.
    #[test]
    fn collections_under_way_count() {
        let space = Space::new(SpaceLimits::default());
        let home: Home = ("t".into(), "d".into());
        let first = space.reserve_collection(home.clone(), 8, MAX);
        let second = space.reserve_collection(home.clone(), 8, MAX);
        assert!(first.is_some() && second.is_some());
        assert!(space.reserve_collection(home.clone(), 8, MAX).is_none());
        assert!(
            space
                .reserve_collection(("t".into(), "e".into()), 8, MAX)
                .is_some()
        );
        drop(first);
        assert!(space.reserve_collection(home, 8, MAX).is_some());
        drop(second);
        assert!(space.taken.lock().making.is_empty());
    }

    fn counted(space: &Space, counted: (u64, u64), ended: u64) -> Result<Reserved, bool> {
        match space.reserve_counted(id(), counted, ended, MAX) {
            Counted::Reserved(reserved) => Ok(reserved),
            Counted::Full => Err(false),
            Counted::Unsure => Err(true),
        }
    }

    /// A server is asked first, and again when the bound is reached; what is there already may be written on.
    #[test]
    fn records_are_counted_when_the_bound_is_reached() {
        let space = Space::new(SpaceLimits::default());
        let now = |counts| counted(&space, counts, space.ended(id()));
        let unseen = |count| space.reserve_unseen(id(), count, MAX);
        assert!(unseen(1).is_none(), "nothing is known");
        drop(now((5, 1)).expect("space"));
        for _ in 0..4 {
            drop(unseen(1).expect("space"));
        }
        assert!(unseen(1).is_none(), "it may be full");
        drop(now((6, 0)).expect("they were there"));
        let four = unseen(4).expect("space");
        assert_eq!(now((6, 1)).err(), Some(false), "four are under way");
        drop(four);
        assert_eq!(now((10, 1)).err(), Some(false), "it is full");
        assert!(now((12, 0)).is_ok(), "nothing is added");
    }

    /// A write that ends while a server counts may be among what was counted or not.
    #[test]
    fn what_ends_during_a_count_is_no_space() {
        let space = Space::new(SpaceLimits::default());
        let before = space.ended(id());
        let ten: Vec<_> = (0..10).map(|_| counted(&space, (0, 1), before)).collect();
        assert!(ten.iter().all(Result::is_ok));
        drop(ten);
        assert_eq!(counted(&space, (0, 1), before).err(), Some(true));
        assert_eq!(counted(&space, (10, 1), before).err(), Some(false));
        let now = space.ended(id());
        assert!(counted(&space, (9, 1), now).is_ok(), "one came to nothing");
    }
}
