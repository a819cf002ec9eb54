//! Making one instance's copy of a collection equal to another's, while writes go on.
//!
//! 1. From the start on, the ids that writes touch are collected (*watch*).
//! 2. All records are compared, a batch at a time, and what differs is deleted and added anew.
//! 3. What was touched meanwhile is compared again, in rounds, until little is touched.
//! 4. No further write is let into the lane (*hold*); the last touched records are compared; it is
//!    made durable that the copy stands where the lane stands; writes go on.
//!
//! So the pause is as long as the last few records take. Everything but the hold may be
//! interrupted and begun again: what is equal already is not written again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Finding, Port, Stopped,
    batch::BatchSize,
    chroma::{Address, Described, unreadable},
    discover::{NOT_LOOKED_FOR, take_in},
    naming::{described_by_name, unless_anothers},
};
use crate::{
    catalog::{Change, Collection},
    ids::{CollectionId, InstanceId, InstanceIx, LaneId},
    limits::COPY_ROUNDS_MAX,
    planted::{Bug, Planted},
    record::{self, Digest, Record, Vectors, records},
    route::Action,
};

/// Reason for not using a copy that is being made. A job that finds this reason goes on with that copy.
pub(crate) const BEING_REBUILT: &str = "it is being rebuilt";

/// Reason for not using a copy that was just made, and never had all records.
pub(crate) const BEING_MADE: &str = "it was made anew, and gets its records";

/// Reason for not using a copy that is being mended.
pub(crate) const BEING_REPAIRED: &str = "it is being repaired";

/// Speed limits for comparing and writing records, so that live traffic goes first.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records in a second.
    pub records_per_s: u32,
    /// Bytes that are compared at once; a record that has more is compared alone.
    pub batch_bytes_max: usize,
}

/// A collection on one instance.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) instance: InstanceIx,
    pub(crate) address: Address,
}

impl Side {
    pub(crate) fn new(collection: &Collection, instance: InstanceIx, id: InstanceId) -> Self {
        Self {
            instance,
            address: Address::copy(collection, id),
        }
    }

    pub(crate) fn of(collection: &Collection, instance: InstanceIx) -> Result<Self, Stopped> {
        let id = collection
            .on(instance)
            .ok_or_else(|| Stopped::because("the collection is not there"))?;
        Ok(Self::new(collection, instance, id))
    }
}

/// Comparison of two copies of some records.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// For each id that one of them has: its digest in the source, and in the target.
    pub(crate) digests: Vec<(String, Option<Digest>, Option<Digest>)>,
    /// The body of a `delete` of what the target must not have as it is.
    delete: Option<Bytes>,
    /// The body of an `add` of what the target lacks then.
    add: Option<Bytes>,
}

/// Compares two answers to the same `get`.
pub(crate) fn compare(source: &[u8], target: &[u8], vectors: Vectors) -> Option<Compared> {
    let by_id = |record: &Record<'_>| record.id.clone().into_owned();
    let (ours, theirs) = (records(source)?, records(target)?);
    let mut digests: Digests = ours
        .iter()
        .map(|r| (by_id(r), (Some(r.digest()), None)))
        .collect();
    for record in &theirs {
        digests.entry(by_id(record)).or_default().1 = Some(record.digest());
    }
    equate_copies(&mut digests, (&ours, &theirs), vectors);
    let differs = |id: &str| digests.get(id).is_some_and(|(a, b)| a != b);
    let wrong: Vec<&str> = theirs
        .iter()
        .map(|r| r.id.as_ref())
        .filter(|id| differs(id))
        .collect();
    let lacking: Vec<&Record<'_>> = ours.iter().filter(|r| differs(&r.id)).collect();
    Some(Compared {
        delete: (!wrong.is_empty()).then(|| record::delete_body(&wrong)),
        add: if lacking.is_empty() {
            None
        } else {
            Some(record::add_body(&lacking)?)
        },
        digests: digests.into_iter().map(|(id, (a, b))| (id, a, b)).collect(),
    })
}

/// For each id the digest in the source, and in the target.
type Digests = BTreeMap<String, (Option<Digest>, Option<Digest>)>;

