//! Finding out which instances still have a collection.
//!
//! A 404 to a client's request is a suspicion and no more (rule 12 of the design). This job asks
//! the instances about the collection itself, by the UUID that each gave it, on a route that every
//! Chroma since 1.0.0 serves. Only what they say while nothing changes which collections there are
//! becomes a change of the catalog.

use smallvec::SmallVec;

use super::{
    Cursor, Finding, Places, Port, Stopped,
    chroma::Address,
    copy::{BEING_MADE, BEING_REBUILT, BEING_REPAIRED, lost, unsure},
    naming::unless_anothers,
};
use crate::{
    catalog::{Change, Collection, Copy},
    ids::{CollectionId, InstanceIx, LaneId, Position},
    planted::{Bug, Planted},
    route::Action,
};

/// The reason of a quarantine whose copy was made by a create that expected an older one there: the
/// copy is empty.
pub(crate) const MADE_EMPTY: &str = "it was missing there and was made anew, without its records";

/// Asks `places` for their copies of a collection. A copy that is not there is made anew; a
/// collection of which no copy is left anywhere is gone.
pub(crate) async fn locate(
    port: Port,
    id: CollectionId,
    places: Places,
    planted: Planted,
) -> Result<Finding, Stopped> {
    port.stage(|stage| stage.doing = "asking who has the collection");
    if missing(&port, id, &places).await?.is_empty() && !is_stuck(&port, id) {
        return Ok(Finding::Done);
    }
    let at = port.hold(LaneId::Schema, &places).await;
    let mut missing = missing(&port, id, &places).await?;
    let Some(collection) = port.catalog().get(id).cloned() else {
        return Ok(Finding::Done);
    };
    let left = left_over(&collection, &missing);
    if !left.iter().all(|instance| places.contains(instance)) {
        return Err(Stopped::because(
            "an instance that may have the rest of the collection is not in service",
        ));
    }
    remove(&port, &collection, &left).await?;
    missing.extend(left);
    let decided = port.decided(LaneId::Collection(id)).await;
    let (cursors, changes) = conclude(&collection, &missing, (at, decided));
    let is_gone = matches!(changes.first(), Some(Change::Gone { .. }));
    let forgets = is_gone && planted.is(Bug::NeverGone);
    if !changes.is_empty() && !forgets {
        port.settle(cursors, changes).await;
    }
    port.release(LaneId::Schema).await;
    Ok(Finding::Done)
}

/// Returns true when no instance has a sound copy: a copy that was made empty may be all that there is.
fn is_stuck(port: &Port, id: CollectionId) -> bool {
    port.catalog().get(id).is_some_and(|collection| {
        !InstanceIx::all(collection.copies.len()).any(|i| collection.is_sound_on(i))
    })
}

/// The instances among `places` that say that their copy does not exist.
async fn missing(
    port: &Port,
    id: CollectionId,
    places: &[InstanceIx],
) -> Result<SmallVec<[InstanceIx; 2]>, Stopped> {
    let mut missing = SmallVec::new();
    for instance in places {
        let catalog = port.catalog();
        let Some(collection) = catalog.get(id) else {
            return Ok(missing);
        };
        let Some(copy) = collection.on(*instance) else {
            continue;
        };
        let address = Address::copy(collection, copy);
        let reply = port
            .request(*instance, Action::Count, &address, None)
            .await?;
        // A server that lacked the route would answer with an empty body.
        if reply.status == 404 && !reply.body.is_empty() {
            missing.push(*instance);
        }
    }
    Ok(missing)
}

/// The instances that may have something under a collection's name, when those that were known to have a copy
/// say that it does not exist. What is there never was a whole copy, or is from the past.
fn left_over(collection: &Collection, missing: &[InstanceIx]) -> Places {
    let all = || InstanceIx::all(collection.copies.len());
    let is_known = |i: &InstanceIx| collection.on(*i).is_some();
    if missing.is_empty() || all().any(|i| is_known(&i) && !missing.contains(&i)) {
        return Places::new();
    }
    all()
        .filter(|i| !is_known(i) && may_be_on(collection, *i))
        .collect()
}

