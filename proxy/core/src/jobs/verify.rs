//! Comparing the copies of a collection at equal positions, while writes go on.
//!
//! What no write has touched since both copies had everything is compared as it is met; what was
//! touched is compared again, the last of it while no write is let in. How the collections
//! themselves are made is compared as well. So nothing is called different that was only on its way.

use std::collections::BTreeMap;

use setsum::Setsum;

use super::{
    Finding, Places, Port, Stopped,
    adopt::MADE_DIFFERENTLY,
    chroma::{Address, Described},
    copy::{Compared, Pace, Pair, missing},
    naming::described_by_name,
};
use crate::{
    catalog::Change,
    ids::{CollectionId, InstanceIx, LaneId, Position},
    limits::DIFFERENCES_NAMED_MAX,
    record::Digest,
};

/// Differences between one copy and the copy that it was compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Number of ids that only the other copy has, and the first of them.
    pub missing: (u64, Vec<String>),
    /// Number of ids that only this copy has, and the first of them.
    pub extra: (u64, Vec<String>),
    /// Number of records that are not the same, and the first of their ids.
    pub different: (u64, Vec<String>),
    /// The parts in which the collections themselves are made differently: `metadata`,
    /// `configuration`, `schema`.
    pub unlike: Vec<&'static str>,
}

impl Differences {
    /// Returns true when there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.0 + self.extra.0 + self.different.0 == 0 && self.unlike.is_empty()
    }
}

/// One copy in a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedCopy {
    /// The instance.
    pub instance: InstanceIx,
    /// The multiset hash of its records (setsum), in hexadecimal.
    pub checksum: String,
    /// Against the first copy.
    pub differences: Differences,
}

/// Comparison of the copies of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The collection.
    pub collection: CollectionId,
    /// The position of its lane at which they were compared.
    pub position: Position,
    /// Number of records that the first copy has.
    pub records: u64,
    /// The copies; the others are compared with the first.
    pub copies: Vec<ComparedCopy>,
}

impl Comparison {
    /// Returns true when all copies are equal.
    pub fn is_equal(&self) -> bool {
        self.copies.iter().all(|copy| copy.differences.is_empty())
    }
}

/// Comparison of two copies so far.
#[derive(Default)]
struct Tally {
    source: BTreeMap<String, Digest>,
    /// Ids at which the target differs, with the target's digests; none where it lacks the record.
    differing: BTreeMap<String, Option<Digest>>,
}