/// A record that is a copy of the other as far as there can be one gets its digest.
fn equate_copies(
    digests: &mut Digests,
    (ours, theirs): (&[Record<'_>], &[Record<'_>]),
    vectors: Vectors,
) {
    let by_id: BTreeMap<&str, &Record<'_>> = ours.iter().map(|r| (r.id.as_ref(), r)).collect();
    for copy in theirs {
        let source = by_id.get(copy.id.as_ref());
        if let (Some(source), Some((ours, theirs))) = (source, digests.get_mut(copy.id.as_ref()))
            && ours != theirs
            && copy.is_copy_of(source, vectors)
        {
            *theirs = *ours;
        }
    }
}

/// Two copies of one collection.
pub(crate) struct Pair {
    pub(crate) port: Port,
    pub(crate) lane: LaneId,
    pub(crate) source: Side,
    pub(crate) target: Side,
    size: BatchSize,
    vectors: Vectors,
}

impl Pair {
    /// Two copies, compared as exactly as the source answers.
    pub(crate) async fn new(
        port: Port,
        collection: &Collection,
        (source, target): (InstanceIx, InstanceIx),
        pace: Pace,
    ) -> Result<Self, Stopped> {
        let mut pair = Self {
            lane: LaneId::Collection(collection.id),
            source: Side::of(collection, source)?,
            target: Side::of(collection, target)?,
            port,
            size: BatchSize::new(pace),
            vectors: Vectors::Exact,
        };
        let missing = || Stopped::lacking("a copy is gone before it is compared");
        let described = describe(&pair, &pair.source).await?.ok_or_else(missing)?;
        if !described.answers_exact_vectors() {
            pair.vectors = Vectors::Rounded;
        }
        Ok(pair)
    }

    /// The ids of all records, in the order of the source, so that a copy made anew has it as well;
    /// then those that only the target has.
    async fn all_ids(&self) -> Result<Vec<String>, Stopped> {
        let mut ids = self.ids(&self.source).await?;
        let known: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let mut others = self.ids(&self.target).await?;
        others.retain(|id| !known.contains(id.as_str()));
        ids.append(&mut others);
        Ok(ids)
    }

    /// These records of one side; none when they are more than may be fetched at once. A record that is
    /// too large alone stops the job: it will be as large at the next attempt.
    async fn fetch(&self, side: &Side, ids: &[&str]) -> Result<Option<Bytes>, Stopped> {
        let (body, bytes_max) = (record::get_body(ids), self.size.bytes_max(ids.len()));
        let fetched = self
            .port
            .get_at_most(side.instance, &side.address, body, bytes_max)
            .await?;
        match (fetched, ids) {
            (None, [id]) => Err(Stopped::lasting(format!(
                "the record {id:?} has more than {bytes_max} bytes, too many to be compared or copied"
            ))),
            (fetched, _) => Ok(fetched),
        }
    }

    /// These records of both sides.
    async fn fetch_both(&self, ids: &[&str]) -> Result<Option<(Bytes, Bytes)>, Stopped> {
        let Some(source) = self.fetch(&self.source, ids).await? else {
            return Ok(None);
        };
        let target = self.fetch(&self.target, ids).await?;
        Ok(target.map(|target| (source, target)))
    }

