//! Taking an instance back into service that has lost its data, or whose place in the log is gone.
//!
//! Its tenants and databases are made equal to a healthy instance's, what is left there of
//! collections that exist no more is deleted, and it is recorded that its place in the schema lane
//! is where that lane stands. Its collections are quarantined, and rebuilt one after the other.

use std::collections::BTreeSet;

use super::{
    Finding, Port, Stopped,
    chroma::{Address, Described, Listed},
    copy::{lost, to_be_rebuilt, unsure},
    mark::mark,
};
use crate::{
    catalog::{Catalog, Change, Collection, InstanceRecord},
    ids::{DEFAULT_TENANT, InstanceIx, LaneId},
    route::Action,
};

/// All tenants that anything is known of.
pub(crate) fn tenants(catalog: &Catalog) -> BTreeSet<String> {
    let mut tenants = BTreeSet::from([DEFAULT_TENANT.to_owned()]);
    tenants.extend(catalog.tenants().map(ToString::to_string));
    tenants.extend(catalog.databases().map(|(tenant, _)| tenant.to_string()));
    tenants.extend(catalog.collections().map(|c| c.tenant.to_string()));
    tenants
}

pub(crate) async fn restore(
    port: Port,
    source: InstanceIx,
    target: InstanceIx,
) -> Result<Finding, Stopped> {
    stay_held(&port, target).await;
    port.stage(|stage| stage.doing = "making tenants and databases");
    let head = port.hold(LaneId::Schema, &[source]).await;
    let mut changes = Vec::new();
    for tenant in tenants(&port.catalog()) {
        port.ensure(target, Action::CreateTenant, &Address::default(), &tenant)
            .await?;
        let databases = port.databases(source, &tenant).await?;
        remove_strange_databases(&port, target, &tenant, &databases).await?;
        for Listed { name, .. } in databases {
            let within = Address::tenant(&tenant);
            port.ensure(target, Action::CreateDatabase, &within, &name)
                .await?;
            changes.extend(take_stock(&port, source, target, &tenant, &name).await?);
        }
    }
    let marker = mark(&port, target).await?;
    changes.push(Change::Instance {
        instance: target,
        record: InstanceRecord {
            marker: Some(marker),
            quarantine: None,
        },
    });
    port.settle(vec![(LaneId::Schema, target, head)], changes)
        .await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Done)
}

/// Waits until it is durable that the instance is held. Its token rises at the end: the next proxy
/// would take data from the past for the present's, had it not heard of that.
async fn stay_held(port: &Port, instance: InstanceIx) {
    let record = port.catalog().instance(instance);
    let held = Change::Instance { instance, record };
    port.settle(Vec::new(), vec![held]).await;
}

async fn remove_strange_databases(
    port: &Port,
    target: InstanceIx,
    tenant: &str,
    known: &[Listed],
) -> Result<(), Stopped> {
    for stray in port.databases(target, tenant).await? {
        if known.iter().all(|known| known.name != stray.name) {
            let address = Address::database(tenant, &stray.name);
            port.remove(target, Action::DeleteDatabase, &address)
                .await?;
        }
    }
    Ok(())
}

/// Deletes what the target has and nobody knows, and says what becomes of the copies there.
async fn take_stock(
    port: &Port,
    source: InstanceIx,
    target: InstanceIx,
    tenant: &str,
    database: &str,
) -> Result<Vec<Change>, Stopped> {
    let catalog = port.catalog();
    let models = port.list(source, tenant, database).await?;
    let there = port.list(target, tenant, database).await?;
    for stray in &there {
        if catalog.named(tenant, database, &stray.name).is_none() {
            let address = Address::named(tenant, database, &stray.name);
            port.remove(target, Action::DeleteCollection, &address)
                .await?;
        }
    }
    let named = |list: &[Described], collection: &Collection| {
        let mut all = list.iter();
        all.find(|d| *d.name == *collection.name).cloned()
    };
    let changes = catalog.collections_in(tenant, database).flat_map(|c| {
        match (named(&models, c), named(&there, c)) {
            (Some(model), Some(copy)) if copy.may_become(&model) => {
                to_be_rebuilt(c.id, target, copy.id)
            }
            (_, Some(_)) => vec![lost(c.id, target), unsure(c, target)],
            (_, None) => vec![lost(c.id, target)],
        }
    });
    Ok(changes.collect())
}