/// Removes what instances have under the name that a copy may have there. The caller holds the schema lane.
async fn remove(
    port: &Port,
    collection: &Collection,
    places: &[InstanceIx],
) -> Result<(), Stopped> {
    for instance in places {
        let copy = collection.copies.get(instance.at());
        let Some(name) = copy.and_then(|copy| copy.unsure.as_ref()) else {
            continue;
        };
        let named = Address::named(&collection.tenant, &collection.database, name);
        let there = port.describe(*instance, &named).await?;
        let there = unless_anothers(port, collection, *instance, there).await?;
        if there.is_some() {
            port.remove(*instance, Action::DeleteCollection, &named)
                .await?;
        }
    }
    Ok(())
}

/// The cursors and changes that follow when these copies are missing. I27: the last sound copy goes
/// out of service only when its instance says that it does not exist.
///
/// `schema` is the position of the schema lane, `decided` that of the collection's last decided
/// entry.
fn conclude(
    collection: &Collection,
    missing: &[InstanceIx],
    (schema, decided): (Position, Position),
) -> (Vec<Cursor>, Vec<Change>) {
    let id = collection.id;
    let left: Vec<InstanceIx> = InstanceIx::all(collection.copies.len())
        .filter(|instance| !missing.contains(instance) && may_be_on(collection, *instance))
        .collect();
    if left.is_empty() {
        let gone = Change::Gone {
            collection: id,
            at: schema,
        };
        return (Vec::new(), vec![gone]);
    }
    let is_for = |i: &InstanceIx, reason: &str| {
        let copy = collection.copies.get(i.at());
        copy.is_some_and(|copy| copy.quarantine.as_deref() == Some(reason))
    };
    let is_empty_one = |i: &InstanceIx| is_for(i, MADE_EMPTY);
    // A create that made an empty copy may have made others that nobody heard of.
    let was_made_empty = InstanceIx::all(collection.copies.len()).any(|i| is_empty_one(&i));
    let mut changes: Vec<Change> = Vec::new();
    for instance in missing {
        changes.push(lost(id, *instance));
        if was_made_empty {
            changes.push(unsure(collection, *instance));
        }
    }
    // A copy that was to be made equal to another one, which is gone, is the best that is left: those
    // that are being rebuilt may be from the past. Without one, a copy that was made empty is all that
    // there is: what its clients see is an empty collection. One that a job has made, or wanted to make,
    // never was whole.
    let is_to_be_repaired = |i: &InstanceIx| is_for(i, BEING_REPAIRED);
    let best = left.iter().find(|i| is_to_be_repaired(i));
    let is_worse = |i: &InstanceIx| {
        let is_older = is_to_be_repaired(i) || is_for(i, BEING_REBUILT);
        (best.is_some() && is_older) || is_empty_one(i) || is_for(i, BEING_MADE)
    };
    let mut known = left.iter().filter(|i| collection.on(**i).is_some());
    match best.or_else(|| left.iter().find(|i| is_empty_one(i))) {
        Some(first) if known.all(is_worse) => {
            changes.push(Change::Healed {
                collection: id,
                instance: *first,
            });
            let cursor = (LaneId::Collection(id), *first, decided);
            (vec![cursor], changes)
        }
        _ => (Vec::new(), changes),
    }
}