    /// Compares these records, a batch at a time, and hands each batch over. How many are in a batch
    /// follows what the last ones weighed.
    pub(crate) async fn each_batch(
        &mut self,
        ids: &[&str],
        mut take: impl FnMut(&Compared),
        mends: bool,
    ) -> Result<(), Stopped> {
        let mut rest = ids;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(self.size.records().min(rest.len()));
            let Some((source, target)) = self.fetch_both(batch).await? else {
                self.size.was_too_large(batch.len());
                continue;
            };
            let compared = compare(&source, &target, self.vectors)
                .ok_or_else(|| unreadable("a batch of records"))?;
            take(&compared);
            if mends {
                self.mend(&compared).await?;
            }
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            self.port.stage(|stage| stage.records += count);
            let bytes = source.len().max(target.len());
            self.size.took(batch.len(), bytes);
            let pause = self.size.pause(batch.len(), bytes);
            self.port.pause(pause).await;
            rest = later;
        }
        Ok(())
    }

    async fn mend(&self, compared: &Compared) -> Result<(), Stopped> {
        let (instance, address) = (self.target.instance, &self.target.address);
        for (action, body) in [
            (Action::DeleteRecords, &compared.delete),
            (Action::Add, &compared.add),
        ] {
            if let Some(body) = body {
                let length = u64::try_from(body.len()).unwrap_or(0);
                self.port.stage(|stage| stage.bytes += length);
                self.port
                    .must(instance, action, address, Some(body.clone()))
                    .await?;
            }
        }
        Ok(())
    }

    /// Compares everything, and then what was touched meanwhile, until little is. Returns the ids
    /// that are left for the hold. `waits_for` must have everything before each round.
    pub(crate) async fn approach(
        &mut self,
        waits_for: &[InstanceIx],
        mut take: impl FnMut(&Compared),
        mends: bool,
    ) -> Result<BTreeSet<String>, Stopped> {
        self.port.reach(self.lane, waits_for).await;
        let mut ids = self.all_ids().await?;
        let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        self.port.stage(|stage| {
            stage.doing = "comparing all records";
            stage.records_total = total;
        });
        for _ in 0..COPY_ROUNDS_MAX {
            let round: Vec<&str> = ids.iter().map(String::as_str).collect();
            self.each_batch(&round, &mut take, mends).await?;
            if self.port.touched_count() <= self.size.hold_records_max() {
                break;
            }
            ids = self.touched()?.into_iter().collect();
            self.port
                .stage(|stage| stage.doing = "comparing what was touched meanwhile");
            self.port.reach(self.lane, waits_for).await;
        }
        self.touched()
    }

    pub(crate) fn touched(&self) -> Result<BTreeSet<String>, Stopped> {
        let touched = self.port.touched();
        if touched.unknown {
            return Err(Stopped::because(
                "a write touched records that it did not name",
            ));
        }
        Ok(touched.ids)
    }
}

/// Makes the copy on `target` equal to the one on `source`, and uses it again.
pub(crate) async fn rebuild(
    port: Port,
    id: CollectionId,
    source: InstanceIx,
    target: InstanceIx,
    (pace, planted): (Pace, Planted),
) -> Result<Finding, Stopped> {
    if make(&port, id, source, target).await? == Made::ToBeCompared {
        return Ok(Finding::Done);
    }
    let gone = || Stopped::because("the collection is gone");
    let collection = port.catalog().get(id).cloned().ok_or_else(gone)?;
    let mut pair = Pair::new(port.clone(), &collection, (source, target), pace).await?;
    let lane = pair.lane;
    port.watch(lane).await;
    let mut left = pair.approach(&[source], |_| (), true).await?;
    port.stage(|stage| stage.doing = "taking the last step");
    let head = port.hold(lane, &[source]).await;
    left.extend(pair.touched()?);
    let last: Vec<&str> = left.iter().map(String::as_str).collect();
    if !planted.is(Bug::RebuildsWithoutLastStep) {
        pair.each_batch(&last, |_| (), true).await?;
    }
    same_dimension(&pair).await?;
    let healed = Change::Healed {
        collection: id,
        instance: target,
    };
    port.settle(vec![(lane, target, head)], vec![healed]).await;
    port.release(lane).await;
    Ok(Finding::Done)
}

/// A copy is not there, as is seen while nothing changes what collections there are.
pub(super) fn missing(collection: CollectionId, instance: InstanceIx) -> Change {
    Change::Quarantined {
        collection,
        instance,
        reason: "it is missing there".into(),
    }
}

/// An instance has no copy, nor its UUID.
pub(super) fn lost(collection: CollectionId, instance: InstanceIx) -> Change {
    Change::Lost {
        collection,
        instance,
        reason: "it is missing there".into(),
    }
}

/// An instance may have something under a collection's present name that is not its copy: it is found
/// by that name, whatever the collection is called by then.
pub(super) fn unsure(collection: &Collection, instance: InstanceIx) -> Change {
    Change::Unsure {
        collection: collection.id,
        instance,
        name: Arc::clone(&collection.name),
    }
}

/// A copy is there, and its records are to be made equal before it is used.
pub(super) fn to_be_rebuilt(
    collection: CollectionId,
    instance: InstanceIx,
    id: InstanceId,
) -> Vec<Change> {
    unused((collection, instance), id, BEING_REBUILT)
}

/// A copy is there and is not used, for a reason.
fn unused(
    (collection, instance): (CollectionId, InstanceIx),
    id: InstanceId,
    reason: &str,
) -> Vec<Change> {
    vec![
        Change::Copied {
            collection,
            instance,
            id,
        },
        Change::Quarantined {
            collection,
            instance,
            reason: reason.into(),
        },
    ]
}

