//! Making a collection known, or unknown, by an operator's word.

use std::sync::Arc;

use super::{
    Finding, Places, Port, Stopped,
    adopt::NOT_COMPARED,
    chroma::{Address, Described},
};
use crate::{
    catalog::{Catalog, Change, Collection, Copy},
    ids::{CollectionId, InstanceId, InstanceIx, LaneId, Position},
    own::is_own,
};

/// A collection as an operator describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Its database.
    pub database: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UUIDs on instances.
    pub copies: Vec<(InstanceIx, InstanceId)>,
}

/// Makes a collection known under these UUIDs, once each instance has confirmed its own. The first
/// of them is the clients' id, unless the collection has one; the other copies are read as soon as
/// they were found equal.
pub(crate) async fn map(port: Port, mapping: Mapping, count: usize) -> Result<Finding, Stopped> {
    if is_own(&mapping.tenant) {
        let reason = "the collections of this tenant are Achromat's own";
        return Ok(Finding::Refused(reason.to_owned()));
    }
    port.stage(|stage| stage.doing = "asking the instances");
    let places: Places = mapping.copies.iter().map(|(place, _)| *place).collect();
    let head = port.hold(LaneId::Schema, &places).await;
    let catalog = port.catalog();
    let known = catalog
        .named(&mapping.tenant, &mapping.database, &mapping.name)
        .cloned();
    let own = known.as_ref().map(|known| known.id);
    for (place, id) in &mapping.copies {
        let other = catalog.of_instance_id(*id).map(|other| other.id);
        if other.is_some() && other != own {
            return Ok(Finding::Refused(format!(
                "{id} is another collection's already"
            )));
        }
        let named = Address::named(&mapping.tenant, &mapping.database, &mapping.name);
        let found = port.describe(*place, &named).await?;
        if let Some(reason) = objection(found.as_ref(), *id, &mapping.name) {
            return Ok(Finding::Refused(reason));
        }
    }
    let changes = match known {
        Some(known) => remap(&known, &mapping),
        None => vec![make(&catalog, &mapping, count, head)],
    };
    port.settle(Vec::new(), changes).await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Done)
}

fn objection(found: Option<&Described>, id: InstanceId, name: &str) -> Option<String> {
    match found {
        None => Some(format!("an instance has no collection {name}")),
        Some(found) if found.id != id => Some(format!(
            "an instance says that {name} is {}, not {id}",
            found.id
        )),
        Some(_) => None,
    }
}

fn make(catalog: &Catalog, mapping: &Mapping, count: usize, head: Position) -> Change {
    let first = mapping.copies.first();
    let copy = |instance: InstanceIx| {
        let given = mapping.copies.iter().find(|(place, _)| *place == instance);
        let is_first = first.is_some_and(|(place, _)| *place == instance);
        Copy {
            id: given.map(|(_, id)| *id),
            quarantine: given.is_none().then(|| "it is missing there".into()),
            distrust: (given.is_some() && !is_first).then(|| NOT_COMPARED.into()),
            ..Copy::default()
        }
    };
    let id = first.map(|(_, id)| id.0).unwrap_or_default();
    debug_assert!(catalog.get(CollectionId(id)).is_none(), "it was asked for");
    Change::Made(Arc::new(Collection {
        id: CollectionId(id),
        tenant: Arc::clone(&mapping.tenant),
        database: Arc::clone(&mapping.database),
        name: Arc::clone(&mapping.name),
        made_at: head,
        gone_at: None,
        home: None,
        copies: InstanceIx::all(count).map(copy).collect(),
    }))
}

/// Copies under other UUIDs than before are read as soon as they were found equal to one that is
/// used as it was. Where there is none, the first counts.
fn remap(known: &Collection, mapping: &Mapping) -> Vec<Change> {
    let stays = |(place, id): &&(InstanceIx, InstanceId)| known.on(*place) == Some(*id);
    let mut trusted = mapping.copies.iter().any(|copy| stays(&copy))
        || InstanceIx::all(known.copies.len()).any(|place| {
            let is_given = mapping.copies.iter().any(|(given, _)| *given == place);
            !is_given && known.is_served_by(place)
        });
    let mut changes = Vec::new();
    for (instance, id) in mapping.copies.iter().filter(|copy| !stays(copy)) {
        let (collection, instance) = (known.id, *instance);
        changes.extend([
            Change::Copied {
                collection,
                instance,
                id: *id,
            },
            Change::Healed {
                collection,
                instance,
            },
        ]);
        if std::mem::replace(&mut trusted, true) {
            changes.push(Change::Distrusted {
                collection,
                instance,
                reason: NOT_COMPARED.into(),
            });
        }
    }
    changes
}

/// Makes a collection unknown. Its copies stay on the instances, where nothing of ours sees them.
pub(crate) async fn unmap(port: Port, id: CollectionId) -> Result<Finding, Stopped> {
    let at = port.hold(LaneId::Schema, &[]).await;
    if port.catalog().get(id).is_none() {
        return Ok(Finding::Refused("it is gone already".to_owned()));
    }
    let gone = Change::Gone { collection: id, at };
    port.settle(Vec::new(), vec![gone]).await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Done)
}
