//! Copies that have another name on their instance than their collection has in the catalog.
//!
//! An instance may have carried out a change of the name that came to nothing: its answer was lost, and another
//! instance, which lacked the collection, refused the change. Or somebody has renamed the copy directly. A
//! copy with another name is found by no request that names the collection.

use serde_json::json;

use super::{
    Port, Stopped,
    chroma::{Address, Described},
};
use crate::{catalog::Collection, ids::InstanceIx, route::Action};

/// The description of an instance's copy of a collection; none when the copy is not there. A copy that has
/// another name gets the collection's, unless something else on the instance has that. The caller holds the
/// schema lane.
pub(super) async fn described_by_name(
    port: &Port,
    collection: &Collection,
    instance: InstanceIx,
) -> Result<Option<Described>, Stopped> {
    let Some(id) = collection.on(instance) else {
        return Ok(None);
    };
    let (tenant, database) = (&collection.tenant, &collection.database);
    let named = Address::named(tenant, database, &collection.name);
    if let Some(found) = port.describe(instance, &named).await? {
        // What somebody has made under the name is not the copy.
        return Ok(Some(found).filter(|found| found.id == id));
    }
    let Some(mut copy) = port.describe_copy(instance, collection, id).await? else {
        return Ok(None);
    };
    port.stage(|stage| stage.doing = "giving a copy its name back");
    let name = collection.name.as_ref();
    let body = json!({ "new_name": name }).to_string().into();
    let address = Address::copy(collection, id);
    port.must(instance, Action::UpdateCollection, &address, Some(body))
        .await?;
    name.clone_into(&mut copy.name);
    Ok(Some(copy))
}

/// The collection that an instance has under a collection's name. Another collection's copy there gets its
/// own name back, and nothing is there any more. The caller holds the schema lane.
pub(super) async fn unless_anothers(
    port: &Port,
    collection: &Collection,
    instance: InstanceIx,
    there: Option<Described>,
) -> Result<Option<Described>, Stopped> {
    let catalog = port.catalog();
    let owner = there
        .as_ref()
        .and_then(|there| catalog.of_instance_id(there.id));
    let is_another = |owner: &Collection, there: &Described| {
        owner.id != collection.id && owner.on(instance) == Some(there.id)
    };
    match (owner, &there) {
        (Some(owner), Some(found)) if is_another(owner, found) => {
            let renamed = described_by_name(port, owner, instance).await?;
            let why = "another collection's copy has its name on the instance";
            renamed.map_or_else(|| Err(Stopped::because(why)), |_| Ok(None))
        }
        _ => Ok(there),
    }
}