/// Work that is left on a copy that is in its place.
#[derive(PartialEq, Eq)]
enum Made {
    /// Its records are to be made equal.
    ToBeFilled,
    /// It was found there, and is to be compared.
    ToBeCompared,
}

/// Makes the collection anew on the target, unless that was done before. Nothing changes what
/// collections there are, or what they are made like, meanwhile.
async fn make(
    port: &Port,
    id: CollectionId,
    source: InstanceIx,
    target: InstanceIx,
) -> Result<Made, Stopped> {
    port.stage(|stage| stage.doing = "making the collection");
    port.hold(LaneId::Schema, &[source, target]).await;
    let gone = || Stopped::because("the collection is gone");
    let collection = port.catalog().get(id).cloned().ok_or_else(gone)?;
    let (tenant, database) = (&collection.tenant, &collection.database);
    let named = Address::named(tenant, database, &collection.name);
    let Some(model) = described_by_name(port, &collection, source).await? else {
        // I27: it may be the last copy.
        return Err(Stopped::lacking("the collection is missing on its source"));
    };
    let there = port.describe(target, &named).await?;
    let there = unless_anothers(port, &collection, target, there).await?;
    let copy = collection.copies.get(target.at());
    let reason = copy.and_then(|copy| copy.quarantine.as_deref());
    if reason == Some(NOT_LOOKED_FOR)
        && let Some(there) = &there
    {
        port.release(LaneId::Schema).await;
        take_in(port, &collection, (source, target), there.id).await;
        return Ok(Made::ToBeCompared);
    }
    let begun = [BEING_MADE, BEING_REBUILT, BEING_REPAIRED];
    let goes_on = reason.is_some_and(|reason| begun.contains(&reason));
    let is_made = there.is_some_and(|there| {
        goes_on && collection.on(target) == Some(there.id) && there.may_become(&model)
    });
    if !is_made {
        let unsure = unsure(&collection, target);
        port.settle(Vec::new(), vec![unsure]).await;
        let made = port.make_like(target, &model, tenant, database).await?;
        let made = unused((id, target), made, BEING_MADE);
        port.settle(Vec::new(), made).await;
    }
    port.release(LaneId::Schema).await;
    if let (true, Some(reason), Some(copy)) = (is_made, reason, collection.on(target)) {
        // Durable before its records are changed: the next proxy would read them.
        let unused = unused((id, target), copy, reason);
        port.settle(Vec::new(), unused).await;
    }
    Ok(Made::ToBeFilled)
}

/// A collection that had records and has none left keeps its number of dimensions: a record is
/// added and deleted. (An `add` that is refused because its lengths differ would set it as well,
/// but when the collection was read before, Chroma 1.5.9 answers its reads 500 from then on.)
async fn same_dimension(pair: &Pair) -> Result<(), Stopped> {
    let port = &pair.port;
    let [ours, theirs] = [&pair.source, &pair.target].map(|side| dimension(pair, side));
    if let (Some(dimension), None) = (ours.await?, theirs.await?) {
        let zeros = vec![0; usize::try_from(dimension).unwrap_or(0)];
        let add = serde_json::json!({ "ids": [PASSING], "embeddings": [zeros] });
        let delete = record::delete_body(&[PASSING]);
        let bodies = [
            (Action::Add, add.to_string().into()),
            (Action::DeleteRecords, delete),
        ];
        for (action, body) in bodies {
            let target = &pair.target;
            port.must(target.instance, action, &target.address, Some(body))
                .await?;
        }
    }
    Ok(())
}

async fn dimension(pair: &Pair, side: &Side) -> Result<Option<u64>, Stopped> {
    let missing = || Stopped::because("a copy is gone while it is made equal");
    Ok(describe(pair, side).await?.ok_or_else(missing)?.dimension)
}

/// Asks an instance for the description of its copy by the copy's own id: a change of the collection's name
/// may be under way.
async fn describe(pair: &Pair, side: &Side) -> Result<Option<Described>, Stopped> {
    let (port, catalog) = (&pair.port, pair.port.catalog());
    let LaneId::Collection(id) = pair.lane else {
        return Ok(None);
    };
    let gone = || Stopped::because("the collection is gone");
    let collection = catalog.get(id).ok_or_else(gone)?;
    let copy = collection.on(side.instance).ok_or_else(gone)?;
    port.describe_copy(side.instance, collection, copy).await
}

/// The id of a record that is added and deleted at once.
const PASSING: &str = "achromat";