impl Tally {
    fn take(&mut self, compared: &Compared) {
        for (id, ours, theirs) in &compared.digests {
            self.forget(id);
            if let Some(ours) = ours {
                self.source.insert(id.clone(), *ours);
            }
            if ours != theirs {
                self.differing.insert(id.clone(), *theirs);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.source.remove(id);
        self.differing.remove(id);
    }

    fn differences(&self) -> Differences {
        let mut differences = Differences::default();
        for (id, theirs) in &self.differing {
            let kind = match (self.source.contains_key(id), theirs) {
                (true, None) => &mut differences.missing,
                (false, _) => &mut differences.extra,
                (true, Some(_)) => &mut differences.different,
            };
            kind.0 += 1;
            if kind.1.len() < DIFFERENCES_NAMED_MAX {
                kind.1.push(id.clone());
            }
        }
        differences
    }

    fn checksums(&self) -> (String, String) {
        let (mut ours, mut theirs) = (Setsum::default(), Setsum::default());
        for (id, digest) in &self.source {
            ours.insert(digest);
            if !self.differing.contains_key(id) {
                theirs.insert(digest);
            }
        }
        for digest in self.differing.values().flatten() {
            theirs.insert(digest);
        }
        (ours.hexdigest(), theirs.hexdigest())
    }
}

/// Compares the first of these copies with each of the others. One that was not trusted and is
/// equal is trusted again; one that differs is not read any more until an operator has said which
/// is right.
pub(crate) async fn verify(
    port: Port,
    id: CollectionId,
    places: Places,
    pace: Pace,
) -> Result<Finding, Stopped> {
    if port.catalog().get(id).is_some_and(|c| c.home.is_some()) {
        let reason = "its writes are not logged: one instance alone has its records";
        return Ok(Finding::Refused(reason.to_owned()));
    }
    let Some((source, others)) = places.split_first() else {
        return Err(Stopped::because("no instance has it"));
    };
    let mut comparison = Comparison {
        collection: id,
        position: Position::default(),
        records: 0,
        copies: Vec::new(),
    };
    for target in others {
        compare_two(&port, &mut comparison, *source, *target, pace).await?;
    }
    let changes = verdicts(&port, &comparison);
    if !changes.is_empty() {
        port.settle(Vec::new(), changes).await;
    }
    Ok(Finding::Compared(comparison))
}

async fn compare_two(
    port: &Port,
    comparison: &mut Comparison,
    source: InstanceIx,
    target: InstanceIx,
    pace: Pace,
) -> Result<(), Stopped> {
    let gone = || Stopped::because("the collection is gone");
    let collection = port
        .catalog()
        .get(comparison.collection)
        .cloned()
        .ok_or_else(gone)?;
    let both = [source, target];
    let unlike = unlike(port, comparison.collection, both).await?;
    let mut pair = Pair::new(port.clone(), &collection, (source, target), pace).await?;
    let lane = pair.lane;
    let mut tally = Tally::default();
    port.watch(lane).await;
    let mut left = pair
        .approach(&both, |compared| tally.take(compared), false)
        .await?;
    comparison.position = port.hold(lane, &both).await;
    left.extend(pair.touched()?);
    let last: Vec<&str> = left.iter().map(String::as_str).collect();
    last.iter().for_each(|id| tally.forget(id));
    pair.each_batch(&last, |compared| tally.take(compared), false)
        .await?;
    port.release(lane).await;
    let (ours, theirs) = tally.checksums();
    comparison.records = u64::try_from(tally.source.len()).unwrap_or(u64::MAX);
    if comparison.copies.is_empty() {
        comparison.copies.push(ComparedCopy {
            instance: source,
            checksum: ours,
            differences: Differences::default(),
        });
    }
    comparison.copies.push(ComparedCopy {
        instance: target,
        checksum: theirs,
        differences: Differences {
            unlike,
            ..tally.differences()
        },
    });
    Ok(())
}

/// The parts in which two copies are made differently, and not only because a change of the
/// collection is on its way to one of them. A copy that is not there, while the other one is, is
/// made anew.
async fn unlike(
    port: &Port,
    id: CollectionId,
    both: [InstanceIx; 2],
) -> Result<Vec<&'static str>, Stopped> {
    if let [Some(ours), Some(theirs)] = described(port, id, both).await?
        && ours.unlike(&theirs).is_empty()
    {
        return Ok(Vec::new());
    }
    port.hold(LaneId::Schema, &both).await;
    let [source, target] = both;
    let gone = || Stopped::because("the collection is gone");
    let collection = port.catalog().get(id).cloned().ok_or_else(gone)?;
    let held = [
        described_by_name(port, &collection, source).await?,
        described_by_name(port, &collection, target).await?,
    ];
    let missing_on = match held {
        [Some(ours), Some(theirs)] => {
            port.release(LaneId::Schema).await;
            return Ok(ours.unlike(&theirs));
        }
        [Some(_), None] => target,
        [None, Some(_)] => source,
        [None, None] => return Err(Stopped::lacking("the collection is on neither instance")),
    };
    port.settle(Vec::new(), vec![missing(id, missing_on)]).await;
    Err(Stopped::because(
        "the collection is missing on an instance, where it is made anew",
    ))
}

/// Asks two instances for their descriptions of a collection now, under its name.
async fn described(
    port: &Port,
    id: CollectionId,
    both: [InstanceIx; 2],
) -> Result<[Option<Described>; 2], Stopped> {
    let catalog = port.catalog();
    let gone = || Stopped::because("the collection is gone");
    let collection = catalog.get(id).ok_or_else(gone)?;
    let (tenant, database) = (&collection.tenant, &collection.database);
    let named = Address::named(tenant, database, &collection.name);
    let [source, target] = both;
    let [ours, theirs] = [
        port.describe(source, &named).await?,
        port.describe(target, &named).await?,
    ];
    // What somebody has made under the name is not the copy.
    let is_copy = |described: &Described, instance| Some(described.id) == collection.on(instance);
    Ok([
        ours.filter(|ours| is_copy(ours, source)),
        theirs.filter(|theirs| is_copy(theirs, target)),
    ])
}

fn verdicts(port: &Port, comparison: &Comparison) -> Vec<Change> {
    let (id, catalog) = (comparison.collection, port.catalog());
    let is_distrusted = |instance: InstanceIx| {
        let copies = catalog.get(id).map(|collection| collection.copies.clone());
        copies.is_some_and(|copies| {
            copies
                .get(instance.at())
                .is_some_and(|copy| copy.distrust.is_some())
        })
    };
    let changes = comparison.copies.iter().map(|copy| {
        let (collection, instance) = (id, copy.instance);
        if !copy.differences.is_empty() {
            let reason = if copy.differences.unlike.is_empty() {
                "its records differ from the other copy's"
            } else {
                MADE_DIFFERENTLY
            };
            Some(Change::Distrusted {
                collection,
                instance,
                reason: reason.into(),
            })
        } else if is_distrusted(instance) {
            Some(Change::Healed {
                collection,
                instance,
            })
        } else {
            None
        }
    });
    changes.flatten().collect()
}