fn may_be_on(collection: &Collection, instance: InstanceIx) -> bool {
    let copy = collection.copies.get(instance.at());
    copy.is_some_and(Copy::may_be_there)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::InstanceId;

    const A: InstanceIx = InstanceIx(0);
    const B: InstanceIx = InstanceIx(1);

    fn copy(id: u128, quarantine: Option<&str>) -> Copy {
        Copy {
            id: (id > 0).then(|| InstanceId(Uuid::from_u128(id))),
            quarantine: quarantine.map(Into::into),
            ..Copy::default()
        }
    }

    fn concluded(copies: [Copy; 2], missing: &[InstanceIx]) -> String {
        let collection = Collection {
            id: CollectionId(Uuid::from_u128(1)),
            tenant: "t".into(),
            database: "d".into(),
            name: "abc".into(),
            made_at: Position(1),
            gone_at: None,
            home: None,
            copies: copies.into(),
        };
        let (cursors, changes) = conclude(&collection, missing, (Position(7), Position(3)));
        let shown = changes.iter().map(|change| match change {
            Change::Gone { at, .. } => format!("gone at {}", at.0),
            Change::Lost { instance, .. } => format!("lost on {}", instance.0),
            Change::Unsure { instance, .. } => format!("unsure on {}", instance.0),
            Change::Healed { instance, .. } => format!("healed on {}", instance.0),
            other => format!("{other:?}"),
        });
        let placed = cursors
            .iter()
            .map(|(_, instance, at)| format!("{} at {}", instance.0, at.0));
        shown.chain(placed).collect::<Vec<_>>().join(", ")
    }

    /// A missing copy is lost while another one is there; the collection is gone when none is.
    #[test]
    fn missing_copies_are_lost_and_the_last_one_ends_the_collection() {
        let made_empty = || copy(13, Some(MADE_EMPTY));
        let unheard_of = || Copy {
            unsure: Some("abc".into()),
            ..copy(0, Some("it is missing there"))
        };
        let cases = [
            ([copy(11, None), copy(12, None)], vec![B], "lost on 1"),
            ([copy(11, None), copy(12, None)], vec![A, B], "gone at 7"),
            ([copy(11, None), copy(0, Some("new"))], vec![A], "gone at 7"),
            (
                [made_empty(), copy(12, None)],
                vec![B],
                "lost on 1, unsure on 1, healed on 0, 0 at 3",
            ),
            // B could not be asked: its copy may be there, and has the records.
            ([made_empty(), copy(12, None)], vec![], ""),
            // Nor is one that a job wanted to make, and of which it never heard.
            ([made_empty(), unheard_of()], vec![], "healed on 0, 0 at 3"),
            // Nor is one that a job has made and not filled: its source is the empty one.
            (
                [made_empty(), copy(12, Some(BEING_MADE))],
                vec![],
                "healed on 0, 0 at 3",
            ),
            // One that came back from the past has records of its own.
            (
                [made_empty(), copy(12, Some("it is being rebuilt"))],
                vec![],
                "",
            ),
            // One that was to be made equal to the one that is missing is the best that is left, unless
            // another one is there, or could not be asked.
            (
                [copy(11, None), copy(12, Some(BEING_REPAIRED))],
                vec![A],
                "lost on 0, healed on 1, 1 at 3",
            ),
            (
                [
                    copy(0, Some("it is missing there")),
                    copy(12, Some(BEING_REPAIRED)),
                ],
                vec![],
                "healed on 1, 1 at 3",
            ),
            ([copy(11, None), copy(12, Some(BEING_REPAIRED))], vec![], ""),
            (
                [made_empty(), copy(12, Some(BEING_REPAIRED))],
                vec![],
                "healed on 1, 1 at 3",
            ),
            // The one that it was to be made equal to has come back from the past.
            (
                [
                    copy(11, Some(BEING_REBUILT)),
                    copy(12, Some(BEING_REPAIRED)),
                ],
                vec![],
                "healed on 1, 1 at 3",
            ),
            // A copy in the making is not a whole one.
            (
                [copy(11, Some("it is being rebuilt")), copy(12, None)],
                vec![B],
                "lost on 1",
            ),
        ];
        for (copies, missing, expected) in cases {
            let shown = format!("{copies:?} {missing:?}");
            assert_eq!(concluded(copies, &missing), expected, "{shown}");
        }
    }
}
