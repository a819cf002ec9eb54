//! Looking for what the instances hold of a tenant that a client has named and the catalog lacks.
//!
//! Chroma lists no tenants, so what an instance held when it was taken over is known for those tenants
//! only that the catalog had then. The first request that names another one has the instances in service
//! asked for it, and what they hold is taken over as it would have been at the start: a collection of one
//! instance becomes known under its UUID and is built on the others; the copies of several are compared
//! before they are read. An instance that is away is looked at when it is back.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Finding, Places, Port, Stopped,
    adopt::{Adopted, NOT_COMPARED, Round},
    chroma::Address,
};
use crate::{
    catalog::{Change, Collection},
    ids::{InstanceId, InstanceIx, LaneId},
    route::Action,
};

/// Reason for not using a copy that may be on an instance which was away when its tenant was looked for.
pub(crate) const NOT_LOOKED_FOR: &str = "it was not looked for there yet";

/// The tenant and its databases, as the instances have them.
#[derive(Default)]
struct Seen {
    has_tenant: bool,
    databases: BTreeSet<String>,
}

/// Takes over what these instances, all that are in service, hold of a tenant. Nothing is found when
/// none of them knows it.
pub(crate) async fn discover(
    port: Port,
    tenant: Arc<str>,
    places: Places,
    count: usize,
) -> Result<Finding, Stopped> {
    port.stage(|stage| stage.doing = "looking for a tenant");
    if look(&port, &tenant, &places).await?.is_nothing() {
        return Ok(Finding::Done);
    }
    let head = port.hold(LaneId::Schema, &places).await;
    let mut catalog = port.catalog();
    if catalog.knows_tenant(&tenant) {
        return Ok(Finding::Done);
    }
    let seen = look(&port, &tenant, &places).await?;
    for place in &places {
        make(&port, *place, &tenant, &seen).await?;
    }
    let mut changes = vec![Change::TenantMade {
        tenant: Arc::clone(&tenant),
    }];
    let mut adopted = Adopted::default();
    for target in &places {
        let source = places.first().copied().filter(|first| first != target);
        let mut round = Round::new(&port, catalog.clone(), (source, *target), (count, head));
        round.away = InstanceIx::all(count)
            .filter(|instance| !places.contains(instance))
            .collect();
        round.tenant(&tenant).await?;
        for change in &round.changes {
            catalog.apply(change);
        }
        changes.append(&mut round.changes);
        adopted.new.append(&mut round.adopted.new);
        adopted.known.append(&mut round.adopted.known);
        adopted.unlike.append(&mut round.adopted.unlike);
    }
    port.settle(Vec::new(), changes).await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Adopted(adopted))
}

impl Seen {
    fn is_nothing(&self) -> bool {
        !self.has_tenant && self.databases.is_empty()
    }
}

/// A database may be there whose tenant is not.
async fn look(port: &Port, tenant: &str, places: &Places) -> Result<Seen, Stopped> {
    let mut seen = Seen::default();
    let address = Address::tenant(tenant);
    for place in places {
        let reply = port
            .request(*place, Action::GetTenant, &address, None)
            .await?;
        match reply.status {
            200..=299 => seen.has_tenant = true,
            // What is no name of a tenant is none of theirs.
            400 | 404 | 422 => {}
            status => {
                return Err(Stopped::because(format!("GetTenant was answered {status}")));
            }
        }
        let databases = port.databases(*place, tenant).await?;
        seen.databases
            .extend(databases.into_iter().map(|listed| listed.name));
    }
    Ok(seen)
}

/// Makes what one of the instances has, so that all have it.
async fn make(port: &Port, instance: InstanceIx, tenant: &str, seen: &Seen) -> Result<(), Stopped> {
    if seen.has_tenant {
        port.ensure(instance, Action::CreateTenant, &Address::default(), tenant)
            .await?;
    }
    let within = Address::tenant(tenant);
    for database in &seen.databases {
        port.ensure(instance, Action::CreateDatabase, &within, database)
            .await?;
    }
    Ok(())
}

/// Takes in a copy that was found on an instance which was away when its tenant was looked for: nothing
/// there is changed, and it is not read before it was compared with the others.
pub(super) async fn take_in(
    port: &Port,
    collection: &Collection,
    (source, target): (InstanceIx, InstanceIx),
    id: InstanceId,
) {
    let lane = LaneId::Collection(collection.id);
    let head = port.hold(lane, &[source]).await;
    let (collection, instance) = (collection.id, target);
    let changes = vec![
        Change::Copied {
            collection,
            instance,
            id,
        },
        Change::Healed {
            collection,
            instance,
        },
        Change::Distrusted {
            collection,
            instance,
            reason: NOT_COMPARED.into(),
        },
    ];
    port.settle(vec![(lane, target, head)], changes).await;
    port.release(lane).await;
}
