//! Having one instance alone get the writes of a collection.

use super::{Finding, Places, Port, Stopped};
use crate::{
    catalog::Change,
    ids::{CollectionId, InstanceIx, LaneId},
};

/// Gives a collection a home, while no write to it is under way: what was logged before is done
/// there, and nothing is logged of it afterwards, so that no entry is sent again over a write that
/// the log does not know. It is done on all `holders` too, which are the home and the others in
/// service: with a home's disk nothing is lost that was logged.
pub(crate) async fn home(
    port: Port,
    id: CollectionId,
    instance: InstanceIx,
    holders: Places,
) -> Result<Finding, Stopped> {
    let lane = LaneId::Collection(id);
    port.stage(|stage| stage.doing = "waiting for the writes before");
    port.hold(lane, &holders).await;
    let catalog = port.catalog();
    let Some(collection) = catalog.get(id) else {
        return Ok(Finding::Refused("the collection is gone".to_owned()));
    };
    if collection.home.is_some() {
        return Ok(Finding::Done);
    }
    if !collection.is_served_by(instance) {
        return Ok(Finding::Refused(
            "the instance has no copy that is used".to_owned(),
        ));
    }
    let homed = Change::Homed {
        collection: id,
        home: Some(instance),
    };
    port.settle(Vec::new(), vec![homed]).await;
    port.release(lane).await;
    Ok(Finding::Done)
}
